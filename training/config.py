"""Every setting of training: frozen dataclasses that are also the command line (tyro)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Scope = Literal["latent", "context", "head"]
Encoder = Literal["mlp", "transformer"]


@dataclass(frozen=True)
class ModelConfig:
    scope: Scope = "latent"
    """What test-time optimisation moves: the prediction itself, scale and shift of the head's hidden layer, or all of the head's
    weights (`training.scopes`)."""
    encoder: Encoder = "mlp"
    """mlp: residual layers on all keypoints at once; transformer: a token for each keypoint (`training.encoders`)."""
    width: int = 512
    """Channels of features and heads, and of the mlp."""
    blocks: int = 3
    """Residual blocks of the encoder."""
    token_width: int = 192
    """Channels of a transformer's token."""
    attention_heads: int = 6
    curvature_rank: int = 48
    """Rank of the learned part of the inner step that couples the state's dimensions."""
    head_slots: int = 16
    """Scope head: how many steps a person can take, since each leaves its factors in the state."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the objective's terms, the same in the inner loop, the outer loop and at test time (Nie et al. 2024)."""

    keypoints_2d: float = 5.0
    keypoints_3d: float = 5.0
    pose: float = 1.0
    betas: float = 0.001
    detector_3d: float = 4.0
    """Ours: the detector's own 3D, where it has one. Part of what is observed, so absent from the outer loss."""


@dataclass(frozen=True)
class MetaConfig:
    """How training prepares for test-time optimisation."""

    max_steps: int = 4
    """Each batch takes 1 to this many inner steps; 0 is plain regression."""
    long_steps: int = 12
    """Some batches take this many, so that going on for long does no harm either."""
    long_share: float = 0.4
    """How many of the batches do."""
    start: int = 5000
    """Outer steps of plain regression before the inner loop starts (cheaper, and a steadier beginning)."""
    first_order: bool = False
    """Drop second derivatives. The auxiliary head then learns nothing through the inner step."""
    dual: bool = True
    """Use the auxiliary head's prediction as pseudo ground truth of the inner objective."""
    dual_after_first: bool = True
    """Keep it there after the first step; the published protocol goes on with what is observed alone."""
    learn_step_sizes: bool = True
    """Meta-learn the inner step: sizes per dimension, and a low-rank part that couples them; otherwise the initial sizes stay."""
    steps_only: bool = False
    """Learn the inner steps alone (their sizes, what couples them, the inner objective's weights, each keypoint's reliability), on
    top of encoder and heads as `--init` has them. On other people than those were trained on: steps that are learned where the first
    guess is as good as it gets are too timid where it is not."""
    learn_loss_weights: bool = True
    """Meta-learn the inner objective's term weights, starting from LossConfig, and each keypoint's reliability."""
    regression_weight: float = 0.5
    """Weight of the outer loss on the prediction before any step, so that zero steps is a good answer too."""
    auxiliary_weight: float = 0.25
    """Weight of the outer loss on the auxiliary prediction itself."""


@dataclass(frozen=True)
class NoiseConfig:
    """A detector's errors, in fractions of the person's size; see `training.synthesis`.

    Measured on BlazePose by `training.detector_loop --report`, then widened by about a fifth, since renders are easier than life.
    """

    sigma: float = 0.017
    """Standard deviation of the per-keypoint error, before each person's and each keypoint's own factor."""
    spread: float = 0.45
    """Standard deviation of the log of each person's factor: some people are seen badly."""
    outliers: float = 0.02
    """Probability that a keypoint is somewhere else altogether."""
    swaps: float = 0.03
    """Probability that left and right are exchanged: of one limb pair, or of the whole body."""
    dropout: float = 0.05
    """Probability that a keypoint is missing for no reason."""
    occlusion: float = 0.6
    """Probability that an elbow or wrist well behind the trunk is missing."""
    truncation: float = 0.2
    """Probability that the image's border cuts the person."""
    precise: float = 0.0
    """Probability that all keypoints which are seen are exactly right: people mark them, or other detectors than BlazePose."""
    without_3d: float = 0.2
    """Probability that the detector gives no 3D of its own."""
    turn_deg: float = 5.0
    """Standard deviation of the detector's 3D orientation error about each axis, degrees."""
    sigma_3d_m: float = 0.016
    """Standard deviation of its 3D error per keypoint, before factors; it grows along the limbs and is larger in depth."""
    spread_3d: float = 0.7
    """Standard deviation of the log of each person's factor on both."""
    flips_3d: float = 0.03
    """Probability that an arm or leg bends towards the camera instead of away, or the reverse."""
    bones_3d: float = 0.0
    """Probability that its 3D is shortened along the view, bone by bone, as BlazePose's is (`training.detector_bones`), instead of
    being a little flat as a whole."""


def training_noise() -> NoiseConfig:
    """What to train with: more kinds of people than `NoiseConfig`, which is what to be measured with. Renders mislead BlazePose's
    3D more than photographs do, and a network that learned to trust it as little as they deserve is worse on a real camera; but
    some people must be seen worse than that, and some exactly."""
    return NoiseConfig(
        precise=0.15, without_3d=0.25, turn_deg=4.0, sigma_3d_m=0.013, spread_3d=0.8, flips_3d=0.025, bones_3d=0.6
    )


@dataclass(frozen=True)
class PairsConfig:
    """Samples with the real detector's errors, mixed in; see `training.pairs`."""

    file: Path | None = None
    """Made by `training.detector_loop`; none: all samples are synthetic."""
    share: float = 0.25
    """Part of each batch."""
    max_error_mm: float = 100.0
    """People of whom the detector's own 3D is farther off (PA-MPJPE of the limbs) are left out: what misled it there is that
    they are drawn."""


@dataclass(frozen=True)
class TrainConfig:
    data: Path = Path("../shared/data/mocap")
    """Folder with pose sets, `poses_*_train.npz` and `poses_*_val.npz` (`python -m training.prepare` makes more of them)."""
    body: str = "open"
    """Body model: 'open', or the path of an SMPL file."""
    out: Path = Path("runs/keypoints")
    """Checkpoint and logs; a run found here is resumed."""
    init: Path | None = None
    """Checkpoint, or folder of a keypoint bundle (`hmr_ros/assets/bundles/default`), whose weights to start from."""
    steps: int = 18000
    batch: int = 256
    """Samples per step, of all processes together."""
    learning_rate: float = 1e-3
    """Peak of Adam's learning rate; one-cycle cosine schedule."""
    seed: int = 0
    threads: int = 1
    """CPU threads; one is nearly as fast as two, for matrices this small."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where there is one. Several, or several machines: start with torchrun."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """tf32: matrix products of float32 with 10 bits, on GPUs several times as fast; bfloat16: the same, and encoders in mixed
    precision. Bodies, objective and inner loop never have less than tf32."""
    capture: bool = True
    """On one GPU: replay each training step as a CUDA graph (`training.captured`)."""
    checkpoint_every: int = 500
    log_every: int = 50
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    noise: NoiseConfig = field(default_factory=training_noise)
    pairs: PairsConfig = field(default_factory=PairsConfig)
