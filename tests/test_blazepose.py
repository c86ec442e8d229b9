"""BlazePose: the geometry and bookkeeping by themselves, then the real models on real pictures where both are there."""

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.keypoints.blazepose_detector import decode, make_anchors, merge_overlapping, overlap
from hmr_ros.keypoints.blazepose_landmarks import UNWANTED, Landmarks, refine
from hmr_ros.keypoints.blazepose_models import DETECTOR, KeypointModelError, find_models
from hmr_ros.keypoints.duplicates import _BONES, distance_to_bones, distinct, lies_on
from hmr_ros.keypoints.litert import LiteRtModel
from hmr_ros.keypoints.region import crop_region, crop_square, region_from_alignment, region_size, region_to_image
from hmr_ros.keypoints.search import Search, search_windows, window_around
from hmr_ros.skeleton import KEYPOINT_NAMES, MIRRORED_KEYPOINTS
from hmr_ros.types import Frame

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
LEFT, RIGHT = (np.array([n.startswith(side) for n in KEYPOINT_NAMES]) for side in ("left", "right"))


# --- regions -------------------------------------------------------------------------------------------------------------


def test_corners_of_an_upright_region():
    region = np.array([[100.0, 200.0], [0.0, -50.0]])
    corners = region_to_image(np.array([[0, 0], [1, 0], [1, 1], [0.5, 0]]), region)
    np.testing.assert_allclose(corners, [[50, 150], [150, 150], [150, 250], [100, 150]])
    assert region_size(region) == 100


def test_a_crop_shows_what_region_to_image_says():
    """A dot anywhere in a turned region is found in the crop where the mapping puts it."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        angle = rng.uniform(0, 2 * np.pi)
        region = np.array([[150.0, 120.0], 64 * np.array([np.sin(angle), -np.cos(angle)])])
        place = rng.uniform(0.2, 0.8, (1, 2))
        dot = region_to_image(place, region)[0]
        grid = np.stack(np.meshgrid(np.arange(300), np.arange(240)), axis=-1)
        blob = 250 * np.exp(-((grid - dot) ** 2).sum(-1) / 18)
        crop = crop_region(np.repeat(blob[..., None], 3, axis=2).astype(np.uint8), region, 256)[..., 0].astype(float)
        j, i = np.mgrid[:256, :256] + 0.5
        seen = np.array([(crop * i).sum(), (crop * j).sum()]) / crop.sum() / 256
        np.testing.assert_allclose(seen, place[0], atol=0.003)


@pytest.mark.parametrize("corner,size", [((-40, -10), 200), ((50, 60), 37.5), ((0, 0), 90), ((500, 0), 50)])
def test_square_crops_keep_places(corner, size):
    """Also beyond the image's edges, shrunk and enlarged; outside it is black."""
    ramp = np.stack(np.meshgrid(np.arange(120), np.arange(90)), axis=-1).astype(np.uint8)
    image = np.concatenate([ramp, np.full((90, 120, 1), 255, np.uint8)], axis=2)
    crop = crop_square(image, np.array(corner, float), size, 64)
    j, i = np.mgrid[:64, :64]
    expected = np.array(corner) + (np.stack([i, j], axis=-1) + 0.5) * size / 64 - 0.5
    inner = ((expected > 2) & (expected < [117, 87])).all(-1)
    outside = ((expected < -size / 64 - 1) | (expected > np.array([120, 90]) + size / 64)).any(-1)
    tolerance = 1 + size / 64
    assert np.abs(crop[inner][:, :2] - expected[inner]).max(initial=0) <= tolerance
    assert not crop[outside].any()
    assert inner.any() or corner == (500, 0)


# --- detector ------------------------------------------------------------------------------------------------------------


def test_anchors_lie_in_cell_centres():
    anchors = make_anchors()
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[:3], np.array([[0.5, 0.5], [0.5, 0.5], [1.5, 0.5]]) / 28)
    np.testing.assert_allclose(anchors[-1], [6.5 / 7, 6.5 / 7])


def test_decoding_undoes_encoding():
    anchors = make_anchors()
    raw, logits = np.zeros((2254, 12), np.float32), np.full((2254, 1), -1000, np.float32)
    center, wide, points = np.array([0.4, 0.3]), np.array([0.1, 0.2]), np.random.default_rng(0).uniform(size=(4, 2))
    raw[1000] = 224 * np.concatenate([center - anchors[1000], wide, (points - anchors[1000]).ravel()])
    logits[1000] = 2.0
    boxes, decoded, scores = decode(raw, logits, anchors, 224, 0.5)
    np.testing.assert_allclose(boxes, [[0.35, 0.2, 0.45, 0.4]], atol=1e-6)
    np.testing.assert_allclose(decoded[0], points, atol=1e-6)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-2)), rtol=1e-6)


def test_overlapping_candidates_become_their_weighted_mean():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [0.1, 0, 1.1, 1]], float)
    points = np.stack([np.full((4, 2), v) for v in (1.0, 7.0, 4.0)])
    merged, scores = merge_overlapping(boxes, points, np.array([0.9, 0.6, 0.45]))
    np.testing.assert_allclose(merged[:, 0, 0], [(0.9 * 1 + 0.45 * 4) / 1.35, 7], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.9, 0.6], rtol=1e-6)
    np.testing.assert_allclose(overlap(boxes[0], boxes), [1, 0, 0.9 / 1.1])
    nobody = merge_overlapping(np.zeros((0, 4)), np.zeros((0, 4, 2)), np.zeros(0))
    assert nobody[0].shape == (0, 4, 2) and nobody[1].shape == (0,)


@pytest.mark.parametrize(
    "width,height", [(640, 480), (480, 640), (1920, 1080), (300, 300), (2000, 200), (64, 48), (3, 500)]
)
def test_tiles_cover_the_image_and_overlap(width, height):
    windows = search_windows(width, height)
    assert windows[0, 2] == max(width, height)
    assert len(windows) < 40
    for size in np.unique(windows[1:, 2]):
        tiles = windows[windows[:, 2] == size]
        for axis, length in ((0, width), (1, height)):
            starts = np.unique(tiles[:, axis])
            if size >= length:
                assert starts.tolist() == pytest.approx([(length - size) / 2])
                continue
            assert starts[0] == pytest.approx(0) and starts[-1] + size == pytest.approx(length)
            assert (np.diff(starts) <= size * 0.65 + 1e-6).all()


def next_windows(search, every, followed, missing):
    return np.concatenate([search.turn(every), search.besides(every, followed, missing)])


@pytest.mark.parametrize("every", [1, 7, 15, 100])
def test_every_window_has_its_turn(every):
    """All in the first frame, then each once in `every` frames, evenly spread."""
    search, somebody = Search(640, 480), [np.array([[320.0, 240], [0, -200]])]
    windows = search_windows(640, 480)
    np.testing.assert_array_equal(next_windows(search, every, [], []), windows)
    turns = [next_windows(search, every, somebody, []) for _ in range(every)]
    np.testing.assert_array_equal(np.unique(np.concatenate(turns), axis=0), np.unique(windows, axis=0))
    assert sum(map(len, turns)) == len(windows)
    assert max(map(len, turns)) <= np.ceil(len(windows) / every)
    assert windows[0].tolist() in next_windows(search, every, [], []).tolist()


def test_where_somebody_went_missing_is_searched_until_found_or_its_turn_came():
    somebody, lost = np.array([[320.0, 240], [0, -200]]), np.array([[100.0, 200], [0, -50]])
    window = window_around(lost).tolist()
    for found_after in (3, None):
        search = Search(640, 480)
        next_windows(search, 5, [], [])
        searched = [window in next_windows(search, 5, [somebody], [lost]).tolist()]
        for i in range(1, 7):
            people = [somebody, lost + 0.5] if i == found_after else [somebody]
            searched.append(window in next_windows(search, 5, people, []).tolist())
        assert searched == [i < (found_after or 5) for i in range(7)]
    x, y, size = window
    assert x < 50 and y < 150 and x + size > 150 and y + size > 250


# --- landmarks -----------------------------------------------------------------------------------------------------------


def test_refining_moves_to_the_peak_nearby_and_only_there():
    heatmap = np.full((64, 64, 2), -20.0, np.float32)
    heatmap[21, 33, 0] = 20  # two cells from the point
    heatmap[60, 60, 1] = 20  # far from it
    points = np.array([[31.5, 20.5], [31.5, 20.5]]) / 64
    np.testing.assert_allclose(refine(points, heatmap), [[33 / 64, 21 / 64], points[1]], atol=1e-6)


def test_refining_at_the_border_stays_inside():
    points = np.array([[-0.2, 0.5], [1.3, 1.3], [0.99, 0.0]])
    assert np.isfinite(refine(points, np.zeros((64, 64, 3), np.float32))).all()


# --- duplicates ----------------------------------------------------------------------------------------------------------


def person(rng, center=(0, 0), scale=100.0, confidence=0.9, noise=0.0):
    """A standing figure, about 2 scales high."""
    shape = np.zeros((33, 2))
    shape[:11] = [0, -0.9]
    for side, sign in ((0, 1), (1, -1)):
        shape[[11 + side, 13 + side, 15 + side]] = [[0.2 * sign, -0.7], [0.3 * sign, -0.4], [0.35 * sign, -0.1]]
        shape[[17 + side, 19 + side, 21 + side]] = [0.35 * sign, -0.05]
        shape[[23 + side, 25 + side, 27 + side]] = [[0.12 * sign, 0], [0.14 * sign, 0.5], [0.15 * sign, 0.95]]
        shape[[29 + side, 31 + side]] = [[0.15 * sign, 1.0], [0.2 * sign, 1.0]]
    uv = np.array(center) + scale * (shape + rng.normal(0, noise, shape.shape))
    region = region_from_alignment(np.array(center, float), np.array(center) - [0, 1.1 * scale])
    return Landmarks(uv, np.full(33, confidence), np.zeros((33, 3)), 1.0, region)


def test_distance_to_bones_agrees_with_sampling():
    rng = np.random.default_rng(0)
    points, bones = rng.normal(size=(7, 2)), rng.normal(size=(5, 2, 2))
    along = np.linspace(0, 1, 2001)[:, None, None]
    samples = (bones[:, 0] * (1 - along) + bones[:, 1] * along).reshape(-1, 2)
    slow = np.linalg.norm(points[:, None] - samples, axis=-1).min(axis=1)
    np.testing.assert_allclose(distance_to_bones(points, bones), slow, atol=2e-3)


def test_one_person_seen_twice_is_one_and_the_better_seen_stays():
    rng = np.random.default_rng(1)
    good, twice = person(rng, noise=0.01), person(rng, noise=0.02, confidence=0.7)
    part = person(rng, center=(0, -30), scale=60, confidence=0.6)  # a small phantom inside the body
    assert [p is good for p in distinct([twice, good, part])] == [True]


def test_who_is_followed_already_stays_unless_clearly_worse():
    rng = np.random.default_rng(2)
    followed, other = person(rng, confidence=0.85), person(rng, noise=0.01, confidence=0.9)
    assert distinct([followed, other], incumbents=1)[0] is followed
    assert distinct([dataclasses.replace(followed, confidence=np.full(33, 0.6)), other], incumbents=1)[0] is other


def test_people_side_by_side_are_two_though_their_boxes_overlap():
    rng = np.random.default_rng(3)
    a, b = person(rng), person(rng, center=(45, 0))
    assert distinct([a, b]) == [a, b] and not lies_on(b, a)
    assert _BONES.max() < 33


# --- files ---------------------------------------------------------------------------------------------------------------


def test_missing_and_damaged_models_are_named(tmp_path):
    with pytest.raises(KeypointModelError, match=r"no keypoint model pose_detection.tflite in .*fetch_keypoint_models"):
        find_models(str(tmp_path))
    (tmp_path / DETECTOR.name).write_bytes(b"half")
    with pytest.raises(KeypointModelError, match="sha256"):
        BlazePose(KeypointsConfig(model_dir=str(tmp_path)))


# --- the real models on real pictures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source():
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    try:
        return BlazePose(KeypointsConfig())
    except KeypointModelError as error:
        pytest.skip(str(error))


@pytest.fixture
def blazepose(source):
    source.reset()
    source.config = KeypointsConfig()
    return source


def frame_of(image):
    image = np.ascontiguousarray(image)
    return Frame(image, Camera.guess(image.shape[1], image.shape[0]))


def clip(name, count, start=0):
    path = MEDIA / name
    if not path.is_file():
        pytest.skip(f"{path} is missing: shared/ is not beside this checkout")
    video = cv2.VideoCapture(str(path))
    video.set(cv2.CAP_PROP_POS_FRAMES, start)
    return [video.read()[1][..., ::-1] for _ in range(count)]


@pytest.fixture(scope="module")
def juggler():
    return clip("sam2_juggle.mp4", 1)[0]


def test_a_man_facing_the_camera(blazepose, juggler):
    seen, world = blazepose.detect_with_world(frame_of(juggler))
    assert seen.uv.shape == (1, 23, 2) and seen.confidence.shape == (1, 23) and world.shape == (1, 33, 3)
    assert seen.uv.dtype == seen.confidence.dtype == seen.score.dtype == world.dtype == np.float32
    uv, confidence = seen.uv[0], seen.confidence[0]
    body = [KEYPOINT_NAMES.index(f"left_{p}") for p in ("shoulder", "hip", "knee", "ankle")]
    assert (np.diff(uv[body, 1]) > 50).all(), "head up"
    assert (uv[body, 0] > uv[[KEYPOINT_NAMES.index(KEYPOINT_NAMES[b].replace("left", "right")) for b in body], 0]).all()
    # Metres along the camera's axes: left is +x, down is +y, and a grown man's leg is most of a metre.
    assert world[0, 23, 0] > world[0, 24, 0] and 0.5 < world[0, 27, 1] - world[0, 23, 1] < 1.1
    assert not confidence[[KEYPOINT_NAMES.index("left_small_toe"), KEYPOINT_NAMES.index("right_small_toe")]].any()
    assert (confidence[:17] > 0.8).all()


def test_leaving_an_output_out_changes_no_other(source, juggler):
    _, landmarks = find_models()
    whole, pruned = LiteRtModel(landmarks), LiteRtModel(landmarks, UNWANTED)
    picture = cv2.resize(juggler, (256, 256)).astype(np.float32) / 255
    everything, rest = whole(picture), pruned(picture)
    assert set(everything) - set(rest) == set(UNWANTED)
    for shape, values in rest.items():
        np.testing.assert_array_equal(values, everything[shape])
    assert len(pruned._interpreter._get_ops_details()) < len(whole._interpreter._get_ops_details())


def test_threads_change_no_answer(source, juggler):
    three = np.concatenate([juggler, juggler[:, ::-1], juggler], axis=1)
    seen = []
    for threads in (1, 3):
        detector = BlazePose(KeypointsConfig(threads=threads))
        seen.append([detector.detect(frame_of(three)) for _ in range(3)])
    assert len(seen[0][-1]) == 3
    for alone, together in zip(*seen):
        np.testing.assert_array_equal(alone.uv, together.uv)


def test_a_mirror_swaps_left_and_right(blazepose, juggler):
    plain = blazepose.detect(frame_of(juggler))
    blazepose.reset()
    mirrored = blazepose.detect(frame_of(juggler[:, ::-1]))
    back = mirrored.uv[0][list(MIRRORED_KEYPOINTS)] * [-1, 1] + [juggler.shape[1] - 1, 0]
    both = (plain.confidence[0] > 0) & (mirrored.confidence[0][list(MIRRORED_KEYPOINTS)] > 0)
    height = np.ptp(plain.uv[0][both, 1])
    assert np.median(np.linalg.norm(back - plain.uv[0], axis=-1)[both]) < 0.02 * height


def test_same_input_same_output_and_stills_settle(blazepose, juggler):
    first = [blazepose.detect(frame_of(juggler)) for _ in range(4)]
    blazepose.reset()
    again = [blazepose.detect(frame_of(juggler)) for _ in range(4)]
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a.uv, b.uv)
        np.testing.assert_array_equal(a.confidence, b.confidence)
    assert all(len(seen) == 1 for seen in first)
    assert np.abs(first[3].uv - first[2].uv).max() < 0.02 * juggler.shape[0]


def test_what_is_outside_the_image_is_not_seen(blazepose, juggler):
    """Cut the picture at the knees."""
    cut = juggler[:450]
    seen = blazepose.detect(frame_of(cut))
    assert len(seen) == 1
    outside = (seen.uv[0, :, 1] >= 449.5) | (seen.uv[0, :, 1] < -0.5)
    assert outside.any() and not seen.confidence[0][outside].any() and seen.confidence[0][~outside].any()


def test_a_cropped_picture_moves_the_keypoints(blazepose, juggler):
    plain = blazepose.detect(frame_of(juggler))
    blazepose.reset()
    moved = blazepose.detect(frame_of(juggler[:, 200:]))
    difference = moved.uv[0] + [200, 0] - plain.uv[0]
    assert np.median(np.abs(difference)) < 0.02 * juggler.shape[0]


def test_limits_hold(blazepose, juggler):
    two = np.concatenate([juggler, juggler], axis=1)
    assert len(blazepose.detect(frame_of(two))) == 2
    blazepose.config = KeypointsConfig(max_people=1)
    assert len(blazepose.detect(frame_of(two))) == 1
    blazepose.reset()
    blazepose.config = KeypointsConfig(min_confidence=0.9999)
    strict = blazepose.detect(frame_of(juggler)).confidence
    assert ((strict == 0) | (strict >= 0.9999)).all() and (strict == 0).any()


def test_nobody_in_an_empty_room(blazepose):
    for image in clip("intel_one_by_one.mp4", 3):
        seen, world = blazepose.detect_with_world(frame_of(image))
        assert len(seen) == 0 and world.shape == (0, 33, 3)


def test_somebody_who_walks_in_is_found(blazepose):
    counts = [len(blazepose.detect(frame_of(image))) for image in clip("sports2d_demo.mp4", 30, start=30)]
    assert counts[0] == 1 and counts[-1] == 2 and max(counts) == 2


def test_a_new_image_size_starts_over(blazepose, juggler):
    blazepose.detect(frame_of(juggler))
    small = cv2.resize(juggler, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    seen = blazepose.detect(frame_of(small))
    assert len(seen) == 1 and seen.uv[0, :17].max() < 640


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (17, 31)])
def test_tiny_images(blazepose, size):
    assert len(blazepose.detect(frame_of(np.zeros((*size, 3), np.uint8)))) == 0


def test_missing_runtime_says_what_to_install(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(KeypointModelError, match="pip install 'ai-edge-litert"):
        BlazePose(KeypointsConfig())
