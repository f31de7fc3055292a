"""A record as the payload of a point, and back as a neighbour."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from medclip_cli.records import CaptionedImage, Neighbour

SHOWN_FIELDS = (
    "modality",
    "view",
    "region",
    "category",
    "findings",
    "age",
    "sex",
    "split",
    "source",
    "licence",
)


def payload_of(record: CaptionedImage, corpus: str, digest: str) -> dict[str, Any]:
    """Return what is stored beside the vectors: the caption and the fields people filter by."""
    shown = {name: getattr(record, name) for name in SHOWN_FIELDS}
    payload = {
        "id": record.id,
        "corpus": corpus,
        "caption": record.caption,
        "image": record.image,
        "group": record.group,
        "digest": digest,
        **shown,
        "findings": list(record.findings),
    }
    # A missing field is left out, so that "has no age" means the same to every engine.
    return {name: value for name, value in payload.items() if value not in (None, [], "")}


def neighbour_of(payload: Mapping[str, Any], rank: int, score: float) -> Neighbour:
    """Return a stored payload as one answer."""
    return Neighbour(
        rank=rank,
        score=score,
        id=payload["id"],
        caption=payload["caption"],
        image=payload["image"],
        corpus=payload["corpus"],
        group=payload["group"],
        fields={name: payload[name] for name in SHOWN_FIELDS if name in payload},
    )


def content_digest(record: CaptionedImage, image_stamp: str = "") -> str:
    """Return 16 hex digits that change when the record's payload or its image changes.

    Args:
        record: what is stored.
        image_stamp: stands for the image's bytes when the corpus holds no hash of them, such as the file's
            size and time of change.
    """
    content = payload_of(record, "", "") | {"bytes": record.sha256 or image_stamp}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
