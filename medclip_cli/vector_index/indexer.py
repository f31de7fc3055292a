"""`index`: a corpus into a collection. Compare, embed what is new, store it, swap it in."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli import models
from medclip_cli.cleaning.corpus_builder import prepare_corpus
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CollectionError, CorpusError, UsageError
from medclip_cli.progress import OnProgress, Progress, log, no_progress
from medclip_cli.records import SPLITS, CaptionedImage
from medclip_cli.settings import Settings, load_settings
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, CorpusSource, IndexWriter, point_id
from medclip_cli.vector_index.bm25 import average_length
from medclip_cli.vector_index.store import Store
from medclip_cli.vector_index.sync import Changes, Failure, embed_into, find_changes, tasks_of

if TYPE_CHECKING:
    from medclip_cli.models import Model
    from medclip_cli.vector_index.server import ServerLayout


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did, or as a dry run would do; `seconds` counts from the first comparison.

    Attributes:
        collection: its name, like those of the corpus and the model.
        splits: those that were indexed.
        left_out: sizes of the other splits.
        added: records that were not there.
        changed: records that were there in another form.
        removed: points that no record stands for any more.
        points: of the collection, all corpora together.
        images_per_second: of those embedded.
        failed: records whose images could not be read.
        in_place: whether readers see the result; not while other shards are still to come.
    """

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
    seconds: float
    images_per_second: float
    failed: list[Failure] = field(default_factory=list)
    dry_run: bool = False
    in_place: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, as ``medclip index --json`` prints it."""
        return asdict(self)

    def _repr_html_(self) -> str:
        from medclip_cli.pages import table_html

        counted = ("added", "changed", "unchanged", "removed", "points")
        rows = [*((name, getattr(self, name)) for name in counted), ("unreadable", len(self.failed))]
        title = f"{self.corpus} ({', '.join(self.splits)}) -> {self.collection}"
        return table_html(title, ("images", "count"), rows)


def index(  # noqa: PLR0913 - the options of the command
    corpus: Corpus | Path | str,
    *,
    model: Model | Path | str | None = None,
    collection: str | None = None,
    url: str | None = None,
    home: Path | str | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    rebuild: bool = False,
    prune: bool = False,
    dry_run: bool = False,
    shard: str | None = None,
    layout: ServerLayout | None = None,
    lock_timeout: float | None = None,
    offline: bool | None = None,
    on_progress: OnProgress = no_progress,
) -> IndexReport:
    """Embed the images and captions of a corpus into a collection; again, only what changed.

    Readers see the collection as it was before until the run is complete. An interrupted run continues where
    it stopped when it is started again. What is None is taken from the settings.

    Args:
        corpus: a corpus, its folder, or a folder of images with captions, which is cleaned first.
        model: a model, its folder, or ``hf:NAME``; None takes the one that made the collection.
        collection: its name.
        url: of the Qdrant server that keeps it; None keeps it under `home`.
        home: the folder of medclip's data.
        split: ``train``, ``val``, ``test``, several with commas, or ``all``. None takes train, so that the
            others can judge the collection; all of a folder that was not a corpus.
        batch_size: images in one forward pass; None for what suits where the model runs.
        rebuild: begin with an empty collection: with another model, or after damage.
        prune: remove points that no record of these splits stands for any more.
        dry_run: only say what would be done.
        shard: ``I/N``: embed part I of N; N machines fill one collection on a server.
        layout: of a new collection on a server.
        lock_timeout: seconds to wait for another run to end.
        offline: never reach the network.
        on_progress: called as images are embedded and at each stage after.

    Raises:
        UsageError: a field that cannot be used; the message names it.
        CorpusError: the corpus is missing, damaged or empty.
        ModelError: the model cannot be opened.
        CollectionError: not one image could be read, or the collection cannot be written.
    """
    given = {"home": home, "collection": collection, "qdrant_url": url}
    settings = load_settings(given | {"lock_timeout_seconds": lock_timeout, "offline": offline})
    name, part, store = settings.collection, _parse_shard(shard), Store.of(settings)
    opened = _open_model(model, settings, store)
    source, corpus = corpus, prepare_corpus(corpus, settings.home, on_progress)
    if split is None and not isinstance(source, Corpus) and corpus.path != Path(source):
        split = "all"  # of a folder of images, made into a corpus just now
    sizes = dict(Counter(record.split for record in corpus.walk()))  # reads, and so checks, every row
    run = _Run(corpus, sizes, _choose_splits(corpus, sizes, split), opened, batch_size, prune, dry_run, part)
    with store.create_writer(name, run.spec(), rebuild=rebuild, layout=layout, part=part) as writer:
        return run.carry_out(name, writer, on_progress)


def _open_model(given: Model | Path | str | None, settings: Settings, store: Store) -> Model:
    if given is not None and not isinstance(given, (str, Path)):
        return given
    if given is None:
        try:
            given = store.describe(settings.collection).model_folder
        except CollectionError as error:
            if settings.model is None:
                raise UsageError(f"no model given: name one ({error})") from error
            given = settings.model
    return models.load_model(given, home=settings.home, offline=settings.offline)


def _choose_splits(corpus: Corpus, sizes: Mapping[str, int], wanted: str | None) -> tuple[str, ...]:
    if not sizes:
        raise CorpusError(f"the corpus {corpus.path} is empty: see its rejected.csv for the reasons")
    if wanted is None:
        wanted = "train" if "train" in sizes else "all"
    names = SPLITS if wanted.strip() == "all" else tuple(part.strip() for part in wanted.split(","))
    if unknown := [name for name in names if name not in SPLITS]:
        raise UsageError(f"split {unknown[0]!r} is not one of {', '.join(SPLITS)}, or all")
    if not sizes.keys() & set(names):
        raise CorpusError(f"the corpus {corpus.path} has no {wanted} split, only {', '.join(sorted(sizes))}")
    return tuple(name for name in SPLITS if name in names and name in sizes)


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"invalid shard {text!r}: expected I/N, for example 1/4")
    return int(number), int(count)


@dataclass(frozen=True, slots=True)
class _Run:
    """One index run; `sizes` counts the records of each split, `part` is this machine's of so many."""

    corpus: Corpus
    sizes: Mapping[str, int]
    splits: tuple[str, ...]
    model: Model
    batch_size: int | None
    prune: bool
    dry_run: bool
    part: tuple[int, int] | None

    def records(self, *, all_parts: bool = False) -> Iterator[CaptionedImage]:
        """Yield the records that should be in the collection, of this machine's part or of all."""
        for record in self.corpus.walk():
            if record.split in self.splits and (
                all_parts or self._is_mine(point_id(self.corpus.name, record.id))
            ):
                yield record

    def _is_mine(self, point: str) -> bool:
        """Return whether a point belongs to this machine's part; its id says so, on every machine alike."""
        return self.part is None or uuid.UUID(point).int % self.part[1] == self.part[0] - 1

    def spec(self) -> CollectionSpec:
        """What a collection must be for these records and this model."""
        return CollectionSpec(
            dim=self.model.dim,
            fingerprint=self.model.fingerprint,
            model_name=self.model.name,
            model_path=os.path.abspath(self.model.path),
            average_words=average_length(record.caption for record in self.records(all_parts=True)),
        )

    def carry_out(self, collection: str, writer: IndexWriter, on_progress: OnProgress) -> IndexReport:
        """Bring the collection up to date with the corpus."""
        began = time.monotonic()
        if writer.resumed:
            log.info("Resuming an interrupted run of collection %r.", collection)
        name = self.corpus.name
        stored = {point: digest for point, digest in writer.digests(name).items() if self._is_mine(point)}
        changes = find_changes(name, self.records(), stored, self.corpus.image_path)
        failed: list[Failure] = []
        info = writer.live
        if not self.dry_run:
            failed, info = self._write(changes, writer, on_progress)
        seconds = time.monotonic() - began
        unread = {point_id(name, failure.id) for failure in failed}
        return IndexReport(
            collection=collection,
            corpus=name,
            model=self.model.name,
            fingerprint=self.model.fingerprint,
            splits=self.splits,
            left_out={split: size for split, size in self.sizes.items() if split not in self.splits},
            added=len(changes.added.keys() - unread),
            changed=len(changes.changed.keys() - unread),
            unchanged=changes.unchanged,
            removed=len(changes.gone) if self.prune else 0,
            points=info.points if info else 0,
            seconds=seconds,
            images_per_second=changes.to_embed / seconds if seconds else 0.0,
            failed=failed,
            dry_run=self.dry_run,
            in_place=self.dry_run or info == writer.live,
        )

    def _write(
        self, changes: Changes, writer: IndexWriter, on_progress: OnProgress
    ) -> tuple[list[Failure], CollectionInfo]:
        name, root = self.corpus.name, os.path.abspath(self.corpus.image_root)
        path = os.path.abspath(self.corpus.path)
        before = writer.live.corpora.get(name) if writer.live else None
        if before and before.path != path and os.path.isdir(before.path):
            raise UsageError(
                f"the collection has another corpus named {name!r}, from {before.path}: clean one of them "
                "again under another name"
            )
        writer.add_corpus(name, CorpusSource(path, root, self.splits))
        failed: list[Failure] = []
        if changes.to_embed:
            writer.reserve(changes.to_embed)
            failed = self._embed(changes, writer, on_progress)
        if failed and len(failed) == changes.to_embed and not changes.unchanged:
            raise CollectionError(
                f"none of the {len(failed)} images could be read (the first: {failed[0].image}: "
                f"{failed[0].error}): if the images moved from {root}, clean again"
            )
        if self.prune:
            writer.delete(changes.gone)

        def on_stage(stage: str) -> None:
            log.debug(stage)
            on_progress(Progress(f"Finishing: {stage}"))

        return failed, writer.commit(on_stage)

    def _embed(self, changes: Changes, writer: IndexWriter, on_progress: OnProgress) -> list[Failure]:
        report = Progress("Embedding", total=changes.to_embed)
        on_progress(report)

        def on_done(failure: Failure | None) -> None:
            nonlocal report
            report = replace(report, done=report.done + 1, failed=report.failed + (failure is not None))
            on_progress(report)

        # On a GPU, if there is one, now that it is clear that there is something to embed.
        model = models.load_model(self.model.path, for_many=True)
        tasks = tasks_of(self.corpus.name, self.records(), changes, self.corpus.image_path)
        try:
            return embed_into(
                writer, self.corpus.name, tasks, model, batch_size=self.batch_size, on_done=on_done
            )
        except KeyboardInterrupt:
            done, total = report.done, changes.to_embed
            log.warning("stopped after %s of %s images: index again to go on from there", done, total)
            raise
