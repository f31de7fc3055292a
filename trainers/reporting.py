"""What someone should know of a contrastive run: before it starts, and where it diverged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainers.batches import Batch, TrainingPair
from trainers.objective import PairEncoder
from trainers.options import ContrastiveOptions
from trainers.stepping import mixes_images

SHOWN_IDS = 4


def notes_on(options: ContrastiveOptions, encoder: PairEncoder, *, world: int) -> Iterator[str]:
    """Yield what someone should know of a run before it starts.

    Args:
        options: of the run.
        encoder: in training mode.
        world: processes of the run.
    """
    at_once = min(options.cache_chunk or options.batch_size, options.batch_size // world)
    if at_once < options.batch_size and mixes_images(encoder):
        yield (
            "the image tower's batch norms see one chunk, or one process's share, at a time: "
            "gradients are close to the whole batch's, not equal"
        )
    if options.label_weight and encoder.label_head is None:
        yield "the training pairs have no labels to predict: --label-weight does nothing"


def where_it_diverged(
    step: int, learning_rate: float, batches: Sequence[Batch], pairs: Sequence[TrainingPair]
) -> str:
    """The step (from 1), its rate and the ids of its pairs, and what to do."""
    rows = [row for batch in batches for row in batch.rows]
    ids = ", ".join(pairs[row].id for row in rows[:SHOWN_IDS])
    more = f" and {len(rows) - SHOWN_IDS} more" if len(rows) > SHOWN_IDS else ""
    return (
        f"at step {step}, learning rate {learning_rate:.2e}, batch of {ids}{more}: "
        "try a lower --learning-rate"
    )
