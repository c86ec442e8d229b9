"""Laws of the image decoder: every encoding of one picture decodes to that picture, and what is no image says why."""

from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from hmr_ros.ros.conversions import FrameError, compressed_to_rgb, decoder, image_to_rgb

HEIGHT, WIDTH = 48, 64


def picture() -> np.ndarray:
    """Smooth and coloured, so that demosaicking and chroma subsampling lose little, and no channel is like another."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 2 * x, 60 + 3 * y, 220 - x - y], axis=-1).astype(np.uint8)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False, height: int = HEIGHT):
    rows = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = rows.reshape(len(pixels), -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=123)
    return SimpleNamespace(
        encoding=encoding, width=WIDTH, height=height, step=padded.shape[1], is_bigendian=int(big),
        data=array("B", padded.tobytes()),
    )  # fmt: skip


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    out = np.empty((HEIGHT, WIDTH), rgb.dtype)
    for i, channel in enumerate(pattern):
        out[i // 2 :: 2, i % 2 :: 2] = rgb[i // 2 :: 2, i % 2 :: 2, "rgb".index(channel)]
    return out


def yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601, limited range: what OpenCV's YUV to RGB conversions expect."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return tuple(np.round(c).astype(np.uint8) for c in (y, u, v))


@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3", "8UC4"])
def test_packed_colours_are_exact(encoding, padding):
    rgb = picture()
    order = {"8UC3": "bgr", "8UC4": "bgra"}.get(encoding, encoding[:-1])
    channels = {**dict(zip("rgb", np.moveaxis(rgb, -1, 0))), "a": np.full((HEIGHT, WIDTH), 9, np.uint8)}
    pixels = np.stack([channels[c] for c in order], axis=-1)
    np.testing.assert_array_equal(image_to_rgb(message(pixels, encoding, padding)), rgb)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16", "16UC3", "16UC4"])
def test_sixteen_bits_keep_their_upper_byte(encoding, padding, big):
    rgb = picture()
    channels = {**dict(zip("rgb", np.moveaxis(rgb.astype(np.uint16) * 257, -1, 0))), "a": np.zeros(rgb.shape[:2], "u2")}
    order = {"16UC3": "bgr", "16UC4": "bgra"}.get(encoding, encoding[:-2])
    pixels = np.stack([channels[c] for c in order], axis=-1)
    np.testing.assert_array_equal(image_to_rgb(message(pixels, encoding, padding, big)), rgb)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["mono8", "mono16", "8UC1"])
def test_grey_is_the_same_in_all_channels(encoding, big):
    grey = picture()[..., 0]
    pixels = grey.astype(np.uint16) * 257 if encoding == "mono16" else grey
    rgb = image_to_rgb(message(pixels, encoding, 4, big))
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern, bits):
    rgb = picture().astype(np.uint16) * 257 if bits == 16 else picture()
    found = image_to_rgb(message(mosaic(rgb, pattern), f"bayer_{pattern}{bits}", 8))
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(found[inner].astype(int) - picture()[inner]).max() <= 4


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv422(encoding):
    y, u, v = yuv(picture())
    chroma = np.where(np.arange(WIDTH) % 2 == 0, u, np.roll(v, 1, axis=1))
    pair = (chroma, y) if encoding in ("uyvy", "yuv422") else (y, chroma)
    found = image_to_rgb(message(np.stack(pair, axis=-1), encoding, 12))
    assert np.abs(found.astype(int) - picture()).max() <= 8


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv420(encoding):
    y, u, v = yuv(picture())
    u, v = u[::2, ::2], v[::2, ::2]
    pair = np.stack((u, v) if encoding == "nv12" else (v, u), axis=-1).reshape(HEIGHT // 2, WIDTH)
    found = image_to_rgb(message(np.concatenate([y, pair]), encoding, 16))
    assert np.abs(found.astype(int) - picture()).max() <= 10


@pytest.mark.parametrize("padding", [0, 16])
def test_yuv444(padding):
    y, u, v = yuv(picture())
    luma = np.pad(y, ((0, 0), (0, padding)))
    chroma = np.pad(np.stack((u, v), axis=-1).reshape(HEIGHT, 2 * WIDTH), ((0, 0), (0, 2 * padding)))
    msg = message(y, "nv24", padding)
    msg.data = array("B", luma.tobytes() + chroma.tobytes())
    assert np.abs(image_to_rgb(msg).astype(int) - picture()).max() <= 4


def test_rgb8_is_not_copied():
    msg = message(picture(), "rgb8")
    assert np.shares_memory(image_to_rgb(msg), np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed(suffix):
    data = cv2.imencode(suffix, picture()[..., ::-1])[1].tobytes()
    found = compressed_to_rgb(SimpleNamespace(format=suffix[1:], data=array("B", data)))
    assert np.abs(found.astype(int) - picture()).max() <= (12 if suffix == ".jpg" else 0)
    assert decoder("compressed") is compressed_to_rgb and decoder("raw") is image_to_rgb


def bad(**changes):
    msg = message(picture(), "rgb8")
    vars(msg).update(changes)
    return msg


@pytest.mark.parametrize(
    "msg, reason",
    [
        (bad(encoding="cmyk"), "unknown encoding 'cmyk'; known are: rgb8"),
        (bad(encoding=""), "unknown encoding ''"),
        (bad(encoding="bayer_rgbg8"), "unknown encoding"),
        (bad(encoding="32FC1"), "depth image"),
        (bad(step=10), "step of 10 bytes"),
        (bad(data=array("B", bytes(100))), "100 bytes of data"),
        (bad(data=array("B")), "0 bytes of data"),
        (bad(width=1, height=1, step=3), "1x1"),
        (bad(width=0, height=0, step=0), "0x0"),
        (bad(height=2**31), "at most 32766"),
        (bad(height=30000), "bytes of data"),
        (bad(encoding="32FC3"), "numbers that may mean anything"),
        (bad(encoding="x" * 10**6), "unknown encoding 'x{40}'"),
        (bad(encoding="uyvy", width=33), "odd width"),
        (bad(encoding="nv12", height=33), "odd size"),
    ],
)
def test_what_is_no_image_says_why(msg, reason):
    with pytest.raises(FrameError, match=reason):
        image_to_rgb(msg)


JPEG = cv2.imencode(".jpg", picture())[1].tobytes()
PNG = cv2.imencode(".png", picture())[1].tobytes()


@pytest.mark.parametrize(
    "data, name, reason",
    [
        (b"", "jpeg", "0 bytes"),
        (b"not a picture", "jpeg", "cannot be decoded"),
        (JPEG[: len(JPEG) * 2 // 3], "jpeg", "truncated"),
        (PNG[:20], "png", "bytes"),
        (JPEG, "16UC1; compressedDepth png", "depth image"),
        (cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(), "png", "1x1"),
    ],
)
def test_corrupt_compressed_images_say_why(data, name, reason):
    with pytest.raises(FrameError, match=reason):
        compressed_to_rgb(SimpleNamespace(format=name, data=array("B", data)))


def test_agrees_with_cv_bridge():
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge (of a ROS 2 install) is not here")
    image = pytest.importorskip("sensor_msgs.msg").Image
    rng = np.random.default_rng(0)
    for encoding, channels in (("rgb8", 3), ("bgr8", 3), ("bgra8", 4), ("mono8", 1), ("bayer_rggb8", 1)):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH * channels), np.uint8)
        msg = image(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH * channels, data=pixels.tobytes())
        np.testing.assert_array_equal(image_to_rgb(msg), bridge.CvBridge().imgmsg_to_cv2(msg, "rgb8"))
