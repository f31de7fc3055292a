"""`medclip train confidence`: how sure a model's captions may be, measured on its validation images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclip_cli.commands import options as opt
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.captioning.calibration import Calibration, MethodRecord

EXAMPLE = "Example: medclip train confidence work/medpix --model work/model"
SHOWN = {"bleu1": "BLEU-1", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "cider": "CIDEr"}


def confidence(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="The corpus or folder the model was trained on.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="The model folder to add it to.")],
    as_json: opt.JsonOutput = False,
) -> None:
    """Measure on the val split which caption method wins and how often its answers are right.

    The result is kept in the model folder: medclip caption reads it for --method auto, for the confidence of
    each answer, and to tell a scan from other images.
    """
    from medclip_cli import training

    with progress.reported() as on_progress:
        measured = training.train_confidence(corpus, model, on_progress=on_progress)
    if as_json:
        json_output.write(measured.to_dict())
    else:
        show(measured)
    console.note(f"Model {model} answers with {measured.best_method} from now on, unless told otherwise.")
    if not measured.knows_confidence:
        console.note(training.NO_CONFIDENCE)


def show(measured: Calibration) -> None:
    """Print what was measured as two tables."""
    tables.show(
        f"Captions of the val split of {measured.corpus}",
        ("method", *SHOWN.values(), "fields right", "answers"),
        [
            (name, *(record.scores[score] for score in SHOWN), _share(record), record.answers)
            for name, record in measured.methods.items()
        ],
    )
    if not measured.knows_confidence:
        return
    tables.gap()
    tables.show(
        "Confidence promised and kept",
        ("method", "from", "to", "answers", "mean confidence", "right"),
        [
            (name, float(row.low), float(row.high), row.answers, row.confidence, row.right)
            for name, record in measured.methods.items()
            for row in record.reliability
        ],
    )


def _share(record: MethodRecord) -> float | None:
    return record.right if record.answers else None
