"""Image towers: pixels to feature vectors (torch).

Legend of the shapes: b batch, H and W pixels, f features, c channels, h and w cells of the feature map.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from encoders.errors import PresetError, first_line
from encoders.presets import SMALL_RESNET

# The entry points by which installed packages offer image towers: docs/extending/encoder.md.
TOWER_GROUP = "medclip.image_towers"

# Builders that grow auxiliary classifiers unless told not to.
_WITH_AUXILIARY_HEADS = frozenset({"googlenet", "inception_v3"})


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (arXiv 1512.03385, figure 2)."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        # The block starts as its shortcut, which steadies the first epochs (arXiv 1706.02677, section 5.1).
        nn.init.zeros_(self.norm2.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """``[b, c_in, h, w] -> [b, c_out, h / stride, w / stride]``."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class SmallResNet(nn.Module):
    """A residual network of 1.2 M parameters for small scans on a CPU.

    Notable choices: the stem divides by four at once, since a scan of a hundred pixels has little to say at
    full resolution; the last map is averaged over four overlapping quadrants instead of the whole, so that
    the side of a finding survives pooling.
    """

    def __init__(
        self, *, widths: Sequence[int] = (32, 64, 128, 256), blocks: Sequence[int] = (1, 1, 1, 1)
    ) -> None:
        """Make the tower from each stage's channels and residual blocks."""
        super().__init__()
        self.architecture: dict[str, Any] = {
            "kind": SMALL_RESNET,
            "widths": list(widths),
            "blocks": list(blocks),
        }
        stem = widths[0] // 2
        layers: list[nn.Module] = [
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(ResidualBlock(channels, width, stride=stride))
                channels = width
        self.layers = nn.Sequential(*layers)
        self.feature_dim = 4 * channels

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, H, W] -> [b, f]``."""
        return pool_quadrants(self.layers(pixels))

    def features_and_map(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """``[b, 3, H, W]`` -> features ``[b, f]`` and the map they are pooled from ``[b, c, h, w]``."""
        feature_map = self.layers(pixels)
        return pool_quadrants(feature_map), feature_map


def pool_quadrants(features: Tensor) -> Tensor:
    """``[b, c, h, w] -> [b, 4 c]``: the averages over the map's four quadrants.

    Both sides are at least 2; on odd sides the quadrants share the middle row and column.
    """
    height, width = (int(side) for side in features.shape[-2:])  # a traced side is no kernel of a graph
    kernel = ((height + 1) // 2, (width + 1) // 2)
    quadrants = F.avg_pool2d(features, kernel, stride=(height // 2, width // 2))  # [b, c, 2, 2]
    return quadrants.flatten(1)


class TorchvisionTower(nn.Module):
    """Any torchvision classification model, without its classification layer."""

    def __init__(self, name: str, *, image_size: int) -> None:
        """Build a backbone that torchvision lists, with random weights.

        Raises:
            PresetError: torchvision has no such classification model, or it refuses this image size.
        """
        from torchvision import (
            models,
        )  # as dear as torch itself to import, and our own tower needs none of it

        super().__init__()
        check_backbone(name)
        self.architecture: dict[str, Any] = {"kind": "torchvision", "name": name, "image_size": image_size}
        try:
            self.backbone: nn.Module = models.get_model(name, weights=None, **_options(name, image_size))
        except ValueError as error:
            raise PresetError(
                f"image encoder '{name}' does not take {image_size} pixels ({error})"
            ) from error
        self.head_name, self.feature_dim = _remove_classifier(self.backbone)

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, H, W] -> [b, f]``."""
        features: Tensor = self.backbone(pixels)
        return features.flatten(1)

    def features_and_map(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """``[b, 3, H, W]`` -> features ``[b, f]`` and the last map they are pooled from ``[b, c, h, w]``.

        Raises:
            PresetError: the backbone cuts the image into tokens and has no such map.
        """
        maps: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] > 1:
                maps[:] = [output]

        hooks = [module.register_forward_hook(keep) for module in self.backbone.modules()]
        try:
            features = self(pixels)
        finally:
            for hook in hooks:
                hook.remove()
        if not maps or self.architecture["name"].startswith("vit_"):
            raise PresetError(
                f"image encoder '{self.architecture['name']}' has no feature map, which decoders need: "
                "use a convolutional one, e.g. resnet50"
            )
        return features, maps[0]


def check_backbone(name: str) -> None:
    """Make sure torchvision has a classification model of this name.

    Raises:
        PresetError: it has not; the message names the nearest ones.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, [*known, SMALL_RESNET], n=3) or ["resnet50", "densenet121"]
        raise PresetError(
            f"unknown image encoder '{name}': use {SMALL_RESNET} or a torchvision model, "
            f"e.g. {', '.join(near)}"
        )


def _options(name: str, image_size: int) -> dict[str, Any]:
    if name in _WITH_AUXILIARY_HEADS:
        return {"aux_logits": False, "init_weights": True, "transform_input": True}
    if name.startswith("vit_"):
        return {"image_size": image_size}
    if name.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    return {}


def _remove_classifier(backbone: nn.Module) -> tuple[str, int]:
    """Replace the classification layer by the identity: its name and the number of features it took."""
    layers = [(name, layer) for name, layer in backbone.named_modules() if isinstance(layer, nn.Linear)]
    if layers:
        name, linear = layers[-1]
        features = linear.in_features
    else:  # SqueezeNet classifies by a 1x1 convolution.
        convolutions = [item for item in backbone.named_modules() if isinstance(item[1], nn.Conv2d)]
        name, convolution = convolutions[-1]
        features = convolution.in_channels
    backbone.set_submodule(name, nn.Identity())
    return name, features


def build_image_tower(
    name: str,
    *,
    image_size: int,
    widths: Sequence[int] = (48, 96, 192),
    blocks: Sequence[int] = (1, 2, 2),
) -> nn.Module:
    """Build ``small-resnet``, a tower that another package offers, or a torchvision model, untrained.

    Raises:
        PresetError: nobody knows the name.
    """
    if name == SMALL_RESNET:
        return SmallResNet(widths=widths, blocks=blocks)
    if entry_points(group=TOWER_GROUP, name=name):
        return build_offered_tower(name, image_size=image_size)
    return TorchvisionTower(name, image_size=image_size)


def build_offered_tower(name: str, *, image_size: int) -> nn.Module:
    """Build a tower that an installed package offers.

    Raises:
        PresetError: no installed package offers it, or it is no such tower.
    """
    offered = [*entry_points(group=TOWER_GROUP, name=name)]
    if not offered:
        raise PresetError(
            f"no installed package offers the image encoder '{name}': install the one that does"
        )
    point = offered[0]
    try:
        tower = point.load()(image_size=image_size)
    except Exception as error:  # whatever a foreign module does
        raise PresetError(
            f"image encoder '{name}' ({point.value}) cannot be built: {first_line(error)}"
        ) from error
    if not isinstance(tower, nn.Module) or not isinstance(getattr(tower, "feature_dim", None), int):
        raise PresetError(f"image encoder '{name}' ({point.value}) is no torch module with a feature_dim")
    architecture: dict[str, Any] = {"kind": "entry-point", "name": name, "image_size": image_size}
    tower.architecture = architecture  # type: ignore[assignment]  # how to build it again
    return tower
