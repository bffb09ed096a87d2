"""Slots: how many units of work gather() runs at once, and how long the others wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Literal, TypeVar

from ..errors import PoolExhausted

T = TypeVar("T")
Item = TypeVar("Item")


class Slots(asyncio.Semaphore):
    """A semaphore of `size` slots. A task waits `timeout` seconds for one; None is no limit."""

    def __init__(self, size: int, timeout: float | None = None) -> None:
        super().__init__(size)
        self._size = size
        self._timeout = timeout

    async def acquire(self) -> Literal[True]:
        """Wait for a slot. Raise PoolExhausted if none becomes free in time."""
        try:
            async with asyncio.timeout(self._timeout):
                return await super().acquire()
        except TimeoutError as error:
            raise PoolExhausted(
                f"other calls of gather() used all connections for {self._timeout} s"
                f" ({self._size} at once): hold them for less long, or raise DATABASE_POOL_SIZE"
            ) from error

    async def map(
        self, function: Callable[[Item], Awaitable[T]], items: Sequence[Item]
    ) -> tuple[T, ...]:
        """Call the function for all items at the same time, each in a slot; return the results.

        The first error cancels the other calls and is raised. The timeout applies to slots that
        other calls of map() hold, and not to the items of this call, which wait in its own queue.
        """
        slots = _own_slots.get(self)
        # All workers take their items from this one iterator: it is the queue.
        remaining = enumerate(items)

        async def worker() -> dict[int, T]:
            # A nested map() runs in its parent's slot: waiting for a second one could deadlock.
            _own_slots.set(Slots(1))
            results: dict[int, T] = {}
            for index, item in remaining:
                async with slots:
                    results[index] = await function(item)
            return results

        try:
            async with asyncio.TaskGroup() as group:
                workers = [group.create_task(worker()) for _ in items[: slots._size]]
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
        else:
            results = {i: result for task in workers for i, result in task.result().items()}
            return tuple(results[index] for index in range(len(items)))
        raise first


_own_slots: ContextVar[Slots] = ContextVar("own_slots")
