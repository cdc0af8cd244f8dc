"""Tasks have owners, and their failures are seen."""

import asyncio
import gc
import logging

import pytest

from fastproxy.tasks import cancel_and_wait, spawn


async def test_a_task_nobody_holds_runs_to_its_end() -> None:
    """asyncio itself keeps only weak references."""
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    spawn(work(), name="work")
    gc.collect()
    await asyncio.wait_for(done.wait(), 10)


async def test_a_failure_that_nobody_awaits_is_logged_with_the_task_s_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Otherwise it shows when the task is collected, or never."""

    async def fail() -> None:
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR):
        task = spawn(fail(), name="a name")
        await asyncio.wait([task])
    assert "a name" in caplog.text
    assert "broken" in caplog.text


async def test_cancel_and_wait_waits_for_the_cleanup() -> None:
    """Tasks that ended, failed or never were are fine."""
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def nothing() -> None:
        return

    running, ended = spawn(work(), name="work"), spawn(nothing(), name="nothing")
    await asyncio.sleep(0)
    await cancel_and_wait(running, ended, None)
    assert cleaned == [True]
    assert running.cancelled()
    await cancel_and_wait()
