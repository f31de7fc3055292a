"""The counting pipeline: every row read ends up kept or rejected with one reason."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from medclip_cli.cleaning.captions import CaptionStyle, Uncertain, template_words, with_uncertain
from medclip_cli.cleaning.images import ImageFacts, ReadScan, examine_images
from medclip_cli.cleaning.journal import Journal
from medclip_cli.cleaning.rules import Reason, Rule, captioned, readable_row, safe_path, wanted_modality
from medclip_cli.cleaning.splits import assign_splits, leaked_groups
from medclip_cli.parallel import ordered_map
from medclip_cli.records import CaptionedImage, Rejection, SourceRow

SplitPolicy = Literal["official", "filtered", "group"]


@dataclass(frozen=True, slots=True)
class CleaningOptions:
    """What to keep and how to write it down.

    Attributes:
        source: the data set's name; ids and groups begin with it.
        licence: its terms.
        style: how captions are made.
        modalities: the ones to keep; empty keeps all.
        uncertain: what a label the source calls uncertain means.
        splits: ``official`` keeps the data set's own; ``filtered`` also leaves out held-out images whose
            group stands in train; ``group`` makes new ones.
        seed: of the splits.
        limit: read so many rows at most.
    """

    source: str
    licence: str
    style: CaptionStyle
    modalities: frozenset[str] = frozenset()
    uncertain: Uncertain = "mention"
    splits: SplitPolicy = "official"
    seed: int = 0
    limit: int | None = None


@dataclass(slots=True)
class Cleaning:
    """Rows on their way: what was read, what is still in, what is out and why.

    Attributes:
        read: rows read.
        records: rows still in.
        rejected: rows left out, in the order it happened.
        words: how many rows had each word that a template may name.
        fine_hashes: of the images that were looked at, by record id.
    """

    read: int = 0
    records: list[CaptionedImage] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    fine_hashes: dict[str, bytes] = field(default_factory=dict)

    def reject(self, record: CaptionedImage, reason: Reason) -> None:
        """Leave a record out."""
        self.rejected.append(Rejection(record.id, record.image, *reason))

    def reasons(self) -> dict[str, int]:
        """Return how many rows each reason left out, most frequent first."""
        return dict(Counter(row.reason for row in self.rejected).most_common())


def read_rows(rows: Iterable[SourceRow], options: CleaningOptions) -> Cleaning:
    """Run the rules over the metadata and make the captions; no image is opened."""
    cleaning = Cleaning()
    rules: list[Rule] = [readable_row, safe_path]
    if options.modalities:
        rules.append(wanted_modality(options.modalities))
    seen: dict[str, int] = {}
    pairs: set[tuple[str, str]] = set()
    for row in islice(rows, options.limit):
        cleaning.read += 1
        kept = _draft(row, rules, options, cleaning.words)
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
    read_image: ReadScan,
    *,
    journal: Journal,
    threads: int | None = None,
    on_image: Callable[[bool], None] = lambda kept: None,
) -> None:
    """Decode every image, in parallel, and leave out what cannot be used.

    Args:
        cleaning: its records are replaced by those whose image is good, with hashes filled in.
        root: what image paths are relative to.
        read_image: turns an open file into a picture.
        journal: of an earlier run; filled as images are looked at.
        threads: how many images at once; as many as there are cores by default.
        on_image: called after each image with whether it was kept.
    """
    resolved = root.resolve()
    # Drafts leave memory as their records enter it.
    drafts, cleaning.records = deque(cleaning.records), []
    under_way: deque[CaptionedImage] = deque()
    contents = _Contents()

    def examine(chunk: Sequence[CaptionedImage]) -> list[tuple[ImageFacts | Reason, bool]]:
        known = [journal.recall(record.image) for record in chunk]
        new = [root / record.image for record, found in zip(chunk, known, strict=True) if found is None]
        examined = iter(examine_images(read_image, new, resolved))
        return [(found or next(examined), found is None) for found in known]

    def hand_out() -> Iterator[CaptionedImage]:
        while drafts:
            under_way.append(drafts.popleft())
            yield under_way[-1]

    for found, is_new in ordered_map(examine, hand_out(), threads):
        draft = under_way.popleft()
        if is_new:
            journal.remember(draft.image, found)
        if isinstance(found, ImageFacts) and contents.has(found.sha256, draft.caption):
            found = Reason("duplicate_image", "another file with the same content and caption")
        if isinstance(found, Reason):
            cleaning.reject(draft, found)
        else:
            cleaning.fine_hashes[draft.id] = bytes.fromhex(found.fine_hash)
            cleaning.records.append(replace(draft, sha256=found.sha256, dhash=found.dhash))
        on_image(not isinstance(found, Reason))


class _Contents:
    """Which content has come with which captions; nearly always with one, so that is kept small."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._further: set[tuple[str, str]] = set()

    def has(self, content: str, caption: str) -> bool:
        """Whether the pair came before; now it has."""
        first = self._first.get(content)
        if first is None:
            self._first[content] = caption
            return False
        if first == caption or (content, caption) in self._further:
            return True
        self._further.add((content, caption))
        return False


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


def _draft(
    row: SourceRow, rules: Sequence[Rule], options: CleaningOptions, words: Counter[str]
) -> CaptionedImage | Reason:
    for rule in rules:
        reason = rule(row)
        if reason is not None:
            return reason
    settled = with_uncertain(row, options.uncertain)
    if settled is None:
        return Reason("uncertain_label", ", ".join(row.uncertain))
    said = template_words(settled) if options.style.template else {}
    words.update(said.keys())
    captions = options.style.make(settled, said)
    reason = captioned(captions)
    return reason or _record(settled, captions, options)


def _record(row: SourceRow, captions: tuple[str, ...], options: CleaningOptions) -> CaptionedImage:
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
        findings=row.findings,
        age=row.age,
        sex=row.sex,
    )
