"""Listeners as the configuration fixes them. Built by `fastproxy.config`, never changed afterwards."""

from fastproxy.listener.settings.access_log import (
    AccessLogSettings,
    CombinedFilter,
    Compared,
    Comparison,
    ComparisonFilter,
    ConditionFilter,
    FlagFilter,
    GrpcStatusFilter,
    LogFilterSettings,
    MetadataFilter,
    NoHealthCheckFilter,
)
from fastproxy.listener.settings.address import (
    ListenAddress,
    Place,
    SocketOption,
    SocketState,
    place_of,
)
from fastproxy.listener.settings.filter_chain import (
    MATCHES_ALL,
    FilterChainMatchSettings,
    FilterChainSettings,
    NetworkFilterSettings,
    SourceType,
)
from fastproxy.listener.settings.http import (
    EscapedSlashes,
    ForwardClientCert,
    HttpConnectionManagerSettings,
    HttpFilterSettings,
    ServerHeader,
    StripPort,
    Underscores,
    UpgradeSettings,
    XffDetectionSettings,
)
from fastproxy.listener.settings.listener import (
    ListenerFilterSettings,
    ListenerSettings,
    ProxyProtocolSettings,
    TlsInspectorSettings,
)
from fastproxy.listener.settings.local_reply import (
    LocalReplySettings,
    ReplyMapperSettings,
)
from fastproxy.listener.settings.tcp_proxy import (
    TcpBackoff,
    TcpCluster,
    TcpProxySettings,
)

__all__ = [
    "MATCHES_ALL",
    "AccessLogSettings",
    "CombinedFilter",
    "Compared",
    "Comparison",
    "ComparisonFilter",
    "ConditionFilter",
    "EscapedSlashes",
    "FilterChainMatchSettings",
    "FilterChainSettings",
    "FlagFilter",
    "ForwardClientCert",
    "GrpcStatusFilter",
    "HttpConnectionManagerSettings",
    "HttpFilterSettings",
    "ListenAddress",
    "ListenerFilterSettings",
    "ListenerSettings",
    "LocalReplySettings",
    "LogFilterSettings",
    "MetadataFilter",
    "NetworkFilterSettings",
    "NoHealthCheckFilter",
    "Place",
    "ProxyProtocolSettings",
    "ReplyMapperSettings",
    "ServerHeader",
    "SocketOption",
    "SocketState",
    "SourceType",
    "StripPort",
    "TcpBackoff",
    "TcpCluster",
    "TcpProxySettings",
    "TlsInspectorSettings",
    "Underscores",
    "UpgradeSettings",
    "XffDetectionSettings",
    "place_of",
]
