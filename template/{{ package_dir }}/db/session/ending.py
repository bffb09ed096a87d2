"""Finishing a commit or a rollback, whatever cancels the task that waits for it."""

import asyncio
import sys
from collections.abc import Container, Coroutine
from contextlib import nullcontext
from typing import Any


class _Ending(asyncio.Task[None]):
    """A task that can be cancelled only by its own timeouts.

    At its end asyncio.run() cancels all tasks, as many frameworks do. That would interrupt a COMMIT.
    """

    session: object

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task if a timer of the event loop or the task itself asks for it."""
        try:
            caller = asyncio.current_task()
        except RuntimeError:
            # The event loop does not run: this is asyncio.run().
            return False
        return caller in (None, self) and super().cancel(msg)


class _Waiter(asyncio.Future[None]):
    """A future whose waiting task is not woken by cancellations, so they cost nothing."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Go on waiting."""
        return True

    def wake(self, _: asyncio.Task[None]) -> None:
        """Wake the waiting task."""
        self.set_result(None)


async def finish(coroutine: Coroutine[Any, Any, None], session: object) -> None:
    """Await a coroutine of a session to its end, and raise a cancellation only then.

    Nobody knows whether an interrupted COMMIT took effect.
    """
    ending = _Ending(coroutine, loop=asyncio.get_running_loop())
    ending.session = session
    try:
        await asyncio.wait([ending])
    except asyncio.CancelledError as cancellation:
        await _outlast(ending)
        failure = ending.exception()
        outcome = f"with the error {failure!r}" if failure else "without an error"
        cancellation.add_note(f"The transaction ended first, {outcome}.")
        # The same class of error: asyncio.timeout does not catch a subclass.
        raise
    ending.result()


async def wait_until_finished(sessions: Container[object]) -> None:
    """Wait for all coroutines of these sessions that `finish` awaits, except the caller's own."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    endings = [x for x in tasks if isinstance(x, _Ending) and x.session in sessions]
    if endings:
        await asyncio.wait(endings)


async def _outlast(ending: _Ending) -> None:
    """Wait for the end, whatever else cancels this task."""
    waiter = _Waiter()
    ending.add_done_callback(waiter.wake)
    anyio: Any = sys.modules.get("anyio")
    # Without a shield anyio repeats its cancellation at each turn of the event loop.
    with anyio.CancelScope(shield=True) if anyio else nullcontext():
        await waiter
