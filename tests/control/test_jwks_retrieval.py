"""`retry_policy`: what is repeated, how often, and within which time."""

import pytest

from fastproxy.control.jwks_http import FetchFailed, JwksHttpClient, Validators
from fastproxy.control.jwks_retrieval import RemoteRetrieval
from fastproxy.filters.jwt_authn.settings import FetchRetrySettings, RemoteJwksSettings
from fastproxy.ipc.messages import EndpointAddress
from fastproxy.tasks import spawn
from tests.control.support import Answer, KeyServer, cluster, key_server


def no_pause(low: float, high: float) -> float:
    return 0.0


def make(server: KeyServer, retry: FetchRetrySettings | None, timeout_s: float = 5.0) -> RemoteRetrieval:
    client = JwksHttpClient(
        {"keys": cluster("keys", server.port)}, lambda _: [EndpointAddress("127.0.0.1", server.port, "")]
    )
    remote = RemoteJwksSettings("http://issuer.test/certs", "keys", timeout_s, retry=retry)
    return RemoteRetrieval(remote, client, uniform=no_pause)


async def close(retrieval: RemoteRetrieval) -> None:
    await retrieval._client.close()


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_transient_failure_is_repeated_num_retries_times(status: int) -> None:
    """A gateway's hiccup should not cost a back-off; Envoy repeats 5xx, too."""
    async with key_server(Answer(b"", status=status)) as server:
        retrieval = make(server, FetchRetrySettings(num_retries=2))
        with pytest.raises(FetchFailed, match=f"status {status}"):
            await retrieval.retrieve(Validators(), 0.0)
        await close(retrieval)

    assert len(server.requests) == 3


@pytest.mark.parametrize("answer", [Answer(b"", status=404), Answer(b"", status=302)])
async def test_failure_that_another_attempt_cannot_mend_is_not_repeated(answer: Answer) -> None:
    """A wrong path stays wrong."""
    async with key_server(answer) as server:
        retrieval = make(server, FetchRetrySettings(num_retries=5))
        with pytest.raises(FetchFailed):
            await retrieval.retrieve(Validators(), 0.0)
        await close(retrieval)

    assert len(server.requests) == 1


async def test_without_a_policy_there_is_one_attempt() -> None:
    """As in Envoy; the background back-off does the rest."""
    async with key_server(Answer(b"", status=500)) as server:
        retrieval = make(server, None)
        with pytest.raises(FetchFailed):
            await retrieval.retrieve(Validators(), 0.0)
        await close(retrieval)

    assert len(server.requests) == 1


async def test_success_ends_the_attempts() -> None:
    """The second attempt's answer is the fetch's answer."""
    async with key_server(Answer(b"", status=500)) as server:
        retrieval = make(server, FetchRetrySettings(num_retries=1000))
        fetching = spawn(retrieval.retrieve(Validators(), 0.0), name="fetch")
        await server.requested.wait()
        server.answer = Answer(b"{}")

        assert (await fetching).body == b"{}"
        await close(retrieval)


async def test_s40_the_timeout_covers_all_attempts_and_pauses() -> None:
    """A policy of a hundred attempts must not keep requests waiting longer than `http_uri.timeout`."""
    async with key_server(Answer(b"", status=500)) as server:
        retrieval = make(
            server, FetchRetrySettings(num_retries=100, base_interval_s=3600, max_interval_s=3600), 0.2
        )
        retrieval._uniform = lambda _low, high: high
        with pytest.raises(FetchFailed, match="status 500"):
            await retrieval.retrieve(Validators(), 0.0)
        await close(retrieval)

    assert len(server.requests) == 1


def test_pauses_double_up_to_the_longest() -> None:
    """Envoy's jittered exponential back-off: each pause is random below its interval."""
    retrieval = RemoteRetrieval(
        RemoteJwksSettings("http://a/", "keys", 1.0, retry=FetchRetrySettings(5, 1.0, 4.0)),
        JwksHttpClient({}, lambda _: ()),
        uniform=lambda _low, high: high,
    )

    assert retrieval._pauses() == [0.0, 1.0, 2.0, 4.0, 4.0, 4.0]
