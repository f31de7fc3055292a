"""`medclip score`: how close predicted captions come to the true ones, in the field's own numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medclip_cli.commands.judging_options import JUDGING, Meteor, Resamples, Seed
from medclip_cli.commands.options import Debug, JsonOutput, Quiet, Verbose
from medclip_cli.errors import SOME_FAILED, UsageError

if TYPE_CHECKING:
    from medclip_cli.scoring.score_run import ScoringRun

EXAMPLE = (
    "Examples: medclip score predictions.jsonl --json, or: "
    "medclip score coco_results.json --references captions_val.json --against other_results.json"
)

_STDIN = "-"
_NAMED_AT_MOST = 5


def score(
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTIONS",
            help="JSON Lines, CSV or COCO results with id, prediction and references; '-' reads stdin.",
        ),
    ],
    references: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="References by id: COCO annotations, JSON Lines or CSV.",
            rich_help_panel="Input",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Another system's predictions of the same ids: test the difference.",
            rich_help_panel="Input",
        ),
    ] = None,
    tokenize: Annotated[
        Literal["ptb", "none", "13a"],
        typer.Option(
            help="ptb: as COCO does. none: tokens already, cut at blanks. 13a: sacrebleu's.",
            rich_help_panel=JUDGING,
        ),
    ] = "ptb",
    meteor: Meteor = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also run a scorer that an installed package offers. Repeatable.",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    clinical: Annotated[
        bool,
        typer.Option(
            "--clinical",
            help="Also score fields and findings that the captions name.",
            rich_help_panel=JUDGING,
        ),
    ] = False,
    findings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Findings to look for, one 'name: synonym, synonym' a line.",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    per_item: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the id and the scores of each item here, as JSON Lines.",
            rich_help_panel="Output",
        ),
    ] = None,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Score captions of any system as COCO caption evaluation does: BLEU, ROUGE-L, METEOR, CIDEr.

    Intervals are 95 % bootstrap intervals over the items. Exit code 3: some items had no counterpart.
    """
    from medclip_cli.scoring import score_run
    from medclip_cli.terminal import json_output

    request = score_run.Request(
        tokenize=tokenize,
        meteor=meteor,
        scorers=tuple(scorer or ()),
        clinical=clinical or findings is not None,
        findings=_read(str(findings)) if findings else None,
        resamples=resamples,
        seed=seed,
    )
    run = score_run.run(
        _read(predictions),
        _read(str(references)) if references else None,
        _read(str(against)) if against else None,
        request,
    )
    if per_item is not None:
        score_run.write_items(per_item, run)
    if as_json:
        json_output.write(score_run.as_json(run))
    else:
        _show(run)
    _tell(run)
    if run.given.unmatched or run.given.missing:
        raise typer.Exit(SOME_FAILED)


def _read(source: str) -> tuple[bytes, str]:
    if source == _STDIN:
        return sys.stdin.buffer.read(), "standard input"
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"{source}: no such file; give a file, or '-' for predictions on standard input")
    return path.read_bytes(), path.name


def _show(run: ScoringRun) -> None:
    from medclip_cli.terminal import tables

    rows = [
        (name, value, *run.intervals.get(name, (None, None)), run.scores.variant_of(name))
        for name, value in run.scores.corpus.items()
    ]
    tables.show(f"{len(run.scores)} captions", ("score", "value", "2.5 %", "97.5 %", "variant"), rows)
    if run.against is not None:
        tables.gap()
        differences = [
            (name, run.against.scores.corpus[name], found.value, *found.interval, found.p_value)
            for name, found in run.against.differences.items()
        ]
        columns = ("score", run.against.name, "difference", "2.5 %", "97.5 %", "p")
        tables.show(f"Compared with {run.against.name}", columns, differences)
    if run.clinical is not None:
        tables.gap()
        _show_clinical(run.clinical.to_json())


def _show_clinical(clinical: dict[str, Any]) -> None:
    from medclip_cli.terminal import console, tables

    fields, findings = clinical["fields"], clinical["findings"]
    if fields:
        rows = [(name, found["agreement"], found["n"]) for name, found in fields.items()]
        tables.show("Fields", ("field", "agreement", "n"), rows)
        tables.gap()
    names = ("precision", "recall", "f1")
    labels = [
        (label, *(values[name] for name in names), int(values["true"]), int(values["predicted"]))
        for label, values in findings["labels"].items()
    ]
    means = [(kind, *(findings[kind][name] for name in names), None, None) for kind in ("micro", "macro")]
    columns = ("finding", *names, "true", "predicted")
    tables.show(f"Findings: {findings['vocabulary']}", columns, [*labels, *means])
    console.prose(
        f"exact match: {findings['exact_match']:.3f}; {findings['exact_match_labelled']:.3f} of the "
        f"{findings['labelled']} items with any label"
    )


def _tell(run: ScoringRun) -> None:
    """Say what a number would hide: empty predictions, items without counterpart, a score left out."""
    from medclip_cli.terminal import console

    if run.given.empty:
        console.note(f"{run.given.empty} predictions are empty; they score 0 and count in every mean")
    if run.meteor_missing:
        console.note(run.meteor_missing)
    for ids, what in ((run.given.unmatched, "no reference"), (run.given.missing, "no prediction")):
        if ids:
            more = f" and {len(ids) - _NAMED_AT_MOST} more" if len(ids) > _NAMED_AT_MOST else ""
            named = ", ".join(ids[:_NAMED_AT_MOST])
            console.warn(f"{len(ids)} items have {what} and were not scored: {named}{more}")
