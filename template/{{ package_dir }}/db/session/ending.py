"""Finishing a commit or a rollback, whatever cancels the task that waits for it."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


class _Ending(asyncio.Task[None]):
    """A task that can be cancelled only by its own timeouts.

    At its end asyncio.run() cancels all tasks, as many frameworks do. That would interrupt a COMMIT.
    """

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

    cancellation: asyncio.CancelledError | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Keep the first cancellation, and go on waiting."""
        if self.cancellation is None:
            self.cancellation = asyncio.CancelledError(*() if msg is None else (msg,))
        return True

    def wake(self, _: asyncio.Task[None]) -> None:
        """Wake the waiting task."""
        self.set_result(None)


async def finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Await a coroutine to its end, and raise a cancellation only then.

    Nobody knows whether an interrupted COMMIT took effect.
    """
    ending = _Ending(coroutine, loop=asyncio.get_running_loop())
    waiter = _Waiter()
    ending.add_done_callback(waiter.wake)
    cancellation = await _wait(waiter)
    if not cancellation:
        return ending.result()
    failure = ending.exception()
    outcome = f"with the error {failure!r}" if failure else "without an error"
    cancellation.add_note(f"The transaction ended first, {outcome}.")
    # The same class of error: asyncio.timeout does not catch a subclass.
    raise cancellation


async def _wait(waiter: _Waiter) -> asyncio.CancelledError | None:
    """Wait, and return the cancellation that arrived meanwhile."""
    anyio: Any = sys.modules.get("anyio")
    if anyio is None:
        await waiter
        return waiter.cancellation
    # Without a shield anyio repeats its cancellation at each turn of the event loop.
    with anyio.CancelScope(shield=True):
        await waiter
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
    except asyncio.CancelledError as error:
        return waiter.cancellation or error
    return waiter.cancellation
