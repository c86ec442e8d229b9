"""Keypoints and picture together: a keypoint model that also sees the person's crop.

The main head reads both. The auxiliary head, which gives test-time optimisation its pseudo ground truth, reads the picture *alone*:
so its errors differ from the detector's, and the dual term adds information that keypoints do not hold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.body import BodyArrays
from training.encoders import make_encoder
from training.image.config import ImageModelConfig
from training.image.model import ImageEncoder, ImageMetaHmr
from training.model import Auxiliary, MetaHmr


class FusedEncoder(nn.Module):
    """Features of keypoints, corrected by what the picture shows; followed by those of the picture alone."""

    def __init__(self, config: ImageModelConfig):
        super().__init__()
        width = config.points.width
        self.points = make_encoder(config.points)
        self.picture = ImageEncoder(config)
        self.seen = nn.Sequential(nn.Linear(self.picture.backbone.channels, width), nn.LayerNorm(width))
        self.correct = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.zeros_(self.correct[-1].weight)  # at first it computes what the keypoint model does
        nn.init.zeros_(self.correct[-1].bias)

    def forward(self, crop: Tensor, *seen: Tensor) -> Tensor:
        """crop: (B, 3, H, W) RGB in [0, 1]; seen: what `training.encoders` take. Returns (B, 2 width)."""
        points, picture = self.points(*seen), self.seen(self.picture(crop))
        return torch.cat([points + self.correct(torch.cat([points, picture], dim=-1)), picture], dim=-1)


class FusedMetaHmr(ImageMetaHmr):
    kind = "fused"

    def __init__(self, config: ImageModelConfig, loss_weights: Tensor):
        """loss_weights: as MetaHmr takes them. Raises ValueError for settings that this model cannot have."""
        if config.auxiliary_backbone or config.points.scope != "latent":
            raise ValueError(
                "head fused has its auxiliary head on the main backbone, and adapts in scope latent: leave out --model.auxiliary-backbone and "
                "--model.points.scope"
            )
        MetaHmr.__init__(self, config.points, loss_weights)
        self.image, self.crop_px = config, config.crop_px
        self.encoder = FusedEncoder(config)

    @property
    def backbone(self) -> nn.Module:
        return self.encoder.picture.backbone

    def encode(self, crop: Tensor, *seen: Tensor) -> Tensor:
        return self.encoder(crop, *seen)

    def regress(self, features: Tensor, bbox_info: Tensor, body: BodyArrays) -> tuple[Tensor, Auxiliary]:
        both, picture = features.chunk(2, dim=-1)
        guess = self.unpack(self.auxiliary_head(picture, bbox_info), bbox_info, body)
        reliability = 2 * torch.sigmoid(self.reliability_head(both))
        return self.scope.start(both, bbox_info), Auxiliary(guess, reliability)

    def load_matching(self, weights: dict[str, Tensor]) -> None:
        """Load the weights of a fused model, or of the keypoint model to start from, whose auxiliary head is not used because it reads
        keypoints."""
        if any(name.startswith("encoder.points.") for name in weights):
            super().load_matching(weights)
            return
        grown = {n.replace("encoder.", "encoder.points.", 1): v for n, v in weights.items()}
        grown = {n: v for n, v in grown.items() if not n.startswith("auxiliary_head.")}
        own = self.state_dict()
        if wrong := sorted(n for n, v in grown.items() if n not in own or own[n].shape != v.shape):
            raise ValueError(
                f"these weights are not of a keypoint model of this architecture: {', '.join(wrong[:5])} differ; set --model.points to match"
            )
        self.load_state_dict(grown, strict=False)


def make_image_model(config: ImageModelConfig, loss_weights: Tensor) -> ImageMetaHmr:
    return (FusedMetaHmr if config.head == "fused" else ImageMetaHmr)(config, loss_weights)
