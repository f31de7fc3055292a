"""What every caption decoder says after one more token (torch)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class DecoderOutput(NamedTuple):
    """What a decoder says: logits ``[b, v]``, attention over the grid ``[b, g]``, and what it remembers."""

    logits: Tensor
    attention: Tensor
    state: tuple[Tensor, ...]
