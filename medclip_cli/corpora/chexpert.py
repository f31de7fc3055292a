"""CheXpert: ``train.csv``, ``valid.csv`` (and ``test.csv``) beside folders of patients, small or full size.

Paths begin with the release's own folder, ``CheXpert-v1.0-small/`` or ``CheXpert-v1.0/``, whatever it is
called on your disk. A label is 1.0 positive, 0.0 negative, -1.0 uncertain, or blank; lateral views have no
AP/PA. ``No Finding`` may stand beside ``Support Devices``. Rows without any positive label stay: a template
has other words for them, and ``--caption labels`` counts them as ``missing_caption``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medclip_cli.corpora.image_files import base_folder, below
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, read_table, unusable
from medclip_cli.corpora.vocabulary import age_of, sex_of, view_of, words
from medclip_cli.records import SourceRow

LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
TABLES = {"train.csv": "train", "valid.csv": "val", "test.csv": "test"}
_COLUMNS = tuple((label, label.lower()) for label in LABELS)
_RELEASE = re.compile(r"\A(?:\./)?CheXpert[^/]*/", re.IGNORECASE)
_PATIENT = re.compile(r"patient\d+")


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image of every table that is there."""
    base = base_folder(root, ("train.csv", "valid.csv"), "CheXpert")
    prefix = below(root, base)
    tables = [(base / name, split) for name, split in TABLES.items() if (base / name).is_file()]
    return (_row(row, split, prefix) for table, split in tables for row in read_table(table))


def _row(row: Row, split: str, prefix: str) -> SourceRow:
    path = row.get("path")
    if row.fault or path is None:
        return unusable(row, prefix=f"{split}/")
    path = _RELEASE.sub("", path)
    patient = _PATIENT.search(path)
    projection = row.get("frontal/lateral")
    position = row.get("ap/pa")
    positive, uncertain = labels_of(row)
    return SourceRow(
        key=path.rpartition(".")[0],
        image=prefix + path,
        modality="XR",
        group=patient[0] if patient else "",
        split=split,
        words=words(projection=projection, position=position),
        view=view_of("Lateral" if projection == "Lateral" else position or projection),
        region="Chest",
        findings=positive,
        uncertain=uncertain,
        # Everybody in this set is grown up: the three ages of 0 are missing ones.
        age=age_of(row.get("age")) or None,
        sex=sex_of(row.get("sex")),
    )


def labels_of(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the positive and the uncertain labels of a CheXpert-style row."""
    cells = row.cells
    marked = [(label, value) for label, column in _COLUMNS if (value := cells.get(column))]
    positive = tuple(label for label, value in marked if value in ("1.0", "1", 1.0))
    uncertain = tuple(label for label, value in marked if value in ("-1.0", "-1", -1.0))
    return positive, uncertain


LAYOUT = DatasetLayout(
    name="chexpert",
    title="CheXpert",
    licence="Stanford research use agreement",
    download="stanfordmlgroup.github.io/competitions/chexpert: CheXpert-v1.0-small or CheXpert-v1.0",
    reads="train.csv, valid.csv, test.csv, and the folders train/, valid/, test/",
    read=read,
    texts=(),
    sentence="{view} chest X-ray of a {age} year old {sex} showing {labels}",
    fields="frontal/lateral: {projection}, ap/pa: {position}, diagnosis: {labels}",
    default_caption="template",
    has_labels=True,
)
