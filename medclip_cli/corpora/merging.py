"""Several corpora as one, and what a corpus holds, counted."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from medclip_cli.corpora.corpus_folder import Corpus, check_target, split_sizes, write_corpus
from medclip_cli.corpora.near_duplicates import FineHashes, Leaks, find_leaks
from medclip_cli.errors import CorpusError
from medclip_cli.progress import log
from medclip_cli.records import SPLITS, CaptionedImage, Rejection

SAMPLES = 10
# Beyond these many values the rest is one line: a region column may hold free text.
MOST_VALUES = 20
_WORD = re.compile(r"\w+")
REST = "(others)"
NONE = "(none)"


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What came of a merge; ``read == kept + sum(rejected.values())``.

    Attributes:
        corpus: the folder that was made.
        merged: names of the corpora.
        licence: their terms.
        read: rows read, of which so many were `kept`.
        rejected: rows left out, by reason code.
        renamed: rows whose id two corpora had.
        moved_to_keep_groups_whole: rows that went to another split.
        splits: ``images`` and ``groups`` by split.
        leaks: what train and the held-out splits share.
    """

    corpus: Path
    merged: list[str]
    licence: str
    read: int
    kept: int
    rejected: dict[str, int]
    renamed: int
    moved_to_keep_groups_whole: int
    splits: dict[str, dict[str, int]]
    leaks: Leaks

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON; ``report.json`` has the same counts."""
        return asdict(self) | {"corpus": str(self.corpus)}


def merge_corpora(
    corpora: Sequence[Corpus], out: Path, *, name: str | None = None, force: bool = False
) -> MergeReport:
    """Write corpora as one, in their order.

    A group that stands in several splits is moved as a whole to the one held out most (test, then val): what
    was held out once is never trained on.

    Args:
        corpora: two or more.
        out: the corpus folder to make.
        name: of the new corpus; that of its folder by default.
        force: replace a corpus that is there.

    Raises:
        CorpusError: fewer than two corpora, or the folder exists or cannot be written.
    """
    if len(corpora) < 2:
        raise CorpusError("a merge needs two corpora or more: name them all")
    check_target(out, force=force)
    root = Path(os.path.commonpath([os.path.abspath(corpus.image_root) for corpus in corpora]))
    records: list[CaptionedImage] = []
    rejected: list[Rejection] = []
    taken: dict[str, int] = {}
    pairs: set[tuple[str, str]] = set()
    for corpus in corpora:
        prefix = corpus.image_root.relative_to(root).as_posix()
        for record in corpus.records:
            image = record.image if prefix == "." else f"{prefix}/{record.image}"
            # The same content with the same caption says nothing new, wherever it lies.
            pair = (record.sha256 or image, record.caption)
            if pair in pairs:
                detail = "the same image and caption stand in this corpus already"
                rejected.append(Rejection(record.id, image, "duplicate_row", detail))
                continue
            pairs.add(pair)
            taken[record.id] = taken.get(record.id, 0) + 1
            again = taken[record.id]
            records.append(replace(record, image=image, id=_numbered(record.id, again, taken)))
    split_of: dict[str, str] = {}
    for record in records:
        # SPLITS is train, val, test: the later, the more it must be kept from training.
        split_of[record.group] = max(split_of.get(record.group, SPLITS[0]), record.split, key=SPLITS.index)
    moved = sum(record.split != split_of[record.group] for record in records)
    whole = [r if r.split == split_of[r.group] else replace(r, split=split_of[r.group]) for r in records]
    leaks = find_leaks(whole, FineHashes(lambda record: root / record.image))
    if leaks.any:
        log.warning(
            f"{leaks.exact_duplicates} exact and {leaks.near_duplicates} near-duplicate images of held-out "
            "splits stand in train: see leaks in report.json"
        )
    report = MergeReport(
        corpus=out,
        merged=[corpus.name for corpus in corpora],
        licence="; ".join(sorted({record.licence for record in whole})),
        read=sum(len(corpus.records) for corpus in corpora),
        kept=len(whole),
        rejected={"duplicate_row": len(rejected)} if rejected else {},
        renamed=sum(count - 1 for count in taken.values()),
        moved_to_keep_groups_whole=moved,
        splits=split_sizes(whole),
        leaks=leaks,
    )
    write_corpus(
        out,
        name=name or out.absolute().name,
        image_root=root,
        caption_style=", ".join(dict.fromkeys(corpus.caption_style for corpus in corpora)),
        records=whole,
        rejected=rejected,
        report={key: value for key, value in report.to_dict().items() if key != "corpus"},
        force=force,
    )
    return report


def _numbered(identifier: str, again: int, taken: dict[str, int]) -> str:
    if again == 1:
        return identifier
    while f"{identifier}#{again}" in taken:
        again += 1
    taken[f"{identifier}#{again}"] = 1
    return f"{identifier}#{again}"


def describe_corpus(corpus: Corpus, *, samples: int = SAMPLES, seed: int = 0) -> dict[str, Any]:
    """Count what a corpus holds.

    Args:
        corpus: an opened corpus.
        samples: how many rows to show, the same ones for the same seed.
        seed: of the samples.

    Returns:
        counts, ready for JSON; an empty corpus gives zeros.
    """
    records = corpus.records
    chosen = sorted(random.Random(seed).sample(range(len(records)), min(samples, len(records))))
    hashes = [record.sha256 for record in records if record.sha256]
    lengths = [len(_WORD.findall(record.caption)) for record in records]
    return {
        "name": corpus.name,
        "caption_style": corpus.caption_style,
        "images": len(records),
        "groups": len({record.group for record in records}),
        "splits": split_sizes(records),
        "modalities": _most_frequent(record.modality for record in records),
        "views": _most_frequent(record.view for record in records),
        "regions": _most_frequent(record.region for record in records),
        "sources": _most_frequent(record.source for record in records),
        "findings": _most_frequent(label for record in records for label in record.findings),
        "caption_words": {
            "shortest": min(lengths, default=0),
            "median": median(lengths) if lengths else 0,
            "mean": round(mean(lengths), 2) if lengths else 0,
            "longest": max(lengths, default=0),
        },
        "different_captions": len({record.caption for record in records}),
        "vocabulary": len({word.lower() for record in records for word in _WORD.findall(record.caption)}),
        "duplicate_images": len(hashes) - len(set(hashes)),
        "samples": [
            {"id": r.id, "image": r.image, "split": r.split, "modality": r.modality, "caption": r.caption}
            for r in (records[i] for i in chosen)
        ],
    }


def _most_frequent(values: Iterable[str | None]) -> dict[str, int]:
    counts = Counter(value or NONE for value in values)
    shown = dict(counts.most_common(MOST_VALUES))
    rest = counts.total() - sum(shown.values())
    return {**shown, REST: rest} if rest else shown
