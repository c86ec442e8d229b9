"""The meta-regressor on images: MetaHmr with a backbone as its encoder and the published heads in place of its own.

What adaptation moves is the prediction itself (scope `latent`), so the inner loop, the objective and the graphs `adapt` and `readout` are
those of the keypoint model, unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hmr_ros import skeleton
from training.body import BodyArrays
from training.config import ModelConfig
from training.encoders import mixed_precision
from training.image.backbones import make_backbone
from training.image.config import ImageModelConfig
from training.image.head import IterativeHead, to_prediction
from training.model import Auxiliary, MetaHmr

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageEncoder(nn.Module):
    """Crops to features: those of the main network, followed by those of the auxiliary one where it has a backbone of its own."""

    def __init__(self, config: ImageModelConfig):
        super().__init__()
        self.mixed_precision = False
        self.backbone = make_backbone(config.backbone)
        self.auxiliary_backbone = make_backbone(config.auxiliary_backbone) if config.auxiliary_backbone else None
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value).reshape(3, 1, 1), persistent=False)

    def forward(self, crop: Tensor) -> Tensor:
        """crop: (B, 3, H, W) RGB in [0, 1]."""
        x = (crop - self.mean) / self.std
        with mixed_precision(self.mixed_precision, x.device):
            features = self.backbone(x)
            if self.auxiliary_backbone is not None:
                features = torch.cat([features, self.auxiliary_backbone(x)], dim=-1)
        return features.float()

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Main and auxiliary features; the same where the backbone is shared."""
        if self.auxiliary_backbone is None:
            return features, features
        return tuple(features.split([self.backbone.channels, self.auxiliary_backbone.channels], dim=-1))


class ImageMetaHmr(MetaHmr):
    kind = "image"

    def __init__(self, config: ImageModelConfig, loss_weights: Tensor):
        """loss_weights: as MetaHmr takes them."""
        super().__init__(ModelConfig(width=1, blocks=0, curvature_rank=config.curvature_rank), loss_weights)
        self.image, self.crop_px = config, config.crop_px
        self.encoder = ImageEncoder(config)
        main, auxiliary = self.encoder.backbone, self.encoder.auxiliary_backbone or self.encoder.backbone
        self.head = IterativeHead(main.channels, config.head, config.iterations)
        self.auxiliary_head = IterativeHead(auxiliary.channels, config.head, config.auxiliary_iterations)
        self.reliability_head = nn.Linear(auxiliary.channels, skeleton.NUM_KEYPOINTS)
        nn.init.zeros_(self.reliability_head.weight)
        nn.init.zeros_(self.reliability_head.bias)

    @property
    def backbone(self) -> nn.Module:
        """That of the main network, into which public weights are loaded."""
        return self.encoder.backbone

    def encode(self, crop: Tensor) -> Tensor:
        return self.encoder(crop)

    def regress(self, features: Tensor, bbox_info: Tensor, body: BodyArrays) -> tuple[Tensor, Auxiliary]:
        main, auxiliary = self.encoder.split(features)
        state = to_prediction(self.head(main, bbox_info), bbox_info, body)
        guess = to_prediction(self.auxiliary_head(auxiliary, bbox_info), bbox_info, body)
        reliability = 2 * torch.sigmoid(self.reliability_head(auxiliary))
        return state, Auxiliary(self.unpack(guess, bbox_info, body), reliability)
