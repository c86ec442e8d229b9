"""What is remembered of a person is theirs, recent, and fades."""

import numpy as np
import pytest

from hmr_ros.config import WarmStartConfig
from hmr_ros.warm_start import WarmStart

IDS = np.array([7, 3])
STATES = np.arange(8, dtype=np.float32).reshape(2, 4)
ZERO = np.zeros((2, 4), np.float32)
FRAME_NS = 33_333_333


@pytest.fixture
def memory():
    memory = WarmStart(WarmStartConfig(decay=0.5, max_gap_s=0.2))
    memory.remember(IDS, STATES, stamp_ns=0)
    return memory


@pytest.mark.parametrize("frames, kept", [(0, 1.0), (1, 0.5), (2, 0.25), (0.5, 0.5**0.5)])
def test_states_follow_their_ids_and_fade_with_time_towards_the_regressors(memory, frames, kept):
    recalled = memory.recall(IDS[::-1], ZERO + 1, round(frames * FRAME_NS))
    np.testing.assert_allclose(recalled, 1 + kept * (STATES[::-1] - 1), rtol=1e-5)
    assert recalled.dtype == np.float32


def test_a_stranger_gets_the_regressors(memory):
    recalled = memory.recall(np.array([7, 9]), ZERO, FRAME_NS)
    np.testing.assert_allclose(recalled[0], 0.5 * STATES[0], rtol=1e-5)
    np.testing.assert_allclose(recalled[1], 0)


@pytest.mark.parametrize("ids, stamp_ns", [([9, 10], FRAME_NS), ([7, 3], 10 * FRAME_NS), ([7, 3], -1), ([], 0)])
def test_nothing_to_try_is_none_and_costs_no_readout(memory, ids, stamp_ns):
    """Strangers only; unseen for too long; time that runs backwards; nobody."""
    assert memory.recall(np.array(ids, int), ZERO[: len(ids)], stamp_ns) is None


def test_the_newest_state_counts(memory):
    memory.remember(IDS[:1], STATES[:1] + 10, 0)
    np.testing.assert_allclose(memory.recall(IDS, ZERO, 0), STATES + [[10], [0]])


def test_forgetting(memory):
    memory.forget(np.array([7, 99]))
    np.testing.assert_allclose(memory.recall(IDS, ZERO, 0), STATES * [[0], [1]])
    memory.reset()
    assert memory.recall(IDS, ZERO, 0) is None


def test_no_decay_left_means_never():
    memory = WarmStart(WarmStartConfig(decay=0.0))
    memory.remember(IDS, STATES, 0)
    assert memory.recall(IDS, ZERO, 0) is None
