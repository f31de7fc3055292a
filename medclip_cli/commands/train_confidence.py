"""`medclip train confidence`: how sure a model's captions may be, measured on its validation images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclip_cli.commands.options import Debug, JsonOutput, Quiet, Verbose
from medclip_cli.errors import CorpusError
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.captioning.calibration import Calibration, MethodRecord
    from medclip_cli.corpora.corpus_folder import Corpus

EXAMPLE = "Example: medclip train confidence work/medpix --model work/model"
NO_CONFIDENCE = (
    "Answers come without confidence: too few val images have a modality, view or region to judge them by."
)
SHOWN = {"bleu1": "BLEU-1", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "cider": "CIDEr"}


def confidence(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="The corpus or folder the model was trained on.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="The model folder to add it to.")],
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Measure on the val split which caption method wins and how often its answers are right.

    What comes out is kept in the model folder: medclip caption reads it for --method auto, for the confidence
    of each answer, and to tell a scan from what is none.
    """
    from medclip_cli.cleaning.corpus_builder import prepare_corpus
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.settings import load_settings

    measured = measure(Corpus.open(prepare_corpus(corpus, load_settings().home)), model)
    if as_json:
        json_output.write(as_json_object(measured))
    else:
        show(measured)
    console.note(f"Model {model} answers with {measured.best_method} from now on, unless told otherwise.")
    if not measured.knows_confidence:
        console.note(NO_CONFIDENCE)


def measure_new_model(corpus: Corpus, model: Path) -> None:
    """Measure a model that training has just written; without val images of other cases there is nothing to.

    The scores stand in the model's card; here one line says which method won.
    """
    try:
        measured = measure(corpus, model)
    except CorpusError as error:
        console.note(f"Nothing is known of the model's confidence: {error}.")
        return
    best = measured.methods[measured.best_method].scores
    told = "Confidence is measured." if measured.knows_confidence else NO_CONFIDENCE
    console.note(
        f"{told} Of the caption methods {measured.best_method} had the best CIDEr on the "
        f"val images, {best['cider']:.3f}: medclip caption answers by it."
    )


def measure(corpus: Corpus, model: Path) -> Calibration:
    """Measure a model's caption methods and keep the result in its folder."""
    from medclip_cli.captioning import calibration, model_card
    from medclip_cli.captioning.calibrate import calibrate
    from medclip_cli.models import open_model

    asked = open_model(model, for_many=True)
    images = len(corpus.split("train")) + len(corpus.split("val"))
    with progress.track("Reading", total=images) as bar:
        measured = calibrate(corpus, asked, bar.advance)
    card = model_card.with_captions(asked.read_addition(model_card.FILE_NAME) or "", measured)
    asked.add_files(
        {
            calibration.FILE_NAME: measured.to_json().encode("utf-8"),
            model_card.FILE_NAME: card.encode("utf-8"),
        }
    )
    return measured


def as_json_object(measured: Calibration) -> dict[str, object]:
    """Return what was measured as one JSON object."""
    from dataclasses import asdict

    return {"best_method": measured.best_method, **asdict(measured)}


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
