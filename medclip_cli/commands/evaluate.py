"""`medclip evaluate`: captions and retrieval on a held-out split, beside their floors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from medclip_cli.commands import asking
from medclip_cli.commands.judging_options import Meteor, Resamples, Seed
from medclip_cli.commands.options import (
    CollectionName,
    Debug,
    JsonOutput,
    LockTimeout,
    ModelPath,
    Quiet,
    Verbose,
)
from medclip_cli.rendering import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.commands.evaluation import Evaluation

EXAMPLE = "Example: medclip evaluate work/medpix --collection medpix --split val --html report.html"
SOME_FAILED = 3
SHOWN = ("bleu1", "bleu4", "rouge_l", "rouge_l_p", "rouge_l_r", "rouge_l_f1", "meteor", "cider")
METHODS = {
    "nearest": "nearest (the model)",
    "consensus": "consensus of neighbours (the model)",
    "random": "floor: a random caption",
    "most_frequent": "floor: the most frequent caption",
    "pixel_nearest": "floor: nearest by 32x32 grey pixels",
    "same_fields_oracle": "oracle: random, same modality, view, region",
}
RETRIEVAL_SHOWN = ("r@1", "r@5", "r@10", "median_rank", "mrr", "map", "ndcg@10", "pool")


def evaluate(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="The split to judge.")] = "val",
    method: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Option(help="nearest or consensus. Repeatable. [default: both]"),
    ] = None,
    exclude_group: Annotated[
        bool,
        typer.Option(
            "--exclude-group/--no-exclude-group",
            help="Leave cases of the split out of the answers; otherwise refuse a collection that holds any.",
        ),
    ] = True,
    by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="FIELD",
            help="Break retrieval down by modality, view, region, category or sex. Repeatable.",
        ),
    ] = None,
    against: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="RUN.json", help="An earlier run, saved with --json: test the difference."),
    ] = None,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write a page with tables, charts, and best and worst answers."),
    ] = None,
    plots: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Write the charts here, as SVG and PNG."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    collection: CollectionName = None,
    model: ModelPath = None,
    meteor: Meteor = None,
    resamples: Resamples = 1_000,
    seed: Seed = 0,
    lock_timeout: LockTimeout = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Score captions and retrieval on a held-out split, beside random, pixel and field floors.

    An image is never answered by a patient, case or article of its own split. Intervals are 95 % bootstrap
    intervals over the images; differences are tested in pairs.
    """
    from medclip_cli.commands import evaluation, evaluation_files, evaluation_report
    from medclip_cli.corpora.corpus_folder import open_corpus
    from medclip_cli.scoring.meteor import wanted_meteor
    from medclip_cli.settings import load_settings

    settings = load_settings({"collection": collection, "model": model, "lock_timeout_seconds": lock_timeout})
    opened = open_corpus(corpus)
    fields = evaluation.fields_named(by)
    request = evaluation.Request(
        split, evaluation.methods_named(method), exclude_group, wanted_meteor(meteor)
    )
    with asking.open_collection(settings) as index:
        encoder = asking.open_matching_model(index.info, settings.model)
        with progress.track(f"Judging {split}", total=len(opened.split(split))) as bar:
            result = evaluation.evaluate_split(opened, index, encoder, request, bar.advance)
        report = evaluation_report.build_report(
            result, opened, index.info, by=fields, resamples=resamples, seed=seed
        )
    if against is not None:
        report["against"] = evaluation_report.compare_runs(report, against, resamples=resamples, seed=seed)
    evaluation_files.write_page_and_plots(result, report, opened, html, plots)
    if as_json:
        json_output.write(report)
    elif as_csv:
        console.out(evaluation_report.as_csv(report).rstrip("\n"))
    else:
        _show(result, report)
    for image, reason in result.unreadable.items():
        console.warn(f"{image}: {reason}")
    if result.unreadable:
        raise typer.Exit(SOME_FAILED)


def _show(result: Evaluation, report: dict[str, Any]) -> None:
    _show_captions(report)
    if "against" in report:
        console.out("")
        _show_against(report["against"])
    console.out("")
    _show_retrieval(report)
    if result.overlap:
        console.note(f"{len(result.overlap)} cases of the split are in the collection; they were left out")
    console.note(asking.DISCLAIMER)


def _show_captions(report: dict[str, Any]) -> None:
    shown = [name for name in SHOWN if name in next(iter(report["captions"].values()))]
    rows: list[tuple[tables.Cell, ...]] = [
        (
            METHODS[method],
            *(scores[name] for name in shown),
            scores["distinct"],
            *_cider_test(report, method),
        )
        for method, scores in report["captions"].items()
    ]
    for figure in report["published"]:
        rows.append(
            (f"{figure['name']} (*)", *(figure["scores"].get(name) for name in shown), None, None, None)
        )
    tables.show(
        f"Captions of {report['n']} {report['split']} images, answered from {report['pool']} known images",
        ("caption chosen", *shown, "distinct", "cider 95 %", "p"),
        rows,
    )
    for figure in report["published"]:
        console.out(f"(*) {figure['name']}: {figure['note']}")


def _cider_test(report: dict[str, Any], method: str) -> tuple[str | None, float | None]:
    """CIDEr's interval, and how likely chance alone makes the first method differ from this one."""
    interval = report["intervals"].get(method, {}).get("cider")
    compared = report["comparisons"].get(method, {}).get("cider")
    shown = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else None
    return shown, compared["p"] if compared else None


def _show_against(against: dict[str, Any]) -> None:
    rows: list[tuple[tables.Cell, ...]] = [
        (METHODS[method], name, found["difference"], *found["interval"], found["p"])
        for method, differences in against["differences"].items()
        for name, found in differences.items()
    ]
    columns = ("caption chosen", "score", "difference", "2.5 %", "97.5 %", "p")
    tables.show(f"This run minus {against['run']}", columns, rows)


def _show_retrieval(report: dict[str, Any]) -> None:
    rows: list[tuple[tables.Cell, ...]] = [
        (direction.replace("_", " "), *(scores[name] for name in RETRIEVAL_SHOWN))
        for direction, scores in report["retrieval"].items()
    ]
    for field, values in report["by"].items():
        for value, directions in values.items():
            for direction, scores in directions.items():
                what = f"{field} {value} ({scores['queries']}), {direction.replace('_', ' ')}"
                rows.append((what, *(scores[name] for name in RETRIEVAL_SHOWN)))
    first = next(iter(report["retrieval"].values()))
    rows.append(("chance", *(first.get(f"chance_{name}") for name in RETRIEVAL_SHOWN[:3]), *(5 * [None])))
    title = f"Retrieval among the {report['n']} {report['split']} images; equal captions count as right"
    columns = ("direction", "R@1", "R@5", "R@10", "median rank", "MRR", "mAP", "nDCG@10", "pool")
    tables.show(title, columns, rows)
