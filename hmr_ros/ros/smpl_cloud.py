"""People as a sensor_msgs/PointCloud2: one record per person, and back to numpy.

A record is a point at `transl` with the SMPL parameters as further fields, so any ROS 2 tool can echo, bag and plot it.
`sensor_msgs_py.point_cloud2.read_points` gives a structured array where a field of n numbers is n columns (`betas_0` ...);
`cloud_to_records` keeps such a field as one array (`betas`, shape (N, 10)).
"""

from __future__ import annotations

import sys
from array import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from hmr_ros.metrics import reprojection_error
from hmr_ros.rotation import rotmat_to_rotvec

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

_DATATYPES = {
    "i1": PointField.INT8, "u1": PointField.UINT8, "i2": PointField.INT16, "u2": PointField.UINT16,
    "i4": PointField.INT32, "u4": PointField.UINT32, "f4": PointField.FLOAT32, "f8": PointField.FLOAT64,
}  # fmt: skip
_FORMATS = {number: name for name, number in _DATATYPES.items()}


def people_to_records(people) -> np.ndarray:
    """(N,) structured array of RECORD, in the order of `people`."""
    records = np.zeros(len(people), RECORD)
    for record, person in zip(records, people):
        rotvec = rotmat_to_rotvec(person.rotmat)
        record["x"], record["y"], record["z"] = person.transl
        record["id"], record["score"] = person.id, person.score
        record["global_orient"], record["body_pose"] = rotvec[0], rotvec[1:].reshape(69)
        record["betas"], record["confidence"] = person.betas, person.joint_confidence
        record["loss_before"], record["loss_after"] = person.loss_before, person.loss_after
        record["steps"] = person.steps
        seen = (person.keypoints_uv, person.keypoint_confidence)
        record["reprojection_px_before"] = reprojection_error(person.reprojection_px_before, *seen)
        record["reprojection_px_after"] = reprojection_error(person.reprojection_px, *seen)
    return records


def records_to_cloud(header, records: np.ndarray) -> PointCloud2:
    """records: (N,) structured, or (rows, N) for an organised cloud."""
    rows, columns = records.shape if records.ndim == 2 else (1, len(records))
    itemsize = records.dtype.itemsize
    cloud = PointCloud2(
        header=header, height=rows, width=columns, fields=fields_of(records.dtype), is_bigendian=False,
        point_step=itemsize, row_step=itemsize * columns, is_dense=True,
    )  # fmt: skip
    cloud.data = array("B", records.tobytes())
    return cloud


def fields_of(dtype: np.dtype) -> list[PointField]:
    """The PointFields that describe a structured dtype."""
    fields = []
    for name in dtype.names:
        item, offset = dtype.fields[name][:2]
        count = int(np.prod(item.shape)) if item.shape else 1
        fields.append(PointField(name=name, offset=offset, datatype=_DATATYPES[item.base.str[1:]], count=count))
    return fields


def cloud_to_records(cloud) -> np.ndarray:
    """Any PointCloud2 to a structured array, (N,) or (rows, columns) where it has rows; fields of n numbers stay arrays."""
    order = ">" if cloud.is_bigendian else "<"
    dtype = np.dtype(
        {
            "names": [f.name for f in cloud.fields],
            "formats": [
                (f"{order}{_FORMATS[f.datatype]}", (f.count,)) if f.count > 1 else f"{order}{_FORMATS[f.datatype]}"
                for f in cloud.fields
            ],
            "offsets": [f.offset for f in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    if cloud.height != 1 and cloud.width:
        shape, strides = (cloud.height, cloud.width), (cloud.row_step, cloud.point_step)
    else:
        shape, strides = (cloud.height * cloud.width,), (cloud.point_step,)
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    records = np.ndarray(shape, dtype, buffer=memoryview(cloud.data).cast("B"), strides=strides)
    return records if order == {"little": "<", "big": ">"}[sys.byteorder] else records.astype(dtype.newbyteorder("="))
