"""Laws that hold whatever arrives: it works, or is refused with a reason that fits into a log line. Nothing else may happen.

A few inputs per law here; `python -m tests.fuzz --minutes 10` tries as many as fit.
"""

import io
import json
import math
import os
import pickle
import random
import sys
import types
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hmr_ros import smpl_file
from hmr_ros.bundle import GRAPHS, BundleError, load_bundle
from hmr_ros.camera import DISTORTION_MODELS
from hmr_ros.ros.camera_info import read_camera
from hmr_ros.ros.conversions import (
    _BAYER,
    _DEPTH,
    _PACKED,
    _YUV420,
    _YUV422,
    FrameError,
    compressed_to_rgb,
    image_to_rgb,
)
from hmr_ros.smpl_file import BodyModelError, load_body

EXAMPLES = int(os.environ.get("HMR_FUZZ_EXAMPLES", "60"))
LONGEST_REASON = 600
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

ENCODINGS = [
    *_PACKED, *_YUV422, *_YUV420, *_DEPTH, "nv24", *(f"bayer_{p}{bits}" for p in _BAYER for bits in (8, 16)),
    *(f"{bits}{kind}C{n}" for bits, kind in ((8, "U"), (16, "S"), (32, "F"), (64, "F")) for n in range(6)),
]  # fmt: skip
uint32 = st.one_of(st.integers(0, 3), st.integers(0, 9000), st.integers(0, 2**32 - 1))


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


# --- Images --------------------------------------------------------------------------------------------------------------


@st.composite
def images(draw):
    """Messages that are nearly right: that is where decoders go wrong."""
    encoding = draw(st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=12), st.just("bayer_" + "x" * 5000)))
    width, height = draw(st.integers(0, 70)), draw(st.integers(0, 70))
    row = width * draw(st.sampled_from([1, 2, 3, 4, 6, 8]))
    step = max(0, row + draw(st.sampled_from([0, 0, 0, 1, 7, -1, 2**20])))
    size = max(0, int(step * height * draw(st.sampled_from([1, 1, 1.5, 3, 0.5]))) + draw(st.integers(-9, 9)))
    strange = draw(st.booleans())
    return SimpleNamespace(
        encoding=encoding, step=draw(uint32) if strange else step, is_bigendian=draw(st.integers(0, 255)),
        width=draw(uint32) if strange else width, height=draw(uint32) if strange else height,
        data=array("B", noise(min(size, 1 << 20), draw(st.integers(0, 9)))),
    )  # fmt: skip


@fuzz
@given(images())
def test_fuzz_images(msg):
    try:
        rgb = image_to_rgb(msg)
    except FrameError as reason:
        assert 0 < len(str(reason)) < LONGEST_REASON
    else:
        assert rgb.shape == (msg.height, msg.width, 3) and rgb.dtype == np.uint8


PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
FILES = [cv2.imencode(suffix, PICTURE)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".tiff", ".bmp", ".ppm")]


@st.composite
def altered(draw, originals) -> bytes:
    """A file with a few things done to it."""
    data = bytearray(draw(st.sampled_from(originals)))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for change in draw(
        st.lists(st.sampled_from(["set", "set", "set", "cut", "drop", "double", "ff"]), min_size=1, max_size=6)
    ):
        if not data:
            break
        at, length = chance.randrange(len(data)), chance.randrange(1, 9)
        if change == "set":
            data[at] = chance.randrange(256)
        elif change == "cut":
            del data[at:]
        elif change == "drop":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = b"\xff" * length
    return bytes(data)


@fuzz
@given(st.one_of(altered(FILES), st.binary(max_size=200)), st.text(max_size=100))
def test_fuzz_compressed_images(data, name):
    try:
        rgb = compressed_to_rgb(SimpleNamespace(data=array("B", data), format=name))
    except FrameError as reason:
        assert 0 < len(str(reason)) < LONGEST_REASON
    else:
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8


# --- CameraInfo ----------------------------------------------------------------------------------------------------------

number = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 500.0, 320.0]), st.floats(-2000, 2000), st.floats(allow_nan=True, allow_infinity=True)
)  # fmt: skip
coefficients = st.lists(st.one_of(st.floats(-1, 1), number), max_size=14)


@st.composite
def camera_infos(draw):
    K = draw(st.lists(number, min_size=9, max_size=9))
    if draw(st.booleans()):  # a sound one, so that what follows is reached
        K = [draw(st.floats(100, 2000)), 0.0, 320.0, 0.0, draw(st.floats(100, 2000)), 240.0, 0.0, 0.0, 1.0]
    small = st.integers(0, 4)
    roi = {"x_offset": draw(uint32), "y_offset": draw(uint32), "width": draw(uint32), "height": draw(uint32)}
    sound = draw(st.booleans())
    return SimpleNamespace(
        width=draw(st.sampled_from([0, 640, 1280])) if sound else draw(uint32),
        height=draw(st.sampled_from([0, 480, 960])) if sound else draw(uint32),
        k=K, p=[*K[:3], 0.0, *K[3:6], 0.0, *K[6:], draw(number)], d=draw(coefficients),
        distortion_model=draw(st.one_of(st.sampled_from([*DISTORTION_MODELS, "", "x" * 5000]), st.text(max_size=9))),
        binning_x=draw(small if sound else uint32), binning_y=draw(small if sound else uint32),
        roi=SimpleNamespace(**(dict.fromkeys(roi, 0) if sound else roi)),
    )  # fmt: skip


@fuzz
@given(
    camera_infos(),
    st.sampled_from([(640, 480), (16, 16), (7680, 4320), (640, 17)]),
    st.booleans(),
    st.just(0.0) | st.floats(1, 170),
)
def test_fuzz_camera_info(info, size, rectified, fov_deg):
    """The camera is one to reckon with: positive focal lengths, and finite rays for the inner half of the image."""
    reading = read_camera(info, *size, rectified=rectified, vertical_fov_deg=fov_deg)
    camera = reading.camera
    assert (camera.width, camera.height) == size and np.isfinite(camera.K).all() and (camera.focal > 0).all()
    assert len(reading.warning) < LONGEST_REASON and (reading.warning or not camera.assumed)
    inner = (np.random.default_rng(0).uniform(0.25, 0.75, (30, 2)) * size).astype(np.float32)
    rays = camera.normalise(inner)
    assert np.isfinite(rays).all()
    points = np.concatenate([rays, np.ones_like(rays[:, :1])], axis=1) * np.float32(3)
    assert np.abs(camera.project(points) - inner).max() < 0.1 * max(size)


# --- Body files ----------------------------------------------------------------------------------------------------------


def body_pickles() -> list[bytes]:
    """Small files of every way of writing: the arrays are not SMPL's, but are read as SMPL's are."""
    arrays = {
        "v_template": np.zeros((6890, 3), np.float32), "shapedirs": np.asfortranarray(np.ones((4, 3, 10))),
        "f": np.arange(6, dtype=np.uint32), "kintree_table": np.zeros((2, 24), np.int64),
        "weights": np.eye(3)[::2], "J_regressor": np.zeros((24, 3), ">f4"),
    }  # fmt: skip
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    chumpy = module.Ch()
    chumpy.x = np.ones(3)
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        contents = [{**arrays, "shapedirs": chumpy}, arrays, {**arrays, "posedirs": [1, 2]}]
        return [pickle.dumps(content, protocol) for content in contents for protocol in range(6)]
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


NAMES = [f"{module}\n{name}\n".encode() for module, name in smpl_file._KNOWN] + [
    b"chumpy.ch\nCh\n", b"os\nsystem\n", b"builtins\neval\n", b"builtins\ngetattr\n", b"numpy\nload\n", b"builtins\nopen\n",
]  # fmt: skip
ATOMS = [
    b"N",
    b"K\x01",
    b"K\x00",
    b"]",
    b"}",
    b")",
    b"(",
    b"\x88",
    b"U\x03<f4",
    b"X\x05\x00\x00\x00state",
    b"G?\xf0\x00\x00\x00\x00\x00\x00",
]
ACTIONS = [
    b"R",
    b"b",
    b"\x81",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"a",
    b"e",
    b"s",
    b"u",
    b"0",
    b"2",
    b"\x94",
    b"h\x00",
    b"h\x01",
    b"l",
    b"d",
    b"o",
]
programs = st.builds(
    lambda parts: b"".join(parts) + b".",
    st.lists(st.one_of(st.sampled_from(ATOMS), st.sampled_from(ACTIONS), st.sampled_from(NAMES).map(lambda n: b"c" + n)), max_size=40),
)  # fmt: skip

ALARMS: list[str] = []
WATCHED = ("import", "exec", "compile", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "open")
watching: list[str] = []
"""The one file that may be opened, while a body is read; empty: nobody watches."""


def watch(event: str, args: tuple) -> None:
    if watching and event.startswith(WATCHED) and not (event == "open" and str(args[0]) == watching[0]):
        ALARMS.append(f"{event} {args!r:.200}")


sys.addaudithook(watch)


def read_watched(path) -> None:
    """Read a body file. Nothing is imported, run or opened by it, and it is a body or refused."""
    ALARMS.clear()
    watching.append(str(path))
    try:
        load_body(path)
    except BodyModelError as reason:
        assert path.name in str(reason)
        assert len(str(reason)) < LONGEST_REASON + len(str(path))
    finally:
        watching.clear()
    assert not ALARMS


def state_of_the_reader() -> list:
    return [(k, sorted(vars(v)), getattr(v, "__defaults__", None)) for k, v in smpl_file._KNOWN.items()]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """What is imported at the first reading of all is imported."""
    path = tmp_path_factory.mktemp("warm") / "body.pkl"
    for content in body_pickles():
        path.write_bytes(content)
        with pytest.raises(BodyModelError):
            load_body(path)
    return path


@fuzz
@given(data=st.one_of(altered(body_pickles()), programs))
@example(data=b"(S'x'\nios\nsystem\n.")
def test_fuzz_body_pickles(warm, data):
    before = state_of_the_reader()
    warm.write_bytes(data)
    read_watched(warm)
    assert state_of_the_reader() == before, "a file altered the reader"


def body_archives() -> list[bytes]:
    files = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, v_template=np.zeros((6890, 3), np.float32), f=np.arange(6), shape_space=np.array("x"))
        files.append(buffer.getvalue())
    return files


@fuzz
@given(data=altered(body_archives()))
def test_fuzz_body_archives(tmp_path, data):
    path = tmp_path / "body.npz"
    path.write_bytes(data)
    with pytest.raises(BodyModelError, match=r"body\.npz"):
        load_body(path)


# --- Manifests -----------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("../../etc/passwd")),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> tuple:
    """A folder with files that are no graphs, and a manifest that describes them."""
    import hashlib

    folder = tmp_path_factory.mktemp("bundle")
    digests = {}
    for name in (*(f"{graph}.onnx" for graph in GRAPHS), "golden.npz"):
        (folder / name).write_bytes(name.encode())
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    manifest = {
        "format": 1, "name": "b", "shape_space": "s", "sha256": digests, "without_steps": "regressor",
        "loss_weights": dict.fromkeys("abcde", 1.0), "encoder": "keypoints", "crop_px": [256, 192],
    }  # fmt: skip
    return folder, manifest


def check_bundle(folder) -> None:
    try:
        found = load_bundle(str(folder))
        assert found.loss_weights.shape == (5,) and np.isfinite(found.loss_weights).all()
        assert isinstance(found.name, str) and isinstance(found.shape_space, str) and len(found.sha256) == 64
        with pytest.raises(BundleError):
            found.golden("adapt")
    except BundleError as reason:
        assert len(str(reason)) < 2 * LONGEST_REASON + 4 * len(str(folder))


@fuzz
@given(data=st.data())
def test_fuzz_manifests(bundle, data):
    folder, manifest = bundle
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(manifest)), json_values, max_size=2))
    digests = data.draw(
        st.dictionaries(st.one_of(st.text(max_size=8), st.just("../x"), st.just("")), json_values, max_size=1)
    )
    changed = {**manifest, "sha256": {**manifest["sha256"], **digests}, **changes}
    (folder / "manifest.json").write_text(json.dumps(changed))
    check_bundle(folder)


@fuzz
@given(data=st.data())
@example(data=None)
def test_fuzz_manifest_files(bundle, data):
    folder, manifest = bundle
    text = json.dumps(manifest).encode()
    contents = [b"[" * 100_000, b'{"format": ' + b"1" * 5000 + b"}"] if data is None else [data.draw(altered([text]))]
    for content in contents:
        (folder / "manifest.json").write_bytes(content)
        check_bundle(folder)


# --- The pipeline --------------------------------------------------------------------------------------------------------


class Told:
    """A source that finds what it is told to."""

    config = None
    seen = None

    def detect(self, frame):
        return self.seen

    def reset(self):
        pass


@pytest.fixture(scope="module")
def pipeline():
    from hmr_ros.config import PipelineConfig
    from hmr_ros.factory import build_pipeline

    return build_pipeline(PipelineConfig(), source=Told())


@st.composite
def sightings(draw):
    """Keypoints of up to three people anywhere in a 640x480 image, few or all of them seen, spread out or in one place."""
    from hmr_ros.types import Keypoints

    count, chance = draw(st.integers(0, 3)), np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.0, 1e-3, 1.0, 100.0, 1000.0]))
    uv = chance.uniform((0, 0), (640, 480), (count, 1, 2)) + spread * chance.normal(size=(count, 23, 2))
    uv = np.clip(uv, -0.5, (639.5, 479.5)).astype(np.float32)
    confidence = (chance.uniform(size=(count, 23)) < draw(st.sampled_from([0.3, 0.6, 1.0]))).astype(np.float32)
    xyz = draw(st.sampled_from([None, 0.0, 1.0, 1e4]))
    xyz = None if xyz is None else (xyz * chance.normal(size=(count, 23, 3))).astype(np.float32)
    return Keypoints(uv, confidence, np.ones(count, np.float32), xyz)


@fuzz
@given(data=st.data())
def test_fuzz_results_are_finite(pipeline, data):
    """Whatever is seen by whatever camera: numbers that a robot could use, or nobody."""
    from hmr_ros.types import Frame

    stamps = st.one_of(st.integers(-(10**9), 10**10), st.integers(-(2**62), 2**62))
    camera = read_camera(data.draw(camera_infos()), 640, 480).camera
    for _ in range(data.draw(st.integers(1, 3))):
        pipeline._source.seen = data.draw(sightings())
        result = pipeline(Frame(np.zeros((480, 640, 3), np.uint8), camera, data.draw(stamps)))
        for person in result.people:
            for name in (
                "rotmat",
                "betas",
                "transl",
                "joints",
                "joint_confidence",
                "angular_velocity",
                "linear_velocity",
            ):
                assert np.isfinite(getattr(person, name)).all(), name
            assert not math.isnan(person.loss_after)
