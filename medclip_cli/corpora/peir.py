"""PEIR Gross, as nlpaueb/bio_image_caption crawls it: tab-separated captions, and photographs of organs.

A caption reads ``AREA: ORGAN: Gross: description``. There is no patient: pictures with the same caption,
but for numbers, are taken for one case. The official split is by picture, so look at the leaks, or use
``--splits group``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medclip_cli.corpora.image_files import ImageFiles, base_folder, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, read_json, read_table, unusable
from medclip_cli.corpora.vocabulary import known, texts, words
from medclip_cli.records import SourceRow

_TABLE = "peir_gross.tsv"
_JSON = "peir_gross_captions.json"
_LISTS = {"train_images.tsv": "train_val", "test_images.tsv": "test"}
# The crawler's newest version writes the tags under the second name.
_TAGS = ("peir_gross_tags.json", "peir_gross.json")


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row a photograph."""
    base = base_folder(root, (_TABLE, _JSON), "PEIR Gross")
    images = list_images(root)
    tags = next((_object(base / name) for name in _TAGS if (base / name).is_file()), {})
    splits = {
        row.get("image"): split
        for name, split in _LISTS.items()
        if (base / name).is_file()
        for row in _pairs(base / name)
    }
    rows = _pairs(base / _TABLE) if (base / _TABLE).is_file() else _json_pairs(base / _JSON)
    return (_row(row, images, tags, splits) for row in rows)


def _row(
    row: Row, images: ImageFiles, tags: Mapping[str, Any], splits: Mapping[str | None, str]
) -> SourceRow:
    name, caption = row.get("image"), row.get("caption")
    if row.fault or name is None:
        return unusable(row)
    parts = [part.strip() for part in (caption or "").split(":")]
    labels = tags.get(name)
    return SourceRow(
        key=name,
        image=images.find(name) or f"peir_gross_images/{name}",
        modality="GX",
        group=re.sub(r"[\W\d_]+", " ", (caption or name).lower()).strip() or name,
        split=splits.get(name),
        texts=texts(report=parts[-1], full=caption),
        words=words(area=parts[0] if len(parts) > 1 else None),
        region=known(parts[1].capitalize()) if len(parts) > 2 else None,
        findings=tuple(t for item in labels if (t := known(item))) if isinstance(labels, list) else (),
    )


def _pairs(path: Path) -> Iterator[Row]:
    return read_table(path, columns=("image", "caption"), delimiter="\t", quoted=False)


def _json_pairs(path: Path) -> Iterator[Row]:
    for number, (name, caption) in enumerate(_object(path).items(), 1):
        yield Row(number, {"image": name, "caption": caption})


def _object(path: Path) -> Mapping[str, Any]:
    content = read_json(path)
    return content if isinstance(content, dict) else {}


LAYOUT = DatasetLayout(
    name="peir",
    title="PEIR Gross",
    licence="University of Alabama at Birmingham, by the site's terms",
    download="peir.path.uab.edu by the crawler of github.com/nlpaueb/bio_image_caption",
    reads="peir_gross.tsv (or peir_gross_captions.json), {train,test}_images.tsv, peir_gross_images/",
    read=read,
    texts=("report", "full"),
    sentence="gross specimen of {region} showing {labels}",
    fields="area: {area}, organ: {region}, tags: {labels}",
    default_caption="report",
    has_labels=True,
)
