"""What an index run does, for every command that makes a collection: compare, embed, store, swap in."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medclip_cli.errors import CollectionError, CorpusError, UsageError
from medclip_cli.records import SPLITS
from medclip_cli.terminal import console, progress

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model
    from medclip_cli.records import CaptionedImage
    from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, IndexWriter
    from medclip_cli.vector_index.sync import Changes, Failure


@dataclass(frozen=True, slots=True)
class IndexJob:
    """What to index, by which model, and what to do about records that are gone.

    Attributes:
        corpus: whose records.
        sizes: how many records each split of it has.
        splits: those that go into the collection.
        model: that embeds them; on a GPU, if there is one, once it is clear that there is something to embed.
        batch_size: images in one forward pass; None for what suits where the model runs.
        prune: remove points that no record of these splits stands for any more.
        dry_run: only say what would be done.
        part: this machine's part and how many there are; None for all of it.
    """

    corpus: Corpus
    sizes: Mapping[str, int]
    splits: tuple[str, ...]
    model: Model
    batch_size: int | None = None
    prune: bool = False
    dry_run: bool = False
    part: tuple[int, int] | None = None

    def records(self) -> Iterator[CaptionedImage]:
        """Yield the records that should be in the collection, of all parts."""
        return (record for record in self.corpus.walk() if record.split in self.splits)

    def my_records(self) -> Iterator[CaptionedImage]:
        """Yield those of this machine's part."""
        from medclip_cli.vector_index.base import point_id

        if self.part is None:
            return self.records()
        return (record for record in self.records() if self.is_mine(point_id(self.corpus.name, record.id)))

    def is_mine(self, point: str) -> bool:
        """Return whether a point belongs to this machine's part; its id says so, on every machine alike."""
        return self.part is None or uuid.UUID(point).int % self.part[1] == self.part[0] - 1

    @property
    def spec(self) -> CollectionSpec:
        """What a collection must be for these records and this model."""
        from medclip_cli.vector_index.base import CollectionSpec
        from medclip_cli.vector_index.bm25 import average_length

        return CollectionSpec(
            dim=self.model.dim,
            fingerprint=self.model.fingerprint,
            model_name=self.model.name,
            model_path=os.path.abspath(self.model.path),
            average_words=average_length(record.caption for record in self.records()),
        )


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did, or with ``--dry-run`` would do; `seconds` counts from the first comparison."""

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


def split_sizes(corpus: Corpus) -> dict[str, int]:
    """Count the records of each split, reading the whole table once, so that it is known to be sound.

    Raises:
        CorpusError: the table is damaged.
    """
    return dict(Counter(record.split for record in corpus.walk()))


def choose_splits(corpus: Corpus, sizes: Mapping[str, int], wanted: str | None) -> tuple[str, ...]:
    """Return the splits that go into a collection.

    Args:
        corpus: that has them.
        sizes: how many records each split of it has.
        wanted: ``all``, or names with commas; None takes train, so that the others can judge the collection.

    Raises:
        CorpusError: the corpus is empty, or has none of these splits.
        UsageError: there is no such split.
    """
    if not sizes:
        raise CorpusError(f"the corpus {corpus.path} is empty: see its rejected.csv for the reasons")
    if wanted is None:
        wanted = "train" if "train" in sizes else "all"
    names = SPLITS if wanted.strip() == "all" else tuple(part.strip() for part in wanted.split(","))
    if unknown := [name for name in names if name not in SPLITS]:
        raise UsageError(f"no split {unknown[0]!r}: choose from {', '.join(SPLITS)}, or all")
    if not sizes.keys() & set(names):
        raise CorpusError(f"the corpus {corpus.path} has no {wanted} split, only {', '.join(sorted(sizes))}")
    return tuple(name for name in SPLITS if name in names and name in sizes)


def run_index(job: IndexJob, collection: str, writer: IndexWriter) -> IndexReport:
    """Bring a collection up to date with a corpus.

    Raises:
        CollectionError: not one image could be read, or the collection cannot be written.
    """
    from medclip_cli.vector_index.base import point_id
    from medclip_cli.vector_index.sync import find_changes

    began = time.monotonic()
    if writer.resumed:
        console.note(f"Going on where an interrupted run of collection {collection!r} stopped.")
    corpus = job.corpus
    stored = {point: digest for point, digest in writer.digests(corpus.name).items() if job.is_mine(point)}
    changes = find_changes(corpus.name, job.my_records(), stored, corpus.image_path)
    failed: list[Failure] = []
    info = writer.live
    if not job.dry_run:
        failed, info = _carry_out(job, changes, writer)
    seconds = time.monotonic() - began
    unread = {point_id(corpus.name, failure.id) for failure in failed}
    return IndexReport(
        collection=collection,
        corpus=corpus.name,
        model=job.model.name,
        fingerprint=job.model.fingerprint,
        splits=job.splits,
        left_out={split: size for split, size in job.sizes.items() if split not in job.splits},
        added=len(changes.added.keys() - unread),
        changed=len(changes.changed.keys() - unread),
        unchanged=changes.unchanged,
        removed=len(changes.gone) if job.prune else 0,
        points=info.points if info else 0,
        seconds=seconds,
        images_per_second=changes.to_embed / seconds if seconds else 0.0,
        failed=failed,
        dry_run=job.dry_run,
        in_place=job.dry_run or info == writer.live,
    )


def parse_part(text: str | None) -> tuple[int, int] | None:
    """Read ``I/N``.

    Raises:
        UsageError: it is no part of a whole.
    """
    if text is None:
        return None
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"{text!r} is no part of a whole: write 1/4, 2/4, 3/4 and 4/4 on four machines")
    return int(part), int(parts)


def _carry_out(job: IndexJob, changes: Changes, writer: IndexWriter) -> tuple[list[Failure], CollectionInfo]:
    from medclip_cli.vector_index.base import CorpusSource

    path, root = os.path.abspath(job.corpus.path), os.path.abspath(job.corpus.image_root)
    before = writer.live.corpora.get(job.corpus.name) if writer.live else None
    if before and before.path != path and os.path.isdir(before.path):
        raise UsageError(
            f"the collection has another corpus named {job.corpus.name!r}, from {before.path}: clean one "
            "of them again with another --name"
        )
    writer.add_corpus(job.corpus.name, CorpusSource(path, root, job.splits))
    failed = _embed(job, changes, writer) if changes.to_embed else []
    if failed and len(failed) == changes.to_embed and not changes.unchanged:
        raise CollectionError(
            f"none of the {len(failed)} images could be read (the first: {failed[0].image}: "
            f"{failed[0].error}): if the images moved from {root}, clean again"
        )
    if job.prune:
        writer.delete(changes.gone)
    with progress.stages("Finishing") as say:
        return failed, writer.commit(say)


def _embed(job: IndexJob, changes: Changes, writer: IndexWriter) -> list[Failure]:
    from medclip_cli.models import open_model
    from medclip_cli.vector_index.sync import embed_into, tasks_of

    model = open_model(job.model.path, for_many=True)
    writer.reserve(changes.to_embed)
    tasks = tasks_of(job.corpus.name, job.my_records(), changes, job.corpus.image_path)
    with progress.track("Embedding", total=changes.to_embed) as bar:
        try:
            return embed_into(
                writer,
                job.corpus.name,
                tasks,
                model,
                batch_size=job.batch_size,
                on_done=lambda failure: bar.fail() if failure else bar.advance(),
            )
        except KeyboardInterrupt:
            console.warn(f"stopped after {bar.done} of {changes.to_embed}: index again to go on from there")
            raise
