"""The answers of all workers to one step of a reload, bounded in time."""

import asyncio


class Ballot:
    """Opened for each worker that is asked, closed by `count`.

    Args:
        timeout_s: how long a worker may take to answer.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._votes: dict[int, asyncio.Future[str]] = {}
        self.generation = 0
        """Of the reload under way; answers about another one do not count."""

    def open(self, worker_id: int) -> None:
        """An answer is expected of this worker."""
        self._votes[worker_id] = asyncio.get_running_loop().create_future()

    def vote(self, worker_id: int, generation: int, failure: str) -> None:
        """A worker has answered; `failure`: why it cannot, empty if it can."""
        vote = self._votes.get(worker_id)
        if vote is not None and not vote.done() and generation == self.generation:
            vote.set_result(failure)

    def abstain(self, worker_id: int) -> None:
        """A worker has died: it does not count, for it will be replaced."""
        self.vote(worker_id, self.generation, "")

    async def count(self, worker_ids: list[int]) -> list[str]:
        """Wait for the answers; for each worker why it cannot, or empty."""
        votes = [self._votes[worker_id] for worker_id in worker_ids]
        if votes:
            await asyncio.wait(votes, timeout=self._timeout_s)
        self._votes.clear()
        return [
            vote.result()
            if vote.done()
            else f"worker {worker_id} did not answer within {self._timeout_s:g} s"
            for worker_id, vote in zip(worker_ids, votes, strict=True)
        ]
