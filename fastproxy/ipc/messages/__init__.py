"""The messages. Plain data only; every field is JSON, so that a message can be read and none runs code.

`main -> worker`: WorkerInit (first, once), then the state of the moment, then StartServing; after that
ClusterEndpoints, EndpointHealth, TallyRequest, JwksUpdate, JwksFetchFailed, TlsFilesUpdate, StatsRequest, SetLogLevel,
ReopenAccessLogs, Drain.
A reload: Prepare to all workers; when each has said Prepared, to all of them Commit, the state for the new
configuration, and StartServing, which is when they switch; when one has said PrepareFailed, Abort to all.
`worker -> main`: WorkerReady, WorkerFailed, JwksRefreshRequest, ClusterUsed, ImmediateFailure, EndpointOutlier,
OutlierTally, StatsSnapshot, Prepared, PrepareFailed, Switched, Drained.
"""

from fastproxy.ipc.messages.endpoints import (
    AdditionalAddress,
    ClusterEndpoints,
    ClusterUsed,
    EndpointAddress,
    EndpointHealth,
    EndpointOutlier,
    ImmediateFailure,
    OutlierTally,
    TallyRequest,
)
from fastproxy.ipc.messages.keys import (
    JwksFetchFailed,
    JwksRefreshRequest,
    JwksUpdate,
    TlsFilesUpdate,
)
from fastproxy.ipc.messages.life import (
    Drain,
    Drained,
    ListenerSocket,
    ReopenAccessLogs,
    SetFarewell,
    SetLogLevel,
    StartServing,
    StopListening,
    WorkerFailed,
    WorkerInit,
    WorkerReady,
)
from fastproxy.ipc.messages.numbers import (
    StatsRequest,
    StatsSnapshot,
)
from fastproxy.ipc.messages.reload import (
    Abort,
    Commit,
    Prepare,
    Prepared,
    PrepareFailed,
    Switched,
)

ToWorker = (
    WorkerInit
    | StartServing
    | ClusterEndpoints
    | EndpointHealth
    | TallyRequest
    | JwksUpdate
    | JwksFetchFailed
    | TlsFilesUpdate
    | StatsRequest
    | SetLogLevel
    | ReopenAccessLogs
    | SetFarewell
    | StopListening
    | Drain
    | Prepare
    | Commit
    | Abort
)
ToMain = (
    WorkerReady
    | WorkerFailed
    | JwksRefreshRequest
    | ClusterUsed
    | ImmediateFailure
    | EndpointOutlier
    | OutlierTally
    | StatsSnapshot
    | Prepared
    | PrepareFailed
    | Switched
    | Drained
)
Message = ToWorker | ToMain

__all__ = [
    "Abort",
    "AdditionalAddress",
    "ClusterEndpoints",
    "ClusterUsed",
    "Commit",
    "Drain",
    "Drained",
    "EndpointAddress",
    "EndpointHealth",
    "EndpointOutlier",
    "ImmediateFailure",
    "JwksFetchFailed",
    "JwksRefreshRequest",
    "JwksUpdate",
    "ListenerSocket",
    "Message",
    "OutlierTally",
    "Prepare",
    "PrepareFailed",
    "Prepared",
    "ReopenAccessLogs",
    "SetFarewell",
    "SetLogLevel",
    "StartServing",
    "StatsRequest",
    "StatsSnapshot",
    "StopListening",
    "Switched",
    "TallyRequest",
    "TlsFilesUpdate",
    "ToMain",
    "ToWorker",
    "WorkerFailed",
    "WorkerInit",
    "WorkerReady",
]
