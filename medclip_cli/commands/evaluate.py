"""`medclip evaluate`: captions and retrieval on a held-out split, beside baselines that need no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED
from medclip_cli.pages.reports import RETRIEVAL, SCORES, method_name

EXAMPLE = "Example: medclip evaluate work/medpix --collection medpix --split val --html report.html"
SHOWN = tuple(name for name in SCORES if name != "distinct")
LEGEND = (
    "random, most frequent and pixel nearest (by 32x32 grey pixels) are baselines without a model; the upper "
    "bound draws among images with the true modality, view and region. p: of CIDEr, against the first row"
)
RETRIEVAL_SHOWN = {name: shown for name, shown in RETRIEVAL.items() if name != "mean_rank"}
RETRIEVAL_SHOWN["median_rank"] = "rank"  # the tables are read in terminals of 80 columns


def evaluate(
    corpus: opt.Corpus,
    split: Annotated[Literal["train", "val", "test"], opt.scoring("Held-out split to evaluate.")] = "val",
    method: Annotated[
        list[str] | None,
        opt.scoring("nearest, consensus or generate. Repeatable. [default: nearest, consensus]"),
    ] = None,
    skip_overlap: Annotated[
        bool,
        opt.scoring(
            "If the collection holds cases of the split: leave them out, or stop.",
            "--skip-overlap/--refuse-overlap",
        ),
    ] = True,
    by: Annotated[
        list[str] | None,
        opt.scoring(
            "Also report retrieval by modality, view, region, category or sex. Repeatable.", metavar="FIELD"
        ),
    ] = None,
    against: Annotated[
        Path | None,
        opt.scoring("An earlier run, saved with --json, to test the difference from.", metavar="FILE"),
    ] = None,
    html: opt.Html = None,
    plots: Annotated[Path | None, opt.output("Write the charts here, as SVG and PNG.", metavar="DIR")] = None,
    as_csv: Annotated[bool, opt.output("Print CSV instead of a table.", "--csv")] = False,
    collection: opt.CollectionName = None,
    model: opt.ModelPath = None,
    meteor: opt.Meteor = None,
    resamples: opt.Resamples = 1_000,
    seed: opt.Seed = 0,
    url: opt.ServerUrl = None,
    offline: opt.Offline = None,
    lock_timeout: opt.LockTimeout = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """Score captions and retrieval on a held-out split, beside baselines that need no model.

    An image is never answered by a patient, case or article of its own split. Intervals are 95 % bootstrap
    intervals over the images; differences are tested in pairs.
    """
    from medclip_cli.collection import open_collection
    from medclip_cli.evaluation import run
    from medclip_cli.pages import check_page
    from medclip_cli.terminal import console, json_output
    from medclip_cli.terminal.progress import reported

    if html is not None:
        check_page(html)
    opened = open_collection(collection, url=url, model=model, offline=offline, lock_timeout=lock_timeout)
    with opened, reported() as on_progress:
        report = run.evaluate(
            corpus,
            opened,
            split=split,
            methods=method or run.DEFAULT_METHODS,
            skip_overlap=skip_overlap,
            by=by or (),
            against=against,
            meteor=meteor,
            resamples=resamples,
            seed=seed,
            on_progress=on_progress,
        )
    if plots is not None:
        report.write_charts(plots)
    if html is not None:
        report.write_html(html)
    if as_json:
        json_output.write(report.to_dict())
    elif as_csv:
        for line in report.to_csv().splitlines():
            console.out(line)
    else:
        show(report.to_dict())
    if report.unreadable:
        raise typer.Exit(SOME_FAILED)


def show(report: dict[str, Any]) -> None:
    """Print an evaluation, as `--json` has it, as tables."""
    from medclip_cli.records import DISCLAIMER
    from medclip_cli.terminal import console, tables

    captions, published = report["captions"], report["published"]
    shown = [name for name in SHOWN if name in next(iter(captions.values()))]
    rows: list[tuple[tables.Cell, ...]] = [
        (
            method_name(method),
            *(scores[name] for name in shown),
            scores["distinct"],
            report["comparisons"].get(method, {}).get("cider", {}).get("p"),
        )
        for method, scores in captions.items()
    ]
    for number, figure in enumerate(published, 1):
        rows.append((f"published ({number})", *(figure["scores"].get(name) for name in shown), None, None))
    title = f"Captions of {report['n']} {report['split']} images, answered from {report['pool']} known images"
    tables.show(title, ("captions", *(SCORES[name] for name in shown), "texts", "p"), rows)
    tables.gap()

    if report["intervals"]:
        names = ("bleu4", "rouge_l", "cider")
        intervals = [
            (method_name(method), *(f"{found[name][0]:.3f} to {found[name][1]:.3f}" for name in names))
            for method, found in report["intervals"].items()
        ]
        columns = ("captions", *(SCORES[name] for name in names))
        tables.show("95 % bootstrap intervals", columns, intervals)
        tables.gap()
    if "against" in report:
        differences: list[tuple[tables.Cell, ...]] = [
            (method_name(method), SCORES[name], one["difference"], *one["interval"], one["p"])
            for method, found in report["against"]["differences"].items()
            for name, one in found.items()
            if name in SHOWN
        ]
        columns = ("captions", "score", "difference", "2.5 %", "97.5 %", "p")
        tables.show(f"This run minus {report['against']['run']}", columns, differences)
        tables.gap()

    _show_retrieval(report)
    for number, figure in enumerate(published, 1):
        if number == 1:
            tables.gap()
        found = (f"{SCORES.get(name, name)} {value:.3f}" for name, value in figure["scores"].items())
        console.prose(f"({number}) {figure['name']}: {', '.join(found)}; {figure['note']}")
    console.note(f"{LEGEND}.\n{DISCLAIMER}")


def _show_retrieval(report: dict[str, Any]) -> None:
    from medclip_cli.terminal import tables

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
