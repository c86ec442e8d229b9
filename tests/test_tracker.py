import numpy as np
import pytest

from hmr_ros import skeleton
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, TrackerConfig
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.media import open_media
from hmr_ros.tracker import Tracker, keypoint_distance
from hmr_ros.types import Frame, Keypoints

STEP_NS = 33_000_000
SHAPE = np.random.default_rng(0).uniform([-40, -100], [40, 100], (23, 2)).astype(np.float32)


def people(*centers, confidence=0.9):
    count = len(centers)
    uv = (SHAPE + np.array(centers, np.float32).reshape(count, 1, 2)).astype(np.float32)
    return Keypoints(uv, np.full((count, 23), confidence, np.float32), np.ones(count, np.float32))


def test_ids_follow_people_in_any_order():
    tracker, rng = Tracker(TrackerConfig()), np.random.default_rng(1)
    centers = np.array([[100.0, 200.0], [300.0, 200.0], [500.0, 220.0]])
    assert tracker.update(people(*centers), 0).tolist() == [0, 1, 2]
    for i in range(1, 30):
        order = rng.permutation(3)
        moved = centers + [3 * i, 0] + rng.normal(0, 2, (3, 2))
        assert tracker.update(people(*moved[order]), i * STEP_NS).tolist() == order.tolist()


def test_crossing_people_keep_their_ids():
    """Velocity tells them apart where positions cannot."""
    tracker = Tracker(TrackerConfig())
    for i in range(40):
        ids = tracker.update(people((100 + 12 * i, 200), (580 - 12 * i, 215)), i * STEP_NS)
        assert ids.tolist() == [0, 1], i


def test_a_person_hidden_briefly_comes_back_as_the_same():
    tracker = Tracker(TrackerConfig(max_gap_s=0.5))
    for i in range(10):
        tracker.update(people((100 + 10 * i, 200)), i * STEP_NS)
    for i in range(10, 20):
        assert len(tracker.update(Keypoints.empty(), i * STEP_NS)) == 0
        assert not len(tracker.lost_ids)
    assert tracker.update(people((100 + 10 * 20, 200)), 20 * STEP_NS).tolist() == [0]


def test_a_person_gone_for_long_is_lost_once_and_its_id_never_used_again():
    tracker = Tracker(TrackerConfig(max_gap_s=0.2))
    tracker.update(people((100, 200)), 0)
    lost = []
    for i in range(1, 15):
        tracker.update(Keypoints.empty(), i * STEP_NS)
        lost += tracker.lost_ids.tolist()
    assert lost == [0]
    assert tracker.update(people((100, 200)), 15 * STEP_NS).tolist() == [1]


def test_slow_cameras_keep_ids():
    tracker = Tracker(TrackerConfig(max_gap_s=0.0))
    for i in range(4):
        assert tracker.update(people((100, 200)), i * 10**9).tolist() == [0]


@pytest.mark.parametrize("later_ns", [-5 * 10**9, 60 * 10**9])
def test_stamps_that_jump_start_over(later_ns):
    tracker = Tracker(TrackerConfig())
    start = 10**10
    tracker.update(people((100, 200), (300, 200)), start)
    ids = tracker.update(people((100, 200)), start + later_ns)
    assert tracker.lost_ids.tolist() == [0, 1] and ids.tolist() == [2]
    tracker.update(people((100, 200)), start + later_ns + STEP_NS)
    assert not len(tracker.lost_ids)


@pytest.mark.parametrize("late_ns", [1_000_000, 400_000_000])
def test_an_image_out_of_order_ends_no_track_and_turns_back_no_time(late_ns):
    tracker = Tracker(TrackerConfig())
    for i in range(20):
        assert tracker.update(people((100 + 3 * i, 200), (400, 200)), i * STEP_NS).tolist() == [0, 1]
    assert tracker.update(people((157, 200), (400, 200)), 19 * STEP_NS - late_ns).tolist() == [0, 1]
    assert tracker.stamp_ns == 19 * STEP_NS and not len(tracker.lost_ids)
    assert tracker.update(people((160, 200), (400, 200)), 20 * STEP_NS).tolist() == [0, 1]


def test_a_stamp_seen_twice_is_harmless():
    tracker = Tracker(TrackerConfig())
    for i in range(5):
        for _ in range(2):
            assert tracker.update(people((100 + 10 * i, 200)), i * STEP_NS).tolist() == [0]


def test_people_are_reported_after_min_hits_and_flickers_use_no_id():
    tracker = Tracker(TrackerConfig(min_hits=3))
    assert tracker.update(people((100, 200), (400, 200)), 0).tolist() == [-1, -1]
    assert tracker.update(people((100, 200)), STEP_NS).tolist() == [-1]
    assert tracker.update(people((100, 200), (800, 200)), 2 * STEP_NS).tolist() == [0, -1]


def test_someone_far_away_is_somebody_else():
    tracker = Tracker(TrackerConfig())
    tracker.update(people((100, 200)), 0)
    assert tracker.update(people((400, 200)), STEP_NS).tolist() == [1]


def test_unseen_keypoints_may_hold_anything():
    tracker = Tracker(TrackerConfig())
    seen = people((100, 200))
    seen.confidence[:, :10] = 0
    seen.uv[:, :10] = np.nan
    with np.errstate(all="raise"):
        for i in range(3):
            assert tracker.update(seen, i * STEP_NS).tolist() == [0]
    # Another part of the body becomes visible: box centres still agree.
    other = people((100, 200))
    other.confidence[:, 10:] = 0
    assert tracker.update(other, 3 * STEP_NS).tolist() == [0]


def test_people_without_keypoints_get_no_id():
    tracker = Tracker(TrackerConfig())
    assert tracker.update(people((100, 200), confidence=0.0), 0).tolist() == [-1]
    assert tracker.update(people((100, 200)), STEP_NS).tolist() == [0]


def test_reset_counts_from_zero():
    tracker = Tracker(TrackerConfig())
    tracker.update(people((100, 200)), 0)
    tracker.reset()
    assert tracker.update(people((300, 200)), 0).tolist() == [0]


def test_distance_agrees_with_one_by_one():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3, 23, 2)), rng.normal(size=(4, 23, 2))
    ca, cb = (rng.uniform(-0.5, 1, (n, 23)).clip(0) for n in (3, 4))
    fast = keypoint_distance(a, ca, b, cb)
    for i, j in np.ndindex(3, 4):
        weight = ca[i] * cb[j]
        slow = sum(w * np.hypot(*(p - q)) for w, p, q in zip(weight, a[i], b[j])) / weight.sum()
        np.testing.assert_allclose(fast[i, j], slow)


def test_crossing_people_of_whom_one_hides_the_other_keep_their_ids():
    """The one behind is unseen for a third of a second while they cross; both walk on as before, in any order."""
    tracker, rng = Tracker(TrackerConfig()), np.random.default_rng(3)
    for i in range(60):
        both = np.array([[100 + 10 * i, 200], [690 - 10 * i, 206]]) + rng.normal(0, 1.5, (2, 2))
        hidden = 25 <= i < 35
        order = np.array([0]) if hidden else rng.permutation(2) if i else np.arange(2)
        assert tracker.update(people(*both[order]), i * STEP_NS).tolist() == order.tolist(), i


def test_somebody_whose_left_and_right_are_exchanged_stays_who_they_are():
    tracker = Tracker(TrackerConfig())
    for i in range(10):
        seen = people((100 + 4 * i, 200))
        if i in (5, 6):
            mirror = list(skeleton.MIRRORED_KEYPOINTS)
            seen = Keypoints(seen.uv[:, mirror], seen.confidence[:, mirror], seen.score)
        assert tracker.update(seen, i * STEP_NS).tolist() == [0], i


def test_two_real_people_keep_their_ids(request):
    clip = request.config.rootpath.parent / "shared" / "media" / "pose2sim_two_person_cam01.mp4"
    if not clip.is_file():
        pytest.skip("needs ../shared/media/pose2sim_two_person_cam01.mp4")
    try:
        find_models("")
    except KeypointModelError as missing:
        pytest.skip(f"no keypoint models: {missing}")
    tracker, detector = Tracker(TrackerConfig()), BlazePose(KeypointsConfig(max_people=2))
    for _, (image, stamp_ns) in zip(range(15), open_media(clip)):
        seen = detector.detect(Frame(image, Camera.guess(image.shape[1], image.shape[0]), stamp_ns))
        assert sorted(tracker.update(seen, stamp_ns)) == [0, 1]
