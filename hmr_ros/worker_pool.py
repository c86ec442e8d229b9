"""Several threads that share one kind of work, such as detecting or encoding several people in parallel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

Answer = TypeVar("Answer")
Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool:
    """The calling thread and `size` - 1 others."""

    def __init__(self, size: int):
        self.size = size
        self._others = ThreadPoolExecutor(size - 1, thread_name_prefix="pool") if size > 1 else None

    def copies(self, make: Callable[[], Callable[..., Answer]]) -> Callable[..., Answer]:
        """A model that all threads may call at once: one copy per thread, made here. It must release the GIL while it computes."""
        free: SimpleQueue[Callable[..., Answer]] = SimpleQueue()
        for _ in range(self.size):
            free.put(make())

        def answer(*arguments: Any, **options: Any) -> Answer:
            model = free.get()
            try:
                return model(*arguments, **options)
            finally:
                free.put(model)

        return answer

    def start(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Callable[[], list[Result]]:
        """Start the other threads on `items`. Returns a function that joins in until all are done, and returns the results in the order of `items`."""
        results: dict[int, Result] = {}
        waiting = deque(enumerate(items))

        def work_off_queue() -> None:
            while True:
                try:
                    index, item = waiting.popleft()
                except IndexError:
                    return
                try:
                    results[index] = work(item)
                except BaseException:
                    waiting.clear()
                    raise

        helpers = (
            [self._others.submit(work_off_queue) for _ in range(min(len(items), self.size - 1))] if self._others else []
        )

        def finish() -> list[Result]:
            try:
                work_off_queue()
            finally:
                for helper in helpers:
                    if not helper.cancel():  # a helper still queued behind other work has nothing left to do
                        helper.result()
            return [results[index] for index in range(len(items))]

        return finish

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        return self.start(work, items)()
