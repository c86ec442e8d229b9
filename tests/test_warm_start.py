"""What is remembered of a person is theirs, recent, and fades."""

import numpy as np
import pytest

from hmr_ros.config import WarmStartConfig
from hmr_ros.warm_start import WarmStart

IDS = np.array([7, 3])
STATES = np.arange(8, dtype=np.float32).reshape(2, 4)
ZERO = np.zeros((2, 4), np.float32)
MS = 1_000_000


@pytest.fixture
def memory():
    memory = WarmStart(WarmStartConfig(decay=0.5, max_gap_s=0.2))
    memory.remember(IDS, STATES, stamp_ns=0)
    return memory


def test_states_follow_their_ids_and_fade_towards_the_regressors(memory):
    np.testing.assert_allclose(memory.recall(IDS[::-1], ZERO, 33 * MS), 0.5 * STATES[::-1])


def test_strangers_and_the_long_unseen_get_the_regressors(memory):
    np.testing.assert_allclose(memory.recall(np.array([7, 9]), ZERO, 33 * MS)[1], 0)
    np.testing.assert_allclose(memory.recall(IDS, ZERO, 300 * MS), 0)


def test_time_that_runs_backwards_is_a_stranger_too(memory):
    np.testing.assert_allclose(memory.recall(IDS, ZERO, -1), 0)


def test_forgetting(memory):
    memory.forget(np.array([7]))
    np.testing.assert_allclose(memory.recall(IDS, ZERO, 0), 0.5 * STATES * [[0], [1]])
    memory.reset()
    assert memory.recall(IDS, ZERO, 0) is None


def test_no_decay_left_means_never():
    memory = WarmStart(WarmStartConfig(decay=0.0))
    memory.remember(IDS, STATES, 0)
    assert memory.recall(IDS, ZERO, 0) is None
