"""Learning-rate schedules: pure functions of how much of the run is behind."""

from __future__ import annotations

import math


def warmup_cosine(progress: float, warmup: float, floor: float = 0.0) -> float:
    """Linear warm-up, then half a cosine (https://arxiv.org/abs/1608.03983, without restarts).

    Args:
        progress: share of the run that is behind, 0 to 1; values outside are clamped.
        warmup: share of the run that warms up, 0 up to, not including, 1.
        floor: factor at the end of the run.

    Returns:
        The factor the peak learning rate is multiplied with, 0 to 1.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        return progress / warmup
    behind = (progress - warmup) / (1.0 - warmup)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * behind))


def run_progress(
    step: int, total_steps: int, elapsed_seconds: float = 0.0, limit_seconds: float | None = None
) -> float:
    """Share of the run that is behind, by steps or by the clock, whichever is further.

    A run with a time limit thus ends its cosine when its time ends, however slow the machine turns out to be.

    Args:
        step: the step about to be taken, from 0.
        total_steps: steps of the whole run.
        elapsed_seconds: seconds spent training so far.
        limit_seconds: seconds the run may take; None for no limit.
    """
    # The first step already moves: half a step is behind it on average.
    by_steps = (step + 0.5) / max(total_steps, 1)
    by_clock = elapsed_seconds / limit_seconds if limit_seconds else 0.0
    return min(max(by_steps, by_clock), 1.0)
