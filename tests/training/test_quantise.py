"""A quantised copy of a bundle is a bundle: the runtime takes it, it computes nearly the same, and says what it is."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("tyro", reason="needs tyro")

from hmr_ros.bundle import BundleError, load_bundle, shipped_bundles  # noqa: E402
from hmr_ros.config import ModelConfig  # noqa: E402
from hmr_ros.factory import load_model  # noqa: E402
from training.quantise import QuantiseConfig, draw, features_off, quantise, write_int8  # noqa: E402

MOCAP = Path(__file__).resolve().parents[3] / "shared/data/mocap"
DEFAULT = shipped_bundles() / "default"


@pytest.fixture(scope="module")
def captured():
    if not MOCAP.is_dir():
        pytest.skip(f"no motion capture in {MOCAP}")
    return MOCAP


@pytest.fixture(scope="module", params=["tensorrt", "cpu"])
def config(request, captured, tmp_path_factory):
    """The settings of a copy that was made."""
    config = QuantiseConfig(
        out=tmp_path_factory.mktemp("int8") / "copy", data=captured, people=64, target=request.param
    )
    quantise(config)
    return config


def test_the_runtime_takes_it_and_features_are_close(config):
    exact, rounded = (
        load_model(ModelConfig(bundle=str(path), backend="onnxruntime"))[2]["encode"] for path in (DEFAULT, config.out)
    )  # golden pairs are compared on the way: one person's features are the same in any company
    people = draw(config, "val", 64, torch.Generator().manual_seed(7))
    assert 0.001 < features_off(exact, rounded, people) < 0.1


def test_it_says_what_it_is_and_only_the_encoder_is_another(config):
    original, copy = load_bundle("default"), load_bundle(str(config.out))
    said = copy.manifest["quantised"]
    assert said["from_sha256"] == original.sha256 != copy.sha256
    assert (said["graph"], said["config"]["people"], said["config"]["target"]) == ("encode", 64, config.target)
    assert copy.name != original.name and copy.manifest["metrics"] == {}
    before, after = original.manifest["sha256"], copy.manifest["sha256"]
    assert {name for name in before if before[name] != after[name]} == {"encode.onnx", "golden.npz"}
    for graph in ("regress", "adapt", "readout"):
        for ours, theirs in zip(copy.golden(graph), original.golden(graph)):
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_matrices_are_int8_but_for_the_ends(config):
    before, after = (onnx.load(path / "encode.onnx").graph for path in (DEFAULT, config.out))
    layers = sum(node.op_type == "Gemm" for node in before.node)
    matrices = [t for t in after.initializer if len(t.dims) == 2 and np.prod(t.dims) > 5000]
    assert sum(t.data_type == onnx.TensorProto.INT8 for t in matrices) == layers - 2
    if config.target == "tensorrt":  # it takes no zero points and no integer biases
        assert not any(t.data_type == onnx.TensorProto.INT32 for t in after.initializer)
        zeros = [t for t in after.initializer if t.name.endswith("zero_point")]
        assert zeros and all(not onnx.numpy_helper.to_array(t).any() for t in zeros)


def test_a_seed_is_a_graph(captured, tmp_path):
    config = QuantiseConfig(data=captured)

    def made(seed):
        people = draw(config, "train", 16, torch.Generator().manual_seed(seed))
        write_int8(DEFAULT / "encode.onnx", tmp_path / "encode.onnx", people, config)
        return (tmp_path / "encode.onnx").read_bytes()

    assert made(1) == made(1) != made(2)


def test_a_quantised_bundle_is_not_quantised_again(config):
    with pytest.raises(BundleError, match="quantised already"):
        quantise(dataclasses.replace(config, bundle=str(config.out), out=config.out.parent / "again"))


def test_bundles_of_pictures_are_refused(tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(DEFAULT, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "encoder": "image", "crop_px": [256, 192]}))
    with pytest.raises(BundleError, match="reads pictures"):
        quantise(QuantiseConfig(bundle=str(folder), out=tmp_path / "int8"))
    assert not (tmp_path / "int8").exists()


def test_the_original_is_not_overwritten():
    with pytest.raises(BundleError, match="name another folder"):
        quantise(QuantiseConfig(out=DEFAULT))
