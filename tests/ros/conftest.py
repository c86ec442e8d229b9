"""Real rclpy, real processes: the ROS graph of one test run, apart from all others."""

import os

import pytest
from ros_graph import NodeProcess, Probe

# Read when rclpy is initialised, here and in every node started from here.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
if os.environ.get("ROS_DISTRO") == "humble":  # which knows no discovery range
    os.environ["ROS_LOCALHOST_ONLY"] = "1"


@pytest.fixture(scope="session")
def ros():
    """An initialised rclpy, or a skip."""
    rclpy = pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")
    rclpy.init()
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def start(ros):
    """start(program, *ros_args) -> (NodeProcess, Probe) in a namespace of their own; all ended with the session."""
    everything = []

    def start(program, *options):
        namespace = f"/test_{len(everything)}"
        everything.append((NodeProcess(program, "-r", f"__ns:={namespace}", *options), Probe(ros, namespace)))
        return everything[-1]

    yield start
    for process, probe in everything:
        process.kill()
        probe.close()
