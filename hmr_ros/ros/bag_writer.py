"""Results as a rosbag2 recording (MCAP), without ROS: replays with `ros2 bag play` and opens in Foxglove and RViz.

The topics are the node's: /hmr/smpl, /hmr/poses, /hmr/markers, and the overlay, as JPEG, on /hmr/overlay/compressed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.draw import MARKER_LIFETIME_S, track_colour
from hmr_ros.recording import FrameRecord, PersonRecord
from hmr_ros.ros.bag_reader import BagError
from hmr_ros.ros.smpl_record import describe_fields, to_records
from hmr_ros.rotation import rotmat_to_quat
from hmr_ros.skeleton import BONES, JOINT_NAMES
from hmr_ros.types import Frame

LINE_LIST, TEXT_VIEW_FACING = 5, 9
"""Values of `type` in visualization_msgs/Marker."""

TOPICS = {
    "/hmr/smpl": "sensor_msgs/msg/PointCloud2",
    "/hmr/poses": "geometry_msgs/msg/PoseArray",
    "/hmr/markers": "visualization_msgs/msg/MarkerArray",
    "/hmr/overlay/compressed": "sensor_msgs/msg/CompressedImage",
}
_HEAD = JOINT_NAMES.index("head")


def check_can_write(folder: Path) -> None:
    """Raises BagError if no bag can be written to `folder`. Call it first, to find out before the work begins."""
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise BagError(f"writing bags needs rosbags ({error}): pip install rosbags") from None
    if folder.exists():
        raise BagError(f"{folder} already exists and bags are never overwritten: remove it, or choose another --out")


class BagWriter:
    """A folder with metadata.yaml and one .mcap file. A context manager. Raises BagError when the folder already exists."""

    def __init__(self, folder: Path, body: BodyModel):
        check_can_write(folder)
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        self._body = body
        self._store = get_typestore(Stores.ROS2_HUMBLE)  # these messages are the same in every later distribution
        # Version 8 of the metadata is the newest that Humble's rosbag2 can read.
        self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        for topic, kind in TOPICS.items():
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        return self

    def __exit__(self, *error) -> None:
        self._writer.close()

    def write(self, frame: Frame, record: FrameRecord, overlay: np.ndarray) -> None:
        """overlay: (H, W, 3) uint8, RGB."""
        stamp = self._new("builtin_interfaces/msg/Time", sec=frame.stamp_ns // 10**9, nanosec=frame.stamp_ns % 10**9)
        header = self._new("std_msgs/msg/Header", stamp=stamp, frame_id=frame.frame_id)
        messages = (
            self._cloud(header, record.people),
            self._poses(header, record.people),
            self._markers(header, record.people),
            self._new("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=_jpeg(overlay)),
        )
        for (topic, kind), message in zip(TOPICS.items(), messages):
            self._writer.write(self._connections[topic], frame.stamp_ns, self._store.serialize_cdr(message, kind))

    def _new(self, kind: str, **fields):
        """A message. Fields that are not given are zero or empty, also in nested messages."""
        definition = self._store.get_msgdef(kind).fields
        return self._store.types[kind](**{n: fields[n] if n in fields else self._default(t) for n, t in definition})

    def _default(self, field_type):
        node, detail = field_type
        if node.name == "NAME":
            return self._new(detail)
        if node.name == "BASE":
            return {"string": "", "bool": False}.get(detail[0], 0)
        item = detail[0]
        return np.zeros(0, item[1][0]) if item[0].name == "BASE" else []

    def _cloud(self, header, people: tuple[PersonRecord, ...]):
        records = to_records(people)
        size = records.dtype.itemsize
        return self._new(
            "sensor_msgs/msg/PointCloud2", header=header, height=1, width=len(records), point_step=size,
            row_step=size * len(records), is_dense=True, data=np.frombuffer(records.tobytes(), np.uint8),
            fields=[self._new("sensor_msgs/msg/PointField", **field) for field in describe_fields(records.dtype)],
        )  # fmt: skip

    def _poses(self, header, people: tuple[PersonRecord, ...]):
        poses = []
        for person in people:
            quats = rotmat_to_quat(self._orientations(person).astype(float)).tolist()
            poses += [self._pose(p, q) for p, q in zip(person.joints.tolist(), quats)]
        return self._new("geometry_msgs/msg/PoseArray", header=header, poses=poses)

    def _markers(self, header, people: tuple[PersonRecord, ...]):
        """Bones and id of every person. Markers of people who left are deleted."""
        markers = [self._new("visualization_msgs/msg/Marker", header=header, action=3)]  # DELETEALL
        for person in people:
            points = [self._point(p) for p in person.joints.tolist()]
            bones = [points[joint] for joint in BONES.ravel()]
            above = (person.joints[_HEAD] + 0.3 * self._orientations(person)[_HEAD, :, 1]).tolist()
            markers += [
                self._marker(header, person.id, "skeleton", LINE_LIST, 0.02, points=bones),
                self._marker(header, person.id, "id", TEXT_VIEW_FACING, 0.15, text=str(person.id), position=above),
            ]
        return self._new("visualization_msgs/msg/MarkerArray", markers=markers)

    def _orientations(self, person: PersonRecord) -> np.ndarray:
        """(24, 3, 3): orientation of every joint in the camera frame."""
        return self._body.joints(person.rotmat[None], person.betas[None])[1][0]

    def _marker(self, header, number: int, space: str, kind: int, size_m: float, position=(0.0, 0.0, 0.0), **fields):
        r, g, b = (track_colour(number) / 255).tolist()
        return self._new(
            "visualization_msgs/msg/Marker", header=header, ns=space, id=number, type=kind, **fields,
            pose=self._pose(position, (0.0, 0.0, 0.0, 1.0)),
            scale=self._new("geometry_msgs/msg/Vector3", x=size_m, y=size_m, z=size_m),
            color=self._new("std_msgs/msg/ColorRGBA", r=r, g=g, b=b, a=1.0),
            lifetime=self._new("builtin_interfaces/msg/Duration", sec=MARKER_LIFETIME_S, nanosec=0),
        )  # fmt: skip

    def _pose(self, xyz, xyzw):
        quaternion = self._new("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", xyzw)))
        return self._new("geometry_msgs/msg/Pose", position=self._point(xyz), orientation=quaternion)

    def _point(self, xyz):
        return self._new("geometry_msgs/msg/Point", **dict(zip("xyz", xyz)))


def _jpeg(image: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].ravel()
