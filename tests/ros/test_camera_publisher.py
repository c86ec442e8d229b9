"""The camera that plays a file, in a process of its own: every pixel arrives, with the camera that took it."""

import json
import signal
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from rclpy.qos import QoSProfile
from ros_graph import NodeProcess, Probe
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hmr_ros.media import DEMO_CLIP, write_image
from hmr_ros.ros.camera_info import read_camera
from hmr_ros.ros.camera_publisher import camera_info, intrinsics_of, parse, told_camera
from hmr_ros.ros.conversions import compressed_to_rgb, image_to_rgb

PUBLISHER = ["-m", "hmr_ros.ros.camera_publisher"]


@pytest.fixture
def folder(tmp_path):
    """Six small pictures, each of its own grey."""
    (tmp_path / "in").mkdir()
    for index in range(6):
        write_image(tmp_path / f"in/{index}.png", np.full((48, 64, 3), 10 * index, np.uint8))
    return tmp_path / "in"


def play(ros, namespace, arguments, until, kind=Image, topic="image"):
    """The process, and the images and CameraInfos heard until `until(images)` holds."""
    probe = Probe(ros, namespace)
    images, infos = [], []
    probe.node.create_subscription(kind, topic, images.append, QoSProfile(depth=50))
    probe.node.create_subscription(CameraInfo, "camera_info", infos.append, QoSProfile(depth=50))
    process = NodeProcess([*PUBLISHER, *arguments], "-r", f"__ns:={namespace}")
    try:
        probe.until(lambda: until(images) and infos, "the images")
        return process, images, infos
    except AssertionError:
        process.kill()
        raise
    finally:
        probe.close()


def test_every_frame_arrives_in_order_with_its_camera(ros, folder, tmp_path):
    log = tmp_path / "stamps.json"
    arguments = [str(folder), "--intrinsics", "50", "51", "31", "23", "--log", str(log)]
    process, images, infos = play(ros, "/play", arguments, lambda heard: len(heard) == 6)
    assert process.wait() == 0, process.output
    assert [int(image_to_rgb(message)[0, 0, 0]) for message in images] == [0, 10, 20, 30, 40, 50]
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in images]
    assert json.loads(log.read_text()) == stamps == sorted(stamps)
    reading = read_camera(infos[0], 64, 48)
    assert not reading.warning and np.array_equal(reading.camera.K, [[50, 0, 31], [0, 51, 23], [0, 0, 1]])


def test_who_wants_jpeg_gets_jpeg(ros, folder):
    arguments = [str(folder), "--rate", "10"]
    process, images, _ = play(ros, "/jpeg", arguments, lambda h: len(h) == 6, CompressedImage, "image/compressed")
    assert process.wait() == 0, process.output
    greys = [int(compressed_to_rgb(message)[0, 0, 0]) for message in images]
    np.testing.assert_allclose(greys, [0, 10, 20, 30, 40, 50], atol=3)
    assert all("jpeg" in message.format and message.header.frame_id for message in images)


def test_loop_goes_on_until_interrupted_and_ends_cleanly(ros, folder):
    process, _, _ = play(ros, "/loop", [str(folder), "--loop", "--rate", "4"], lambda heard: len(heard) > 8)
    assert process.end(signal.SIGINT) == 0, process.output


@pytest.mark.parametrize("arguments", [["no_such_file.mp4"], ["x.mp4", "--rate", "0"]])
def test_mistakes_end_with_a_message(ros, arguments):
    process = NodeProcess([*PUBLISHER, *arguments])
    assert process.wait() in (1, 2)
    assert arguments[-1] in process.output and "Traceback" not in process.output


@pytest.mark.parametrize("told", [(None, None), (None, 60.0), ([400.0, 410.0, 300.0, 200.0], None)])
def test_camera_info_says_what_the_node_reads(told):
    camera = told_camera(640, 480, *told)
    reading = read_camera(camera_info(camera), 640, 480)
    assert not reading.warning and np.allclose(reading.camera.K, camera.K)
    assert isinstance(camera_info(camera).d, array)


def test_the_demo_clip_has_the_camera_that_it_was_rendered_with(ros):
    with np.load(DEMO_CLIP.with_suffix(".npz")) as truth:
        K = truth["K"]
    assert intrinsics_of(parse([""])) == [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    assert intrinsics_of(parse(["", "--vertical-fov", "40"])) is None and intrinsics_of(parse(["other.mp4"])) is None
