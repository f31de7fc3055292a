"""What a corpus holds, counted: splits, modalities, captions, duplicates."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import mean, median
from typing import Any

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.records import SPLITS, CaptionedImage

SAMPLES = 10
# Beyond these many values the rest is one line: a region column may hold free text.
MOST_VALUES = 20
_WORD = re.compile(r"\w+")
REST = "(others)"
NONE = "(none)"


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
    lengths = [len(_WORD.findall(record.caption)) for record in records]
    return {
        "name": corpus.name,
        "caption_style": corpus.caption_style,
        "images": len(records),
        "groups": len({record.group for record in records}),
        "splits": _splits(records),
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
        "duplicate_images": _repeated(record.sha256 for record in records if record.sha256),
        "samples": [
            {"id": r.id, "image": r.image, "split": r.split, "modality": r.modality, "caption": r.caption}
            for r in _sample(records, samples, seed)
        ],
    }


def _splits(records: Sequence[CaptionedImage]) -> dict[str, dict[str, int]]:
    images = Counter(record.split for record in records)
    groups = Counter(split for split, _ in {(record.split, record.group) for record in records})
    return {split: {"images": images[split], "groups": groups[split]} for split in SPLITS}


def _most_frequent(values: Iterable[str | None]) -> dict[str, int]:
    counts = Counter(value or NONE for value in values)
    shown = dict(counts.most_common(MOST_VALUES))
    rest = counts.total() - sum(shown.values())
    return {**shown, REST: rest} if rest else shown


def _repeated(values: Iterable[str]) -> int:
    return sum(count - 1 for count in Counter(values).values())


def _sample(records: Sequence[CaptionedImage], count: int, seed: int) -> list[CaptionedImage]:
    chosen = random.Random(seed).sample(range(len(records)), min(count, len(records)))
    return [records[i] for i in sorted(chosen)]
