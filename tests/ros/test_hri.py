"""REP-155 topics. hri_msgs is not on PyPI: with it the real node publishes; without it, what it says is read off stand-ins.

The stand-ins have the fields of hri_msgs' own definitions, and refuse any other.
"""

import dataclasses
import sys
import types
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from fake_node import person
from ros_graph import FAKE_NODE
from std_msgs.msg import Header, String
from test_node import Camera, picture

from hmr_ros.camera import Camera as Pinhole
from hmr_ros.human_urdf import joint_angles, model
from hmr_ros.rep155 import LANDMARKS, body_frame
from hmr_ros.ros.hri import Body, HriPublisher, body_transforms
from hmr_ros.rotation import quat_to_rotmat
from hmr_ros.types import Frame

HEADER = Header(frame_id="cam")
FRAME = Frame(np.zeros((480, 640, 3), np.uint8), Pinhole.guess(640, 480))


def hri_msgs_is_here() -> bool:
    try:
        import hri_msgs.msg  # noqa: F401
    except ImportError:
        return False
    return True


@dataclass
class IdsList:
    header: Header = None
    ids: list = field(default_factory=list)


@dataclass
class NormalizedRegionOfInterest2D:
    header: Header = None
    xmin: float = 0.0
    ymin: float = 0.0
    xmax: float = 0.0
    ymax: float = 0.0
    c: float = 0.0


@dataclass
class NormalizedPointOfInterest2D:
    x: float = 0.0
    y: float = 0.0
    c: float = 0.0


@dataclass
class Skeleton2D:
    header: Header = None
    skeleton: list = field(default_factory=list)


class Topics:
    """A node, as far as its publishers go: topic -> messages, while the topic exists."""

    def __init__(self, listeners: int = 1):
        self.heard, self.listeners = {}, listeners

    def create_publisher(self, kind, topic, qos):
        self.heard[topic] = []
        return types.SimpleNamespace(
            topic=topic, publish=self.heard[topic].append, get_subscription_count=lambda: self.listeners
        )

    def destroy_publisher(self, publisher):
        del self.heard[publisher.topic]


@pytest.fixture
def topics(monkeypatch):
    module = types.ModuleType("hri_msgs.msg")
    for kind in (IdsList, NormalizedRegionOfInterest2D, NormalizedPointOfInterest2D, Skeleton2D):
        setattr(module, kind.__name__, kind)
    package = types.ModuleType("hri_msgs")
    package.msg = module
    monkeypatch.setitem(sys.modules, "hri_msgs", package)
    monkeypatch.setitem(sys.modules, "hri_msgs.msg", module)
    return Topics()


def test_a_body_has_its_topics_while_it_is_seen(topics):
    publisher = HriPublisher(topics)
    publisher.publish(HEADER, FRAME, [Body(person(7)), Body(person(9, 1))])
    assert topics.heard["/humans/bodies/tracked"][-1].ids == ["p7", "p9"]
    assert {
        f"/humans/bodies/p7/{name}" for name in ("roi", "skeleton2d", "joint_states", "urdf")
    } <= topics.heard.keys()
    publisher.publish(HEADER, FRAME, [Body(person(9, 1))])
    assert topics.heard["/humans/bodies/tracked"][-1].ids == ["p9"]
    assert not [topic for topic in topics.heard if "/p7/" in topic]
    publisher.clear()
    assert topics.heard["/humans/bodies/tracked"][-1].ids == [] and len(topics.heard) == 1
    publisher.close()
    assert not topics.heard


def test_what_a_body_says(topics):
    who = person(7)
    HriPublisher(topics).publish(HEADER, FRAME, [Body(who)])
    (roi,), (skeleton,), (joints,) = (
        topics.heard[f"/humans/bodies/p7/{name}"] for name in ("roi", "skeleton2d", "joint_states")
    )
    assert 0 <= roi.xmin <= roi.xmax <= 1 and 0 <= roi.ymin <= roi.ymax <= 1 and roi.c == who.score
    assert len(skeleton.skeleton) == len(LANDMARKS) and all(0 <= p.x <= 1 and 0 <= p.y <= 1 for p in skeleton.skeleton)
    assert dict(zip(joints.name, joints.position)) == {f"{n}_p7": a for n, a in joint_angles(who).items()}
    assert roi.header == skeleton.header == joints.header == HEADER


def test_nothing_is_said_to_nobody(topics):
    """But who is there and how they are built, which is kept for those who ask late."""
    topics.listeners = 0
    body = Body(person(7))
    HriPublisher(topics).publish(HEADER, FRAME, [body])
    said = {topic.rsplit("/", 1)[1]: len(messages) for topic, messages in topics.heard.items()}
    assert said == {"tracked": 1, "urdf": 1, "roi": 0, "skeleton2d": 0, "joint_states": 0}
    assert "angles" not in vars(body), "angles are dear"


def test_two_cameras_can_have_people_of_their_own(topics):
    bodies = [Body(person(7), prefix) for prefix in ("front_", "rear_")]
    HriPublisher(topics).publish(HEADER, FRAME, bodies)
    assert topics.heard["/humans/bodies/tracked"][-1].ids == ["front_p7", "rear_p7"]
    assert len({found.child_frame_id for found in body_transforms(HEADER, bodies)}) == 2 * (1 + len(bodies[0].model))


def test_a_urdf_is_told_once_and_again_when_the_bones_change(topics):
    publisher, who = HriPublisher(topics), person(7)
    for _ in range(3):
        publisher.publish(HEADER, FRAME, [Body(who)])
    (told,) = topics.heard["/humans/bodies/p7/urdf"]
    taller = dataclasses.replace(who, joints=1.1 * who.joints)
    publisher.publish(HEADER, FRAME, [Body(taller)])
    assert len(topics.heard["/humans/bodies/p7/urdf"]) == 2
    robot = ElementTree.fromstring(told.data)
    (states,) = topics.heard["/humans/bodies/p7/joint_states"][:1]
    assert [j.get("name") for j in robot.iter("joint") if j.get("type") == "revolute"] == states.name


def test_frames_are_told_to_tf():
    """body_<id> from the camera, and below it every link of the URDF where the angles bring it."""
    who = person(7)
    first, *links = body_transforms(HEADER, [Body(who)])
    assert (first.header.frame_id, first.child_frame_id) == ("cam", "body_p7")
    rotmat, origin = body_frame(who)
    q, t = first.transform.rotation, first.transform.translation
    np.testing.assert_allclose(quat_to_rotmat(np.array([q.x, q.y, q.z, q.w])), rotmat, atol=1e-5)
    np.testing.assert_allclose([t.x, t.y, t.z], origin, atol=1e-6)
    tree = {link.child_frame_id: link for link in links}
    assert {(f"{j.parent}_p7", f"{j.child}_p7") for j in model(who)} == {
        (link.header.frame_id, name) for name, link in tree.items()
    }
    assert tree["l_elbow_p7"].transform.rotation.y == pytest.approx(-np.sin(joint_angles(who)["l_elbow"] / 2))


@pytest.mark.skipif(hri_msgs_is_here(), reason="hri_msgs is installed here")
def test_a_node_without_hri_msgs_works_on_and_says_what_to_install(start):
    node, probe = start(FAKE_NODE, "-p", "publish_hri:=true", "-p", "diagnostics_period_s:=0.1")
    node.wait_for_line("active: listening to")
    assert "hri_msgs cannot be imported" in node.output and "ros-<distro>-hri-msgs" in node.output
    camera = Camera(probe)
    camera.tell_camera()
    camera.until_counted("processed", 1)
    assert "hri_msgs" in camera.value("degraded")


@pytest.mark.skipif(not hri_msgs_is_here(), reason="hri_msgs (of a ROS 2 install) is not here")
def test_a_node_with_hri_msgs_publishes(start):
    from hri_msgs.msg import IdsList, Skeleton2D

    node, probe = start(FAKE_NODE, "-p", "publish_hri:=true")
    node.wait_for_line("active: listening to")
    camera = Camera(probe)
    camera.tell_camera()
    tracked = probe.listen(IdsList, "/humans/bodies/tracked", latched=True)
    camera.send_until(picture(), lambda: any(message.ids == ["p7"] for message in tracked), "the body's id")
    skeletons = probe.listen(Skeleton2D, "/humans/bodies/p7/skeleton2d")
    camera.send_until(picture(), lambda: skeletons, "the body's landmarks")
    told = probe.listen(String, "/humans/bodies/p7/urdf", latched=True)
    probe.until(lambda: told, "the URDF, told before we asked")
    assert ElementTree.fromstring(told[0].data).get("name") == "human_p7"
