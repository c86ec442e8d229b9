"""Threads that look at several people at once."""

import threading

import pytest

from hmr_ros.worker_pool import WorkerPool

PATIENCE_S = 30


class Doubler:
    """No copy may be entered twice at once."""

    def __init__(self):
        self._busy = threading.Lock()

    def __call__(self, number: int, more: int = 0) -> int:
        assert self._busy.acquire(blocking=False), "two threads in one copy"
        try:
            return 2 * number + more
        finally:
            self._busy.release()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_answers_come_in_the_order_of_the_items(size):
    pool = WorkerPool(size)
    double = pool.copies(Doubler)
    assert double(4, more=1) == 9
    assert pool.map(double, list(range(200))) == [2 * n for n in range(200)]
    assert pool.map(double, []) == []


def test_as_many_at_a_time_as_the_pool_has():
    together = threading.Barrier(3)
    WorkerPool(3).map(lambda _: together.wait(PATIENCE_S), [1, 2, 3])  # or the barrier breaks


def test_the_others_work_while_the_caller_does_something_else():
    done = threading.Event()
    finish = WorkerPool(2).start(lambda _: done.set() or threading.current_thread(), [1])
    assert done.wait(PATIENCE_S)
    assert finish() != [threading.current_thread()]


def test_nobody_waits_for_others_who_have_nothing_to_do():
    pool, begun, release = WorkerPool(2), threading.Event(), threading.Event()

    def long_work(_) -> bool:
        begun.set()
        return release.wait(PATIENCE_S)

    finish = pool.start(long_work, [1])
    assert begun.wait(PATIENCE_S)
    assert pool.map(lambda number: 2 * number, [1, 2]) == [2, 4]
    release.set()
    assert finish() == [True], "what came after had to wait for it"


def test_a_pool_of_one_is_the_caller():
    finish = WorkerPool(1).start(lambda _: threading.current_thread(), [1, 2])
    assert finish() == [threading.current_thread()] * 2


@pytest.mark.parametrize("size", [1, 3])
def test_what_fails_is_raised_and_the_pool_goes_on(size):
    pool = WorkerPool(size)
    double = pool.copies(Doubler)
    for _ in range(20):
        with pytest.raises(TypeError):
            pool.map(double, [1, None, 2, "a", None, 3])
    assert pool.map(double, [1, 2, 3]) == [2, 4, 6]


def test_its_threads_end_with_it():
    before = set(threading.enumerate())  # others may end meanwhile
    for _ in range(5):
        pool = WorkerPool(3)
        pool.map(pool.copies(Doubler), [1, 2, 3])
    del pool
    deadline = threading.Event()
    for _ in range(100):
        if set(threading.enumerate()) <= before:
            break
        deadline.wait(0.1)
    assert set(threading.enumerate()) <= before
