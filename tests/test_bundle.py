"""A bundle that is not what it says is refused, and the message helps."""

import json
import shutil

import numpy as np
import pytest

from hmr_ros.backends.graph import check_golden
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.bundle import BODY_INPUTS, GRAPHS, BundleError, load_bundle
from hmr_ros.config import ModelConfig
from hmr_ros.factory import load_model


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(load_bundle("default").path, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(copy, **changes):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_shipped_bundle_is_whole_and_small():
    bundle = load_bundle("default")
    assert sum(f.stat().st_size for f in bundle.path.iterdir()) < 20e6
    assert bundle.manifest["licence"]
    assert len(bundle.loss_weights) == 5


@pytest.mark.parametrize("graph", GRAPHS)
def test_backend_equals_golden_pair(graph):
    bundle = load_bundle("default")
    check_golden(OnnxRuntimeGraph(bundle.graph_path(graph)), graph, bundle, "ONNX Runtime", tolerance=1e-4)


def test_a_backend_that_computes_something_else_is_refused():
    bundle = load_bundle("default")
    graph = OnnxRuntimeGraph(bundle.graph_path("adapt"))

    class Wrong:
        def __call__(self, **inputs):
            answer = graph(**inputs)
            return {**answer, "new_state": inputs["state"] + 1.01 * (answer["new_state"] - inputs["state"])}

    with pytest.raises(BundleError, match="'new_state' is off by 1 %"):
        check_golden(Wrong(), "adapt", bundle, "Wrong")


def test_bound_inputs_equal_given_ones():
    bundle = load_bundle("default")
    graph = OnnxRuntimeGraph(bundle.graph_path("regress"))
    inputs, expected = bundle.golden("regress")
    bound = graph.bind({n: inputs[n] for n in BODY_INPUTS})
    answer = bound(features=inputs["features"], bbox_info=inputs["bbox_info"])
    np.testing.assert_allclose(answer["state"], expected["state"], rtol=1e-4, atol=1e-4)


def test_unknown_name_says_which_there_are():
    with pytest.raises(BundleError, match=r"there are: default"):
        load_bundle("no-such-bundle")


def test_folder_without_manifest(tmp_path):
    with pytest.raises(BundleError, match="no manifest.json"):
        load_bundle(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "\x00", '{"format": 99}'])
def test_damaged_manifest(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="manifest.json"):
        load_bundle(str(copy))


@pytest.mark.parametrize("key", ["name", "shape_space", "loss_weights", "sha256"])
def test_manifest_without_a_key_names_it(copy, key):
    edit(copy, **{key: None})
    with pytest.raises(BundleError, match=key):
        load_bundle(str(copy))


@pytest.mark.parametrize("weights", [{}, {"a": 1.0}, dict.fromkeys("abcde", "1"), dict.fromkeys("abcde", float("nan"))])
def test_loss_weights_are_five_numbers(copy, weights):
    edit(copy, loss_weights=weights)
    with pytest.raises(BundleError, match="'loss_weights' are not 5 numbers"):
        load_bundle(str(copy))


def test_golden_pair_that_is_none(copy):
    import hashlib

    (copy / "golden.npz").write_bytes(b"no archive")
    manifest = json.loads((copy / "manifest.json").read_text())
    edit(copy, sha256={**manifest["sha256"], "golden.npz": hashlib.sha256(b"no archive").hexdigest()})
    with pytest.raises(BundleError, match="golden pair of .* cannot be read"):
        load_bundle(str(copy)).golden("adapt")


@pytest.mark.parametrize("file", ["adapt.onnx", "golden.npz"])
def test_truncated_file(copy, file):
    (copy / file).write_bytes((copy / file).read_bytes()[:-10])
    with pytest.raises(BundleError, match=f"{file}.*altered or cut short"):
        load_bundle(str(copy))


def test_missing_file(copy):
    (copy / "adapt.onnx").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(str(copy))


def test_manifest_cannot_reach_outside(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    edit(copy, sha256={**manifest["sha256"], "../../etc/passwd": "0" * 64})
    with pytest.raises(BundleError, match="outside the bundle"):
        load_bundle(str(copy))


def test_unlisted_graph(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    edit(copy, sha256={k: v for k, v in manifest["sha256"].items() if k != "adapt.onnx"})
    with pytest.raises(BundleError, match="does not list adapt.onnx"):
        load_bundle(str(copy))


def test_body_of_another_shape_space(copy):
    edit(copy, shape_space="smpl_neutral")
    with pytest.raises(BundleError, match="not interchangeable"):
        load_model(ModelConfig(bundle=str(copy)))


def test_no_onnx_at_all(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="cannot load"):
        OnnxRuntimeGraph(tmp_path / "x.onnx")
