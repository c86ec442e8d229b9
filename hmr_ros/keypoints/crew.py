"""One model for several people at once: a copy of it for each thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(Generic[Answer]):
    """Called like the model, from any thread: whichever copy is free answers. Models must let go of Python's lock while they compute."""

    def __init__(self, make: Callable[[], Callable[..., Answer]], size: int):
        """make: a new copy of the model, which keeps nothing between calls; size: copies, and threads."""
        self._free: SimpleQueue[Callable[..., Answer]] = SimpleQueue()
        for _ in range(size):
            self._free.put(make())
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="keypoints") if size > 1 else None

    def __call__(self, *arguments: Any, **options: Any) -> Answer:
        model = self._free.get()
        try:
            return model(*arguments, **options)
        finally:
            self._free.put(model)

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work`, which calls the crew, done for all items, as many at a time as there are threads; in the order of the items."""
        if self._threads is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._threads.map(work, items))
