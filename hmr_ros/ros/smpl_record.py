"""One record per person: the fields of a point of ~/smpl. Numpy only, so that bags can be written without ROS too."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hmr_ros.recording import PersonRecord
from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat

RECORD = np.dtype(
    [
        ("x", "<f4"), ("y", "<f4"), ("z", "<f4"),  # transl, m, optical frame
        ("id", "<u4"),
        ("score", "<f4"),
        ("global_orient", "<f4", 3),  # axis-angle, rad
        ("body_pose", "<f4", 69),  # axis-angle of joints 1 to 23, rad
        ("betas", "<f4", 10),  # in the shape space that ~/body_model names
        ("confidence", "<f4", 24),  # per joint, 0 to 1
        ("loss_before", "<f4"), ("loss_after", "<f4"),  # of test-time optimisation
        ("steps", "<u4"),
        ("reprojection_px_before", "<f4"), ("reprojection_px_after", "<f4"),  # mean over seen keypoints; NaN: none seen
    ]
)  # fmt: skip

POINT_FIELD_TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
"""The constants of sensor_msgs/PointField, by numpy's names."""


def to_records(people: Iterable[PersonRecord]) -> np.ndarray:
    """(N,) structured array of RECORD, in the order of `people`."""
    people = list(people)
    records = np.zeros(len(people), RECORD)
    for record, person in zip(records, people):
        rotvec = rotmat_to_rotvec(person.rotmat)
        record["x"], record["y"], record["z"] = person.transl
        record["id"], record["score"] = person.id, person.score
        record["global_orient"], record["body_pose"] = rotvec[0], rotvec[1:].reshape(69)
        record["betas"], record["confidence"] = person.betas, person.joint_confidence
        record["loss_before"], record["loss_after"] = person.loss_before, person.loss_after
        record["steps"] = person.steps
        record["reprojection_px_before"] = person.reprojection_px_before
        record["reprojection_px_after"] = person.reprojection_px_after
    return records


def pose_of(records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 24, 3, 3) rotations, (N, 10) betas and (N, 3) transl of records, as the body model takes them."""
    rotvec = np.concatenate([records["global_orient"], records["body_pose"]], axis=1).reshape(-1, 24, 3)
    return rotvec_to_rotmat(rotvec), records["betas"], np.stack([records[axis] for axis in "xyz"], axis=-1)


def describe_fields(dtype: np.dtype) -> list[dict]:
    """The PointFields of a structured dtype, as keyword arguments: name, offset, datatype, count."""
    fields = []
    for name in dtype.names or ():
        item, offset = dtype.fields[name][:2]
        count = int(np.prod(item.shape)) if item.shape else 1
        fields.append(
            {"name": name, "offset": offset, "datatype": POINT_FIELD_TYPES[item.base.str[1:]], "count": count}
        )
    return fields
