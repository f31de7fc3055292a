"""What a cleaning counted, for ``report.json`` and for the eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from medclip_cli.cleaning.leaks import Leaks
from medclip_cli.cleaning.pipeline import Cleaning, CleaningOptions
from medclip_cli.records import SPLITS, CaptionedImage


def build_report(
    cleaning: Cleaning, options: CleaningOptions, leaks: Leaks, *, images_checked: bool
) -> dict[str, Any]:
    """Return the counts of a cleaning; read = kept + the sum of rejected."""
    records = cleaning.records
    return {
        "dataset": options.source,
        "licence": options.licence,
        "read": cleaning.read,
        "kept": len(records),
        "rejected": cleaning.reasons(),
        "splits": split_sizes(records),
        "modalities": dict(Counter(record.modality for record in records).most_common()),
        "images_checked": images_checked,
        "leaks": leaks.as_dict(),
        "options": {
            "modality": sorted(options.modalities),
            "uncertain": options.uncertain,
            "splits": options.splits,
            "seed": options.seed,
            "limit": options.limit,
        },
    }


def split_sizes(records: Sequence[CaptionedImage]) -> dict[str, dict[str, int]]:
    """Return images and groups by split."""
    images = Counter(record.split for record in records)
    groups = Counter(split for split, _ in {(record.split, record.group) for record in records})
    return {split: {"images": images[split], "groups": groups[split]} for split in SPLITS}
