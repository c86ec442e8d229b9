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
    """What test-time optimisation changes. latent: the prediction itself; context: scale and shift of the head's hidden layer; head: all
    of the head's weights (`training.scopes`)."""
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
    """Rank of the learned matrix that couples the state's dimensions in the inner step."""
    head_slots: int = 16
    """Scope head: most inner steps per person, because each stores its factors in the state."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the objective's terms (Nie et al. 2024): of the outer loss, and of the inner one at first, which then learns its own
    (`MetaConfig.learn_loss_weights`)."""

    keypoints_2d: float = 5.0
    keypoints_3d: float = 5.0
    pose: float = 1.0
    betas: float = 0.001
    detector_3d: float = 4.0
    """Our addition: the detector's own 3D, if it has any. Observed, not ground truth, so absent from the outer loss."""


@dataclass(frozen=True)
class MetaConfig:
    """How training prepares for test-time optimisation."""

    max_steps: int = 4
    """Each batch takes 1 to this many inner steps; 0 is plain regression."""
    long_steps: int = 12
    """Some batches take this many inner steps, so that long optimisation does no harm either."""
    long_share: float = 0.4
    """Share of the batches that take `long_steps`."""
    start: int = 5000
    """Outer steps of plain regression before the inner loop starts (cheaper and more stable)."""
    first_order: bool = False
    """Drop second derivatives. The auxiliary head then learns nothing through the inner step."""
    dual: bool = True
    """Use the auxiliary head's prediction as pseudo ground truth of the inner objective."""
    dual_after_first: bool = True
    """Keep the pseudo ground truth after the first step; the published protocol then uses the observed terms alone."""
    learn_step_sizes: bool = True
    """Meta-learn the inner step: step sizes per dimension, and a low-rank coupling; otherwise the initial step sizes stay, uncoupled."""
    steps_only: bool = False
    """Learn only the inner step (step sizes, coupling, the inner objective's weights, each keypoint's reliability); encoder and heads
    stay as in `--init`. Train on other people than encoder and heads were: steps learned where the regression is already at its best are
    too small elsewhere."""
    learn_loss_weights: bool = True
    """Meta-learn the inner objective's term weights, and each keypoint's reliability. They start from those of `--init`, or from
    LossConfig where there is no `--init` or it was changed."""
    regression_weight: float = 0.5
    """Weight of the outer loss on the prediction before any step, so that the result without any step is good too."""
    auxiliary_weight: float = 0.25
    """Weight of the outer loss on the auxiliary prediction itself."""


@dataclass(frozen=True)
class NoiseConfig:
    """A detector's errors, in fractions of the person's size; see `training.synthesis`.

    Measured on BlazePose by `training.detector_loop --report`, then enlarged by about a fifth, because renders are easier than real pictures.
    """

    sigma: float = 0.017
    """Standard deviation of the per-keypoint error, before each person's and each keypoint's own factor."""
    spread: float = 0.45
    """Standard deviation of the log of each person's factor: some people are detected badly."""
    outliers: float = 0.02
    """Probability that a keypoint is a gross outlier."""
    swaps: float = 0.03
    """Probability that left and right are exchanged: of one limb pair, or of the whole body."""
    dropout: float = 0.05
    """Probability that a keypoint is missing at random."""
    occlusion: float = 0.6
    """Probability that an elbow or wrist well behind the trunk is missing."""
    truncation: float = 0.2
    """Probability that the image's border cuts the person."""
    precise: float = 0.0
    """Probability that all visible keypoints are exactly right, as if from a person or another detector than BlazePose."""
    without_3d: float = 0.2
    """Probability that the detector gives no 3D of its own."""
    turn_deg: float = 5.0
    """Standard deviation of the detector's 3D orientation error about each axis, degrees."""
    sigma_3d_m: float = 0.016
    """Standard deviation of its 3D error per keypoint, before factors; it grows along the limbs and is larger in depth."""
    spread_3d: float = 0.7
    """Standard deviation of the log of each person's factor on both 3D errors."""
    flips_3d: float = 0.03
    """Probability that an arm or leg bends towards the camera instead of away, or the reverse."""
    bones_3d: float = 0.0
    """Probability that its 3D is shortened along the view, bone by bone, as BlazePose's is (`training.detector_bones`), instead of
    being slightly flattened as a whole."""


def training_noise() -> NoiseConfig:
    """The noise to train with: more varied than the defaults of `NoiseConfig`, which are for evaluation. BlazePose's 3D is worse on
    renders than on photographs, and a network that learned to trust it as little as renders suggest is worse on a real camera; but
    some people must be detected worse than that, and some exactly."""
    return NoiseConfig(
        precise=0.15, without_3d=0.25, turn_deg=4.0, sigma_3d_m=0.013, spread_3d=0.8, flips_3d=0.025, bones_3d=0.6
    )


@dataclass(frozen=True)
class PairsConfig:
    """Samples with the real detector's errors, mixed in; see `training.pairs`."""

    file: Path | None = None
    """File made by `training.detector_loop`; without one, all samples are synthetic."""
    share: float = 0.25
    """Share of each batch."""
    max_error_mm: float = 100.0
    """Leave out people whose detected 3D has a larger error (PA-MPJPE of the limbs): there, the detector was misled by the
    rendering."""


@dataclass(frozen=True)
class TrainConfig:
    data: Path = Path("../shared/data/mocap")
    """Folder with pose sets, `poses_*_train.npz` and `poses_*_val.npz` (`python -m training.prepare` makes more of them)."""
    body: str = "open"
    """Body model: 'open', or the path of an SMPL file."""
    out: Path = Path("runs/keypoints")
    """Folder for checkpoint and logs; a run found here is resumed."""
    init: Path | None = None
    """Checkpoint, or folder of a keypoint bundle (`hmr_ros/assets/bundles/default`), whose weights to start from."""
    steps: int = 18000
    batch: int = 256
    """Samples per step, over all processes together."""
    learning_rate: float = 1e-3
    """Peak of Adam's learning rate; one-cycle cosine schedule."""
    seed: int = 0
    threads: int = 1
    """CPU threads; one is nearly as fast as two, for matrices this small."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one. For several GPUs or machines, start with torchrun."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """tf32: float32 matrix products with a 10-bit mantissa, several times as fast on GPUs; bfloat16: the same, and encoders in mixed
    precision. Body model, objective and inner loop never use less than tf32."""
    capture: bool = True
    """On one GPU: replay each training step as a CUDA graph (`training.captured`)."""
    checkpoint_every: int = 500
    log_every: int = 50
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    meta: MetaConfig = field(default_factory=MetaConfig)
    noise: NoiseConfig = field(default_factory=training_noise)
    pairs: PairsConfig = field(default_factory=PairsConfig)
