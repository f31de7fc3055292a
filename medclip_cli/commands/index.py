"""`medclip index`: a corpus into a collection that can be asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from medclip_cli.commands.options import CollectionName, Debug, JsonOutput, Quiet, Verbose
from medclip_cli.errors import CollectionError, CorpusError, UsageError
from medclip_cli.rendering import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.engines import Model
    from medclip_cli.records import CaptionedImage
    from medclip_cli.settings import Settings
    from medclip_cli.vector_index.base import CollectionInfo, IndexWriter
    from medclip_cli.vector_index.changes import Changes, Failure

EXAMPLE = "Example: medclip index work/medpix --model work/model --collection medpix"
_NAMED_FAILURES = 10


def index(
    source: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus made by medclip clean.")],
    model: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Option("--model", "-m", help="A model folder. [default: the collection's, if it exists]"),
    ] = None,
    collection: CollectionName = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Which splits: train, val, test, several with commas, or all. "
            "[default: train, so that the others can judge the collection]"
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
    from medclip_cli.corpora.corpus_folder import open_corpus
    from medclip_cli.engines import open_model
    from medclip_cli.settings import load_settings

    settings = load_settings()
    name = collection or settings.collection
    corpus = open_corpus(source)
    splits = _choose_splits(corpus, split)
    encoder = open_model(_model_path(settings, name, model))
    run = _Run(corpus, splits, encoder, batch_size, prune, dry_run)
    with _open_writer(settings, name, run, rebuild) as writer:
        outcome = run.carry_out(name, writer)
    _show(outcome, as_json)
    if outcome.failed:
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


def _choose_splits(corpus: Corpus, wanted: str | None) -> tuple[str, ...]:
    from medclip_cli.records import SPLITS
    from medclip_cli.vector_index.changes import default_splits

    if not corpus.records:
        raise CorpusError(f"the corpus {corpus.path} is empty: see its rejected.csv for the reasons")
    if wanted is None:
        return default_splits(corpus.records)
    names = SPLITS if wanted.strip() == "all" else tuple(part.strip() for part in wanted.split(","))
    if unknown := [name for name in names if name not in SPLITS]:
        raise UsageError(f"no split {unknown[0]!r}: choose from {', '.join(SPLITS)}, or all")
    found = {record.split for record in corpus.records}
    if not found & set(names):
        raise CorpusError(f"the corpus {corpus.path} has no {wanted} split, only {', '.join(sorted(found))}")
    return tuple(name for name in SPLITS if name in names and name in found)


def _open_writer(settings: Settings, name: str, run: _Run, rebuild: bool) -> IndexWriter:
    from medclip_cli.vector_index.base import CollectionSpec
    from medclip_cli.vector_index.edge_writer import create_writer
    from medclip_cli.vector_index.words import average_length

    spec = CollectionSpec(
        dim=run.encoder.dim,
        fingerprint=run.encoder.fingerprint,
        model_name=run.encoder.name,
        model_path=str(run.encoder.path.absolute()),
        average_words=average_length(record.caption for record in run.records),
    )
    timeout = settings.lock_timeout_seconds
    return create_writer(settings.home, name, spec, rebuild=rebuild, lock_timeout_seconds=timeout)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What an index run did, as ``--json`` prints it."""

    collection: str
    corpus: str
    model: str
    fingerprint: str
    splits: tuple[str, ...]
    left_out: dict[str, int]
    added: int
    changed: int
    unchanged: int
    removed: int
    points: int
    failed: list[Failure]
    seconds: float
    images_per_second: float
    generation: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Run:
    """One index run: which records, by which model, and what to do about those that are gone."""

    corpus: Corpus
    splits: tuple[str, ...]
    encoder: Model
    batch_size: int
    prune: bool
    dry_run: bool

    @property
    def records(self) -> Sequence[CaptionedImage]:
        return [record for record in self.corpus.records if record.split in self.splits]

    def carry_out(self, name: str, writer: IndexWriter) -> _Outcome:
        from medclip_cli.vector_index.changes import find_changes

        began = time.monotonic()
        if writer.resumed:
            console.note(f"Going on where an interrupted run of collection {name!r} stopped.")
        stored = writer.digests(self.corpus.name)
        changes = find_changes(self.corpus.name, self.records, stored, self.corpus.image_path)
        failed: list[Failure] = []
        info: CollectionInfo | None = None
        if not self.dry_run:
            failed, info = self._write(name, writer, changes)
        seconds = time.monotonic() - began
        unread = {failure.id for failure in failed}
        return _Outcome(
            collection=name,
            corpus=self.corpus.name,
            model=self.encoder.name,
            fingerprint=self.encoder.fingerprint,
            splits=self.splits,
            left_out=dict(Counter(r.split for r in self.corpus.records if r.split not in self.splits)),
            added=sum(task.record.id not in unread for task in changes.added),
            changed=sum(task.record.id not in unread for task in changes.changed),
            unchanged=changes.unchanged,
            removed=len(changes.gone) if self.prune else 0,
            points=info.points if info else len(stored),
            failed=failed,
            seconds=seconds,
            images_per_second=len(changes.tasks) / seconds if seconds else 0.0,
            generation=info.generation if info else 0,
            dry_run=self.dry_run,
        )

    def _write(
        self, name: str, writer: IndexWriter, changes: Changes
    ) -> tuple[list[Failure], CollectionInfo]:
        from medclip_cli.vector_index.base import CorpusSource

        path, root = str(self.corpus.path.absolute()), str(self.corpus.image_root.absolute())
        writer.add_corpus(self.corpus.name, CorpusSource(path, root, self.splits))
        failed = self._embed(name, writer, changes) if changes.tasks else []
        if self.prune:
            writer.delete(changes.gone)
        if failed and len(failed) == len(changes.tasks) and not changes.unchanged:
            raise CollectionError(
                f"none of the {len(failed)} images could be read (the first: {failed[0].image}: "
                f"{failed[0].error}): is the image root {root} right?"
            )
        with progress.track("Finishing", unit="steps"):
            return failed, writer.commit(console.detail)

    def _embed(self, name: str, writer: IndexWriter, changes: Changes) -> list[Failure]:
        from medclip_cli.vector_index.changes import embed_into

        writer.reserve(len(changes.tasks))
        with progress.track("Embedding", total=len(changes.tasks)) as bar:
            try:
                return embed_into(
                    writer,
                    self.corpus.name,
                    changes.tasks,
                    self.encoder,
                    batch_size=self.batch_size,
                    on_done=lambda failure: bar.fail() if failure else bar.advance(),
                )
            except KeyboardInterrupt:
                console.warn(
                    f"stopped after {bar.done} of {len(changes.tasks)}: index again to go on from there"
                )
                raise


def _show(outcome: _Outcome, as_json: bool) -> None:
    for failure in outcome.failed[:_NAMED_FAILURES]:
        console.warn(f"{failure.image}: {failure.error}")
    if len(outcome.failed) > _NAMED_FAILURES:
        console.warn(f"... and {len(outcome.failed) - _NAMED_FAILURES} more; --json names them all")
    if as_json:
        json_output.write(asdict(outcome))
        return
    rows: list[tuple[str, Any]] = [
        ("added", outcome.added),
        ("changed", outcome.changed),
        ("unchanged", outcome.unchanged),
        ("removed", outcome.removed),
        ("unreadable", len(outcome.failed)),
        ("in the collection", outcome.points),
    ]
    title = f"{outcome.corpus} ({', '.join(outcome.splits)}) -> {outcome.collection}"
    tables.show(f"Would do: {title}" if outcome.dry_run else title, ("images", "count"), rows)
    if outcome.left_out:
        left = ", ".join(f"{split} ({count:,})" for split, count in outcome.left_out.items())
        console.note(f"Left out: {left}; --split all takes everything in.")
    if not outcome.dry_run and outcome.added + outcome.changed:
        console.note(f"{outcome.seconds:.1f} s, {outcome.images_per_second:.1f} images/s.")
