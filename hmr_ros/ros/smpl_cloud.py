"""People as a sensor_msgs/PointCloud2: one record per person, and back to numpy.

A record is a point at `transl` with the SMPL parameters as further fields, so any ROS 2 tool can echo, bag and plot it.
`sensor_msgs_py.point_cloud2.read_points` gives a structured array where a field of n numbers is n columns (`betas_0` ...);
`cloud_to_records` keeps such a field as one array (`betas`, shape (N, 10)).
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from hmr_ros.recording import PersonRecord
from hmr_ros.ros.smpl_record import POINT_FIELD_TYPES, RECORD, describe_fields, to_records

__all__ = ["RECORD", "cloud_to_records", "fields_of", "people_to_records", "records_to_cloud"]

_FORMATS = {number: name for name, number in POINT_FIELD_TYPES.items()}


def people_to_records(people) -> np.ndarray:
    """(N,) structured array of RECORD, in the order of `people`."""
    return to_records(map(PersonRecord.of, people))


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


@lru_cache(maxsize=8)
def fields_of(dtype: np.dtype) -> list[PointField]:
    """The PointFields that describe a structured dtype: one list shared by all messages, so do not modify it."""
    return [PointField(**field) for field in describe_fields(dtype)]


def cloud_to_records(cloud) -> np.ndarray:
    """Any PointCloud2 to a structured array: (N,), or (rows, columns) for an organised cloud; fields of n numbers stay arrays."""
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
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    if cloud.height != 1 and cloud.width:
        shape, strides = (cloud.height, cloud.width), (cloud.row_step, cloud.point_step)
    else:
        shape, strides = (cloud.height * cloud.width,), (cloud.point_step,)
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    records = np.ndarray(shape, dtype, buffer=memoryview(cloud.data).cast("B"), strides=strides)
    return records if order == {"little": "<", "big": ">"}[sys.byteorder] else records.astype(dtype.newbyteorder("="))
