"""What an index run has to do: compare a corpus with what a collection already holds, and do it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.parallel import ordered_map
from medclip_cli.records import CaptionedImage
from medclip_cli.vector_index.base import IndexWriter, Point, Vector, point_id
from medclip_cli.vector_index.payload import content_digest

if TYPE_CHECKING:
    from medclip_cli.models import Model

_POINTS_PER_UPSERT = 256


@dataclass(frozen=True, slots=True)
class Task:
    """One record that has to be embedded."""

    record: CaptionedImage
    image: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Changes:
    """A corpus against a collection; by point id, since a corpus may not fit into memory."""

    added: dict[str, str]  # digest of each record that the collection does not hold
    changed: dict[str, str]  # digest of each record that it holds in another form
    unchanged: int
    gone: list[str]  # points that no record stands for any more

    @property
    def to_embed(self) -> int:
        return len(self.added) + len(self.changed)


ImagePath = Callable[[CaptionedImage], Path]


def find_changes(
    corpus: str, records: Iterable[CaptionedImage], stored: Mapping[str, str], image_path: ImagePath
) -> Changes:
    """Compare the records that should be in a collection with the digests it holds of their corpus alone."""
    added: dict[str, str] = {}
    changed: dict[str, str] = {}
    gone = set(stored)
    unchanged = 0
    for record in records:
        identifier = point_id(corpus, record.id)
        digest = record_digest(record, image_path(record))
        gone.discard(identifier)
        if stored.get(identifier) == digest:
            unchanged += 1
        else:
            (changed if identifier in stored else added)[identifier] = digest
    return Changes(added, changed, unchanged, sorted(gone))


def tasks_of(
    corpus: str, records: Iterable[CaptionedImage], changes: Changes, image_path: ImagePath
) -> Iterator[Task]:
    """Yield what has to be embedded of the records that `changes` was found in."""
    for record in records:
        identifier = point_id(corpus, record.id)
        digest = changes.added.get(identifier) or changes.changed.get(identifier)
        if digest is not None:
            yield Task(record, image_path(record), digest)


def record_digest(record: CaptionedImage, image: Path) -> str:
    """Return the digest of what is stored of a record, and of its image as it lies on disk now."""
    stamp = ""
    if not record.sha256:  # its size and time stand for its bytes, as with rsync
        with contextlib.suppress(OSError):
            facts = image.stat()
            stamp = f"{facts.st_size}:{facts.st_mtime_ns}"
    return content_digest(record, stamp)


@dataclass(frozen=True, slots=True)
class Failure:
    """A record whose image could not be read."""

    id: str
    image: str
    error: str


def embed_into(
    writer: IndexWriter,
    corpus: str,
    tasks: Iterable[Task],
    model: Model,
    *,
    batch_size: int | None = None,
    on_done: Callable[[Failure | None], None] = lambda _: None,
) -> list[Failure]:
    """Embed records and store them, a few batches in memory at a time.

    Args:
        writer: where they are stored.
        corpus: name of their corpus.
        tasks: what to embed.
        model: that embeds them.
        batch_size: images in one forward pass; None for what suits the model.
        on_done: called after each record, with what was wrong with it, if anything was.

    Returns:
        The records that could not be embedded; all others are stored.
    """
    tasks, ahead = tee(tasks)  # the model decodes a few batches ahead
    images = model.embed_files((task.image for task in ahead), batch_size)
    # Without the pixels, which would stay in memory.
    embedded = ((task, image.vector, image.error) for task, image in zip(tasks, images, strict=True))

    def make_points(read: Sequence[tuple[Task, Vector | None, str | None]]) -> list[list[Point | Failure]]:
        """Make points of what was read, embedding each different caption once."""
        captions = list({task.record.caption: None for task, vector, _ in read if vector is not None})
        vectors = dict(zip(captions, model.embed_texts(captions), strict=True))
        made: list[Point | Failure] = []
        for task, vector, error in read:
            record = task.record
            if vector is None:
                made.append(Failure(record.id, str(task.image), error or "unreadable"))
            else:
                made.append(Point(record, corpus, vector, vectors[record.caption], task.digest))
        return [made]

    failures: list[Failure] = []
    for chunk in ordered_map(make_points, embedded, 1, chunk=_POINTS_PER_UPSERT, ahead=model.passes_at_once):
        writer.upsert([made for made in chunk if isinstance(made, Point)])
        for made in chunk:
            if isinstance(made, Failure):
                failures.append(made)
            on_done(made if isinstance(made, Failure) else None)
    return failures
