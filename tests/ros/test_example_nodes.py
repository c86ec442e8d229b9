"""The control examples as processes of their own, on the real topics of a node."""

from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from fake_node import OK, person
from geometry_msgs.msg import PoseArray
from ros_graph import FAKE_NODE, NodeProcess
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, Header

from hmr_ros.examples.retarget import JOINTS
from hmr_ros.examples.separation import closest_m
from hmr_ros.ros.examples.main import joints_of
from hmr_ros.ros.examples.smpl_listener import describe, read_people
from hmr_ros.ros.smpl_cloud import people_to_records, records_to_cloud

NOBODY = 9


ROBOT = np.array([[0.0, 0, 1], [0, 1, 1]])
MONITOR = [f"link_points_m:={ROBOT.ravel().tolist()}", "human_speed_m_s:=0.0"]
EXAMPLES = {"smpl_listener": [], "upper_body_retarget": [], "separation_monitor": MONITOR}


@pytest.fixture(scope="module")
def graph(start):
    """The node and all examples in one namespace, and `look(value)`, which shows an image to the node."""
    _, probe = start(FAKE_NODE)
    space = probe.node.get_namespace()
    examples = {name: run(name, "-r", f"__ns:={space}", *with_p(values)) for name, values in EXAMPLES.items()}
    images = probe.node.create_publisher(Image, "image", 1)
    probe.until(lambda: images.get_subscription_count(), "the node's subscription")

    def look(value=OK):
        message = Image(height=64, width=64, encoding="mono8", step=64, data=bytes([value]) * 4096)
        message.header.frame_id, message.header.stamp = "cam", probe.node.get_clock().now().to_msg()
        images.publish(message)

    yield probe, look, examples
    for process in examples.values():
        process.kill()


def run(name, *options):
    return NodeProcess(["-m", f"hmr_ros.ros.examples.{name}"], *options)


def with_p(values):
    return [part for value in values for part in ("-p", value)]


def test_listener_reads_every_field():
    people = [person(3, seed=1), person(8, seed=2)]
    arrays = read_people(records_to_cloud(Header(), people_to_records(people)))
    assert arrays["id"].tolist() == [3, 8] and arrays["body_pose"].shape == (2, 69) and arrays["betas"].shape == (2, 10)
    assert np.allclose(arrays["body_pose"], [p.body_pose for p in people], atol=1e-5)
    assert np.allclose(np.stack([arrays[axis] for axis in "xyz"], axis=-1), [p.transl for p in people])
    assert len(describe(arrays)) == 2
    assert describe(read_people(records_to_cloud(Header(), people_to_records([])))) == ["nobody"]


def test_retarget_moves_the_arms(graph):
    probe, look, _ = graph
    states = probe.listen(JointState, f"{probe.node.get_namespace()}/joint_states")
    probe.until(lambda: states and np.abs(states[-1].position).max() > 0.5, "arms that moved", each=look)
    assert states[-1].name == list(JOINTS) and np.isfinite(states[-1].position).all()
    assert states[-1].header.stamp.sec > 0


def test_monitor_measures_slows_and_stops_when_blind(graph):
    probe, look, _ = graph
    space = f"{probe.node.get_namespace()}/separation_monitor"
    distances, scales = probe.listen(Float64, f"{space}/distance"), probe.listen(Float64, f"{space}/speed_scale")
    probe.until(lambda: scales and scales[-1].data == 0, "a stop while nothing is seen")
    poses = probe.listen(PoseArray, "poses")
    probe.until(lambda: poses and distances, "a distance", each=look)
    expected = closest_m(joints_of(next(p for p in poses if p.poses))[0], ROBOT, 0.1)
    assert distances[-1].data == pytest.approx(expected, abs=1e-4)
    scales.clear()
    probe.until(lambda: any(s.data == 1 for s in scales), "full speed while nobody is there", each=lambda: look(NOBODY))
    scales.clear()
    probe.until(lambda: any(s.data == 0 for s in scales), "a stop when no more comes")


@pytest.mark.parametrize("told", ["", "base"])
def test_points_are_compared_only_with_people_in_their_own_frame(graph, told):
    """As when the node falls back to the camera's frame because a transform to output_frame is missing."""
    probe, _, _ = graph
    space = f"{probe.node.get_namespace()}/frames_{told}"
    values = [*MONITOR, "timeout_s:=60.0", *([f"link_points_frame:={told}"] if told else [])]
    monitor = run("separation_monitor", "-r", f"__ns:={space}", *with_p(values))
    poses = probe.node.create_publisher(PoseArray, f"{space}/hmr/poses", 1)
    distances = probe.listen(Float64, f"{space}/separation_monitor/distance")
    scales = probe.listen(Float64, f"{space}/separation_monitor/speed_scale")

    def nobody_in(frame):
        poses.publish(PoseArray(header=Header(frame_id=frame, stamp=probe.node.get_clock().now().to_msg())))

    def until_scale(value, frame):
        probe.until(lambda: scales and scales[-1].data == value, f"a scale of {value}", each=lambda: nobody_in(frame))

    def several_in_another():
        scales.clear()
        probe.until(lambda: len(scales) > 3, "answers in another frame", each=lambda: nobody_in("cam"))

    if told:
        until_scale(0, "cam")
        assert not distances
    until_scale(1, "base")
    until_scale(0, "cam")
    several_in_another()
    heard = len(distances)
    several_in_another()
    assert heard and len(distances) == heard and {scale.data for scale in scales} == {0.0}
    probe.until(lambda: "people are in the frame 'cam', link_points_m in 'base'" in monitor.output, "the warning")
    until_scale(1, "base")
    monitor.kill()


def test_listener_hears_the_node_and_ends_well(graph):
    probe, look, examples = graph
    probe.until(lambda: "person 7" in examples["smpl_listener"].output, "the listener's line", each=look)
    assert examples["smpl_listener"].end() == 0, examples["smpl_listener"].output


def test_monitor_finds_the_robot_through_tf(graph):
    tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros (of a ROS 2 install) is not here")
    from geometry_msgs.msg import TransformStamped

    probe, look, _ = graph
    space = f"{probe.node.get_namespace()}/tf"
    where = [TransformStamped(header=Header(frame_id="cam"), child_frame_id=name) for name in ("base", "tool")]
    for transform, point in zip(where, ROBOT):
        transform.transform.translation.x, transform.transform.translation.y, transform.transform.translation.z = point
        transform.transform.rotation.w = 1.0
    broadcaster = tf2_ros.StaticTransformBroadcaster(probe.node)
    broadcaster.sendTransform(where)
    values = ["link_frames:=[base, tool]", "human_speed_m_s:=0.0"]
    poses = f"hmr/poses:={probe.target}/poses"
    monitor = run("separation_monitor", "-r", f"__ns:={space}", "-r", poses, *with_p(values))
    heard, distances = probe.listen(PoseArray, "poses"), probe.listen(Float64, f"{space}/separation_monitor/distance")
    probe.until(lambda: distances and any(p.poses for p in heard), "a distance", each=look)
    monitor.kill()
    expected = closest_m(joints_of(next(p for p in heard if p.poses))[0], ROBOT, 0.1)
    assert distances[-1].data == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "where is the robot?"),
        (["link_points_m:=[0.0, 0.0, 1.0]", "slow_distance_m:=0.1"], "slow_distance_m"),
        pytest.param(
            ["link_frames:=[tool0]"],
            "needs tf2_ros",
            marks=pytest.mark.skipif(find_spec("tf2_ros") is not None, reason="tf2_ros is here"),
        ),
    ],
)
def test_monitor_says_what_it_lacks(ros, values, says):
    monitor = run("separation_monitor", *with_p(values))
    assert monitor.wait() == 1 and says in monitor.output and "Traceback" not in monitor.output
