"""`medclip index`: a corpus into a collection that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import completion
from medclip_cli.commands import options as opt
from medclip_cli.errors import SOME_FAILED
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.vector_index.indexer import IndexReport

EXAMPLE = "Example: medclip index work/medpix --model work/model --collection medpix"
NAMED_FAILURES = 10
_SERVER = "On a server"


def index(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS", help="A corpus made by medclip clean, or a folder of images with captions."
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            autocompletion=completion.model_folders,
            help="A model folder, or hf:NAME for a whole CLIP or SigLIP model of the Hugging Face hub or of "
            "a folder. [default: the collection's, if it exists]",
        ),
    ] = None,
    collection: opt.CollectionName = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which splits: train, val, test, several with commas, or all. [default: train, so that the "
            "others can judge the collection; all splits of a folder that is not a corpus]"
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Images in one forward pass. [default: 32; on a GPU 128]"),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start from scratch, for another model or after damage.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete points without a record in this corpus and these splits."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, without doing it.")
    ] = False,
    url: opt.ServerUrl = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Embed part I of N, where N machines fill one collection; the last to finish makes it live.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="Number of shards of a new collection.", rich_help_panel=_SERVER)
    ] = 1,
    replicas: Annotated[
        int, typer.Option(min=1, help="Number of copies of each shard.", rich_help_panel=_SERVER)
    ] = 1,
    quantize: Annotated[
        Literal["none", "int8", "binary"],
        typer.Option(help="Quantization of the vectors kept in memory.", rich_help_panel=_SERVER),
    ] = "none",
    on_disk: Annotated[
        bool, typer.Option("--on-disk", help="Keep the original vectors on disk.", rich_help_panel=_SERVER)
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Make it live only when the server has built its search graph; before that, search is slow.",
            rich_help_panel=_SERVER,
        ),
    ] = True,
    lock_timeout: opt.LockTimeout = None,
    offline: opt.Offline = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """Embed the images and captions of a corpus into a collection; again, only what changed.

    Readers see the collection as it was before until the run is complete. An interrupted run continues where
    it stopped when it is started again.
    """
    from medclip_cli.vector_index import indexer
    from medclip_cli.vector_index.server import ServerLayout

    with progress.reported() as on_progress:
        report = indexer.index(
            source,
            model=model,
            collection=collection,
            url=url,
            split=split,
            batch_size=batch_size,
            rebuild=rebuild,
            prune=prune,
            dry_run=dry_run,
            shard=shard,
            layout=ServerLayout(shards, replicas, quantize, on_disk, wait),
            lock_timeout=lock_timeout,
            offline=offline,
            on_progress=on_progress,
        )
    _show(report, as_json)
    if report.failed:
        raise typer.Exit(SOME_FAILED)


def _show(report: IndexReport, as_json: bool) -> None:
    for failure in report.failed[:NAMED_FAILURES]:
        console.warn(f"{failure.image}: {failure.error}")
    if len(report.failed) > NAMED_FAILURES:
        console.warn(f"... and {len(report.failed) - NAMED_FAILURES} more; --json names them all")
    if as_json:
        json_output.write(report.to_dict())
        return
    title = f"{report.corpus} ({', '.join(report.splits)}) -> {report.collection}"
    rows = [
        ("added", report.added),
        ("changed", report.changed),
        ("unchanged", report.unchanged),
        ("removed", report.removed),
        ("unreadable", len(report.failed)),
        ("in the collection", report.points),
    ]
    tables.show(f"{title} (dry run)" if report.dry_run else title, ("images", "count"), rows)
    if not report.in_place:
        console.note("Not live yet: other shards are still to come.")
    if report.left_out:
        left = ", ".join(f"{split} ({count:,})" for split, count in report.left_out.items())
        console.note(f"Left out: {left}; --split all includes them.")
    if not report.dry_run and report.added + report.changed:
        console.note(f"{report.seconds:.1f} s, {report.images_per_second:.1f} images/s.")
