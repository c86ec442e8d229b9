"""The whole chain: the node as users start it, the shipped model, and a picture of a person over real topics."""

import json
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from ros_graph import REAL_NODE, ROOT
from sensor_msgs.msg import CameraInfo, Image, MultiDOFJointState, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from hmr_ros.ros.smpl_cloud import cloud_to_records

CLIP = ROOT / "hmr_ros" / "assets" / "demo" / "walk.mp4"
FRAME = 20


@pytest.fixture(scope="module")
def truth() -> dict:
    path = CLIP.with_suffix(".npz")
    if not (CLIP.is_file() and path.is_file()):
        pytest.skip(f"{CLIP} is not here")
    return dict(np.load(path))


@pytest.fixture(scope="module")
def picture(truth) -> np.ndarray:
    import cv2

    clip = cv2.VideoCapture(str(CLIP))
    for _ in range(FRAME + 1):
        read, bgr = clip.read()
    clip.release()
    assert read
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def heard(start, truth, picture):
    """What the node says about the picture: topic -> messages."""
    from hmr_ros.keypoints.blazepose_models import find_models

    try:
        find_models()
    except Exception as error:
        pytest.skip(f"no keypoint models: {error}")
    node, probe = start(REAL_NODE, "-p", "diagnostics_period_s:=0.2")
    node.wait_for_line("active: listening to")
    kinds = {
        "smpl": PointCloud2, "joint_states": MultiDOFJointState, "poses": PoseArray, "markers": MarkerArray,
        "mesh": PointCloud2, "overlay": Image, "/diagnostics": DiagnosticArray,
    }  # fmt: skip
    topics = {topic: probe.listen(kind, topic) for topic, kind in kinds.items()}
    topics["body_model"] = probe.listen(String, "body_model", latched=True)
    images, infos = (probe.node.create_publisher(k, n, 1) for k, n in ((Image, "image"), (CameraInfo, "camera_info")))
    height, width = picture.shape[:2]
    info = CameraInfo(width=width, height=height, k=truth["K"].ravel().tolist(), distortion_model="plumb_bob")
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    image.header.frame_id = "camera"
    image.data = array("B", picture.tobytes())

    def send():
        image.header.stamp = probe.node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(image)

    def complete() -> bool:
        found = [m for m in topics["smpl"] if m.width]
        told = [s for a in topics["/diagnostics"] for s in a.status if s.name.startswith(probe.target)]
        topics["status"] = {v.key: v.value for v in told[-1].values} if told else {}
        return len(found) > 3 and all(topics.values()) and int(topics["status"].get("frames_processed", 0)) > 3

    probe.until(complete, "messages on all topics", each=send)
    probe.until(lambda: any(m.ns == "mesh" for a in topics["markers"] for m in a.markers), "a mesh marker", each=send)
    assert node.end() == 0, node.output
    topics["smpl"] = [m for m in topics["smpl"] if m.width]
    return topics


def test_the_person_is_where_the_picture_was_rendered(heard, truth):
    (record,) = cloud_to_records(heard["smpl"][-1])
    transl = np.array([record["x"], record["y"], record["z"]])
    joints = np.array([[p.position.x, p.position.y, p.position.z] for p in heard["poses"][-1].poses])
    assert joints.shape == (24, 3)
    expected = truth["joints"][FRAME]
    assert np.linalg.norm(joints[0] - expected[0]) < 0.25 * expected[0, 2]
    pixels = (joints / joints[:, 2:]) @ truth["K"].T - (expected / expected[:, 2:]) @ truth["K"].T
    height_px = np.ptp(((expected / expected[:, 2:]) @ truth["K"].T)[:, 1])
    assert np.linalg.norm(pixels[:, :2], axis=1).mean() < 0.1 * height_px
    assert np.linalg.norm(transl - joints[0]) < 0.5
    assert record["score"] > 0.5 and record["reprojection_px_after"] < 0.1 * height_px


def test_outputs_agree_and_carry_the_header_of_the_image(heard):
    clouds, states = (
        {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec: m for m in heard[topic]}
        for topic in ("smpl", "joint_states")
    )
    newest = max(set(clouds) & set(states))  # of the very last, one topic may not have arrived when the node was ended
    cloud, state = clouds[newest], states[newest]
    (record,) = cloud_to_records(cloud)
    assert cloud.header.frame_id == state.header.frame_id == "camera"
    assert state.joint_names[0] == f"person_{record['id']}/pelvis" and len(state.transforms) == 24
    (mesh,) = [m for a in heard["markers"] for m in a.markers if m.ns == "mesh"][-1:]
    assert mesh.type == Marker.TRIANGLE_LIST and len(mesh.points) == 3 * 13776
    assert heard["mesh"][-1].width == 6890 and heard["mesh"][-1].height == 1


def test_overlay_shows_somebody(heard, picture):
    overlay = np.frombuffer(heard["overlay"][-1].data, np.uint8).reshape(picture.shape)
    changed = np.abs(overlay.astype(int) - picture).max(axis=-1) > 20
    assert 0.005 < changed.mean() < 0.5


def test_body_model_says_what_made_it(heard, truth):
    content = json.loads(heard["body_model"][0].data)
    assert content["shape_space"] == str(truth["shape_space"])
    assert len(content["bundle_sha256"]) == 64 and content["num_faces"] == 13776 and content["num_vertices"] == 6890


def test_diagnostics_tell_the_stages(heard):
    status = heard["status"]
    assert status["degraded"] == "" and "onnxruntime" in status["backend"] and int(status["people"]) == 1
    for stage in ("latency", "transport", "queue", "decode", "detect", "tto", "publish"):
        assert 0 <= float(status[f"{stage}_p50_ms"]) <= float(status[f"{stage}_max_ms"])
    assert float(status["rate_hz"]) > 0 and float(status["tto_steps_mean"]) >= 1
