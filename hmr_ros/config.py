"""Every setting's default, bounds, unit and description: one frozen dataclass per stage.

ROS parameters, command lines and the documentation are all made from these classes; YAML holds only what differs.
A field's metadata: `doc` (one sentence, with the unit), `low`/`high` (inclusive bounds), `choices`, `dynamic` (may change
while the node runs), `read_only` (never changes after the start).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot work. The message names it, what is wrong and what to do."""


def setting(
    default: Any, doc: str, *, low=None, high=None, choices=None, dynamic: bool = False, read_only: bool = False
) -> Any:
    """A dataclass field with its description and bounds. dynamic: may change at any time; read_only: never after the start."""
    about = {"doc": doc, "low": low, "high": high, "choices": choices, "dynamic": dynamic, "read_only": read_only}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class ModelConfig:
    bundle: str = setting("default", "Weights: 'default' for the bundle that ships, or the path of a bundle's folder.")
    body: str = setting(
        "open", "Body model: 'open' for the one that ships, or the path of your SMPL file (.npz or .pkl)."
    )
    backend: str = setting(
        "auto", "Inference backend: TensorRT, ONNX Runtime on the GPU, or ONNX Runtime on the CPU; auto: the first of these that works.",
        choices=("auto", "tensorrt", "onnxruntime_cuda", "onnxruntime"),
    )  # fmt: skip
    precision: str = setting(
        "fp16", "Precision of the encoder on TensorRT, if the bundle has a half-precision encoder; everything else runs in float32.",
        choices=("fp16", "fp32"),
    )  # fmt: skip
    engine_cache: str = setting("", "Folder for TensorRT engines; empty: ~/.cache/hmr_ros/engines.")
    threads: int = setting(1, "CPU threads per graph; one is fastest for graphs this small.", low=1, high=64)
    encoder_threads: int = setting(
        2, "CPU threads that share the encoder's work when there are several people.", low=1, high=32
    )


@dataclass(frozen=True)
class KeypointsConfig:
    source: str = setting(
        "blazepose", "Source of the 2D keypoints: BlazePose, or another node's hri_msgs/Skeleton2D (topic).",
        choices=("blazepose", "topic"),
    )  # fmt: skip
    landmarks: str = setting(
        "full", "BlazePose's landmark model, from fast to accurate: 'lite' takes half as long as 'full', 'heavy' 4.7 times as long. Fetch lite "
        "and heavy first (fetch_keypoint_models --landmarks).",
        choices=("lite", "full", "heavy"),
    )  # fmt: skip
    backend: str = setting(
        "litert", "What runs BlazePose: LiteRT on the CPU, or TensorRT after `python -m training.blazepose_onnx` has converted its networks.",
        choices=("litert", "tensorrt"),
    )  # fmt: skip
    model_dir: str = setting("", "Folder with the BlazePose models; empty: ~/.cache/hmr_ros/blazepose.")
    threads: int = setting(
        2, "CPU threads for BlazePose on LiteRT: people are processed in parallel, and new people are searched for in parallel with tracking.",
        low=1, high=32,
    )  # fmt: skip
    max_people: int = setting(
        5, "Most people tracked at once; the largest and most confident are kept.", low=1, high=32, dynamic=True
    )
    min_score: float = setting(0.5, "Person detections below this score are dropped.", low=0.0, high=1.0, dynamic=True)
    min_confidence: float = setting(
        0.5, "Keypoints below this confidence are ignored.", low=0.0, high=1.0, dynamic=True
    )
    min_keypoints: int = setting(6, "People with fewer usable keypoints are skipped.", low=3, high=23, dynamic=True)
    flip_test: bool = setting(
        True,
        "Run BlazePose alternately on the image and on its mirror image, and average the two: no slower, and more accurate.",
        dynamic=True,
    )
    repair_flips: bool = setting(
        True, "Undo it when the detector swaps a person's left and right for a few frames.", dynamic=True
    )
    redetect_every: int = setting(
        15, "Frames between full searches for new people; in between, people are tracked from their last region.",
        low=1, high=1000, dynamic=True,
    )  # fmt: skip


@dataclass(frozen=True)
class TtoConfig:
    max_steps: int = setting(
        10,
        "Most test-time optimisation steps per frame; 0: the regressor's answer alone.",
        low=0,
        high=50,
        dynamic=True,
    )
    deadline_ms: float = setting(
        0.0, "Deadline for publishing a frame, in ms after its capture stamp: optimisation stops in time to meet it; 0: no deadline.",
        low=0.0, high=10000.0, dynamic=True,
    )  # fmt: skip
    tolerance: float = setting(
        0.7, "Convergence: a person's optimisation ends when a step lowers the objective L by less than this times L squared. A poor fit "
        "thus ends sooner, because more steps would only fit outliers.",
        low=0.0, high=1000.0, dynamic=True,
    )  # fmt: skip


@dataclass(frozen=True)
class WarmStartConfig:
    decay: float = setting(
        0.8, "Start from a person's last result if it explains the keypoints better. The start is a blend with the regressor's answer; "
        "this is the last result's weight when it is 1/30 s old; 0: never.",
        low=0.0, high=1.0, dynamic=True,
    )  # fmt: skip
    max_gap_s: float = setting(0.25, "Oldest result to start from, in s.", low=0.0, high=10.0, dynamic=True)


@dataclass(frozen=True)
class TrackerConfig:
    max_gap_s: float = setting(
        0.5, "How long a person may be unseen before their track ends, in s.", low=0.0, high=60.0, dynamic=True
    )
    max_distance: float = setting(
        0.35, "Largest mean keypoint distance between a track and a detection that match, as a fraction of the box size.",
        low=0.01, high=5.0, dynamic=True,
    )  # fmt: skip
    min_hits: int = setting(
        1, "Frames in which a person must be seen before they are published.", low=1, high=100, dynamic=True
    )


@dataclass(frozen=True)
class SmoothingConfig:
    enabled: bool = setting(True, "Smooth rotations and translation over time (One Euro filter).", dynamic=True)
    min_cutoff_hz: float = setting(
        10.0, "Rotations: cut-off frequency at rest, in Hz; lower is smoother.", low=0.01, high=100.0, dynamic=True
    )
    beta: float = setting(
        1.5,
        "Rotations: rise of the cut-off with speed (Hz per rad/s); higher lags less.",
        low=0.0,
        high=100.0,
        dynamic=True,
    )
    direction_min_cutoff_hz: float = setting(
        5.0, "Position in the image plane: cut-off frequency at rest, in Hz.", low=0.01, high=100.0, dynamic=True
    )
    direction_beta: float = setting(
        4.0,
        "Position in the image plane: rise of the cut-off with speed (Hz per distance/s).",
        low=0.0,
        high=1000.0,
        dynamic=True,
    )
    depth_min_cutoff_hz: float = setting(
        0.5,
        "Distance from the camera, the noisiest value: cut-off frequency at rest, in Hz.",
        low=0.01,
        high=100.0,
        dynamic=True,
    )
    depth_beta: float = setting(
        6.0,
        "Distance from the camera: rise of the cut-off with relative speed (Hz per 1/s).",
        low=0.0,
        high=1000.0,
        dynamic=True,
    )
    velocity_cutoff_hz: float = setting(
        2.0,
        "Velocities: cut-off frequency, both inside the filter and for the published ones, in Hz.",
        low=0.01,
        high=100.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class PipelineConfig:
    """Everything the runtime without ROS needs."""

    model: ModelConfig = field(default_factory=ModelConfig)
    keypoints: KeypointsConfig = field(default_factory=KeypointsConfig)
    tto: TtoConfig = field(default_factory=TtoConfig)
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    def __post_init__(self):
        for stage in fields(self):
            check(getattr(self, stage.name), prefix=stage.name)


def setting_of(kind: type, name: str) -> dataclasses.Field:
    """A setting's default and metadata, for command lines that offer it under a name of their own."""
    return next(item for item in fields(kind) if item.name == name)


_KINDS: dict[type, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "text"),
}
"""What a setting may hold, by the type of its default, and how to say so."""


def check(config: Any, prefix: str = "") -> None:
    """Raise ConfigError, naming setting, value and what is allowed, when a value is out of bounds."""
    for item in fields(config):
        value, meta = getattr(config, item.name), item.metadata
        name = f"{prefix}.{item.name}" if prefix else item.name
        kinds, kind = _KINDS[type(item.default)]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ConfigError(f"{name} = {value!r}: must be {kind}")
        if meta.get("choices") and value not in meta["choices"]:
            raise ConfigError(f"{name} = {value!r}: choose one of {', '.join(meta['choices'])}")
        low, high = meta.get("low"), meta.get("high")
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ConfigError(f"{name} = {value!r}: must lie between {low} and {high}")


def describe(config: Any, prefix: str = "") -> list[tuple[str, dataclasses.Field, Any]]:
    """Flatten nested configs to (dotted name, field, value), in order: what parameters and documentation are made from."""
    rows = []
    for item in fields(config):
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        rows += describe(value, f"{name}.") if dataclasses.is_dataclass(value) else [(name, item, value)]
    return rows


def replace(config: Any, changes: dict[str, Any], prefix: str = "") -> Any:
    """A copy with some dotted names set. Raises ConfigError for an unknown name or a value out of bounds."""
    updates: dict[str, Any] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head not in {f.name for f in fields(config)}:
            known = ", ".join(n for n, _, _ in describe(config, prefix))
            raise ConfigError(f"unknown setting {prefix + name!r}; there are: {known}")
        nested = updates.get(head, getattr(config, head))
        updates[head] = replace(nested, {rest: value}, f"{prefix}{head}.") if rest else value
    return dataclasses.replace(config, **updates)
