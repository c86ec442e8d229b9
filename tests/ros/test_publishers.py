"""Outputs come and go whole: what configure could not finish, and what a worker left behind says, is nobody's."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

import threading
import time

import numpy as np
from fake_node import FakePipeline, build, person
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Header
from test_node import picture

from hmr_ros.camera import Camera
from hmr_ros.config import ConfigError, PipelineConfig
from hmr_ros.ros.messages import skeleton_markers, transforms
from hmr_ros.ros.node import HmrNode
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.ros.publishers import Publishers
from hmr_ros.ros.worker import arrival
from hmr_ros.types import Frame, FrameResult


def test_a_configure_that_fails_leaves_no_topic_behind(ros):
    wrong = Parameter("qos_overrides./outputs/overlay.publisher.reliability", value="besteffort")
    node = ros.create_node("outputs", parameter_overrides=[wrong])
    for _ in range(2):
        with pytest.raises(Exception):  # noqa: B017  whatever rclpy makes of it
            Publishers(node, FakePipeline(PipelineConfig()), NodeConfig())
        assert not node.count_publishers("/outputs/smpl") and not node.count_publishers("/outputs/body_model")
    node.destroy_node()


def test_what_a_worker_left_behind_says_is_not_published(ros):
    node = HmrNode(build, parameter_overrides=[Parameter("autostart", value=False)])
    node.trigger_configure()
    old = node._outputs
    node.trigger_cleanup()
    node.trigger_configure()
    frame = Frame(np.zeros((48, 64, 3), np.uint8), Camera.guess(64, 48))
    node._publish(old, frame, FrameResult((person(),), None, {}), Header(frame_id="cam"))
    assert node._last is None
    node.close()


def test_no_frame_begins_while_the_inputs_close(ros):
    """It would have neither the camera that was told nor its depth."""
    seen = []

    class Pipeline(FakePipeline):
        def __call__(self, frame, deadline_s):
            seen.append(frame)
            return super().__call__(frame, deadline_s)

    no_wait = [Parameter("autostart", value=False), Parameter("camera_info_timeout_s", value=0.0)]
    node = HmrNode(Pipeline, parameter_overrides=no_wait)
    node.trigger_configure()
    node.trigger_activate()
    worker, close = node._worker, node._sides.close

    def an_image_comes() -> None:
        close()
        worker.put(arrival(picture(), node.get_clock().now().nanoseconds))
        end = time.monotonic() + 1
        while not seen and time.monotonic() < end:
            time.sleep(0.01)

    node._sides.close = an_image_comes
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert not seen
    node.close()


def test_a_worker_that_hangs_is_left_behind_and_the_inputs_are_closed(ros, monkeypatch):
    monkeypatch.setattr("hmr_ros.ros.worker.JOIN_TIMEOUT_S", 0.2)
    begun, end = threading.Event(), threading.Event()

    class Hanging(FakePipeline):
        def __call__(self, frame, deadline_s):
            begun.set()
            end.wait(20)
            return super().__call__(frame, deadline_s)

    no_wait = [Parameter("autostart", value=False), Parameter("camera_info_timeout_s", value=0.0)]
    node = HmrNode(Hanging, parameter_overrides=no_wait)
    node.trigger_configure()
    node.trigger_activate()
    worker, closed = node._worker, []
    monkeypatch.setattr(node._sides, "close", lambda: closed.append("sides"))
    worker.put(arrival(picture(), node.get_clock().now().nanoseconds))
    assert begun.wait(10)
    node.trigger_deactivate()
    assert "the worker hangs in a frame and is left behind" in node._failure and closed == ["sides"]
    assert node._outputs is None, "back to unconfigured"
    end.set()
    assert worker.stop() and node._last is None
    node.close()


def test_the_core_is_heard_in_the_ros_log(ros):
    """Building an engine takes minutes, and says so at level INFO."""
    import logging

    node = HmrNode(build, parameter_overrides=[Parameter("autostart", value=False)])
    heard = []
    node._log_handler.emit = heard.append
    logging.getLogger("hmr_ros.backends.engines").info("building")
    assert [record.getMessage() for record in heard] == ["building"]
    node.close()


def test_the_time_between_diagnostics_can_be_set_until_configure(ros):
    node = HmrNode(build, parameter_overrides=[Parameter("autostart", value=False)])
    assert node.set_parameters([Parameter("diagnostics_period_s", value=0.25)])[0].successful
    node.trigger_configure()
    assert node._heartbeat.timer_period_ns == 250_000_000
    assert not node.set_parameters([Parameter("autostart", value=True)])[0].successful, "it is read at start only"
    node.close()


def test_skeletons_of_a_node_that_was_killed_go_away():
    for marker in skeleton_markers(Header(frame_id="cam"), [person()]):
        assert marker.lifetime.sec == 2


def test_two_nodes_can_share_tf():
    frames = [
        {t.child_frame_id for t in transforms(Header(frame_id=f"{name}_optical"), [person()], f"{name}_")}
        for name in ("front", "rear")
    ]
    assert "front_person_7/pelvis" in frames[0] and not frames[0] & frames[1]


@pytest.mark.parametrize("prefix", ["front/", "7", "a b", "-"])
def test_a_prefix_that_no_topic_can_have_is_refused(prefix):
    with pytest.raises(ConfigError, match="frame_prefix"):
        NodeConfig(frame_prefix=prefix)
