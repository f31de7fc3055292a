"""`medclip score`: how close predicted captions come to the true ones, in the field's own numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from medclip_cli.commands.options import Debug, JsonOutput, Quiet
from medclip_cli.errors import ScoringError, UsageError

if TYPE_CHECKING:
    from medclip_cli.scoring.captions import CaptionScores
    from medclip_cli.scoring.predictions import Predictions

EXAMPLE = (
    "Examples:\n\n"
    "  medclip score predictions.jsonl --json\n\n"
    "  my-captioner scans/ | medclip score - --per-item items.jsonl"
)

_SOME_UNMATCHED = 3
_STDIN = "-"
_NAMED_AT_MOST = 5


def score(
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTIONS",
            help="JSON Lines, JSON or CSV with id, prediction and references; '-' reads standard input.",
        ),
    ],
    tokenize: Annotated[
        str,
        typer.Option(
            help="ptb: COCO's, comparable with papers. none: already tokens, cut at blanks. 13a: sacrebleu's."
        ),
    ] = "ptb",
    per_item: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Option(metavar="FILE", help="Write the id and the scores of each item here, as JSON Lines."),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Bootstrap resamples for the 95 % intervals; 0 leaves them out."
        ),
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score captions from any system with the numbers of COCO caption evaluation: BLEU, ROUGE-L, CIDEr."""
    from medclip_cli.rendering import json_output
    from medclip_cli.scoring.bootstrap import confidence_intervals
    from medclip_cli.scoring.captions import score_captions
    from medclip_cli.scoring.predictions import parse_predictions

    given = parse_predictions(*_read(predictions))
    items = given.items
    scores = score_captions(
        [item.prediction for item in items], [item.references for item in items], tokenize=tokenize
    )
    intervals = confidence_intervals(scores, resamples=resamples, seed=seed) if resamples else {}
    if per_item is not None:
        _write_items(per_item, given, scores)
    report = _report(given, scores, intervals)
    if as_json:
        json_output.write(report)
    else:
        _show(scores, intervals)
    _tell(report)
    if given.unmatched:
        raise typer.Exit(_SOME_UNMATCHED)


def _read(source: str) -> tuple[bytes, str]:
    if source == _STDIN:
        return sys.stdin.buffer.read(), "standard input"
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"{source}: no such file; give a file of predictions, or '-' for standard input")
    return path.read_bytes(), path.name


def _report(
    given: Predictions, scores: CaptionScores, intervals: dict[str, tuple[float, float]]
) -> dict[str, Any]:
    return {
        "n": len(scores),
        "scores": scores.corpus,
        "intervals": intervals,
        "variants": dict(scores.variants),
        "unmatched": list(given.unmatched),
        "empty_predictions": given.empty,
    }


def _show(scores: CaptionScores, intervals: dict[str, tuple[float, float]]) -> None:
    from medclip_cli.rendering import tables

    rows = [
        (name, value, *intervals.get(name, (None, None)), scores.variant_of(name))
        for name, value in scores.corpus.items()
    ]
    tables.show(f"{len(scores)} captions", ("score", "value", "2.5 %", "97.5 %", "variant"), rows)


def _tell(report: dict[str, Any]) -> None:
    """Say what a number alone would hide: empty predictions, items that could not be scored."""
    from medclip_cli.rendering import console

    if report["empty_predictions"]:
        console.note(
            f"{report['empty_predictions']} predictions are empty; they score 0 and count in every mean"
        )
    unmatched = report["unmatched"]
    if unmatched:
        more = f" and {len(unmatched) - _NAMED_AT_MOST} more" if len(unmatched) > _NAMED_AT_MOST else ""
        named = ", ".join(unmatched[:_NAMED_AT_MOST])
        console.warn(f"{len(unmatched)} items have no reference and were not scored: {named}{more}")


def _write_items(path: Path, given: Predictions, scores: CaptionScores) -> None:
    """One line an item, in the order of the input, written beside the target and renamed."""
    columns = [values.tolist() for values in scores.items.values()]
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for item, *values in zip(given.items, *columns, strict=True):
                record = {"id": item.id, **dict(zip(scores.items, values, strict=True))}
                file.write(json.dumps(record) + "\n")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ScoringError(f"cannot write {path}: {error.strerror or error}") from error
