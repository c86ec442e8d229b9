"""Results in a robot's frame, and what happens where tf2 has no answer.

tf2_ros is not on PyPI. What needs it is run where it is installed; elsewhere a lookup of the same form stands in.
"""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from fake_node import person
from geometry_msgs.msg import TransformStamped
from ros_graph import FAKE_NODE
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from test_node import Camera, picture

from hmr_ros.frames import ROTMAT_LINK_OPTICAL, RigidTransform, move_person
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.ros.output_frame import OutputFrame, TransformUnavailable
from hmr_ros.ros.smpl_cloud import cloud_to_records
from hmr_ros.rotation import rotmat_to_quat
from hmr_ros.skeleton import JOINT_NAMES

T_BASE_CAMERA = RigidTransform(ROTMAT_LINK_OPTICAL, np.array([0.1, 0.2, 1.3]))
HEADER = Header(frame_id="cam")
HEADER.stamp.sec = 12
PEOPLE = (person(7, 0), person(9, 1))


class Tf:
    """Knows base_link <- cam, while `up`."""

    def __init__(self):
        self.up, self.asked, self.cleared, self.closed = True, [], 0, False

    def __call__(self, target, source, stamp, timeout_s):
        self.asked.append((target, source, stamp.sec, timeout_s))
        if not self.up or (target, source) != ("base_link", "cam"):
            raise TransformUnavailable(f"{target} and {source} are not connected")
        return T_BASE_CAMERA

    def clear(self):
        self.cleared += 1

    def close(self):
        self.closed = True


class Log:
    """A node, as far as its logger goes."""

    def __init__(self):
        self.lines = []

    def get_logger(self):
        return self

    def warning(self, text):
        self.lines.append(text)


def output_frame(tf, frame="base_link", clock=lambda: 0.0) -> tuple[OutputFrame, Log]:
    log = Log()
    return OutputFrame(log, NodeConfig(output_frame=frame, output_frame_timeout_s=0.2), lambda node: tf, clock), log


def test_people_are_moved_and_the_header_says_so():
    tf = Tf()
    header, people = output_frame(tf, "/base_link")[0].place(Header(stamp=HEADER.stamp, frame_id="/cam"), PEOPLE)
    assert header.frame_id == "base_link" and header.stamp == HEADER.stamp
    assert tf.asked == [("base_link", "cam", 12, 0.2)], "at the image's stamp, without ROS 1's slashes"
    for got, given in zip(people, PEOPLE):
        np.testing.assert_array_equal(got.joints, move_person(T_BASE_CAMERA, given).joints)


def test_without_a_transform_results_stay_in_the_camera_frame_and_say_so():
    tf = Tf()
    frame, log = output_frame(tf)
    tf.up = False
    for _ in range(3):
        header, people = frame.place(HEADER, PEOPLE)
        assert header is HEADER and people is PEOPLE
    assert "base_link and cam are not connected" in frame.warning and "camera's frame 'cam'" in frame.warning
    assert len(log.lines) == 1, "one line in the log, not one per image"
    assert [timeout_s for *_, timeout_s in tf.asked] == [0.2, 0.0, 0.0], (
        "what is not there does not hold up every frame"
    )
    tf.up = True
    assert frame.place(HEADER, PEOPLE)[0].frame_id == "base_link" and not frame.warning
    frame.place(HEADER, PEOPLE)
    assert tf.asked[-1][-1] == 0.2, "once it is back, a late one is waited for"


class LateTf(Tf):
    """Whose transforms are always late, so that only who waits has them."""

    def __call__(self, target, source, stamp, timeout_s):
        self.up = self.up and timeout_s > 0
        return super().__call__(target, source, stamp, timeout_s)


def test_a_transform_that_is_always_late_comes_back_after_it_was_missing_once():
    tf, now_s = LateTf(), [0.0]
    frame, _ = output_frame(tf, clock=lambda: now_s[0])
    tf.up = False
    told = []
    for _ in range(30):
        told.append(frame.place(HEADER, PEOPLE)[0].frame_id)
        tf.up, now_s[0] = True, now_s[0] + 0.1
    assert told[0] == "cam" and told[-15:] == ["base_link"] * 15
    assert sum(timeout_s > 0 for *_, timeout_s in tf.asked[:10]) == 1, "one wait a second while it is missing"


def test_nobody_needs_no_transform_and_is_nowhere_in_the_output_frame():
    tf = Tf()
    header, people = output_frame(tf)[0].place(HEADER, ())
    assert header.frame_id == "base_link" and header.stamp == HEADER.stamp and people == () and not tf.asked


def test_a_recording_that_begins_again_finds_tf_forgetful():
    """tf2 refuses what is older than what it has."""
    tf = Tf()
    frame, _ = output_frame(tf)
    for sec, cleared in ((20, 0), (21, 0), (2, 1), (3, 1)):
        header = Header(frame_id="cam")
        header.stamp.sec = sec
        frame.place(header, PEOPLE)
        assert tf.cleared == cleared
    frame.close()
    assert tf.closed


def test_images_without_a_frame_id_are_said_to_be_so():
    frame, _ = output_frame(Tf())
    assert frame.place(Header(), PEOPLE)[0].frame_id == "" and "no frame_id" in frame.warning


@pytest.mark.parametrize("name", ["", "cam"])
def test_nothing_is_asked_where_there_is_nothing_to_move(name):
    tf = Tf()
    assert output_frame(tf, name)[0].place(HEADER, PEOPLE) == (HEADER, PEOPLE) and not tf.asked


def test_a_node_without_tf2_ros_works_on_and_says_what_to_install(start):
    try:
        import tf2_ros  # noqa: F401

        pytest.skip("tf2_ros is installed here")
    except ImportError:
        pass
    node, probe = start(FAKE_NODE, "-p", "output_frame:=base_link", "-p", "diagnostics_period_s:=0.1")
    node.wait_for_line("active: listening to")
    assert "tf2_ros cannot be imported" in node.output and "ros-<distro>-tf2-ros-py" in node.output
    camera, clouds = Camera(probe), probe.listen(PointCloud2, "smpl")
    camera.tell_camera()
    camera.send_until(picture(), lambda: clouds, "people")
    assert clouds[0].header.frame_id == "cam"
    probe.until(lambda: "tf2_ros" in camera.value("degraded"), "the warning in diagnostics")


def test_the_transform_comes_through_tf2(start):
    """Before it is there results are in the camera's frame, and diagnostics say why; then they are in output_frame."""
    pytest.importorskip("tf2_ros", reason="tf2_ros (of a ROS 2 install) is not here")
    from tf2_ros import StaticTransformBroadcaster

    node, probe = start(FAKE_NODE, "-p", "output_frame:=base_link", "-p", "diagnostics_period_s:=0.1")
    node.wait_for_line("active: listening to")
    camera, clouds = Camera(probe), probe.listen(PointCloud2, "smpl")
    camera.tell_camera()
    camera.send_until(picture(), lambda: clouds, "people")
    assert clouds[0].header.frame_id == "cam"
    probe.until(lambda: "no transform to output_frame 'base_link'" in camera.value("degraded"), "the reason")
    transform = TransformStamped(header=Header(frame_id="base_link"), child_frame_id="cam")
    quaternion, translation = transform.transform.rotation, transform.transform.translation
    quaternion.x, quaternion.y, quaternion.z, quaternion.w = rotmat_to_quat(ROTMAT_LINK_OPTICAL).tolist()
    translation.x, translation.y, translation.z = T_BASE_CAMERA.transl.tolist()
    StaticTransformBroadcaster(probe.node).sendTransform(transform)
    camera.send_until(picture(), lambda: any(c.header.frame_id == "base_link" for c in clouds), "people in base_link")
    moved = cloud_to_records(next(c for c in clouds if c.header.frame_id == "base_link"))[0]
    np.testing.assert_allclose([moved[axis] for axis in "xyz"], move_person(T_BASE_CAMERA, person()).transl, atol=1e-4)
    camera.send_until(picture(), lambda: camera.value("degraded") == "", "the end of the warning")


def test_tf_knows_every_joint_of_a_person(start):
    pytest.importorskip("tf2_ros", reason="tf2_ros (of a ROS 2 install) is not here")
    from rclpy.time import Time
    from tf2_ros import Buffer, TransformListener

    node, probe = start(FAKE_NODE, "-p", "publish_tf:=true")
    node.wait_for_line("active: listening to")
    buffer = Buffer()
    TransformListener(buffer, probe.node)
    camera = Camera(probe)
    camera.tell_camera()
    camera.send_until(picture(), lambda: buffer.can_transform("cam", "person_7/right_hand", Time()), "the hand on /tf")
    for joint, position in zip(JOINT_NAMES, person().joints):
        found = buffer.lookup_transform("cam", f"person_7/{joint}", Time()).transform.translation
        np.testing.assert_allclose([found.x, found.y, found.z], position, atol=1e-4)
