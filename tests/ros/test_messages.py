"""Messages say what the people say, and survive the wire."""

import json

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from fake_node import FakeBody, person
from geometry_msgs.msg import PoseArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import MultiDOFJointState, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from hmr_ros.ros import messages
from hmr_ros.ros.smpl_cloud import RECORD, cloud_to_records, people_to_records, records_to_cloud
from hmr_ros.rotation import quat_to_rotmat, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, PARENTS

HEADER = Header(frame_id="camera_optical_frame")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 345
PEOPLE = (person(7, 0), person(9, 1), person(4_000_000_000, 2))


def wire(message, kind=None):
    """What arrives. kind: of a message that is bytes already."""
    data = message if kind else serialize_message(message)
    return deserialize_message(data, kind or type(message))


def xyz(v):
    return np.array([v.x, v.y, v.z])


def xyzw(q):
    return np.array([q.x, q.y, q.z, q.w])


def test_smpl_cloud_round_trip():
    cloud = wire(records_to_cloud(HEADER, people_to_records(PEOPLE)))
    assert cloud.header == HEADER and cloud.width == 3 and cloud.height == 1
    records = cloud_to_records(cloud)
    assert records.dtype.names == RECORD.names
    for record, who in zip(records, PEOPLE):
        assert record["id"] == who.id and record["steps"] == who.steps
        np.testing.assert_array_equal([record["x"], record["y"], record["z"]], who.transl)
        np.testing.assert_array_equal(record["betas"], who.betas)
        np.testing.assert_array_equal(record["confidence"], who.joint_confidence)
        assert record["score"] == 0.875 and record["loss_before"] == 0.5 and record["loss_after"] == 0.25
        rotvec = np.concatenate([record["global_orient"], record["body_pose"]]).reshape(24, 3)
        np.testing.assert_allclose(rotvec_to_rotmat(rotvec), who.rotmat, atol=1e-5)
        assert record["reprojection_px_after"] == pytest.approx(5, abs=1e-4)
        assert record["reprojection_px_before"] == pytest.approx(10, abs=1e-4)


def test_smpl_cloud_columns_as_sensor_msgs_py_reads_them():
    """It makes n columns name_0 ... of a field of n numbers, at offset + i * size, rows being point_step apart."""
    cloud = records_to_cloud(HEADER, people_to_records(PEOPLE))
    raw = np.frombuffer(cloud.data, np.uint8).reshape(cloud.width, cloud.point_step)
    fields = {f.name: f for f in cloud.fields}
    assert sum(f.count * 4 for f in cloud.fields) == cloud.point_step
    assert fields["body_pose"].count == 69 and fields["betas"].count == 10 and fields["confidence"].count == 24
    column = fields["betas"].offset + 4 * 4
    betas_4 = raw[:, column : column + 4].copy().view("<f4")[:, 0]
    np.testing.assert_array_equal(betas_4, [who.betas[4] for who in PEOPLE])
    reader = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="sensor_msgs_py (of a ROS 2 install) is not here"
    )
    np.testing.assert_array_equal(reader.read_points(cloud)["betas_4"], betas_4)


def test_nobody_is_an_empty_cloud():
    cloud = wire(records_to_cloud(HEADER, people_to_records(())))
    assert cloud.width == 0 and len(cloud_to_records(cloud)) == 0
    assert wire(messages.mesh_cloud(HEADER, np.zeros((0, 8, 3), np.float32))).height == 0


def test_clouds_of_the_other_byte_order_are_read():
    records = people_to_records(PEOPLE)
    cloud = records_to_cloud(HEADER, records)
    swapped = PointCloud2(
        fields=cloud.fields, width=3, height=1, point_step=cloud.point_step, row_step=cloud.row_step, is_bigendian=True,
        data=records.byteswap().tobytes(),
    )  # fmt: skip
    np.testing.assert_array_equal(cloud_to_records(swapped)["betas"], records["betas"])


def test_joint_states_chain_to_the_joints():
    """Following the transforms from the root gives every joint's place and orientation in the camera frame."""
    message = wire(messages.joint_states(HEADER, PEOPLE), MultiDOFJointState)
    assert len(message.joint_names) == len(message.transforms) == len(message.twist) == 3 * 24
    assert message.joint_names[24] == "person_9/pelvis"
    for k, who in enumerate(PEOPLE):
        places, turns = np.zeros((24, 3)), np.zeros((24, 3, 3))
        for j, parent in enumerate(PARENTS):
            transform, twist = message.transforms[24 * k + j], message.twist[24 * k + j]
            place, turn = xyz(transform.translation), quat_to_rotmat(xyzw(transform.rotation))
            places[j] = place if parent < 0 else places[parent] + turns[parent] @ place
            turns[j] = turn if parent < 0 else turns[parent] @ turn
            np.testing.assert_allclose(xyz(twist.angular), who.angular_velocity[j])
        np.testing.assert_allclose(places, who.joints, atol=1e-5)
        np.testing.assert_allclose(turns, who.joint_rotmat, atol=1e-5)
        np.testing.assert_allclose(xyz(message.twist[24 * k].linear), who.linear_velocity)


@pytest.mark.parametrize("frame_id", ["", "a", "camera", "camera_optical_frame"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_spliced_messages_equal_those_that_ros_serialises(frame_id, count):
    """Whatever names do to the alignment: read and serialised again, they are the same bytes."""
    header = Header(stamp=HEADER.stamp, frame_id=frame_id)
    for make, kind in ((messages.joint_states, MultiDOFJointState), (messages.pose_array, PoseArray)):
        data = make(header, PEOPLE[:count])
        again = serialize_message(wire(data, kind))
        assert len(again) == len(data)
        assert wire(again, kind) == wire(data, kind)


def test_transforms_hang_from_the_image_frame():
    found = messages.transforms(HEADER, PEOPLE[:1])
    assert found[0].header.frame_id == HEADER.frame_id
    assert [t.child_frame_id for t in found] == [f"person_7/{name}" for name in JOINT_NAMES]
    assert all(t.header.frame_id == f"person_7/{JOINT_NAMES[PARENTS[j]]}" for j, t in enumerate(found) if j)


def test_poses_are_in_the_camera_frame():
    poses = wire(messages.pose_array(HEADER, PEOPLE), PoseArray).poses
    np.testing.assert_allclose([xyz(p.position) for p in poses[24:48]], PEOPLE[1].joints)
    turns = quat_to_rotmat(np.array([xyzw(p.orientation) for p in poses[24:48]]))
    np.testing.assert_allclose(turns, PEOPLE[1].joint_rotmat, atol=1e-5)


def test_skeletons_and_their_deletion():
    # Marker ids are int32; track ids start at 0 and never come near its end.
    bones, label = wire(MarkerArray(markers=messages.skeleton_markers(HEADER, PEOPLE[:1]))).markers
    assert bones.type == Marker.LINE_LIST and len(bones.points) == 46 and label.text == "7"
    ends = np.array([xyz(p) for p in bones.points]).reshape(23, 2, 3)
    np.testing.assert_allclose(ends[:, 1], PEOPLE[0].joints[1:])
    gone = messages.deletions(HEADER, {7})
    assert {m.ns for m in gone} == {"skeleton", "id", "mesh"} and all(m.action == Marker.DELETE for m in gone)


@pytest.mark.parametrize("frame_id", ["", "a", "camera", "camera_optical_frame"])
def test_spliced_mesh_marker_equals_the_one_made_of_points(frame_id):
    """Whatever the frame's name does to the alignment."""
    header = Header(stamp=HEADER.stamp, frame_id=frame_id)
    vertices = FakeBody().vertices(None, None, np.ones((1, 3)))[0]
    data = messages.mesh_marker(header, 7, vertices, FakeBody.faces, 1.5)
    found = deserialize_message(data, MarkerArray)
    (marker,) = found.markers
    expected = vertices[FakeBody.faces.reshape(-1)].astype(float)
    np.testing.assert_array_equal([xyz(p) for p in marker.points], expected)
    assert len(serialize_message(found)) == len(data)  # their padding differs: it is not initialised
    assert marker.type == Marker.TRIANGLE_LIST and marker.lifetime.nanosec == 500_000_000 and marker.header == header


def test_mesh_cloud_has_a_row_per_person():
    vertices = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    cloud = wire(messages.mesh_cloud(HEADER, vertices))
    assert (cloud.height, cloud.width) == (2, 8)
    records = cloud_to_records(cloud)
    np.testing.assert_array_equal(np.stack([records[c] for c in "xyz"], axis=-1), vertices)


def test_overlay_image():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    message = wire(messages.image_message(HEADER, rgb[:, ::-1]))
    assert message.encoding == "rgb8" and message.step == 21
    np.testing.assert_array_equal(np.frombuffer(message.data, np.uint8).reshape(5, 7, 3), rgb[:, ::-1])


def test_body_model_is_json():
    content = json.loads(messages.body_model_message({"shape_space": "x", "bundle_sha256": "ab"}, 12, 8).data)
    assert content["shape_space"] == "x" and content["joint_names"] == list(JOINT_NAMES)
    assert content["parents"] == list(PARENTS) and content["num_faces"] == 12
