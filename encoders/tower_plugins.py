"""Image towers that other packages bring (torch).

A package offers one under the entry point group ``medclip.image_towers``::

    [project.entry-points."medclip.image_towers"]
    my-tower = "my_package.towers:MyTower"

``--image-encoder my-tower`` then builds ``MyTower(image_size=224)``: a torch module that turns pixels
``[b, 3, H, W]`` into features ``[b, f]`` and says f as ``feature_dim``. With ``features_and_map`` as
`SmallResNet` has it, decoders can look at it, too.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from torch import nn

from encoders.errors import PresetError, first_line

GROUP: Final = "medclip.image_towers"
KIND: Final = "entry-point"


def offered_towers() -> dict[str, EntryPoint]:
    """Return the towers that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def build_offered_tower(name: str, *, image_size: int) -> nn.Module:
    """Build a tower that an installed package offers.

    Args:
        name: of its entry point.
        image_size: side of its input, in pixels.

    Raises:
        PresetError: no installed package offers it, or it is no such tower.
    """
    offered = offered_towers()
    if name not in offered:
        raise PresetError(
            f"no installed package offers the image encoder '{name}': install the one that does"
        )
    point = offered[name]
    try:
        tower = point.load()(image_size=image_size)
    except Exception as error:  # whatever a foreign module does
        raise PresetError(
            f"image encoder '{name}' ({point.value}) cannot be built: {first_line(error)}"
        ) from error
    if not isinstance(tower, nn.Module) or not isinstance(getattr(tower, "feature_dim", None), int):
        raise PresetError(f"image encoder '{name}' ({point.value}) is no torch module with a feature_dim")
    architecture: dict[str, Any] = {"kind": KIND, "name": name, "image_size": image_size}
    tower.architecture = architecture  # type: ignore[assignment]  # how to build it again
    return tower
