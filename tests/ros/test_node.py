"""The node in a process of its own, over real topics and services; its pipeline is the one of fake_node.py.

What needs the real pipeline is in test_real_node.py.
"""

import itertools
import json
import signal
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_node import CRASH, LOSE, OK, SLOW
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_graph import FAKE_NODE, Probe
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, MultiDOFJointState, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from hmr_ros.ros.smpl_cloud import cloud_to_records
from hmr_ros.ros.worker import LOST_AFTER

EMPTY = 255


def picture(command: int = OK, width: int = 64, height: int = 48) -> Image:
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    image.header.frame_id = "cam"
    image.data = array("B", np.full((height, width, 3), command, np.uint8).tobytes())
    return image


class Camera:
    """Publishes to the node and waits for what became of it, as /diagnostics tells."""

    def __init__(self, probe: Probe, kind=Image, topic="image", reliability=ReliabilityPolicy.RELIABLE):
        self._probe = probe
        qos = QoSProfile(depth=5, reliability=reliability)
        self._image = probe.node.create_publisher(kind, topic, qos)
        self._info = probe.node.create_publisher(CameraInfo, "camera_info", qos)
        self._diagnostics = probe.listen(DiagnosticArray, "/diagnostics")
        # The node first subscribes best effort, then anew with the reliability it finds here.
        probe.until(lambda: self._heard_with() == [reliability], f"one {reliability.name} subscription of the node's")
        probe.until(lambda: self._image.get_subscription_count() == 1, "the match of the image topic")
        probe.until(lambda: self._info.get_subscription_count(), "the node's camera_info subscription")

    def _heard_with(self) -> list:
        topic = self._image.topic_name
        return [s.qos_profile.reliability for s in self._probe.node.get_subscriptions_info_by_topic(topic)]

    def close(self):
        self._probe.node.destroy_publisher(self._image)
        self._probe.node.destroy_publisher(self._info)

    def send(self, image) -> None:
        image.header.stamp = self._probe.node.get_clock().now().to_msg()
        self._image.publish(image)

    def tell_camera(self, k=(50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0)) -> None:
        info = CameraInfo(width=64, height=48, k=k, d=[0.0] * 5, distortion_model="plumb_bob")
        self._info.publish(info)

    def status(self) -> DiagnosticStatus:
        ours = [a.status[0] for a in self._diagnostics if a.status[0].name.startswith(f"{self._probe.target}:")]
        return ours[-1] if ours else DiagnosticStatus(message="none yet")

    def value(self, key: str) -> str:
        return {v.key: v.value for v in self.status().values}.get(key, "")

    def count(self, what: str) -> int:
        return int(self.value(f"frames_{what}") or 0)

    def send_until(self, image, condition, what: str = ""):
        """Send again and again: whoever has just been found may miss one message, whatever the reliability."""
        return self._probe.until(condition, what, each=lambda: self.send(image))

    def until_counted(self, what: str, at_least: int, image=None) -> None:
        self.send_until(image or picture(), lambda: self.count(what) >= at_least, f"{at_least} frames {what}")


QUICK = ("-p", "diagnostics_period_s:=0.1", "-p", "camera_info_timeout_s:=0.0")


@pytest.fixture(scope="module")
def rig(start):
    """A running node that several tests share: (process, probe, camera)."""
    node, probe = start(FAKE_NODE, *QUICK)
    camera = Camera(probe)
    yield node, probe, camera
    camera.close()
    assert node.end() == 0, node.output


def test_autostart_results_and_nothing_built_unasked(rig):
    """One person in, one record out, with the image's stamp; the mesh, which nobody wants, is never computed."""
    _, probe, camera = rig
    clouds, states = probe.listen(PointCloud2, "smpl"), probe.listen(MultiDOFJointState, "joint_states")
    assert probe.state() == "active"
    image = picture()
    camera.send_until(image, lambda: clouds and states, "results")
    assert clouds[-1].header.frame_id == "cam" and clouds[-1].header.stamp.sec > 0
    (record,) = cloud_to_records(clouds[-1])
    assert record["id"] == 7 and states[-1].joint_names[0] == "person_7/pelvis"
    camera.until_counted("processed", 1)
    assert camera.value("mesh_calls") == "0"
    probe.listen(PointCloud2, "mesh")
    camera.send_until(image, lambda: int(camera.value("mesh_calls")) > 0, "a mesh")
    calm = "level OK with a camera told"
    camera.send_until(image, lambda: camera.tell_camera() or camera.status().level == DiagnosticStatus.OK, calm)
    assert "latency p50" in camera.status().message and float(camera.value("latency_p99_ms")) > 0
    assert float(camera.value("detect_p50_ms")) == pytest.approx(0.1)
    counts = {k: camera.count(k) for k in ("received", "processed", "dropped", "bad", "failed", "waiting")}
    assert counts["received"] - sum(v for k, v in counts.items() if k != "received") in (0, 1, 2)


def test_bad_images_and_failures_are_survived(rig):
    _, _, camera = rig
    torn, sheared, unknown, tiny = picture(), picture(), picture(), picture(width=1, height=1)
    torn.data = torn.data[:100]
    sheared.step = 10
    unknown.encoding = "cmyk"
    for image, reason in [
        (torn, "100 bytes of data"), (sheared, "step of 10"), (unknown, "unknown encoding"), (tiny, "1x1")
    ]:  # fmt: skip
        camera.send_until(image, lambda reason=reason: reason in camera.value("last_bad_frame"), reason)
    assert camera.status().level == DiagnosticStatus.WARN and camera.count("bad") >= 4
    camera.until_counted("failed", 1, picture(CRASH))
    assert camera.value("last_failure") == "RuntimeError: told to crash"
    assert camera.status().level == DiagnosticStatus.ERROR
    camera.send_until(picture(), lambda: camera.status().level != DiagnosticStatus.ERROR, "recovery")


def test_old_images_are_dropped(rig):
    """Images come every few ms to a pipeline that takes 300: it sees few, each the newest."""
    _, _, camera = rig
    before = {what: camera.count(what) for what in ("dropped", "processed")}
    camera.until_counted("dropped", before["dropped"] + 10, picture(SLOW))
    camera.until_counted("processed", before["processed"] + 2, picture(SLOW))
    assert camera.count("dropped") - before["dropped"] > camera.count("processed") - before["processed"]


def test_compressed_and_corrupt_jpegs(start):
    import cv2

    node, probe = start(FAKE_NODE, *QUICK, "-p", "image_transport:=compressed", "-r", "image:=eye/image_raw")
    camera = Camera(probe, CompressedImage, "eye/image_raw/compressed")
    data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    camera.until_counted("bad", 1, CompressedImage(format="jpeg", data=array("B", data[:-40])))
    assert "truncated" in camera.value("last_bad_frame")
    camera.until_counted("processed", 1, CompressedImage(format="jpeg", data=array("B", data)))
    camera.close()
    assert node.end() == 0, node.output


def test_camera_info_is_awaited(start):
    node, probe = start(FAKE_NODE, "-p", "diagnostics_period_s:=0.1", "-p", "camera_info_timeout_s:=60.0")
    camera = Camera(probe)
    camera.until_counted("waiting", 1)
    assert camera.count("processed") == 0
    useless = (0.0,) * 9
    camera.send_until(picture(), lambda: camera.tell_camera(useless) or camera.count("processed"), "a first result")
    camera.send_until(picture(), lambda: camera.status().level == DiagnosticStatus.WARN, "a warning")
    assert "not calibrated; assuming a focal length of 80 px" in camera.value("degraded")
    camera.send_until(picture(), lambda: camera.tell_camera() or not camera.value("degraded"), "a calibrated camera")
    camera.close()
    assert node.end() == 0, node.output


def test_best_effort_publishers_are_heard(start):
    node, probe = start(FAKE_NODE, *QUICK)
    camera = Camera(probe, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera.until_counted("processed", 1)
    assert "best_effort" in camera.value("input")
    camera.send_until(picture(), lambda: camera.value("degraded"), "a warning")
    assert "no CameraInfo received; assuming a focal length of 80 px" in camera.value("degraded")
    camera.close()
    reliable = Camera(probe)
    probe.until(lambda: ", reliable" in reliable.value("input"), "a reliable subscription")
    reliable.until_counted("processed", 2)
    reliable.close()
    assert node.end() == 0, node.output


def test_lifecycle_parameters_and_latched_body_model(start):
    """Twice round the whole cycle; settings are refused or taken according to the state."""
    node, probe = start(FAKE_NODE, *QUICK, "-p", "autostart:=false", "-p", "model.bundle:=missing")
    assert probe.state() == "unconfigured"
    assert not probe.change_state("configure") and probe.state() == "unconfigured"
    node.wait_for_line("bundle 'missing' not found; looked in /nowhere; give model.bundle a folder")
    assert probe.set_parameter("model.bundle", "here").successful
    for _ in range(2):
        assert probe.change_state("configure") and probe.state() == "inactive"
        (text,) = probe.until(lambda heard=probe.listen(String, "body_model", latched=True): heard)
        assert json.loads(text.data)["num_faces"] == 12
        assert probe.set_parameter("tto.max_steps", 8).successful
        assert probe.change_state("activate") and probe.state() == "active"
        refusal = probe.set_parameter("model.bundle", "there")
        assert not refusal.successful and "clean up the node" in refusal.reason
        refusal = probe.set_parameter("tto.max_steps", 1000)
        assert not refusal.successful and "50" in refusal.reason
        camera = Camera(probe)
        clouds = probe.listen(PointCloud2, "smpl")
        camera.send_until(picture(), lambda heard=clouds: heard, "results")
        camera.send_until(picture(), lambda c=camera: c.value("tto_steps_mean") == "8.00", "eight steps")
        assert probe.set_parameter("tto.max_steps", 9).successful
        camera.send_until(picture(), lambda c=camera: float(c.value("tto_steps_mean")) > 8, "nine steps")
        assert probe.change_state("deactivate") and probe.state() == "inactive"
        camera.close()
        assert probe.change_state("cleanup") and probe.state() == "unconfigured"
        assert probe.set_parameter("tto.max_steps", 5).successful
    assert probe.change_state("unconfigured_shutdown") and probe.state() == "finalized"
    assert node.end() == 0, node.output


def test_markers_are_deleted_with_the_person(rig):
    _, probe, camera = rig
    heard = probe.listen(MarkerArray, "markers")

    def actions(namespace):
        return [m.action for array in heard for m in array.markers if m.ns == namespace and m.id == 7]

    camera.send_until(picture(), lambda: Marker.ADD in actions("mesh"), "a mesh")
    assert Marker.ADD in actions("skeleton")
    camera.send_until(picture(EMPTY), lambda: actions("skeleton")[-1] == Marker.DELETE, "deletion")
    assert actions("mesh")[-1] == Marker.DELETE


def test_failed_autostart_ends_with_the_reason(start):
    missing, _ = start(FAKE_NODE, "-p", "model.bundle:=missing")
    node, _ = start(FAKE_NODE, "-p", "tto.deadline_ms:=30")
    assert missing.wait() == 1
    assert "cannot configure: bundle 'missing' not found" in missing.output
    assert node.wait() == 1
    assert "decimal point" in node.output and "Traceback" not in node.output


def test_a_lost_gpu_ends_the_process_so_that_it_can_be_started_again(start):
    node, probe = start(FAKE_NODE, *QUICK)
    camera = Camera(probe)
    now_and_then = itertools.cycle([picture(LOSE), picture(OK)])
    several = lambda: camera.count("failed") >= LOST_AFTER  # noqa: E731
    probe.until(several, "failures between good frames", each=lambda: camera.send(next(now_and_then)))
    assert node.process.poll() is None, "it may have been something else"
    camera.send_until(picture(LOSE), lambda: node.process.poll() is not None, "the end of the process")
    camera.close()
    assert node.wait() == 1 and "the backend is lost" in node.output and "respawn" in node.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly_in_any_state(start, monkeypatch, number):
    idle, idle_probe = start(FAKE_NODE, "-p", "autostart:=false")
    busy, probe = start(FAKE_NODE, *QUICK)
    monkeypatch.setenv("FAKE_BUILD_S", "60")
    starting, starting_probe = start(FAKE_NODE)
    camera = Camera(probe)
    camera.until_counted("processed", 1, picture(SLOW))
    camera.close()
    for other in (idle_probe, starting_probe):
        other.until(lambda p=other: p.target in p.node_names(), "the other nodes")
    for node in (idle, busy, starting):
        node.process.send_signal(number)
    for node in (idle, busy, starting):
        assert node.wait() == 0, node.output
        assert "Traceback" not in node.output
