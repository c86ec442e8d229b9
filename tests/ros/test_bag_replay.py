"""Bags and the real messages: what rosbags writes is what rclpy reads, and what rclpy writes the file tool reads."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")
pytest.importorskip("rosbags", reason="rosbags is not installed: pip install '.[bags]'")

from fake_node import person
from geometry_msgs.msg import PoseArray
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from hmr_ros.camera import Camera
from hmr_ros.recording import FrameRecord, PersonRecord
from hmr_ros.ros import messages
from hmr_ros.ros.bag_reader import BagImages
from hmr_ros.ros.bag_writer import TOPICS, BagWriter
from hmr_ros.ros.camera_publisher import camera_info
from hmr_ros.ros.conversions import compressed_to_rgb
from hmr_ros.ros.smpl_cloud import people_to_records, records_to_cloud
from hmr_ros.smpl_file import load_body
from hmr_ros.types import Frame

STAMP_NS = 12 * 10**9 + 345
CAMERA = Camera.guess(64, 48)
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def header():
    header = Header(frame_id="cam")
    header.stamp.sec, header.stamp.nanosec = divmod(STAMP_NS, 10**9)
    return header


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """Topic: the message that rclpy makes of the bytes in the bag."""
    folder = tmp_path_factory.mktemp("results") / "bag"
    with BagWriter(folder, load_body("open")) as bag:
        people = tuple(PersonRecord.of(p) for p in (person(3, seed=1), person(8, seed=2)))
        bag.write(Frame(PICTURE, CAMERA, STAMP_NS, "cam"), FrameRecord(0, STAMP_NS, 1.0, people), PICTURE)
    kinds = {
        f"{k.__module__.split('.')[0]}/msg/{k.__name__}": k
        for k in (PointCloud2, PoseArray, MarkerArray, CompressedImage)
    }
    with AnyReader([folder]) as reader:
        heard = {c.topic: deserialize_message(bytes(raw), kinds[c.msgtype]) for c, _, raw in reader.messages()}
    assert set(heard) == set(TOPICS)
    return heard


def test_a_replayed_cloud_is_the_nodes(replayed, header):
    people = [person(3, seed=1), person(8, seed=2)]
    assert replayed["/hmr/smpl"] == records_to_cloud(header, people_to_records(people))


def test_replayed_markers_are_the_nodes(replayed, header):
    clear, *rest = replayed["/hmr/markers"].markers
    assert clear.action == clear.DELETEALL
    expected = MarkerArray(markers=messages.skeleton_markers(header, [person(3, seed=1), person(8, seed=2)]))
    expected = deserialize_message(serialize_message(expected), MarkerArray).markers
    for found, wanted in zip(rest, expected, strict=True):
        where, goal = found.pose.position, wanted.pose.position
        assert np.allclose((where.x, where.y, where.z), (goal.x, goal.y, goal.z), atol=1e-5)
        found.pose = wanted.pose
    assert rest == expected


def test_replayed_poses_and_picture_can_be_read(replayed):
    assert len(replayed["/hmr/poses"].poses) == 48 and replayed["/hmr/poses"].header.frame_id == "cam"
    assert compressed_to_rgb(replayed["/hmr/overlay/compressed"]).shape == PICTURE.shape


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda s: s.name)
def test_images_that_rclpy_wrote_are_read(tmp_path, header, storage):
    image, info = messages.image_message(header, PICTURE), camera_info(CAMERA)
    info.header = header
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "bag", version=8, storage_plugin=storage) as writer:
        for topic, kind, message in (
            ("/image_raw", Image, image),
            ("/camera_info", CameraInfo, info),
        ):
            connection = writer.add_connection(topic, f"sensor_msgs/msg/{kind.__name__}", typestore=store)
            writer.write(connection, STAMP_NS, serialize_message(message))
    (frame,) = BagImages(str(tmp_path / "bag")).read()
    assert np.array_equal(frame.image, PICTURE) and frame.stamp_ns == STAMP_NS and frame.frame_id == "cam"
    assert np.allclose(frame.camera.K, CAMERA.K) and not frame.camera.assumed
