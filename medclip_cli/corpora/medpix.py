"""MedPix, the first scrape: the seed project's CSV, or the raw sheet of 34 columns as CSV or Excel.

The seed's ``trimmed.csv`` has ten columns and is cp1252, its ``dataset.csv`` thirteen; both name images by
``filename`` and have no case, so images of one diagnosis are kept together. The raw sheet names images by
``ID`` or ``Image_URL`` and cases by ``Case_URL``; its ``Demographics`` read ``58 y.o. male``. Excel turned
92 captions into ``#NAME?``: under ``--caption report`` they are counted as placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from medclip_cli.corpora.image_files import ImageFiles, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, columns_of, read_table, unusable
from medclip_cli.corpora.vocabulary import age_of, modality_of, sex_of, texts, view_of, words
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

_NEEDED = {"core_modality", "case_diagnosis"}
_DEMOGRAPHICS = re.compile(r"\s*(?P<age>[\d.]+\s*[a-z.]*?)?\.?\s*(?P<sex>male|female|man|woman)?\s*\Z", re.I)


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image of the first table that is MedPix's."""
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    table = options.captions_file or _find_table(root)
    images = list_images(root)
    return (_row(row, images) for row in read_table(table))


def _find_table(root: Path) -> Path:
    for pattern in ("*.csv", "*.xlsx", "*/*.csv", "*/*.xlsx"):
        for path in sorted(root.glob(pattern)):
            if _NEEDED.issubset(columns_of(path)):
                return path
    raise CorpusError(f"{root} has no table with the columns Core_Modality and Case_Diagnosis: is it MedPix?")


def _row(row: Row, images: ImageFiles) -> SourceRow:
    name = row.get("filename", "id") or (row.get("image_url") or "").rpartition("/")[2]
    if row.fault or not name:
        return unusable(row)
    age, sex = demographics(row)
    named = images.find(name) or images.find((row.get("image_url") or "").rpartition("/")[2])
    return SourceRow(
        key=name.rpartition(".")[0] or name,
        image=named or (name if "." in name else f"{name}.jpg"),
        modality=modality_of(row.get("core_modality"), row.get("full_modality")),
        group=row.get("case_url") or _diagnosis_group(row) or name,
        texts=texts(
            report=row.raw("caption"), findings=row.get("findings"), impression=row.get("case_diagnosis")
        ),
        words=words(
            modality=row.get("core_modality"),
            view=row.get("plane"),
            age=f"{age:g}" if age is not None else None,
            diagnosis=row.get("case_diagnosis", "diagnosis"),
            sequence=row.get("full_modality"),
            caption=row.get("caption"),
            keywords=row.get("keywords"),
        ),
        view=view_of(row.get("plane")),
        region=row.get("location"),
        category=row.get("category"),
        age=age,
        sex=sex,
    )


def demographics(row: Row) -> tuple[float | None, str | None]:
    """Return age and sex, from columns of their own or from a text like ``58 y.o. male``."""
    match = _DEMOGRAPHICS.match(row.get("demographics") or "")
    age = row.get("patient_age", "age") or (match["age"] if match else None)
    sex = row.get("patient_gender", "sex") or (match["sex"] if match else None)
    return age_of(age), sex_of(sex)


def _diagnosis_group(row: Row) -> str | None:
    diagnosis = row.get("case_diagnosis", "diagnosis")
    return " ".join(re.findall(r"\w+", diagnosis.lower())) if diagnosis else None


LAYOUT = DatasetLayout(
    name="medpix",
    title="MedPix (first scrape)",
    licence="MedPix terms of use (NLM)",
    download="github.com/Mauville/MedCLIP (dataset.csv) or the sheet Dataset_MedPix_V1.xlsx, and the images",
    reads="a table with Core_Modality and Case_Diagnosis (.csv or .xlsx), and all images",
    read=read,
    texts=("report", "findings", "impression"),
    sentence="{view} {modality} of the {region} of a {age} year old {sex}, {category}: {diagnosis}",
    fields="modality: {modality}, plane: {view}, category: {category}, diagnosis: {diagnosis}",
    default_caption="medpix-seed",
)
