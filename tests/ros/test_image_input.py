"""Images that were sent and never arrived are counted, whoever sent them."""

import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_graph import ROOT, Probe
from sensor_msgs.msg import Image

from hmr_ros.ros.demo import camera_environment
from hmr_ros.ros.image_input import Gaps


def info(number: int, gid: bytes = b"a") -> dict:
    return {"publication_sequence_number": number, "publisher_gid": {"data": gid}}


def test_gaps_in_one_publishers_numbers():
    gaps = Gaps()
    assert [gaps(info(n)) for n in (5, 6, 9, 10)] == [0, 0, 2, 0]


def test_publishers_count_for_themselves_and_may_start_over():
    gaps = Gaps()
    assert [gaps(info(*i)) for i in ((5, b"a"), (100, b"b"), (6, b"a"), (102, b"b"), (1, b"a"), (2, b"a"))] == [
        0, 0, 0, 1, 0, 0
    ]  # fmt: skip


def test_where_ros_does_not_tell_nothing_is_counted():
    gaps = Gaps()
    assert [gaps(i) for i in ({}, {"publication_sequence_number": 7}, {"publication_sequence_number": 9})] == [0, 0, 0]


DRIVER = """
import sys, time
from array import array
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("driver", namespace=sys.argv[1])
publisher = node.create_publisher(Image, "image", QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
image = Image(width=640, height=480, encoding="rgb8", step=1920, data=array("B", bytes(640 * 480 * 3)))
while not publisher.get_subscription_count():
    time.sleep(0.05)
for i in range(int(sys.argv[2])):
    image.header.stamp.sec = i + 1
    publisher.publish(image)
    time.sleep(0.05)
"""


def test_with_our_profile_a_drivers_best_effort_images_arrive(ros):
    """Without it, most images larger than Fast DDS's segment are lost between processes."""
    probe, sent, heard = Probe(ros, "/driver"), 25, []
    qos = QoSProfile(depth=sent, reliability=ReliabilityPolicy.BEST_EFFORT)
    probe.node.create_subscription(Image, "image", lambda image: heard.append(image.header.stamp.sec), qos)
    command = [sys.executable, "-c", DRIVER, "/driver", str(sent)]
    driver = subprocess.Popen(command, env=camera_environment(), cwd=ROOT)
    try:
        probe.until(lambda: driver.poll() is not None, "the driver to finish")
        assert driver.returncode == 0 and len(heard) >= 0.8 * sent and heard == sorted(heard)
    finally:
        driver.kill()
        driver.wait()
        probe.close()
