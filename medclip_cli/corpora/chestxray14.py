"""NIH ChestX-ray14: ``Data_Entry_2017*.csv``, the official lists, and PNGs in one or twelve folders.

Labels only, no reports. The header of 2017 ends in a comma and its ages may read ``058Y`` or 414; that of
2020 has commas inside brackets, which makes eleven columns of nine. Some pictures are RGBA. The
patient-disjoint lists of CheXNet are another split: most of its test images stand in the official training
list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from medclip_cli.corpora.image_files import ImageFiles, base_folder, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, read_lines, read_table, unusable
from medclip_cli.corpora.vocabulary import age_of, known, sex_of, view_of, words
from medclip_cli.records import SourceRow

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
# The validation part of train_val_list.txt is the user's to choose: cleaning divides it by patient.
LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image."""
    base = base_folder(root, TABLES, "ChestX-ray14")
    table = next(base / name for name in TABLES if (base / name).is_file())
    splits = {
        name: split
        for file, split in LISTS.items()
        if (base / file).is_file()
        for name in read_lines(base / file)
    }
    images = list_images(root)
    return (_row(row, splits, images) for row in read_table(table))


def _row(row: Row, splits: Mapping[str, str], images: ImageFiles) -> SourceRow:
    name = row.get("image index")
    if row.fault or name is None:
        return unusable(row)
    labels = (known(label) for label in (row.get("finding labels") or "").split("|"))
    sex, age, view = (
        row.get("patient gender", "patient sex"),
        row.get("patient age"),
        row.get("view position"),
    )
    return SourceRow(
        key=name.rpartition(".")[0] or name,
        image=images.find(name) or name,
        modality="XR",
        # Patient ID 37 is the patient of 00000037_000.png.
        group=name.partition("_")[0],
        split=splits.get(name),
        words=words(follow_up=row.get("follow-up #")),
        view=view_of(view),
        region="Chest",
        findings=tuple(label for label in labels if label),
        age=age_of(age),
        sex=sex_of(sex),
    )


LAYOUT = DatasetLayout(
    name="chestxray14",
    title="NIH ChestX-ray14",
    licence="open, with attribution to the NIH Clinical Center",
    download="nihcc.app.box.com/v/ChestXray-NIHCC, or its copy on Kaggle",
    reads="Data_Entry_2017_v2020.csv (or Data_Entry_2017.csv), images*/, train_val_list.txt, test_list.txt",
    read=read,
    texts=(),
    sentence="{view} chest X-ray of a {age} year old {sex} showing {labels}",
    fields="view: {view}, age: {age}, sex: {sex}, diagnosis: {labels}",
    default_caption="template",
    has_labels=True,
)
