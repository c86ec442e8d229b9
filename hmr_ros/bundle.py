"""A weights bundle: a folder with a manifest, the graphs as ONNX, and a golden input/output pair made by torch.

    manifest.json    format, name, shape_space, loss weights, metrics, licence, and the sha256 of every other file
    encode.onnx  regress.onnx  adapt.onnx  readout.onnx
    look.onnx        if `encode` reads crops: the same, but from the whole image, for GPUs (optional)
    encoder.weights  tensors that the graphs of an encoder that reads images share (optional)
    golden.npz       "<graph>/<name>" arrays: inputs and the outputs torch gave for them

`GRAPHS` is the contract between training and runtime: names of inputs and outputs of every graph.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORMAT = 1
NUM_LOSSES = 5
BODY_INPUTS = (
    "J_template", "J_shapedirs", "landmark_template", "landmark_shapedirs", "landmark_posedirs", "landmark_weights",
)  # fmt: skip
"""The body's arrays, see `BodyModel.graph_inputs`: bound once when a graph is loaded."""

_TARGETS = ("target_rotmat", "target_betas", "target_joints", "target_keypoints")
_SEEN = ("keypoints", "confidence", "keypoints_3d", "confidence_3d")
_FIT = ("state", "features", "bbox_info", "keypoints", "confidence", *_TARGETS, *_SEEN[2:], "loss_weights")
GRAPHS = {
    "encode": ((*_SEEN, "bbox_info"), ("features",)),
    "regress": (("features", "bbox_info", *BODY_INPUTS), ("state", *_TARGETS, "target_transl", "reliability")),
    "adapt": ((*_FIT, *BODY_INPUTS), ("new_state", "loss")),
    "readout": ((*_FIT, *BODY_INPUTS), ("rotmat", "betas", "transl", "loss")),
}
"""Inputs and outputs of every graph. Axis 0 is the number of people, except for the inputs in SHARED."""
ENCODERS = {"keypoints": GRAPHS["encode"][0], "image": ("crop",), "fused": ("crop", *GRAPHS["encode"][0])}
"""Inputs of `encode`, by the manifest's `encoder`. A crop is (3, *crop_px), RGB in [0, 1], as `hmr_ros.crop.crop_people` makes it."""
LOOK = "look"
"""An optional graph of bundles whose encoder reads crops: a variant of `encode` that cuts the crops itself, on a GPU."""
PICTURE_INPUTS = ("image", "nodes", "spread")
"""The inputs of `look` in place of the `crop` that `encode` takes, see `hmr_ros.crop.look_inputs`."""
WEIGHTS = "encoder.weights"
"""An optional file of a bundle: tensors that several of its graphs refer to (ONNX external data)."""
EXACT = "exact/"
"""Name prefix of the nodes that must compute in float32 even if the rest of their graph does not."""
SHARED = (*BODY_INPUTS, "loss_weights", "image")
"""Inputs that all people share, instead of one row per person."""


def inputs_of(graph: str, encoder: str) -> tuple[str, ...]:
    """Names of a graph's inputs in a bundle with this kind of encoder, in order."""
    if graph == LOOK:
        return (*PICTURE_INPUTS, *(name for name in ENCODERS[encoder] if name != "crop"))
    return ENCODERS[encoder] if graph == "encode" else GRAPHS[graph][0]


def outputs_of(graph: str) -> tuple[str, ...]:
    return GRAPHS["encode" if graph == LOOK else graph][1]


class BundleError(ValueError):
    """A bundle that cannot be used. The message says what is wrong, where we looked, what to do."""


@dataclass(frozen=True)
class Bundle:
    path: Path
    manifest: dict

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def shape_space(self) -> str:
        """Shape space of the betas that the weights predict; must equal the body's."""
        return self.manifest["shape_space"]

    @property
    def loss_weights(self) -> np.ndarray:
        """(5,) float32: weights of the objective's terms at test time."""
        return np.array(list(self.manifest["loss_weights"].values()), np.float32)

    @property
    def encoder(self) -> str:
        """What `encode` reads: one of ENCODERS."""
        return self.manifest.get("encoder", "keypoints")

    @property
    def crop_px(self) -> tuple[int, int] | None:
        """Height and width of the crops that the encoder reads; None: it reads only keypoints."""
        if "crop" not in ENCODERS[self.encoder]:
            return None
        height, width = self.manifest["crop_px"]
        return height, width

    @property
    def graphs(self) -> tuple[str, ...]:
        """Names of all its graphs."""
        return (LOOK, *GRAPHS) if f"{LOOK}.onnx" in self.manifest["sha256"] else tuple(GRAPHS)

    @property
    def sha256(self) -> str:
        """Identity of the whole bundle: the digest of its files' digests."""
        return hashlib.sha256(json.dumps(self.manifest["sha256"], sort_keys=True).encode()).hexdigest()

    def graph_path(self, graph: str) -> Path:
        return self.path / f"{graph}.onnx"

    def graph_sha256(self, graph: str) -> str:
        """Identity of a graph, with the weights that it may share with others."""
        digests = self.manifest["sha256"]
        own = digests[self.graph_path(graph).name]
        return hashlib.sha256((own + digests[WEIGHTS]).encode()).hexdigest() if WEIGHTS in digests else own

    def golden(self, graph: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs (the body's arrays among them) and the outputs torch computed for them."""
        inputs, outputs = inputs_of(graph, self.encoder), outputs_of(graph)
        try:
            with np.load(self.path / "golden.npz") as arrays:
                return (
                    {name: arrays[f"body/{name}" if name in BODY_INPUTS else f"{graph}/{name}"] for name in inputs},
                    {name: arrays[f"{graph}/{name}"] for name in outputs},
                )
        except KeyError as error:
            raise BundleError(
                f"the golden pair of {self.path} lacks {error}: the bundle was exported by another version of hmr_ros; "
                "export it again"
            ) from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"the golden pair of {self.path} cannot be read ({error}): export it again") from None


def shipped_bundles() -> Path:
    return Path(__file__).parent / "assets" / "bundles"


def load_bundle(name_or_path: str) -> Bundle:
    """Open a bundle and check every file against the manifest.

    name_or_path: the name of a shipped bundle ("default"), or a folder. Raises BundleError.
    """
    shipped = shipped_bundles() / name_or_path
    path = shipped if shipped.is_dir() else Path(name_or_path).expanduser()
    if not path.is_dir():
        names = ", ".join(sorted(p.parent.name for p in shipped_bundles().glob("*/manifest.json"))) or "none"
        raise BundleError(
            f"no weights bundle {name_or_path!r}: it is neither a shipped bundle (there are: {names}) nor a folder "
            f"({path.absolute()}); export one with `python -m training.export`"
        )
    manifest = _read_manifest(path)
    for name, digest in manifest["sha256"].items():
        _check_file(path, name, digest)
    needed = {f"{graph}.onnx" for graph in GRAPHS} | {"golden.npz"}
    if missing := needed - set(manifest["sha256"]):
        raise BundleError(
            f"{path / 'manifest.json'} does not list {', '.join(sorted(missing))}: export the bundle again"
        )
    return Bundle(path, manifest)


def _read_manifest(path: Path) -> dict:
    file = path / "manifest.json"
    try:
        manifest = json.loads(file.read_text())
    except FileNotFoundError:
        raise BundleError(
            f"{path.absolute()} is no weights bundle: it has no manifest.json; export one with `python -m training.export`"
        ) from None
    # Not only JSONDecodeError: also text that is not UTF-8, numbers of thousands of digits, brackets nested too deeply.
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{file} is damaged ({error}): copy or export the bundle again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise BundleError(f"{file}: bundle format {found!r}, this version reads {FORMAT}: export the bundle again")
    kinds = {"name": str, "shape_space": str, "loss_weights": dict, "sha256": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise BundleError(f"{file}: {key!r} is missing or not a {kind.__name__}: export the bundle again")
    encoder, crop = manifest.get("encoder", "keypoints"), manifest.get("crop_px")
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise BundleError(
            f"{file}: unknown encoder {encoder!r}; this version knows {', '.join(ENCODERS)}: update hmr_ros"
        )
    if "crop" in ENCODERS[encoder] and not (
        isinstance(crop, list) and [type(side) for side in crop] == [int, int] and min(crop) > 0
    ):
        raise BundleError(f"{file}: 'crop_px' is not the height and width of a crop: export the bundle again")
    weights = list(manifest["loss_weights"].values())
    if len(weights) != NUM_LOSSES or not all(type(w) in (int, float) and abs(w) < 1e6 for w in weights):
        raise BundleError(f"{file}: 'loss_weights' are not {NUM_LOSSES} numbers: export the bundle again")
    return manifest


def _check_file(folder: Path, name: str, digest: str) -> None:
    file = folder / name
    if Path(name).name != name:
        raise BundleError(f"manifest names a file outside the bundle: {file}; export the bundle again")
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:  # ValueError: not a possible file name
        raise BundleError(
            f"{file} is listed in the manifest but cannot be read ({error}): copy the bundle again"
        ) from None
    if found != digest:
        raise BundleError(
            f"{file} is not the file the manifest describes (sha256 {found[:12]}…, expected {str(digest)[:12]}…): it was "
            "altered or cut short; copy or export the bundle again"
        )
