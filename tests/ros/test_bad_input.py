"""Bad input, bad luck: what happens and what the user sees, row by row as docs/robustness.md tells it.

The real node with the real pipeline in this process, images handed to its callback; what needs the wire or a process of its own
is in test_bad_luck.py, test_node.py, test_services.py and the others that the page names.
"""

import json
import pickle
import shutil
import time
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hmr_ros.bundle import load_bundle
from hmr_ros.config import PipelineConfig
from hmr_ros.factory import build_pipeline
from hmr_ros.keypoints.blazepose_models import MODEL_FILES, KeypointModelError, find_models
from hmr_ros.media import DEMO_CLIP, open_media
from hmr_ros.ros.diagnostics import status
from hmr_ros.ros.node import HmrNode

WAIT_S = 60.0
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

try:
    find_models("")
except KeypointModelError as missing:
    pytest.skip(f"no keypoint models: {missing}", allow_module_level=True)


class Bench:
    """The node, and what became of the images given to it."""

    def __init__(self, build, **settings):
        values = {"camera_info_timeout_s": 0.0, "autostart": False, "stale_after_s": 3600.0, **settings}
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        self.node = HmrNode(build, namespace="bad_input", parameter_overrides=overrides)
        self.results = []

    def start(self) -> None:
        done = TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_configure() == done and self.node.trigger_activate() == done
        publish = self.node._worker._publish
        self.node._worker._publish = lambda frame, result, header: (
            publish(frame, result, header),
            self.results.append(result),
        )

    def give(self, image, stamp_ns: int | None = None) -> str:
        """One image through the node. Returns what became of it: processed, bad, failed..."""
        stamp_ns = self.node.get_clock().now().nanoseconds if stamp_ns is None else stamp_ns
        image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        before = self.counts()
        self.node._on_image(image, 0, 0)
        end = time.monotonic() + WAIT_S
        while not (fate := [k for k, n in self.counts().items() if n > before[k] and k != "received"]):
            assert time.monotonic() < end, f"waited {WAIT_S:g} s for the image's fate"
            time.sleep(0.001)
        return fate[0]

    def counts(self) -> dict:
        fates = ("received", "processed", "dropped", "bad", "failed", "waiting")
        return {fate: self.node._statistics.counts[fate] for fate in fates}

    def status(self) -> DiagnosticStatus:
        """What /diagnostics says now."""
        now_s = time.monotonic()
        snapshot = self.node._statistics.snapshot(now_s)
        return status("bench", self.node._health(now_s, snapshot), snapshot)

    def value(self, key: str) -> str:
        return {pair.key: pair.value for pair in self.status().values}[key]

    def tell_camera(self, info) -> None:
        self.node._input._on_camera_info(info) if info else setattr(self.node._input, "camera_info", None)


def info(width=640, height=480, focal=600.0, **changes) -> CameraInfo:
    k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    values = {"k": k, "d": [0.0] * 5, "distortion_model": "plumb_bob", "width": width, "height": height, **changes}
    return CameraInfo(**values)


@pytest.fixture(scope="module")
def pipeline():
    """Built once: the node asks for one at every configure."""
    return build_pipeline(PipelineConfig())


@pytest.fixture(scope="module")
def benches(ros, pipeline):
    """A bench per image transport, shared by rows that leave no trace."""
    benches = {
        transport: Bench(lambda config: pipeline, image_transport=transport) for transport in ("raw", "compressed")
    }
    for bench in benches.values():
        bench.start()
    yield benches
    for bench in benches.values():
        bench.node.close()


@pytest.fixture
def bench(benches):
    bench = benches["raw"]
    bench.tell_camera(info())
    bench.node._pipeline.reset()
    return bench


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    return next(image for index, (image, _) in enumerate(open_media(DEMO_CLIP)) if index == 20)


def message(pixels: np.ndarray, encoding: str = "rgb8", **changes) -> Image:
    height, width = pixels.shape[:2]
    step = pixels.strides[0]
    image = Image(width=width, height=height, encoding=encoding, step=step, data=array("B", pixels.tobytes()))
    for name, value in changes.items():
        setattr(image, name, value)
    return image


def raw(encoding: str, width: int, height: int, row_bytes: float, rows: float = 1.0, **changes) -> Image:
    """An image of zeros with so many bytes per pixel in a row."""
    step = int(width * row_bytes)
    data = array("B", bytes(step * int(height * rows)))
    image = Image(width=width, height=height, encoding=encoding, step=step, data=data)
    for name, value in changes.items():
        setattr(image, name, value)
    return image


def works_on(bench: Bench, image, goes_on=None) -> None:
    """The next good image is processed."""
    assert bench.give(goes_on or raw("rgb8", 64, 48, 3)) == "processed"


# --- Images --------------------------------------------------------------------------------------------------------------

PICTURES = {
    **{f"{e}": (e, n) for e, n in (("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1))},
    **{f"{e}": (e, n) for e, n in (("rgb16", 6), ("bgr16", 6), ("rgba16", 8), ("bgra16", 8), ("mono16", 2))},
    **{f"bayer_{p}{b}": (f"bayer_{p}{b}", b // 8) for p in ("rggb", "bggr", "gbrg", "grbg") for b in (8, 16)},
    **{f"{e}": (e, 2) for e in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv")},
    **{f"{e}": (e, n) for e, n in (("8UC1", 1), ("8UC3", 3), ("8UC4", 4), ("16UC3", 6), ("16UC4", 8))},
}


@pytest.mark.parametrize("encoding, row_bytes", PICTURES.values(), ids=PICTURES)
def test_every_encoding_of_pictures_is_processed(bench, encoding, row_bytes):
    assert bench.give(raw(encoding, 64, 48, row_bytes)) == "processed"
    assert bench.give(raw(encoding, 64, 48, row_bytes, is_bigendian=1)) == "processed"


@pytest.mark.parametrize("encoding, rows", [("nv12", 1.5), ("nv21", 1.5), ("nv24", 3.0)])
def test_planar_encodings_are_processed(bench, encoding, rows):
    assert bench.give(raw(encoding, 64, 48, 1, rows)) == "processed"


NO_PICTURES = [
    f"{bits}{kind}C{n}" for bits, kind in ((8, "S"), (16, "S"), (32, "S"), (32, "F"), (64, "F")) for n in (1, 2, 3, 4)
]
NO_PICTURES += ["8UC2", "16UC1", "16UC2"]


@pytest.mark.parametrize("encoding", NO_PICTURES)
def test_encodings_that_are_no_pictures_are_skipped_with_the_reason(bench, encoding):
    assert bench.give(raw(encoding, 64, 48, 32)) == "bad"
    reason = "is a depth image" if encoding in ("16UC1", "32FC1") else "numbers that may mean anything"
    assert reason in bench.status().message
    works_on(bench, None)


BAD = {
    "unknown encoding": (lambda: raw("cmyk", 64, 48, 4), "unknown encoding 'cmyk'"),
    "1x1": (lambda: raw("rgb8", 1, 1, 3), "1x1 pixels: need at least 16"),
    "0x0": (lambda: raw("rgb8", 0, 0, 3), "0x0 pixels"),
    "wider than OpenCV can": (lambda: raw("mono8", 40000, 16, 1), "at most 32766"),
    "truncated": (lambda: raw("rgb8", 64, 48, 3, data=array("B", bytes(100))), "100 bytes of data, but 64x48"),
    "empty": (lambda: raw("rgb8", 64, 48, 3, data=array("B")), "0 bytes of data"),
    "step too small": (lambda: raw("rgb8", 64, 48, 3, step=100), "step of 100 bytes, but a row"),
    "step too large": (lambda: raw("rgb8", 64, 48, 3, step=2**31), "bytes of data"),
    "odd uyvy": (lambda: raw("uyvy", 65, 48, 2), "odd width"),
    "odd nv12": (lambda: raw("nv12", 65, 49, 1, 1.5), "odd size"),
}


@pytest.mark.parametrize("make, reason", BAD.values(), ids=BAD)
def test_bad_images_are_skipped_counted_and_reported(bench, make, reason):
    before = bench.counts()["bad"]
    assert bench.give(make()) == "bad"
    told = bench.status()
    assert told.level == WARN and reason in told.message and reason in bench.value("last_bad_frame")
    assert bench.value("frames_bad") == str(before + 1)
    works_on(bench, None)


ODD = {
    "padded step": lambda p: message(np.pad(p, ((0, 0), (0, 5), (0, 0)))[:, :640], step=3 * 645, data=array("B", np.pad(p, ((0, 0), (0, 5), (0, 0))).tobytes())),
    "big-endian 16 bits": lambda p: message((p.astype(">u2") * 257).astype(">u2"), "rgb16", is_bigendian=1),
    "odd size": lambda p: message(np.ascontiguousarray(p[:479, :639])),
    "8K": lambda p: message(cv2.resize(p, (7680, 4320), interpolation=cv2.INTER_LINEAR)),
    "grey": lambda p: message(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[..., None], "mono8"),
}  # fmt: skip


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_odd_but_good_images_show_the_person(bench, person, make):
    bench.tell_camera(None)
    assert bench.give(make(person)) == "processed"
    assert len(bench.results[-1].people) == 1


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((480, 640, 3)), np.full((480, 640, 3), 255), np.random.default_rng(0).integers(0, 256, (480, 640, 3))],
    ids=["black", "white", "noise"],
)
def test_pictures_of_nothing_are_nobody(bench, pixels):
    assert bench.give(message(pixels.astype(np.uint8))) == "processed"
    assert bench.results[-1].people == ()
    assert bench.status().level == OK


JPEG = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
COMPRESSED = {
    "no picture": (b"not a picture", "jpeg", "cannot be decoded"),
    "empty": (b"", "jpeg", "0 bytes"),
    "cut-off JPEG": (JPEG[: len(JPEG) // 2], "jpeg", "truncated: no end marker"),
    "cut-off PNG": (PNG[: len(PNG) // 2], "png", "bytes"),
    "depth": (PNG, "16UC1; compressedDepth png", "is a depth image"),
}


@pytest.mark.parametrize("data, name, reason", COMPRESSED.values(), ids=COMPRESSED)
def test_corrupt_compressed_images_are_skipped_counted_and_reported(benches, data, name, reason):
    bench = benches["compressed"]
    assert bench.give(CompressedImage(format=name, data=array("B", data))) == "bad"
    told = bench.status()
    assert told.level == WARN and reason in told.message
    works_on(bench, None, CompressedImage(format="jpeg", data=array("B", JPEG)))


def test_a_jpeg_with_damage_inside_is_a_picture_with_damage(benches):
    damaged = bytearray(JPEG)
    damaged[len(JPEG) // 2 : len(JPEG) // 2 + 4] = b"\x12\x34\x56\x78"
    assert benches["compressed"].give(CompressedImage(format="jpeg", data=array("B", bytes(damaged)))) in (
        "processed",
        "bad",
    )
    works_on(benches["compressed"], None, CompressedImage(format="jpeg", data=array("B", JPEG)))


# --- Cameras -------------------------------------------------------------------------------------------------------------

NAN = float("nan")
CAMERAS = {
    "none": (None, "no CameraInfo received; assuming a focal length of 800 px"),
    "zero K": (info(k=[0.0] * 9), "not calibrated; assuming"),
    "NaN in K": (info(focal=NAN), "holds NaN or infinite values and cannot be right; assuming"),
    "negative focal length": (info(focal=-600.0), "cannot be right; assuming"),
    "identity K": (info(k=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]), "cannot be right; assuming"),
    "principal point far off": (info(k=[600.0, 0.0, 1e9, 0.0, 600.0, 240.0, 0.0, 0.0, 1.0]), "principal point"),
    "another image's": (info(640, 640), "for 640x640 pixels but the image has 640x480; assuming"),
    "unknown distortion": (info(d=[0.1] * 5, distortion_model="spherical"), "distortion ignored"),
    "coefficients missing": (info(d=[0.1, 0.1]), "do not fit distortion model plumb_bob: distortion ignored"),
    "NaN in D": (info(d=[NAN] * 5), "do not fit distortion model plumb_bob: distortion ignored"),
    "absurd distortion": (info(d=[1e6] * 5), "cannot be undone in the image: distortion ignored"),
}  # fmt: skip


@pytest.mark.parametrize("camera, reason", CAMERAS.values(), ids=CAMERAS)
def test_a_bad_camera_info_is_replaced_and_said(bench, person, camera, reason):
    bench.tell_camera(camera)
    assert bench.give(message(person)) == "processed"
    (found,) = bench.results[-1].people
    assert np.isfinite(found.joints).all() and 0.5 < found.transl[2] < 30
    told = bench.status()
    assert told.level == WARN and reason in told.message and reason in bench.value("degraded")
    bench.tell_camera(info())
    assert bench.give(message(person)) == "processed"
    assert bench.status().level == OK and bench.value("degraded") == ""


def test_the_resolution_may_change_mid_stream(bench, person):
    for size in ((640, 480), (320, 240), (641, 479), (1280, 960), (640, 480)):
        bench.tell_camera(None)
        assert bench.give(message(cv2.resize(person, size))) == "processed"
        assert len(bench.results[-1].people) == 1, size
    # The camera's info follows a moment later: until then it is scaled, for the shape is the same.
    bench.tell_camera(info(640, 480))
    assert bench.give(message(cv2.resize(person, (320, 240)))) == "processed"
    assert bench.value("degraded") == ""


# --- Time ----------------------------------------------------------------------------------------------------------------

SECOND = 1_000_000_000
STAMPS = {
    "zero": (lambda now: 0, "images carry no stamp: latency counts from arrival"),
    "negative": (lambda now: -5 * SECOND, "images carry no stamp"),
    "far in the future": (
        lambda now: now + 3600 * SECOND,
        "3600.0 s ahead of this node's clock, so latency counts from arrival",
    ),
    "long past": (lambda now: now - 3600 * SECOND, "3600.0 s behind this node's clock, so latency counts from arrival"),
    "the last that fits": (lambda now: (2**31 - 1) * SECOND, "ahead of this node's clock"),
}


@pytest.mark.parametrize("stamp, reason", STAMPS.values(), ids=STAMPS)
def test_stamps_that_cannot_be_believed_are_said(bench, person, stamp, reason):
    now_ns = bench.node.get_clock().now().nanoseconds
    assert bench.give(message(person), stamp(now_ns)) == "processed"
    (found,) = bench.results[-1].people
    assert np.isfinite(found.joints).all() and np.isfinite(found.angular_velocity).all()
    assert bench.status().level == WARN and reason in bench.value("degraded")
    assert bench.give(message(person)) == "processed"
    assert bench.status().level == OK


def test_time_that_stands_still_or_goes_back(bench, person):
    """Duplicates change nothing; going back, as a bag that loops does, starts the tracks anew."""
    now_ns = bench.node.get_clock().now().nanoseconds
    ids = []
    for offset_s in (0.0, 0.03, 0.03, 0.03, 0.06, -5.0, -4.97):
        assert bench.give(message(person), now_ns + int(offset_s * SECOND)) == "processed"
        (found,) = bench.results[-1].people
        ids.append(found.id)
        assert np.isfinite(found.angular_velocity).all() and np.abs(found.linear_velocity).max() < 10
    assert len(set(ids[:5])) == 1 and ids[5] == ids[6]


def test_images_faster_than_it_can_work_are_dropped_and_every_one_is_counted(bench, person):
    """120 Hz for a second: what is worked on is the newest, and nothing is lost silently."""
    before, image = bench.counts(), message(person)
    began_s = time.monotonic()
    for i in range(120):
        bench.node._on_image(image, 0, 0)
        time.sleep(max(0.0, began_s + i / 120 - time.monotonic()))
    end = time.monotonic() + WAIT_S
    while True:
        now = {fate: count - before[fate] for fate, count in bench.counts().items()}
        if now["received"] == now["processed"] + now["dropped"]:
            break
        assert time.monotonic() < end, now
        time.sleep(0.01)
    assert now["received"] == 120 and now["processed"] >= 2 and now["dropped"] > 0


def test_numbers_that_are_not_finite_are_not_published(ros, pipeline):
    """It should not happen, and if it does no robot gets to see it."""
    from fake_node import person as somebody

    from hmr_ros.types import FrameResult

    bench = Bench(lambda config: pipeline)
    bench.start()
    try:
        broken = somebody()
        broken.joints[3] = NAN
        frame = SimpleNamespace()
        with pytest.raises(ValueError, match="person 7 is not finite"):
            bench.node._publish(bench.node._outputs, frame, FrameResult((broken,), None), None)
        assert bench.node._worker._reset_wanted and bench.node._last is None
    finally:
        bench.node.close()


# --- Files ---------------------------------------------------------------------------------------------------------------


class Runs:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def copied_bundle(folder, **changes) -> str:
    shutil.copytree(load_bundle("default").path, folder / "bundle")
    manifest = folder / "bundle" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))
    return str(folder / "bundle")


def cut(folder, name: str) -> dict:
    path = copied_bundle(folder)
    file = folder / "bundle" / name
    file.write_bytes(file.read_bytes()[:-9])
    return {"model__bundle": path}


def altered(folder) -> dict:
    path = copied_bundle(folder)
    file = folder / "bundle" / "adapt.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return {"model__bundle": path}


def body(folder, content: bytes, name: str = "SMPL_NEUTRAL.pkl") -> dict:
    (folder / name).write_bytes(content)
    return {"model__body": str(folder / name)}


def keypoint_models(folder, keep: int) -> dict:
    for model, path in zip(MODEL_FILES, find_models("")):
        (folder / model.name).write_bytes(path.read_bytes()[:keep])
    return {"keypoints__model_dir": str(folder)}


FILES = {
    "no bundle": (lambda f: {"model__bundle": str(f / "none")}, "no weights bundle"),
    "truncated bundle": (lambda f: cut(f, "encode.onnx"), "encode.onnx is not the file the manifest describes"),
    "altered bundle": (altered, "it was altered or cut short"),
    "bundle of another body": (lambda f: {"model__bundle": copied_bundle(f, shape_space="smpl_neutral")}, "not interchangeable"),
    "no body": (lambda f: {"model__body": str(f / "none.pkl")}, "No body model at"),
    "malicious body": (lambda f: body(f, pickle.dumps({"v_template": Runs()})), "refused, because it asks for"),
    "truncated body": (lambda f: body(f, pickle.dumps({"v_template": np.zeros(9)})[:-9]), "not a readable SMPL pickle"),
    "no keypoint models": (lambda f: {"keypoints__model_dir": str(f)}, "fetch it with"),
    "corrupted keypoint models": (lambda f: keypoint_models(f, 1000), "is not the keypoint model we know"),
    "a folder that is a file": (lambda f: {"keypoints__model_dir": str(DEMO_CLIP)}, "no keypoint model"),
}  # fmt: skip


@pytest.mark.parametrize("make, reason", FILES.values(), ids=FILES)
def test_bad_files_fail_at_configure_and_can_be_set_right(ros, pipeline, tmp_path, make, reason):
    bench = Bench(build_pipeline, **make(tmp_path))
    try:
        assert bench.node.trigger_configure() == TransitionCallbackReturn.FAILURE
        told = bench.status()
        assert told.level == ERROR and told.message.startswith("cannot configure: ") and reason in told.message
        bench.node._build = lambda config: pipeline
        bench.start()
        assert bench.status().level != ERROR
    finally:
        bench.node.close()


def test_a_failed_activation_is_said_and_can_be_tried_again(ros, pipeline, monkeypatch):
    from hmr_ros.ros import node

    def refuse(*args):
        raise RuntimeError("no such topic")

    bench = Bench(lambda config: pipeline)
    try:
        assert bench.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        with monkeypatch.context() as patch:
            patch.setattr(node, "ImageInput", refuse)
            assert bench.node.trigger_activate() == TransitionCallbackReturn.FAILURE
        assert bench.status().message == "cannot activate: no such topic"
        assert bench.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    finally:
        bench.node.close()
