"""Copies of a model that work side by side."""

import threading

import pytest

from hmr_ros.keypoints.crew import Crew

PATIENCE_S = 30


class Doubler:
    """Remembers who is inside; no copy may be entered twice at once."""

    def __init__(self, together: threading.Barrier | None = None):
        self._together, self._busy = together, threading.Lock()

    def __call__(self, number: int, more: int = 0) -> int:
        assert self._busy.acquire(blocking=False), "two threads in one copy"
        try:
            if self._together:
                self._together.wait(PATIENCE_S)
            return 2 * number + more
        finally:
            self._busy.release()


@pytest.mark.parametrize("size", [1, 3])
def test_answers_come_in_the_order_of_the_items(size):
    crew = Crew(Doubler, size)
    assert crew(4, more=1) == 9
    assert crew.map(lambda number: crew(number), list(range(50))) == [2 * n for n in range(50)]


def test_as_many_at_a_time_as_there_are_threads():
    together = threading.Barrier(3)
    crew = Crew(lambda: Doubler(together), 3)
    assert crew.map(lambda number: crew(number), [1, 2, 3]) == [2, 4, 6]  # or the barrier breaks


def test_one_item_stays_on_the_calling_thread():
    crew = Crew(Doubler, 3)
    assert crew.map(lambda _: threading.current_thread(), [1]) == [threading.current_thread()]


def test_what_a_copy_raises_is_raised_and_the_copy_is_free_again():
    crew = Crew(Doubler, 2)
    for _ in range(5):
        with pytest.raises(TypeError):
            crew.map(lambda item: crew(item), [1, "a", None])
    assert crew.map(lambda item: crew(item), [1, 2, 3]) == [2, 4, 6]
