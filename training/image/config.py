"""Settings of the image models; frozen dataclasses that are also the command line, as in `training.config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from training.config import ModelConfig

Head = Literal["cliff", "hmr", "fused"]


@dataclass(frozen=True)
class ImageModelConfig:
    backbone: str = "resnet50"
    """resnet18_thin, resnet18, efficientnet_lite0, resnet50, hrnet_w48, hrnet_w48_cls, or timm:NAME; see `training.image.backbones`."""
    auxiliary_backbone: str = ""
    """Backbone of the auxiliary network; empty: a second head on the main one's features, which costs nothing at run time."""
    head: Head = "cliff"
    """cliff is told where in the image the crop was (Li et al., ECCV 2022), hmr is not (Kanazawa et al., CVPR 2018); fused is ours,
    and reads keypoints too (`training.image.fused`)."""
    iterations: int = 3
    """Times the main head corrects itself; Meta-HMR's published networks do so 10 times. Head fused predicts once."""
    auxiliary_iterations: int = 3
    crop_height: int = 256
    """Pixels; multiples of 32."""
    crop_width: int = 192
    curvature_rank: int = 48
    """Rank of the learned part of the inner step that couples the state's dimensions; head fused has that of `points`."""
    points: ModelConfig = field(default_factory=ModelConfig)
    """Head fused: the keypoint model that it starts from."""

    @property
    def crop_px(self) -> tuple[int, int]:
        return self.crop_height, self.crop_width
