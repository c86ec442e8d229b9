"""Depth images and boxes of other nodes find their images, and a node that waits for none of them says what is missing."""

import dataclasses
import sys
from array import array
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from fake_node import person
from ros_graph import FAKE_NODE
from sensor_msgs.msg import Image
from test_node import Camera, picture

from hmr_ros.camera import Camera as Pinhole
from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.external import ExternalKeypoints
from hmr_ros.rep155 import landmarks
from hmr_ros.ros.conversions import FrameError, depth_to_metres
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.ros.parameters import Settings
from hmr_ros.ros.side_inputs import SideInputs, boxes_of
from hmr_ros.skeleton import KEYPOINT_NAMES
from hmr_ros.types import Frame, Keypoints

METRES = np.linspace(0.5, 6, 24 * 32).reshape(24, 32).astype(np.float32)


def depth_message(encoding: str = "16UC1", stamp_ns: int = 0, big_endian: bool = False, padding: int = 0) -> Image:
    values = METRES if encoding == "32FC1" else np.round(1000 * METRES).astype(np.uint16)
    rows = values.astype(values.dtype.newbyteorder(">" if big_endian else "<")).view(np.uint8).reshape(24, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    msg = Image(width=32, height=24, encoding=encoding, step=rows.shape[1], is_bigendian=int(big_endian))
    msg.data = array("B", rows.tobytes())
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return msg


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 12])
def test_depth_is_metres_however_it_is_sent(encoding, big_endian, padding):
    depth = depth_to_metres(depth_message(encoding, big_endian=big_endian, padding=padding))
    assert depth.dtype == np.float32 and depth.dtype.isnative
    np.testing.assert_allclose(depth, METRES, atol=6e-4)


def test_what_is_no_depth_image_says_so():
    with pytest.raises(FrameError, match="'rgb8' is no depth image"):
        depth_to_metres(picture())
    short = depth_message()
    short.data = short.data[:-10]
    with pytest.raises(FrameError, match="bytes of data"):
        depth_to_metres(short)


def detection(x, y, width, height, *hypotheses):
    results = [SimpleNamespace(hypothesis=SimpleNamespace(class_id=name, score=score)) for name, score in hypotheses]
    center = SimpleNamespace(position=SimpleNamespace(x=x, y=y), theta=0.0)
    return SimpleNamespace(bbox=SimpleNamespace(center=center, size_x=width, size_y=height), results=results)


def test_boxes_of_people_the_surest_first():
    nan = float("nan")
    detections = [
        detection(10.0, 20.0, 4.0, 8.0, ("person", 0.6)),
        detection(50.0, 60.0, 20.0, 40.0, ("dog", 0.7), ("person", 0.9)),
        detection(1.0, 1.0, 2.0, 2.0, ("dog", 0.99)),
        detection(nan, 1.0, 2.0, 2.0, ("person", 0.99)),
        detection(1.0, 1.0, 0.0, 2.0, ("person", 0.99)),
        detection(5.0, 5.0, 2.0, 2.0),
    ]
    msg = SimpleNamespace(detections=detections)
    people = [[40, 40, 60, 80], [8, 16, 12, 24]]
    np.testing.assert_array_equal(boxes_of(msg, "person"), people)
    np.testing.assert_array_equal(boxes_of(msg, ""), [[0, 0, 2, 2], *people, [4, 4, 6, 6]])
    assert boxes_of(SimpleNamespace(detections=[]), "person").shape == (0, 4)


def test_an_image_takes_the_depth_nearest_to_it_in_time(ros):
    node = ros.create_node("side_inputs")
    sides = SideInputs(node, Settings(node=NodeConfig(use_depth=True, side_input_max_gap_s=0.05)))

    remember = sides._depth._on_message

    def depth_at(stamp_ns):
        return sides.complete(Frame(np.zeros((24, 32, 3), np.uint8), Pinhole.guess(32, 24), stamp_ns)).depth

    try:
        assert depth_at(10**9) is None and "no message has arrived" in sides.warnings()[0]
        for stamp_ns in (1_000_000_000, 1_033_000_000, 1_066_000_000):
            msg = depth_message(stamp_ns=stamp_ns)
            msg.data[:2] = array("B", (stamp_ns // 10**6).to_bytes(2, "little"))
            remember(msg)
        assert depth_at(1_040_000_000)[0, 0] == pytest.approx(1.033)
        assert depth_at(1_110_000_000)[0, 0] == pytest.approx(1.066) and not sides.warnings()
        assert depth_at(1_200_000_000) is None and "0.13 s away" in sides.warnings()[0]
        remember(picture())
        assert depth_at(0) is None and "no depth image" in sides.warnings()[0]
    finally:
        sides.close()
        node.destroy_node()


class FakeNode:
    """Hands messages to those who subscribe; for types that ROS does not know here."""

    def __init__(self):
        self.callbacks = {}

    def create_subscription(self, kind, topic, callback, qos):
        self.callbacks[topic] = callback
        return topic

    def destroy_subscription(self, topic):
        del self.callbacks[topic]

    def resolve_topic_name(self, topic):
        return topic

    def get_publishers_info_by_topic(self, topic):
        return []

    def count_publishers(self, topic):
        return 1


def test_an_image_without_detections_near_it_is_not_searched(monkeypatch):
    """No boxes, which is nobody new, and not None, which is a search of the whole image."""
    messages = SimpleNamespace(Detection2DArray=None)
    monkeypatch.setitem(sys.modules, "vision_msgs", SimpleNamespace(msg=messages))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)
    node = FakeNode()
    sides = SideInputs(node, Settings(node=NodeConfig(use_detections=True, side_input_max_gap_s=0.05)))

    def boxes_at(stamp_ns):
        return sides.complete(Frame(np.zeros((24, 32, 3), np.uint8), Pinhole.guess(32, 24), stamp_ns)).boxes

    before = boxes_at(10**9)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0))
    node.callbacks["detections"](SimpleNamespace(header=header, detections=[detection(10.0, 20.0, 4.0, 8.0)]))
    np.testing.assert_array_equal(boxes_at(1_020_000_000), [[8, 16, 12, 24]])
    late = boxes_at(2_000_000_000)
    for none in (before, late):
        assert none is not None and none.shape == (0, 4) and none.dtype == np.float32
    assert "images go without detections" in sides.warnings()[0]


def test_keypoints_of_other_nodes_become_ours(monkeypatch):
    """What REP-155's skeletons say of the people that we publish is what we saw of them, the feet excepted."""
    messages = SimpleNamespace(IdsList=lambda ids=(): SimpleNamespace(ids=ids), Skeleton2D=None)
    monkeypatch.setitem(sys.modules, "hri_msgs", SimpleNamespace(msg=messages))
    monkeypatch.setitem(sys.modules, "hri_msgs.msg", messages)
    from hmr_ros.ros.skeleton_input import SkeletonInput

    node, header = FakeNode(), SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0))
    skeletons = SkeletonInput(node, NodeConfig())
    node.callbacks["/humans/bodies/tracked"](messages.IdsList(["a", "b", "late"]))
    people = {"a": person(0, seed=1), "b": person(1, seed=2)}
    for body_id, seen in people.items():
        points = [SimpleNamespace(x=x, y=y, c=c) for x, y, c in landmarks(seen, 640, 480).tolist()]
        node.callbacks[f"/humans/bodies/{body_id}/skeleton2d"](SimpleNamespace(header=header, skeleton=points))
    found = skeletons.at(1_020_000_000, 640, 480)
    assert len(found) == 2 and "no message has arrived" in skeletons.warnings()[0]
    for row, seen in enumerate(people.values()):
        shown = found.confidence[row] > 0
        assert shown.sum() >= 8
        assert not any("toe" in KEYPOINT_NAMES[i] or "heel" in KEYPOINT_NAMES[i] for i in np.flatnonzero(shown))
        np.testing.assert_allclose(found.uv[row][shown], seen.keypoints_uv[shown], atol=1e-3)
        np.testing.assert_allclose(found.confidence[row][shown], seen.keypoint_confidence[shown])
    assert len(skeletons.at(2_000_000_000, 640, 480)) == 0
    node.callbacks["/humans/bodies/a/skeleton2d"](SimpleNamespace(header=header, skeleton=[]))
    node.callbacks["/humans/bodies/tracked"](messages.IdsList(["a"]))
    assert set(node.callbacks) == {"/humans/bodies/tracked", "/humans/bodies/a/skeleton2d"}
    skeletons.close()
    assert not node.callbacks


def test_given_keypoints_keep_to_the_bounds():
    config = KeypointsConfig(max_people=2, min_score=0.5, min_confidence=0.5)
    uv = np.full((4, 23, 2), 10.0, np.float32)
    uv[0, 0] = (-5, 10)
    uv[0, 1] = np.nan
    confidence = np.full((4, 23), 0.9, np.float32)
    confidence[0, 2] = 0.4
    given = Keypoints(uv, confidence, np.array([0.6, 0.9, 0.4, 0.55], np.float32))
    frame = Frame(np.zeros((48, 64, 3), np.uint8), Pinhole.guess(64, 48), keypoints=given)
    seen = ExternalKeypoints(config).detect(frame)
    np.testing.assert_allclose(seen.score, [0.9, 0.6])
    np.testing.assert_array_equal(seen.confidence[1] > 0, [False, False, False] + [True] * 20)
    assert np.isfinite(seen.uv).all() and seen.xyz is None
    assert len(ExternalKeypoints(config).detect(dataclasses.replace(frame, keypoints=None))) == 0


def test_given_3d_keypoints_stay_with_their_people():
    uv, sure = np.full((3, 23, 2), 10.0, np.float32), np.ones((3, 23), np.float32)
    xyz = np.random.default_rng(0).normal(size=(3, 23, 3)).astype(np.float32)
    given = Keypoints(uv, sure, np.array([0.6, 0.9, 0.4], np.float32), xyz)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), Pinhole.guess(64, 48), keypoints=given)
    seen = ExternalKeypoints(KeypointsConfig(min_score=0.5)).detect(frame)
    np.testing.assert_array_equal(seen.xyz, xyz[[1, 0]])


def test_the_node_says_that_depth_is_missing_and_goes_on(start):
    process, probe = start(FAKE_NODE, "-p", "use_depth:=true", "-p", "diagnostics_period_s:=0.1")
    camera = Camera(probe)
    camera.tell_camera()
    depth = probe.node.create_publisher(Image, "depth", 5)
    probe.until(depth.get_subscription_count, "the node's depth subscription")
    probe.until(
        lambda: "images go without" in camera.status().message, "the warning", each=lambda: camera.send(picture())
    )

    def both():
        stamp = probe.node.get_clock().now().nanoseconds
        depth.publish(depth_message(stamp_ns=stamp))
        camera.send(picture())

    probe.until(lambda: "images go without" not in camera.status().message, "the end of the warning", each=both)
    assert process.process.poll() is None
    camera.close()


def test_detections_without_vision_msgs_fail_at_configure(start):
    if find_spec("vision_msgs"):
        pytest.skip("vision_msgs is installed here")
    process, _ = start(FAKE_NODE, "-p", "use_detections:=true")
    assert process.wait() == 1
    assert "cannot configure: use_detections needs vision_msgs" in process.output
