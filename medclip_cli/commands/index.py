"""`medclip index`: a corpus into a collection that can be searched."""

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
_server = opt.panel("On a server")


def index(
    source: opt.Corpus,
    model: Annotated[
        Path | None,
        opt.option(
            "A model folder, or hf:NAME for a whole CLIP or SigLIP model of the Hugging Face hub or "
            "of a folder. [default: the collection's, if it exists]",
            "--model",
            "-m",
            autocompletion=completion.model_folders,
        ),
    ] = None,
    collection: opt.CollectionName = None,
    split: Annotated[
        str | None,
        opt.option(
            "Which splits: train, val, test, several with commas, or all. [default: train, so that "
            "the others can evaluate the collection; all splits of a folder that is not a corpus]"
        ),
    ] = None,
    batch_size: Annotated[
        int | None, opt.option("Images in one forward pass. [default: 32; on a GPU 128]", min=1)
    ] = None,
    rebuild: Annotated[
        bool, opt.option("Start from scratch, for another model or after damage.", "--rebuild")
    ] = False,
    prune: Annotated[
        bool, opt.option("Delete points without a record in this corpus and these splits.", "--prune")
    ] = False,
    dry_run: Annotated[bool, opt.option("Show what would change, without doing it.", "--dry-run")] = False,
    url: opt.ServerUrl = None,
    shard: Annotated[
        str | None,
        _server(
            "Embed part I of N, where N machines fill one collection; the last to finish makes it live.",
            metavar="I/N",
        ),
    ] = None,
    shards: Annotated[int, _server("Number of shards of a new collection.", min=1)] = 1,
    replicas: Annotated[int, _server("Number of copies of each shard.", min=1)] = 1,
    quantize: Annotated[
        Literal["none", "int8", "binary"], _server("Quantization of the vectors kept in memory.")
    ] = "none",
    on_disk: Annotated[bool, _server("Keep the original vectors on disk.", "--on-disk")] = False,
    wait: Annotated[
        bool,
        _server(
            "Make it live only when the server has built its search graph; before that, search is slow.",
            "--wait/--no-wait",
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
    for failure in report.failed[:NAMED_FAILURES]:
        console.warn(f"{failure.image}: {failure.error}")
    if len(report.failed) > NAMED_FAILURES:
        console.warn(f"... and {len(report.failed) - NAMED_FAILURES} more; --json names them all")
    if as_json:
        json_output.write(report.to_dict())
    else:
        show(report)
    if report.failed:
        raise typer.Exit(SOME_FAILED)


def show(report: IndexReport) -> None:
    """Print what an index run did."""
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
