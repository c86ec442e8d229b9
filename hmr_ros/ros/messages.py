"""Converts people to standard messages: one function per message, no publishing and no state."""

from __future__ import annotations

import json
import struct
from array import array

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PoseArray, Quaternion, Transform, TransformStamped, Vector3
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, MultiDOFJointState, PointCloud2
from std_msgs.msg import ColorRGBA, Header, String
from visualization_msgs.msg import Marker, MarkerArray

from hmr_ros.draw import MARKER_LIFETIME_S, track_colour
from hmr_ros.ros.smpl_cloud import records_to_cloud
from hmr_ros.rotation import rotmat_to_quat
from hmr_ros.skeleton import BONES, JOINT_NAMES, PARENTS

_HEAD = JOINT_NAMES.index("head")
_XYZ = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])


def joint_frame(person_id: int, joint: int, prefix: str = "") -> str:
    return f"{prefix}person_{person_id}/{JOINT_NAMES[joint]}"


def local_transforms(people) -> np.ndarray:
    """(N, 24, 7) translation and quaternion xyzw: each joint relative to its parent; the root (pelvis) relative to the people's frame."""
    joints, orientation, rotmat = (_stacked(people, name) for name in ("joints", "joint_rotmat", "rotmat"))
    parents = list(PARENTS)
    offsets = np.einsum("njba,njb->nja", orientation[:, parents], joints - joints[:, parents])
    offsets[:, 0] = joints[:, 0]
    return np.concatenate([offsets, rotmat_to_quat(rotmat)], axis=-1)


def joint_states(header: Header, people, prefix: str = "") -> bytes:
    """A serialised MultiDOFJointState. Per person 24 joints: `transforms` as `local_transforms`, `twist` the velocities in the
    parent's frame. prefix: put in front of joint names."""
    names = [joint_frame(person.id, j, prefix) for person in people for j in range(len(JOINT_NAMES))]
    twist = np.zeros((len(people), len(JOINT_NAMES), 6))
    twist[:, 0, :3] = _stacked(people, "linear_velocity")
    twist[:, :, 3:] = _stacked(people, "angular_velocity")
    message = MultiDOFJointState(header=header, joint_names=names)
    return _spliced(message, local_transforms(people).reshape(-1, 7), twist.reshape(-1, 6), np.zeros((0, 6)))


def pose_array(header: Header, people) -> bytes:
    """A serialised PoseArray. 24 poses per person, joints in SMPL's order, people in the order of ~/smpl; in the header's frame."""
    poses = np.concatenate([_stacked(people, "joints"), rotmat_to_quat(_stacked(people, "joint_rotmat"))], axis=-1)
    return _spliced(PoseArray(header=header), poses.reshape(-1, 7))


def transforms(header: Header, people, prefix: str = "") -> list[TransformStamped]:
    """The kinematic tree of each person; the parent of its root is the image's frame."""
    return [
        TransformStamped(
            header=Header(
                stamp=header.stamp, frame_id=joint_frame(person.id, parent, prefix) if parent >= 0 else header.frame_id
            ),
            child_frame_id=joint_frame(person.id, joint, prefix),
            transform=Transform(translation=_vector(local[:3]), rotation=_quaternion(local[3:])),
        )
        for person, locals_ in zip(people, local_transforms(people).tolist())
        for joint, (parent, local) in enumerate(zip(PARENTS, locals_))
    ]  # fmt: skip


def skeleton_markers(header: Header, people) -> list[Marker]:
    """Bones as lines and the track id above the head, per person."""
    markers = []
    for person in people:
        points = [_point(p) for p in person.joints.tolist()]
        bones = _marker(header, "skeleton", person.id, Marker.LINE_LIST, 0.02)
        bones.points = [points[joint] for joint in BONES.ravel()]
        label = _marker(header, "id", person.id, Marker.TEXT_VIEW_FACING, 0.15)
        label.text = str(person.id)
        # Along the head's own y axis, which points to the top of the head in any frame.
        above = person.joints[_HEAD] + 0.3 * person.joint_rotmat[_HEAD, :, 1]
        label.pose.position = _point(above.astype(float).tolist())
        markers += [bones, label]
    return markers


def deletions(header: Header, ids) -> list[Marker]:
    """Deletions of all markers of people who left."""
    return [
        Marker(header=header, ns=namespace, id=person_id, action=Marker.DELETE)
        for person_id in ids
        for namespace in ("skeleton", "id", "mesh")
    ]


def delete_all(header: Header) -> MarkerArray:
    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])


def mesh_marker(header: Header, person_id: int, vertices: np.ndarray, faces: np.ndarray, lifetime_s: float) -> bytes:
    """A serialised MarkerArray with one TRIANGLE_LIST of the whole mesh.

    Creating and serialising 41,328 Point objects takes 27 ms. A serialised Point is 24 bytes, so a message with one placeholder
    point is serialised, and the real points replace it: under 1 ms. vertices: (V, 3) metres; faces: (F, 3).
    """
    marker = _marker(header, "mesh", person_id, Marker.TRIANGLE_LIST, 1.0, alpha=0.9)
    stand_in = (1.7e-211, -2.3e-223, 3.1e-241)
    marker.points = [_point(stand_in)]
    marker.lifetime = _duration(lifetime_s)
    data = bytearray(serialize_message(MarkerArray(markers=[marker])))
    points = vertices[faces.reshape(-1)].astype("<f8")
    start = data.index(struct.pack("<3d", *stand_in))
    # Colour, lifetime and the padded frame_locked take a multiple of 8 bytes less 4, so the 4-byte count directly precedes the points.
    data[start - 4 : start] = struct.pack("<I", len(points))
    data[start : start + 24] = points.tobytes()
    return bytes(data)


def mesh_cloud(header: Header, vertices: np.ndarray) -> PointCloud2:
    """vertices: (N, V, 3) metres. An organised cloud: one row per person, in the order of ~/smpl."""
    points = np.ascontiguousarray(vertices, "<f4").view(_XYZ)[..., 0]
    return records_to_cloud(header, points)


def image_message(header: Header, rgb: np.ndarray) -> Image:
    height, width = rgb.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=width * 3)
    message.data = array("B", np.ascontiguousarray(rgb, np.uint8).tobytes())
    return message


def body_model_message(description: dict, faces: int, vertices: int) -> String:
    """JSON for subscribers of the other topics: which body and weights they come from. description: `pipeline.describe()`."""
    content = {
        **description, "joint_names": JOINT_NAMES, "parents": PARENTS, "num_faces": faces, "num_vertices": vertices
    }  # fmt: skip
    return String(data=json.dumps(content, default=str))


def _stacked(people, name: str) -> np.ndarray:
    """(N, ...) float64: one attribute of all people. With N = 0 the other dimensions are as usual."""
    shape = {"joints": (24, 3), "angular_velocity": (24, 3), "linear_velocity": (3,)}.get(name, (24, 3, 3))
    return np.array([getattr(person, name) for person in people], float).reshape(-1, *shape)


def _spliced(message, *arrays: np.ndarray) -> bytes:
    """`message` serialised, with `arrays`, (L, n) float64 each, as its last fields, which are sequences of structs of n float64.

    Creating and serialising an object per joint takes ten times as long. In CDR a sequence is its length and then its items;
    doubles are aligned to multiples of 8 bytes, counted from after the 4-byte encapsulation header.
    """
    data = bytearray(serialize_message(message)[: -4 * len(arrays)])  # an empty sequence is just its length
    for items in arrays:
        data += struct.pack("<I", len(items))
        if len(items):
            data += bytes(-(len(data) - 4) % 8) + items.astype("<f8").tobytes()
    return bytes(data)


def _marker(header, namespace: str, person_id: int, kind: int, size_m: float, alpha: float = 1.0) -> Marker:
    scale = Vector3(x=size_m, y=size_m, z=size_m)
    marker = Marker(header=header, ns=namespace, id=person_id, type=kind, action=Marker.ADD, scale=scale)
    marker.pose.orientation.w = 1.0
    marker.lifetime = _duration(MARKER_LIFETIME_S)
    r, g, b = (track_colour(person_id) / 255).tolist()
    marker.color = ColorRGBA(r=r, g=g, b=b, a=alpha)
    return marker


def _duration(seconds: float) -> Duration:
    return Duration(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))


def _point(xyz) -> Point:
    return Point(x=xyz[0], y=xyz[1], z=xyz[2])


def _vector(xyz) -> Vector3:
    return Vector3(x=xyz[0], y=xyz[1], z=xyz[2])


def _quaternion(xyzw) -> Quaternion:
    return Quaternion(x=xyzw[0], y=xyzw[1], z=xyzw[2], w=xyzw[3])
