"""Projection heads: from a tower's features to the shared space (torch)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from encoders.errors import PresetError
from encoders.presets import Projection


class ResidualProjection(nn.Module):
    """Linear, GELU, Linear, dropout, residual, LayerNorm: the head of the seed model."""

    def __init__(self, features: int, dim: int, *, dropout: float = 0.1) -> None:
        """Map ``features`` to ``dim``."""
        super().__init__()
        self.project = nn.Linear(features, dim)
        self.refine = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        """``[b, f] -> [b, d]``."""
        projected = self.project(features)
        refined = self.dropout(self.refine(F.gelu(projected)))
        normed: Tensor = self.norm(projected + refined)
        return normed


def build_projection(kind: Projection, features: int, dim: int, *, dropout: float = 0.0) -> nn.Module:
    """Build a head: ``linear`` (one matrix, as in CLIP), ``residual``, or ``none``.

    Raises:
        PresetError: without a head, the tower's features must have the wanted dimension already.
    """
    if kind == "residual":
        return ResidualProjection(features, dim, dropout=dropout)
    if kind == "none":
        if features != dim:
            raise PresetError(f"a tower of {features} features needs a projection to {dim} dimensions")
        return nn.Identity()
    return nn.Linear(features, dim, bias=False)
