"""Bad luck between processes: clocks that jump, cameras that die, garbage on the wire, disks and homes that cannot be written.

See docs/robustness.md. The node's pipeline is the one of fake_node.py.
"""

import logging
import resource
import signal
import subprocess
import sys
import time
from array import array
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from rclpy.serialization import serialize_message
from ros_graph import FAKE_NODE, ROOT, NodeProcess
from sensor_msgs.msg import CompressedImage, PointCloud2
from test_node import QUICK, Camera, picture

from hmr_ros.ros.process import QUIET_S, RosLogHandler


@pytest.fixture(scope="module")
def two(start):
    """Two nodes, each in a namespace of its own: [(node, probe, camera)]."""
    rigs = [start(FAKE_NODE, *QUICK) for _ in range(2)]
    rigs = [(node, probe, Camera(probe)) for node, probe in rigs]
    yield rigs
    for node, _, camera in rigs:
        camera.close()
        assert node.end() == 0, node.output
        assert "Traceback" not in node.output


def test_two_nodes_in_two_namespaces_do_not_meet(two):
    (_, first, camera), (_, second, other) = two
    heard = first.listen(PointCloud2, "smpl")
    camera.send_until(picture(), lambda: heard, "people")  # a subscriber that comes late
    camera.until_counted("processed", 3)
    assert other.count("received") == 0 and {first.target, second.target} <= first.node_names()


def test_garbage_on_the_wire_stops_nothing(two):
    """Messages cut short, of random bytes, with text that is no text: the middleware's or ours to refuse, nobody's to die of."""
    _, probe, camera = two[0]
    good = serialize_message(picture())
    garbage = [
        good[:40], b"\0\1\0\0" + b"\xff" * 200, b"", good.replace(b"rgb8", b"\xff\xfe\xfdx"), np.random.default_rng(0).bytes(500)
    ]  # fmt: skip
    for message in garbage * 3:
        camera._image.publish(message)
    camera._info.publish(b"\0\1\0\0" + b"\xff" * 100)
    before = camera.count("processed")
    camera.until_counted("processed", before + 2)


def test_a_camera_that_is_killed_and_comes_back_is_heard_again(two):
    _, probe, camera = two[1]
    namespace = probe.node.get_namespace()
    clip = ROOT / "hmr_ros" / "assets" / "demo" / "walk.mp4"
    program = ["-m", "hmr_ros.ros.camera_publisher", str(clip), "--loop"]
    for _ in range(2):
        before = camera.count("processed")
        other = NodeProcess(program, "-r", f"__ns:={namespace}", "-r", "__node:=other_camera")
        try:
            probe.until(lambda before=before: camera.count("processed") > before, "its images")
        finally:
            other.kill()  # SIGKILL: no goodbye


def test_a_subscriber_that_hangs_fails_nobody(two):
    _, probe, camera = two[0]
    code = f"""
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("hangs", namespace={probe.node.get_namespace()!r})
node.create_subscription(Image, "hmr/overlay", lambda msg: print("heard", flush=True), 10)
rclpy.spin(node)
"""
    hangs = NodeProcess(["-c", code])
    try:
        camera.send_until(picture(width=640, height=480), lambda: "heard" in hangs.output, "the subscriber")
        hangs.process.send_signal(signal.SIGSTOP)
        before = camera.count("processed")
        camera.until_counted("processed", before + 20, picture(width=640, height=480))
        assert camera.count("failed") == 0
    finally:
        hangs.kill()


def test_simulated_time_may_jump_back(start):
    """A bag that loops with --clock: its stamps are believed on both sides of the jump, and nobody waits for the past."""
    from rosgraph_msgs.msg import Clock

    node, probe = start(FAKE_NODE, *QUICK, "-p", "use_sim_time:=true")
    camera = Camera(probe)
    clock = probe.node.create_publisher(Clock, "/clock", 10)
    probe.until(lambda: clock.get_subscription_count(), "the node's /clock subscription")

    def play(begin_s: int) -> None:
        now_ns, before, sent = begin_s * 10**9, camera.count("processed"), time.monotonic_ns()

        def send():
            nonlocal now_ns, sent
            # Not much more, so that an image which overtakes its tick of the clock is still believed; and no less than the wall's,
            # so that a busy machine does not slow down the node's timers.
            now, last = time.monotonic_ns(), sent
            now_ns, sent = now_ns + min(max(20_000_000, now - last), 200_000_000), now
            image = picture()
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(now_ns, 10**9)
            camera.tell_camera()  # again and again: who has just been found may miss one
            clock.publish(Clock(clock=image.header.stamp))
            camera._image.publish(image)

        done = lambda: camera.count("processed") >= before + 5 and not camera.value("degraded")  # noqa: E731
        probe.until(done, "images of simulated time", each=send)

    play(1000)
    resets = int(camera.value("resets"))
    play(500)
    probe.until(lambda: int(camera.value("resets")) > resets, "the tracks to start anew")
    camera.close()
    assert node.end() == 0, node.output


def test_a_picture_that_claims_gigapixels_is_refused(start):
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    side = 20_000
    rows = zlib.compress(bytes(side * (1 + side // 8)), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    node, probe = start(FAKE_NODE, *QUICK, "-p", "image_transport:=compressed")
    camera = Camera(probe, CompressedImage, "image/compressed")
    camera.until_counted("bad", 3, CompressedImage(format="png", data=array("B", bomb)))
    status = open(f"/proc/{node.process.pid}/status").read()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert peak_mb < 600, "decoded it would have 1,200 MB"
    camera.close()
    assert node.end() == 0, node.output


# --- Disks and homes -----------------------------------------------------------------------------------------------------


def test_a_home_that_cannot_be_written_is_said_and_ros_log_dir_helps(start, monkeypatch, tmp_path):
    from std_srvs.srv import Trigger

    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.delenv("ROS_LOG_DIR", raising=False)
    monkeypatch.delenv("ROS_HOME", raising=False)
    helpless, _ = start(FAKE_NODE)
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))
    node, probe = start(FAKE_NODE, *QUICK)
    assert helpless.wait() == 1
    assert "cannot start ROS: " in helpless.output and "set ROS_LOG_DIR" in helpless.output
    assert "Traceback" not in helpless.output
    camera = Camera(probe)
    camera.until_counted("processed", 1)
    answer = probe.call(Trigger, "save_snapshot", Trigger.Request())
    assert not answer.success and "cannot write to /proc/nowhere/.ros/hmr_snapshots" in answer.message
    assert "see the parameter snapshot_dir" in answer.message
    camera.until_counted("processed", camera.count("processed") + 1)
    camera.close()
    assert node.end() == 0, node.output


@contextmanager
def full_disk():
    """No file of this process, or of one started now, may have more than 2 kB: what a full disk does, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_snapshot(tmp_path):
    from fake_node import FakeBody, person

    from hmr_ros.camera import Camera as Pinhole
    from hmr_ros.snapshot import write_snapshot
    from hmr_ros.types import Frame, FrameResult

    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    frame = Frame(noise, Pinhole.guess(64, 48), 5)
    with full_disk(), pytest.raises(OSError, match="too large|No space"):
        write_snapshot(tmp_path, frame, FrameResult((person(),), None), FakeBody(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_recording_with_the_reason(tmp_path):
    from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models

    try:
        find_models("")
    except KeypointModelError as missing:
        pytest.skip(f"no keypoint models: {missing}")
    import cv2

    done, png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))
    (tmp_path / "noise.png").write_bytes(png.tobytes())
    command = [sys.executable, "-m", "hmr_ros.tools.run", str(tmp_path / "noise.png"), "--out", str(tmp_path / "out")]
    with full_disk():
        ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ran.returncode == 1 and "Traceback" not in ran.stdout
    assert f"cannot write to {tmp_path / 'out'}" in ran.stdout and "is the disk full?" in ran.stdout


# --- The process around the node -----------------------------------------------------------------------------------------

FAILS_ONCE = """
import sys
from rclpy.node import Node
from hmr_ros.ros.process import run

class Fails(Node):
    def __init__(self):
        super().__init__("fails")
        self.count = 0
        self.create_timer(0.05, self.tick)

    def tick(self):
        self.count += 1
        if self.count == 1:
            raise KeyError("only once")
        if self.count == 4:
            print("goes on", flush=True)

    def close(self):
        print("closed", flush=True)
        self.destroy_node()

sys.exit(run("fails", Fails))
"""


def test_a_callback_that_fails_is_logged_and_the_node_goes_on(ros):
    node = NodeProcess(["-c", FAILS_ONCE])
    try:
        node.wait_for_line("goes on")
        assert "a callback failed; the node goes on" in node.output and "KeyError: 'only once'" in node.output
        assert node.end(signal.SIGTERM) == 0 and "closed" in node.output
    finally:
        node.kill()


ENDING = """
import os, signal, sys
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from hmr_ros.ros import process

class Signalled(Node):
    def __init__(self):
        super().__init__("signalled")
        self.create_timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))

    def close(self):
        os.kill(os.getpid(), signal.SIGINT)  # once more, on the way out
        self.destroy_node()

def told(name, function):
    def call(*args, **kwargs):
        print(name, flush=True)
        return function(*args, **kwargs)
    return call

process.uninstall_signal_handlers = told("uninstall", process.uninstall_signal_handlers)
SingleThreadedExecutor.shutdown = told("shutdown", SingleThreadedExecutor.shutdown)
sys.exit(process.run("signalled", Signalled))
"""


def test_rclpys_thread_for_signals_ends_before_what_it_wakes_is_gone(ros):
    """It ran on beside the way out, and now and then woke an executor that was there no more: a crash in 1 of 30 ends under load."""
    ended = NodeProcess(["-c", ENDING])
    assert ended.wait() == 0, ended.output
    assert ended.output.split() == ["uninstall", "shutdown"], ended.output


def test_a_place_that_keeps_warning_is_heard_now_and_then():
    said, now_s = [], 0.0
    logger = type(
        "Logger", (), {level: lambda self, text: said.append(text) for level in ("error", "warning", "info")}
    )()
    log = logging.getLogger("hmr_ros.test_bad_luck")
    handler = RosLogHandler(logger, clock=lambda: now_s)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        for now_s in (0.0, 0.1, QUIET_S - 0.1, QUIET_S + 0.1):
            log.warning("again, at %s", now_s)
            log.info("info")
        log.warning("another place")
    finally:
        log.removeHandler(handler)
    assert [text for text in said if text != "info"] == ["again, at 0.0", f"again, at {QUIET_S + 0.1}", "another place"]
    assert said.count("info") == 4
