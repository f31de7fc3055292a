"""`medclip score`: how close predicted captions come to the true ones, in the field's own numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED

if TYPE_CHECKING:
    from medclip_cli.scoring.clinical import ClinicalScores
    from medclip_cli.scoring.score import ScoreReport

EXAMPLE = (
    "Examples: medclip score predictions.jsonl --json, or: "
    "medclip score coco_results.json --references captions_val.json --against other_results.json"
)


def score(
    predictions: Annotated[
        str,
        opt.argument(
            "PREDICTIONS",
            "JSON Lines, CSV or COCO results with id, prediction and references; '-' reads stdin.",
        ),
    ],
    references: Annotated[
        Path | None, opt.input_("References by id: COCO annotations, JSON Lines or CSV.", metavar="FILE")
    ] = None,
    against: Annotated[
        Path | None,
        opt.input_("Another system's predictions of the same ids: test the difference.", metavar="FILE"),
    ] = None,
    tokenize: Annotated[
        Literal["ptb", "none", "13a"],
        opt.scoring("ptb: as COCO does. none: split at whitespace. 13a: sacrebleu's."),
    ] = "ptb",
    meteor: opt.Meteor = None,
    scorer: Annotated[
        list[str] | None,
        opt.scoring("Also run a scorer that an installed package offers. Repeatable.", metavar="NAME"),
    ] = None,
    clinical: Annotated[
        bool, opt.scoring("Also score fields and findings that the captions name.", "--clinical")
    ] = False,
    findings: Annotated[
        Path | None, opt.scoring("Findings to look for, one 'name: synonym, synonym' a line.", metavar="FILE")
    ] = None,
    per_item: Annotated[
        Path | None,
        opt.output("Write the id and the scores of each item here, as JSON Lines.", metavar="FILE"),
    ] = None,
    resamples: opt.Resamples = 1_000,
    seed: opt.Seed = 0,
    as_json: opt.JsonOutput = False,
) -> None:
    """Score captions of any system as COCO caption evaluation does: BLEU, ROUGE-L, METEOR, CIDEr.

    Intervals are 95 % bootstrap intervals over the items. Exit code 3: some items had no counterpart.
    """
    from medclip_cli.scoring import score as library
    from medclip_cli.terminal import json_output

    report = library.score(
        sys.stdin.buffer if predictions == "-" else predictions,
        references,
        tokenize=tokenize,
        meteor=meteor,
        scorers=scorer or (),
        clinical=clinical,
        findings=findings,
        against=against,
        resamples=resamples,
        seed=seed,
    )
    if per_item is not None:
        report.write_items(per_item)
    if as_json:
        json_output.write(report.to_dict())
    else:
        _show(report)
    if report.unmatched:
        raise typer.Exit(SOME_FAILED)


def _show(report: ScoreReport) -> None:
    from medclip_cli.terminal import tables

    rows = [
        (name, value, *report.intervals.get(name, (None, None)), report.captions.variant_of(name))
        for name, value in report.scores.items()
    ]
    tables.show(f"{len(report.captions)} captions", ("score", "value", "2.5 %", "97.5 %", "variant"), rows)
    if report.against is not None:
        tables.gap()
        other = report.against
        differences = [
            (name, other.scores.corpus[name], found.value, *found.interval, found.p_value)
            for name, found in other.differences.items()
        ]
        columns = ("score", other.name, "difference", "2.5 %", "97.5 %", "p")
        tables.show(f"Compared with {other.name}", columns, differences)
    if report.clinical is not None:
        tables.gap()
        _show_clinical(report.clinical)


def _show_clinical(clinical: ClinicalScores) -> None:
    from medclip_cli.terminal import console, tables

    if clinical.fields:
        rows = [(name, found.agreement, found.items) for name, found in clinical.fields.items()]
        tables.show("Fields", ("field", "agreement", "n"), rows)
        tables.gap()
    found = clinical.findings
    per_label = zip(
        found.labels, found.precision, found.recall, found.f1, found.true, found.predicted, strict=True
    )
    labels = [
        (label, *map(float, measures), int(true), int(guessed))
        for label, *measures, true, guessed in per_label
    ]
    means = [("micro", *found.micro, None, None), ("macro", *found.macro, None, None)]
    columns = ("finding", "precision", "recall", "f1", "true", "predicted")
    tables.show(f"Findings: {clinical.vocabulary}", columns, [*labels, *means])
    console.prose(
        f"exact match: {found.exact_match:.3f}; {found.exact_match_labelled:.3f} of the "
        f"{found.labelled} items with any label"
    )
