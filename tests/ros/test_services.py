"""Services, remapping and QoS overrides, over the wire to a node process; its pipeline is the one of fake_node.py."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from fake_node import FakePipeline, person
from rclpy.qos import ReliabilityPolicy
from ros_graph import FAKE_NODE
from sensor_msgs.msg import PointCloud2
from test_node import Camera, picture

from hmr_ros.camera import Camera as Pinhole
from hmr_ros.snapshot import write_snapshot
from hmr_ros.types import FitReport, Frame, FrameResult

PICTURE = "/robot/picture"
Trigger = pytest.importorskip("std_srvs.srv", reason="std_srvs is not importable").Trigger


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("snapshots")


@pytest.fixture(scope="module")
def running(start, folder):
    """An active node whose ~/smpl is remapped and whose ~/overlay, also renamed, is best effort."""
    node, probe = start(
        FAKE_NODE, "-r", "~/smpl:=/robot/people", "-r", f"~/overlay:={PICTURE}", "-p", f"snapshot_dir:={folder}",
        "-p", "diagnostics_period_s:=0.1", "-p", f"qos_overrides.{PICTURE}.publisher.reliability:=best_effort",
    )  # fmt: skip
    node.wait_for_line("active: listening to")
    return probe


def trigger(probe, name: str):
    return probe.call(Trigger, name, Trigger.Request())


def test_a_snapshot_needs_a_result(running):
    answer = trigger(running, "save_snapshot")
    assert not answer.success and "no result yet" in answer.message


def test_a_snapshot_holds_picture_and_numbers(running, folder):
    import cv2

    camera = Camera(running)
    camera.tell_camera()
    camera.until_counted("processed", 1)
    answer = trigger(running, "save_snapshot")
    assert answer.success, answer.message
    picture_path, numbers_path = answer.message.split(", ")
    assert picture_path.startswith(str(folder))
    assert cv2.imread(picture_path).shape == (48, 64, 3)
    numbers = json.loads(open(numbers_path).read())
    assert numbers["frame_id"] == "cam" and numbers["people"][0]["id"] == 7
    assert len(numbers["people"][0]["body_pose"]) == 69 and len(numbers["K"]) == 3


def test_numbers_that_json_does_not_have_are_null_in_a_snapshot(tmp_path):
    camera, body, seen = Pinhole.guess(64, 48), FakePipeline.body, person()
    seen.reprojection_px[0] = np.inf, np.nan
    fit = FitReport(4, np.float32([0.5]), np.float32([np.nan]), "deadline", 0.001)
    result = FrameResult((dataclasses.replace(seen, loss_after=float("nan")),), fit, {"detect": 0.1})
    frame = Frame(np.zeros((48, 64, 3), np.uint8), camera, 5)
    _, path = write_snapshot(tmp_path, frame, result, body, {"backend": "fake"})

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    numbers = json.loads(path.read_text(), parse_constant=refuse)
    (told,) = numbers["people"]
    assert told["loss_after"] is None and told["reprojection_px"][0] == [None, None]
    assert numbers["fit"]["loss_after"] == [None] and numbers["fit"]["stop"] == "deadline"
    assert told["distance_measured"] is False and numbers["backend"] == "fake" and told["loss_before"] == 0.5


def test_tracks_are_reset_by_the_worker(running):
    camera = Camera(running)
    camera.tell_camera()
    before = int(camera.value("resets") or 0)
    assert trigger(running, "reset_tracks").success
    camera.send_until(picture(), lambda: int(camera.value("resets") or 0) == before + 1, "the pipeline's reset")


def test_an_inactive_node_says_why_there_is_nothing_to_reset(running):
    assert running.change_state("deactivate")
    answer = trigger(running, "reset_tracks")
    assert not answer.success and "not active" in answer.message
    assert running.change_state("activate")


def test_outputs_can_be_remapped(running):
    camera, people = Camera(running), running.listen(PointCloud2, "/robot/people")
    camera.tell_camera()
    camera.send_until(picture(), lambda: people, "people on the topic of the remapping")
    assert not running.node.count_publishers(f"{running.target}/smpl")


def test_reliability_of_an_output_can_be_overridden(running):
    running.until(lambda: running.node.count_publishers(PICTURE), PICTURE)
    offered = running.node.get_publishers_info_by_topic(PICTURE)
    assert [info.qos_profile.reliability for info in offered] == [ReliabilityPolicy.BEST_EFFORT]
    untouched = running.node.get_publishers_info_by_topic(f"{running.target}/mesh")
    assert [info.qos_profile.reliability for info in untouched] == [ReliabilityPolicy.RELIABLE]
