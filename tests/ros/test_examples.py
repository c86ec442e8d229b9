"""The control examples as processes of their own, on the real topics of a node."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from conftest import FAKE_NODE
from fake_node import OK, person
from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, Header

from hmr_ros.examples.retarget import JOINTS
from hmr_ros.examples.separation import closest_m
from hmr_ros.ros.examples.main import joints_of
from hmr_ros.ros.examples.smpl_listener import describe, read_people
from hmr_ros.ros.smpl_cloud import people_to_records, records_to_cloud

NOBODY = 9


@pytest.fixture(scope="module")
def graph(start):
    """A namespace with the node in it, and `look(value)`, which shows it an image."""
    node, probe = start(FAKE_NODE)
    images = probe.node.create_publisher(Image, "image", 1)
    probe.until(lambda: images.get_subscription_count(), "the node's subscription")

    def look(value=OK):
        message = Image(height=64, width=64, encoding="mono8", step=64, data=bytes([value]) * 4096)
        message.header.frame_id, message.header.stamp = "cam", probe.node.get_clock().now().to_msg()
        images.publish(message)

    return probe, look


@pytest.fixture
def example(graph, start):
    """example(module, *ros_args): in the node's namespace."""
    from conftest import NodeProcess

    processes = []

    def run(name, *options):
        space = f"__ns:={graph[0].node.get_namespace()}"
        processes.append(NodeProcess(["-m", f"hmr_ros.ros.examples.{name}"], "-r", space, *options))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()


def test_listener_reads_every_field():
    people = [person(3, seed=1), person(8, seed=2)]
    arrays = read_people(records_to_cloud(Header(), people_to_records(people)))
    assert arrays["id"].tolist() == [3, 8] and arrays["body_pose"].shape == (2, 69) and arrays["betas"].shape == (2, 10)
    assert np.allclose(arrays["body_pose"], [p.body_pose for p in people], atol=1e-5)
    assert np.allclose(np.stack([arrays[axis] for axis in "xyz"], axis=-1), [p.transl for p in people])
    assert len(describe(arrays)) == 2
    assert describe(read_people(records_to_cloud(Header(), people_to_records([])))) == ["nobody"]


def test_listener_hears_the_node(graph, example):
    probe, look = graph
    listener = example("smpl_listener")
    probe.until(lambda: "person 7" in listener.output, "the listener's line", each=look)
    assert listener.end() == 0, listener.output


def test_retarget_moves_the_arms(graph, example):
    probe, look = graph
    example("upper_body_retarget")
    states = probe.listen(JointState, f"{probe.node.get_namespace()}/joint_states")
    probe.until(lambda: states and np.abs(states[-1].position).max() > 0.5, "arms that moved", each=look)
    assert states[-1].name == list(JOINTS) and np.isfinite(states[-1].position).all()
    assert states[-1].header.stamp.sec > 0


def test_monitor_measures_slows_and_stops_when_blind(graph, example):
    probe, look = graph
    example("separation_monitor", "-p", "link_points_m:=[0.0, 0.0, 1.0, 0.0, 1.0, 1.0]", "-p", "human_speed_m_s:=0.0")
    space = f"{probe.node.get_namespace()}/separation_monitor"
    distances, scales = probe.listen(Float64, f"{space}/distance"), probe.listen(Float64, f"{space}/speed_scale")
    probe.until(lambda: scales and scales[-1].data == 0, "a stop while nothing is seen")
    poses = probe.listen(PoseArray, "poses")
    probe.until(lambda: poses and distances, "a distance", each=look)
    robot = np.array([[0.0, 0, 1], [0, 1, 1]])
    expected = closest_m(joints_of(next(p for p in poses if p.poses))[0], robot, 0.1)
    assert distances[-1].data == pytest.approx(expected, abs=1e-4)
    scales.clear()
    probe.until(lambda: any(s.data == 1 for s in scales), "full speed while nobody is there", each=lambda: look(NOBODY))
    scales.clear()
    probe.until(lambda: any(s.data == 0 for s in scales), "a stop when no more comes")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "where is the robot?"),
        (["-p", "link_points_m:=[0.0, 0.0, 1.0]", "-p", "slow_distance_m:=0.1"], "slow_distance_m"),
    ],
)
def test_monitor_says_what_it_lacks(example, options, says):
    monitor = example("separation_monitor", *options)
    assert monitor.wait() == 1 and says in monitor.output and "Traceback" not in monitor.output
