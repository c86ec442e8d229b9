"""Image messages to RGB arrays.

Our own decoder rather than cv_bridge: it honours `step` and byte order, needs no compiled module that breaks under pip's
numpy, and says why a message is not a usable image. Messages are read by attribute, so this file needs no ROS.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

MIN_SIDE_PX = 16
"""Smaller images cannot hold a person."""
MAX_SIDE_PX = 32766
"""OpenCV's warps, which crop people from the image, index pixels with 16 bits."""


class FrameError(ValueError):
    """A received message is not usable. The error's text says why; the next message may be fine."""


def header_stamp_ns(msg) -> int:
    """The header's stamp in nanoseconds: when the content of `msg` was captured; 0 where it is not set."""
    return msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec


_PACKED = {
    "rgb8": (1, "rgb"), "bgr8": (1, "bgr"), "rgba8": (1, "rgba"), "bgra8": (1, "bgra"), "mono8": (1, "m"),
    "rgb16": (2, "rgb"), "bgr16": (2, "bgr"), "rgba16": (2, "rgba"), "bgra16": (2, "bgra"), "mono16": (2, "m"),
    "8UC1": (1, "m"), "8UC3": (1, "bgr"), "8UC4": (1, "bgra"), "16UC3": (2, "bgr"), "16UC4": (2, "bgra"),
}  # fmt: skip
"""Encoding: bytes per channel, order of the channels (m: grey). 8UCn and 16UCn name no channels and are read in OpenCV's order."""

_BAYER = {"rggb": "BayerBG2RGB", "bggr": "BayerRG2RGB", "gbrg": "BayerGR2RGB", "grbg": "BayerGB2RGB"}
"""ROS names a pattern by its first two rows, OpenCV by the second pixel of the second row: hence the crossed names."""

_YUV422 = {"uyvy": "YUV2RGB_UYVY", "yuv422": "YUV2RGB_UYVY", "yuyv": "YUV2RGB_YUY2", "yuv422_yuy2": "YUV2RGB_YUY2"}
_YUV420 = {"nv12": "YUV2RGB_NV12", "nv21": "YUV2RGB_NV21"}
_YUV444 = np.array([[1.164, 0, 1.596, -222.9], [1.164, -0.392, -0.813, 135.6], [1.164, 2.017, 0, -276.8]])
"""R, G, B from Y, U, V, 1 for nv24, which OpenCV does not support: BT.601, limited range, as OpenCV uses for the others."""
_DEPTH = ("16UC1", "32FC1")
_NUMBERS = re.compile(r"(8|16|32|64)[USF]C\d{1,2}")
_QUOTED = 40
"""How many characters of a received name are quoted in messages, because it may have any length."""


def image_to_rgb(msg) -> np.ndarray:
    """sensor_msgs/Image to (H, W, 3) uint8, RGB. Raises FrameError.

    16-bit channels keep their upper byte (full scale stays full scale). rgb8 is a view of the message, not a copy.
    """
    encoding, width, height = msg.encoding, msg.width, msg.height
    _check_size(width, height)
    if encoding in _PACKED:
        return _packed_to_rgb(msg, *_PACKED[encoding])
    if encoding.startswith("bayer_") and encoding[6:10] in _BAYER and encoding[10:] in ("8", "16"):
        return _to_8bit(_convert(_pixels(msg, int(encoding[10:]) // 8, 1)[..., 0], _BAYER[encoding[6:10]]))
    if encoding in _YUV422:
        if width % 2:
            raise FrameError(f"{encoding} image with an odd width of {width}")
        return _convert(_pixels(msg, 1, 2), _YUV422[encoding])
    if encoding in _YUV420:
        if width % 2 or height % 2:
            raise FrameError(f"{encoding} image of odd size {width}x{height}")
        return _convert(_pixels(msg, 1, 1, rows=height * 3 // 2)[..., 0], _YUV420[encoding])
    if encoding == "nv24":
        return _nv24_to_rgb(msg)
    if encoding in _DEPTH:
        raise FrameError(f"encoding {encoding!r} is a depth image: remap 'image' to a colour or grey image")
    if _NUMBERS.fullmatch(encoding):
        raise FrameError(f"encoding {encoding!r} is numbers that may mean anything: publish rgb8, bgr8 or mono8")
    known = ", ".join([*_PACKED, *(f"bayer_{p}8" for p in _BAYER), *_YUV422, *_YUV420, "nv24"])
    raise FrameError(f"unknown encoding {encoding[:_QUOTED]!r}; known are: {known}")


def compressed_to_rgb(msg) -> np.ndarray:
    """sensor_msgs/CompressedImage (JPEG, PNG, whatever OpenCV reads) to (H, W, 3) uint8, RGB. Raises FrameError."""
    import cv2

    format = msg.format[:_QUOTED]
    if "compresseddepth" in msg.format.lower():
        raise FrameError(f"format {format!r} is a depth image: remap 'image' to a colour or grey image")
    data = np.frombuffer(msg.data, np.uint8)
    start = data[:3].tobytes()
    # libjpeg fills the missing part of a truncated image with grey and reports success.
    if start == b"\xff\xd8\xff" and b"\xff\xd9" not in data[len(data) // 2 :].tobytes():
        raise FrameError(f"JPEG of {len(data)} bytes is truncated: no end marker")
    try:
        # CameraInfo describes the stored pixels, so EXIF orientation must not rotate them.
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise FrameError(f"compressed image of {len(data)} bytes ({format!r}): {error.err or error}") from error
    if bgr is None:
        raise FrameError(f"compressed image of {len(data)} bytes ({format!r}) cannot be decoded")
    _check_size(bgr.shape[1], bgr.shape[0])
    return _convert(bgr, "BGR2RGB")


def depth_to_metres(msg) -> np.ndarray:
    """sensor_msgs/Image of depth to (H, W) float32 metres, 0 or NaN where unknown (REP-118). Raises FrameError.

    16UC1 counts millimetres; 32FC1 is a view of the message, not a copy, where the byte order is the machine's.
    """
    if msg.encoding not in _DEPTH:
        raise FrameError(f"encoding {msg.encoding[:_QUOTED]!r} is no depth image: need {' or '.join(_DEPTH)}")
    _check_size(msg.width, msg.height)
    pixels = _pixels(msg, {"16UC1": 2, "32FC1": 4}[msg.encoding], 1)[..., 0]
    return pixels if pixels.dtype == np.float32 else pixels.astype(np.float32) * np.float32(1e-3)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE_PX:
        raise FrameError(f"image of {width}x{height} pixels: need at least {MIN_SIDE_PX} on each side")
    if max(width, height) > MAX_SIDE_PX:
        raise FrameError(f"image of {width}x{height} pixels: at most {MAX_SIDE_PX} on each side")


def decoder(transport: str) -> Callable[[object], np.ndarray]:
    return {"raw": image_to_rgb, "compressed": compressed_to_rgb}[transport]


def _packed_to_rgb(msg, itemsize: int, order: str) -> np.ndarray:
    pixels = _to_8bit(_pixels(msg, itemsize, len(order)))
    if order == "rgb":
        return pixels
    return _convert(pixels, ("GRAY" if order == "m" else order.upper()) + "2RGB")


def _nv24_to_rgb(msg) -> np.ndarray:
    """All of Y, then U and V interleaved. They have full resolution too, so their rows are twice as long."""
    import cv2

    height, width, step = msg.height, msg.width, msg.step
    luma = _pixels(msg, 1, 1, rows=3 * height)[:height]
    buffer = memoryview(msg.data).cast("B")
    chroma = np.ndarray((height, width, 2), np.uint8, buffer, offset=step * height, strides=(2 * step, 2, 1))
    return cv2.transform(np.concatenate([luma, chroma], axis=-1), _YUV444)


def _pixels(msg, itemsize: int, channels: int, rows: int | None = None) -> np.ndarray:
    """The message's data, (rows, W, channels); a view if it has the machine's byte order. itemsize 1: uint8, 2: uint16, 4: float32."""
    rows = rows or msg.height
    row_bytes = msg.width * channels * itemsize
    if msg.step < row_bytes:
        raise FrameError(f"step of {msg.step} bytes, but a row of {msg.width} {msg.encoding} pixels has {row_bytes}")
    needed = msg.step * (rows - 1) + row_bytes
    if len(msg.data) < needed:
        raise FrameError(
            f"{len(msg.data)} bytes of data, but {msg.width}x{msg.height} {msg.encoding} with step {msg.step} needs {needed}"
        )
    strides = (msg.step, channels * itemsize, itemsize)
    byte_order = ">" if msg.is_bigendian else "<"
    dtype = np.dtype(byte_order + {1: "u1", 2: "u2", 4: "f4"}[itemsize])
    # bytes() would copy; array('B'), numpy and memoryview all offer the buffer itself.
    view = np.ndarray((rows, msg.width, channels), dtype, buffer=memoryview(msg.data).cast("B"), strides=strides)
    return view if dtype.isnative else view.astype(dtype.newbyteorder("="))


def _to_8bit(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _convert(pixels: np.ndarray, name: str) -> np.ndarray:
    import cv2

    return cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{name}"))
