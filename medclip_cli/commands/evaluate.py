"""`medclip evaluate`: captions and retrieval on a held-out split, beside baselines that need no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medclip_cli.captioning import session
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    Html,
    JsonOutput,
    LockTimeout,
    ModelPath,
    Offline,
    Quiet,
    ServerUrl,
    Verbose,
)
from medclip_cli.commands.scoring_options import SCORING, Meteor, Resamples, Seed
from medclip_cli.errors import SOME_FAILED
from medclip_cli.pages.reports import method_name
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.evaluation.run import Evaluation
    from medclip_cli.models import Model

EXAMPLE = "Example: medclip evaluate work/medpix --collection medpix --split val --html report.html"
# Headings and names are short: the tables are read in terminals of 80 columns.
SHOWN = {
    "bleu1": "BLEU-1",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "rouge_l_p": "P",
    "rouge_l_r": "R",
    "rouge_l_f1": "F1",
    "meteor": "METEOR",
    "cider": "CIDEr",
}
LEGEND = (
    "random, most frequent and pixel nearest (by 32x32 grey pixels) are baselines without a model; the upper "
    "bound draws among images with the true modality, view and region. p: of CIDEr, against the first row"
)
RETRIEVAL_SHOWN = {
    "r@1": "R@1",
    "r@5": "R@5",
    "r@10": "R@10",
    "median_rank": "rank",
    "mrr": "MRR",
    "map": "mAP",
    "ndcg@10": "nDCG@10",
    "pool": "pool",
}


def evaluate(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="A corpus, or a folder of images with captions.")
    ],
    split: Annotated[
        Literal["train", "val", "test"],
        typer.Option(help="The split to judge.", rich_help_panel=SCORING),
    ] = "val",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="nearest, consensus or generate. Repeatable. [default: nearest, consensus]",
            rich_help_panel=SCORING,
        ),
    ] = None,
    skip_overlap: Annotated[
        bool,
        typer.Option(
            "--skip-overlap/--refuse-overlap",
            help="Where the collection holds cases of the split: leave them out, or refuse to judge.",
            rich_help_panel=SCORING,
        ),
    ] = True,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Break retrieval down by modality, view, region, category or sex. Repeatable.",
            rich_help_panel=SCORING,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An earlier run, saved with --json: test the difference.",
            rich_help_panel=SCORING,
        ),
    ] = None,
    html: Html = None,
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the charts here, as SVG and PNG.", rich_help_panel="Output"),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV instead of a table.", rich_help_panel="Output")
    ] = False,
    collection: CollectionName = None,
    model: ModelPath = None,
    meteor: Meteor = None,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    url: ServerUrl = None,
    offline: Offline = None,
    lock_timeout: LockTimeout = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Score captions and retrieval on a held-out split, beside baselines that need no model.

    An image is never answered by a patient, case or article of its own split. Intervals are 95 % bootstrap
    intervals over the images; differences are tested in pairs.
    """
    from medclip_cli.cleaning.corpus_builder import prepare_corpus
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.evaluation import files, run
    from medclip_cli.evaluation.report import as_csv as report_csv
    from medclip_cli.evaluation.report import build_report, compare_runs
    from medclip_cli.scoring.meteor import ABSENT, wanted_meteor
    from medclip_cli.settings import load_settings

    settings = load_settings(
        {
            "collection": collection,
            "model": model,
            "qdrant_url": url,
            "lock_timeout_seconds": lock_timeout,
            "offline": offline,
        }
    )
    opened = Corpus.open(prepare_corpus(corpus, settings.home))
    fields = run.fields_named(by)
    request = run.Request(split, run.methods_named(method), skip_overlap, wanted_meteor(meteor))
    with session.open_collection(settings) as index:
        encoder = session.open_matching_model(index.info, settings.model)
        _say_where_it_learned(encoder, opened)
        with progress.track(f"Judging {split}", total=len(opened.split(split))) as bar:
            result = run.evaluate_split(opened, index, encoder, request, bar.advance)
        report = build_report(result, opened, index.info, by=fields, resamples=resamples, seed=seed)
    if against is not None:
        report["against"] = compare_runs(report, against, resamples=resamples, seed=seed)
    files.write_page_and_plots(result, report, opened, html, plots)
    if as_json:
        json_output.write(report)
    elif as_csv:
        for line in report_csv(report).splitlines():
            console.out(line)
    else:
        _show(result, report)
    if request.meteor is None and meteor is None:
        console.note(ABSENT)
    for image, reason in result.unreadable.items():
        console.warn(f"{image}: {reason}")
    if result.unreadable:
        raise typer.Exit(SOME_FAILED)


def _say_where_it_learned(model: Model, corpus: Corpus) -> None:
    """Say it when a model may have learned from images it is judged by: other corpora have other splits."""
    learned = model.trained_on.get("corpus")
    if learned and learned != corpus.name:
        console.note(
            f"Model {model.name} was trained on corpus {learned}, not on {corpus.name}: should they share "
            "images, it may have learned from these."
        )


def _show(result: Evaluation, report: dict[str, Any]) -> None:
    _show_captions(report)
    tables.gap()
    if report["intervals"]:
        _show_intervals(report)
        tables.gap()
    if "against" in report:
        _show_against(report["against"])
        tables.gap()
    _show_retrieval(report)
    _show_published(report)
    if result.overlap:
        cases = console.counted(len(result.overlap), "case")
        console.note(f"The collection holds {cases} of the split: their images answer nothing.")
    console.note(f"{LEGEND}.\n{session.DISCLAIMER}")


def _show_captions(report: dict[str, Any]) -> None:
    shown = {name: SHOWN[name] for name in SHOWN if name in next(iter(report["captions"].values()))}
    rows: list[tuple[tables.Cell, ...]] = [
        (
            method_name(method),
            *(scores[name] for name in shown),
            scores["distinct"],
            report["comparisons"].get(method, {}).get("cider", {}).get("p"),
        )
        for method, scores in report["captions"].items()
    ]
    for number, figure in enumerate(report["published"], 1):
        rows.append((f"published ({number})", *(figure["scores"].get(name) for name in shown), None, None))
    tables.show(
        f"Captions of {report['n']} {report['split']} images, answered from {report['pool']} known images",
        ("captions", *shown.values(), "texts", "p"),
        rows,
    )


def _show_published(report: dict[str, Any]) -> None:
    """Say what the published figures are, and why they are no measure of this run."""
    if report["published"]:
        tables.gap()
    for number, figure in enumerate(report["published"], 1):
        scores = ", ".join(f"{SHOWN.get(name, name)} {value:.3f}" for name, value in figure["scores"].items())
        console.prose(f"({number}) {figure['name']}: {scores}; {figure['note']}")


def _show_intervals(report: dict[str, Any]) -> None:
    names = ("bleu4", "rouge_l", "cider")
    rows = [
        (method_name(method), *(f"{found[name][0]:.3f} to {found[name][1]:.3f}" for name in names))
        for method, found in report["intervals"].items()
    ]
    tables.show("95 % bootstrap intervals", ("captions", *(SHOWN[name] for name in names)), rows)


def _show_against(against: dict[str, Any]) -> None:
    rows: list[tuple[tables.Cell, ...]] = [
        (method_name(method), SHOWN[name], found["difference"], *found["interval"], found["p"])
        for method, differences in against["differences"].items()
        for name, found in differences.items()
        if name in SHOWN
    ]
    columns = ("captions", "score", "difference", "2.5 %", "97.5 %", "p")
    tables.show(f"This run minus {against['run']}", columns, rows)


def _show_retrieval(report: dict[str, Any]) -> None:
    rows: list[tuple[tables.Cell, ...]] = [
        (direction.replace("_", " "), *(scores[name] for name in RETRIEVAL_SHOWN))
        for direction, scores in report["retrieval"].items()
    ]
    for values in report["by"].values():
        for value, directions in values.items():
            for direction, scores in directions.items():
                what = f"{value}: {direction.replace('_', ' ')}"
                rows.append((what, *(scores[name] for name in RETRIEVAL_SHOWN)))
    first = next(iter(report["retrieval"].values()))
    rows.append(("chance", *(first.get(f"chance_{name}") for name in RETRIEVAL_SHOWN)))
    title = f"Retrieval among the {report['n']} {report['split']} images; equal captions count as right"
    tables.show(title, ("direction", *RETRIEVAL_SHOWN.values()), rows)
