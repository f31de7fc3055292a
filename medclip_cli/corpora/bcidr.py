"""BCIDR, bladder cancer histology with five captions an image, in either public layout.

zizhaozhang/distill2: ``Img/<name>.png`` and ``{train,test}_labels.json``; zizhaozhang/nmi-wsi-diagnosis:
``Images/<name>.png`` and ``{train,val,test}_annotation.json``. Each caption describes five features in as
many sentences. A slide's name is the image's without its last part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medclip_cli.corpora.folder import captions_of
from medclip_cli.corpora.layout import DatasetLayout, ImageFiles, ReadOptions, base_folder, list_images
from medclip_cli.corpora.notes import note
from medclip_cli.corpora.tables import read_json
from medclip_cli.records import SPLITS, SourceRow

_FILES = {f"{split}_{kind}.json": split for kind in ("labels", "annotation") for split in SPLITS}
GRADES = ("normal", "low grade", "high grade", "insufficient information")


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image, with all its captions."""
    base = base_folder(root, tuple(_FILES), "BCIDR")
    files = [(base / name, split) for name, split in _FILES.items() if (base / name).is_file()]
    # Without a validation list the training list is divided by slide.
    has_val = any(split == "val" for _, split in files)
    for split in SPLITS:
        if not any(split == there for _, there in files):
            note(f"{base} has no list of {split}{': train is divided by slide' if split == 'val' else ''}")
    images = list_images(root)
    for path, split in files:
        for name, entry in _entries(read_json(path)):
            yield _row(name, entry, "train_val" if split == "train" and not has_val else split, images)


def _entries(content: object) -> Iterator[tuple[str, object]]:
    """Yield (name, entry) of either shape: an object by name, or a list of records."""
    if isinstance(content, dict):
        yield from ((str(name), entry) for name, entry in content.items())
    elif isinstance(content, list):
        for number, entry in enumerate(content):
            name = entry.get("image_id") if isinstance(entry, dict) else None
            yield (str(name) if name else f"entry{number}"), entry


def _row(name: str, entry: object, split: str, images: ImageFiles) -> SourceRow:
    if not isinstance(entry, dict):
        return SourceRow(name, "", fault=("malformed_row", "not an image with captions"))
    label = entry.get("label")
    grade = GRADES[label] if isinstance(label, int) and 0 <= label < len(GRADES) else None
    return SourceRow(
        key=name,
        image=images.find(f"{name}.png") or images.find(name) or f"Img/{name}.png",
        modality="HE",
        group=name.rpartition("_")[0] or name,
        split=split,
        texts=captions_of(entry.get("caption")),
        region="Bladder",
        category=grade,
        findings=(grade,) if grade else (),
    )


LAYOUT = DatasetLayout(
    name="bcidr",
    title="BCIDR (bladder histology)",
    licence="not stated",
    download="the links of github.com/zizhaozhang/distill2, or of github.com/zizhaozhang/nmi-wsi-diagnosis",
    reads="{train,val,test}_labels.json and Img/, or {train,val,test}_annotation.json and Images/",
    read=read,
    texts=("report",),
    sentence="histology of the {region}, {labels}",
    fields="organ: {region}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)
