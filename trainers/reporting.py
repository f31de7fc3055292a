"""What there is to say of a run at each point: pure functions of where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainers.batches import Batch, TrainingPair
from trainers.judging import Judgement
from trainers.listeners import EpochReport, StepReport
from trainers.objective import PairEncoder
from trainers.options import ContrastiveOptions
from trainers.pace import Pace
from trainers.run_state import RunState
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


def why_over(state: RunState, options: ContrastiveOptions, *, time_is_over: bool) -> str | None:
    """Why a run ends before its last epoch, or None when it need not."""
    if time_is_over:
        return f"the time is over after {state.epochs} of {options.epochs} epochs"
    # Epochs without captions cannot get better at finding them.
    stale = state.epochs - max(state.best.epoch, options.image_epochs)
    if options.patience and stale >= options.patience:
        return f"no better recall in {options.patience} epochs: stopped after epoch {state.epochs}"
    return None


def why_interrupted(state: RunState) -> str:
    """What becomes of an interrupted run's weights."""
    if state.best.epoch:
        now, best = state.epochs + 1, state.best.epoch
        return f"interrupted in epoch {now}: the best epoch so far, {best}, is kept"
    return "interrupted before an epoch was finished: the weights as they are now are kept"


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


def step_report(
    state: RunState, options: ContrastiveOptions, pace: Pace, *, learning_rate: float, total_steps: int
) -> StepReport:
    """Describe a step whose loss ``state`` has, but which it does not count yet."""
    return StepReport(
        step=state.step + 1,
        total_steps=total_steps,
        epoch=state.epochs + 1,
        loss=state.losses[-1],
        learning_rate=learning_rate,
        images_per_second=pace.images_per_second,
        waiting_share=pace.waiting_share,
        seconds_left=pace.seconds_left(total_steps - state.step - 1, options.epochs - state.epochs),
    )


def epoch_report(
    state: RunState,
    judgement: Judgement,
    encoder: PairEncoder,
    pace: Pace,
    *,
    learning_rate: float,
    seconds: float,
    skipped: int,
) -> EpochReport:
    """Describe an epoch that was judged and offered as the best, but which ``state`` does not count yet."""
    return EpochReport(
        epoch=state.epochs + 1,
        steps=state.step,
        loss=sum(state.losses) / len(state.losses),
        validation_loss=judgement.loss,
        learning_rate=learning_rate,
        logit_scale=float(encoder.model.logit_scale.detach().exp()),
        validation=judgement.recall,
        is_best=state.best.epoch == state.epochs + 1,
        seconds=seconds,
        images_per_second=pace.images_per_second,
        waiting_share=pace.waiting_share,
        skipped=skipped,
    )
