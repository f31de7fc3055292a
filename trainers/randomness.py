"""Every random number of a run is a function of its seed and its place in the run.

Nothing is drawn from a stream that goes on from step to step, so a resumed run needs no generator state:
order, augmentation and dropout of step 1,000 are the same whether or not steps 0 to 999 ran in this process.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

Purpose = Literal["weights", "order", "captions", "augmentation", "dropout"]
_CODES: dict[Purpose, int] = {"weights": 1, "order": 2, "captions": 3, "augmentation": 4, "dropout": 5}


def derived_seed(seed: int, purpose: Purpose, *place: int) -> int:
    """A seed for one purpose at one place (epoch, step, chunk, rank ...), independent of all the others."""
    words = np.random.SeedSequence((seed, _CODES[purpose], *place)).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])  # below 2**63, what torch takes


def seed_torch(seed: int, purpose: Purpose, *place: int) -> None:
    """Seed torch's global generators, which dropout and weight initialisation draw from."""
    torch.manual_seed(derived_seed(seed, purpose, *place))


def generator(seed: int, purpose: Purpose, *place: int) -> torch.Generator:
    """A CPU generator for one purpose at one place."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, *place))
