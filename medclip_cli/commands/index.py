"""`medclip index`: a corpus into a collection that can be asked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from medclip_cli.commands.options import CollectionName, Debug, JsonOutput, Quiet, Verbose
from medclip_cli.errors import UsageError
from medclip_cli.rendering import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.commands.indexing import IndexJob, IndexReport
    from medclip_cli.settings import Settings
    from medclip_cli.vector_index.base import IndexWriter

EXAMPLE = "Example: medclip index work/medpix --model work/model --collection medpix"
NAMED_FAILURES = 10


def index(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS", help="A corpus made by medclip clean, or a folder of images with captions."
        ),
    ],
    model: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Option("--model", "-m", help="A model folder. [default: the collection's, if it exists]"),
    ] = None,
    collection: CollectionName = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Which splits: train, val, test, several with commas, or all. [default: train, so that the "
            "others can judge the collection; all of a folder that is no corpus]"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one forward pass.")] = 32,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Begin anew: with another model, or after damage.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what this corpus, or these splits, no longer hold.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Embed the images and captions of a corpus into a collection; again, only what changed.

    Whoever asks the collection meanwhile sees it as it was before, until all is done. An interrupted run goes
    on where it stopped when it is started again.
    """
    from medclip_cli.commands import indexing
    from medclip_cli.engines import open_model
    from medclip_cli.settings import load_settings

    settings = load_settings()
    name = collection or settings.collection
    encoder = open_model(_model_path(settings, name, model))
    corpus = indexing.corpus_of(source, settings.home)
    if split is None and not indexing.is_corpus_of(corpus, source):
        split = "all"
    splits = indexing.choose_splits(corpus, split)
    job = indexing.IndexJob(corpus, splits, encoder, batch_size, prune, dry_run)
    with _open_writer(settings, name, job, rebuild) as writer:
        report = indexing.run_index(job, name, writer)
    _show(report, as_json)
    if report.failed:
        raise typer.Exit(3)


def _model_path(settings: Settings, collection: str, given: Path | None) -> Path:
    """Return the model to embed with: the flag's, else the collection's own, else the settings'."""
    from medclip_cli.vector_index import edge

    if given is not None:
        return given
    for info in edge.list_collections(settings.home):
        if info.name == collection:
            return Path(info.model_path)
    if settings.model is None:
        raise UsageError(f"collection {collection!r} does not exist yet: say which model, with --model MODEL")
    return settings.model


def _open_writer(settings: Settings, name: str, job: IndexJob, rebuild: bool) -> IndexWriter:
    from medclip_cli.vector_index.base import CollectionSpec
    from medclip_cli.vector_index.edge_writer import create_writer
    from medclip_cli.vector_index.words import average_length

    spec = CollectionSpec(
        dim=job.model.dim,
        fingerprint=job.model.fingerprint,
        model_name=job.model.name,
        model_path=str(job.model.path.absolute()),
        average_words=average_length(record.caption for record in job.records),
    )
    timeout = settings.lock_timeout_seconds
    return create_writer(settings.home, name, spec, rebuild=rebuild, lock_timeout_seconds=timeout)


def _show(report: IndexReport, as_json: bool) -> None:
    for failure in report.failed[:NAMED_FAILURES]:
        console.warn(f"{failure.image}: {failure.error}")
    if len(report.failed) > NAMED_FAILURES:
        console.warn(f"... and {len(report.failed) - NAMED_FAILURES} more; --json names them all")
    if as_json:
        json_output.write(asdict(report))
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
    tables.show(f"{title}, if it were done" if report.dry_run else title, ("images", "count"), rows)
    if report.left_out:
        left = ", ".join(f"{split} ({count:,})" for split, count in report.left_out.items())
        console.note(f"Left out: {left}; --split all takes everything in.")
    if not report.dry_run and report.added + report.changed:
        console.note(f"{report.seconds:.1f} s, {report.images_per_second:.1f} images/s.")
