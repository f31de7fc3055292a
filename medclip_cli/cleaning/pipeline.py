"""The counting pipeline: every row read ends up kept, or rejected with the reason of the rule it breaks."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from medclip_cli.cleaning.captions import (
    CaptionStyle,
    Uncertain,
    is_placeholder,
    template_words,
    with_uncertain,
)
from medclip_cli.cleaning.images import ImageFacts, Journal, examine_images
from medclip_cli.cleaning.splits import assign_splits
from medclip_cli.corpora.corpus_folder import leaves_root
from medclip_cli.corpora.near_duplicates import leaked_groups
from medclip_cli.parallel import ordered_map
from medclip_cli.progress import OnProgress, Progress, no_progress
from medclip_cli.records import CaptionedImage, Reason, Rejection, SourceRow

SplitPolicy = Literal["official", "filtered", "group"]


@dataclass(frozen=True, slots=True)
class CleaningOptions:
    """What to keep and how to write it down; see `corpus_builder.clean`."""

    source: str  # the data set's name; ids and groups begin with it
    licence: str
    style: CaptionStyle
    modalities: frozenset[str] = frozenset()
    uncertain: Uncertain = "mention"
    splits: SplitPolicy = "official"
    seed: int = 0
    limit: int | None = None


@dataclass(slots=True)
class Cleaning:
    """Rows on their way: how many were read, which are still in, which are out and why."""

    read: int = 0
    records: list[CaptionedImage] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)  # how many rows had a word for a template's name
    fine_hashes: dict[str, bytes] = field(default_factory=dict)  # of decoded images, by record id

    def reject(self, record: CaptionedImage, reason: Reason) -> None:
        self.rejected.append(Rejection(record.id, record.image, *reason))

    def reasons(self) -> dict[str, int]:
        """Return how many rows each reason left out, most frequent first."""
        return dict(Counter(row.reason for row in self.rejected).most_common())


def read_rows(rows: Iterable[SourceRow], options: CleaningOptions) -> Cleaning:
    """Run the rules over the metadata and make the captions; no image is opened."""
    cleaning = Cleaning()
    seen: dict[str, int] = {}
    pairs: set[tuple[str, str]] = set()
    for row in islice(rows, options.limit):
        cleaning.read += 1
        kept = _draft(row, options, cleaning.words)
        if isinstance(kept, CaptionedImage):
            pair = (kept.image, kept.caption)
            if pair in pairs:
                kept = Reason("duplicate_row", "the same image with the same caption")
            pairs.add(pair)
        if isinstance(kept, Reason):
            cleaning.rejected.append(Rejection(f"{options.source}/{row.key}", row.image, *kept))
            continue
        # A key that comes back with another caption is a second pair, not the same row.
        seen[kept.id] = seen.get(kept.id, 0) + 1
        cleaning.records.append(
            kept if seen[kept.id] == 1 else replace(kept, id=f"{kept.id}#{seen[kept.id]}")
        )
    return cleaning


def check_images(
    cleaning: Cleaning,
    root: Path,
    *,
    journal: Journal,
    threads: int | None = None,
    on_progress: OnProgress = no_progress,
) -> None:
    """Decode every image, in parallel, and leave out what cannot be used.

    Args:
        cleaning: its records are replaced by those whose image is good, with hashes filled in.
        root: what image paths are relative to.
        journal: findings of an earlier run, and now of this one.
        threads: how many images at once; as many as there are cores by default.
        on_progress: called for each image.
    """
    resolved = root.resolve()
    # Drafts leave memory as their records enter it.
    drafts, cleaning.records = deque(cleaning.records), []
    under_way: deque[CaptionedImage] = deque()
    # Which content came with which captions; nearly always with one, so that is kept small.
    first_caption: dict[str, str] = {}
    further: set[tuple[str, str]] = set()
    total, failed = len(drafts), 0

    def examine(chunk: Sequence[CaptionedImage]) -> list[tuple[ImageFacts | Reason, bool]]:
        known = [journal.recall(record.image) for record in chunk]
        new = [root / record.image for record, found in zip(chunk, known, strict=True) if found is None]
        examined = iter(examine_images(new, resolved))
        return [(found or next(examined), found is None) for found in known]

    def hand_out() -> Iterator[CaptionedImage]:
        while drafts:
            under_way.append(drafts.popleft())
            yield under_way[-1]

    for done, (found, is_new) in enumerate(ordered_map(examine, hand_out(), threads), 1):
        draft = under_way.popleft()
        if is_new:
            journal.remember(draft.image, found)
        if isinstance(found, ImageFacts):
            pair = (found.sha256, draft.caption)
            first = first_caption.get(found.sha256)
            if first is None:
                first_caption[found.sha256] = draft.caption
            elif first == draft.caption or pair in further:
                found = Reason("duplicate_image", "another file with the same content and caption")
            else:
                further.add(pair)
        if isinstance(found, Reason):
            cleaning.reject(draft, found)
        else:
            cleaning.fine_hashes[draft.id] = bytes.fromhex(found.fine_hash)
            cleaning.records.append(replace(draft, sha256=found.sha256, dhash=found.dhash))
        failed += isinstance(found, Reason)
        on_progress(Progress("Decoding", done, total, failed))


def settle_splits(cleaning: Cleaning, options: CleaningOptions) -> None:
    """Give every record its split, by the data set's own or by group."""
    if options.splits == "group":
        cleaning.records = [replace(record, split="") for record in cleaning.records]
    cleaning.records = assign_splits(cleaning.records, seed=options.seed)
    if options.splits == "filtered":
        leaked = leaked_groups(cleaning.records)
        out = [r for r in cleaning.records if r.split != "train" and r.group in leaked]
        for record in out:
            cleaning.reject(record, Reason("leaked_group", f"its group stands in train and {record.split}"))
        gone = {record.id for record in out}
        cleaning.records = [record for record in cleaning.records if record.id not in gone]


def unfilled_names(cleaning: Cleaning, style: CaptionStyle) -> tuple[str, ...]:
    """Return the names of a template that no row had a word for: a typing mistake, or a column left empty."""
    names = style.template.names if style.template else ()
    return tuple(name for name in names if not cleaning.words[name])


def _draft(row: SourceRow, options: CleaningOptions, words: Counter[str]) -> CaptionedImage | Reason:
    """Return the record of a row, or the first reason to leave it out."""
    if reason := _unusable(row):
        return reason
    if options.modalities and row.modality not in options.modalities:
        return Reason("modality", row.modality)
    settled = with_uncertain(row, options.uncertain)
    if settled is None:
        return Reason("uncertain_label", ", ".join(row.uncertain))
    named = template_words(settled) if options.style.template else {}
    words.update(named.keys())
    captions = options.style.make(settled, named)
    if not captions:
        return Reason("missing_caption")
    if all(is_placeholder(caption) for caption in captions):
        return Reason("placeholder_caption")
    return CaptionedImage(
        id=f"{options.source}/{row.key}",
        image=row.image,
        caption=captions[0],
        captions=captions,
        modality=row.modality,
        group=f"{options.source}/{row.group or row.key}",
        split=row.split or "",
        source=options.source,
        licence=options.licence,
        # One object for a word that comes ten thousand times.
        view=row.view and sys.intern(row.view),
        region=row.region and sys.intern(row.region),
        category=row.category and sys.intern(row.category),
        findings=settled.findings,
        age=row.age,
        sex=row.sex,
    )


def _unusable(row: SourceRow) -> Reason | None:
    """Leave out what the adapter could not use, and images outside the image root."""
    if row.fault is not None:
        return Reason(*row.fault)
    if not row.key or not row.image:
        return Reason("malformed_row", "no key" if row.image else "no image named")
    if not _encodes(row.key + row.group):
        return Reason("malformed_row", "its key or group is not UTF-8")
    if "\\" in row.image or leaves_root(row.image):
        return Reason("unsafe_path", "the path leaves the image root")
    if not row.image.isprintable() or not _encodes(row.image):
        return Reason("unsafe_path", "the path has control characters or is not UTF-8")
    return None


def _encodes(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "ignore").decode("utf-8") == text
