"""Data sets that are a table and a column map; what no map can say of one is a small function beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medclip_cli.corpora.layout import ColumnMap, DatasetLayout, ReadOptions, Source
from medclip_cli.corpora.tables import Row, columns_of, read_json, read_table
from medclip_cli.corpora.vocabulary import (
    OLDEST_AGE,
    age_of,
    known,
    modality_of,
    sex_of,
    texts,
    view_of,
    words,
)
from medclip_cli.errors import CorpusError

# CheXpert. Paths begin with the release's own folder, CheXpert-v1.0-small/ or CheXpert-v1.0/, whatever it is
# called on disk. A label is 1.0 positive, 0.0 negative, -1.0 uncertain, or blank; lateral views have no
# AP/PA. "No Finding" may stand beside "Support Devices". Rows without any positive label stay: a template has
# other words for them, and the caption style "labels" counts them as missing_caption.
CHEXPERT_LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
_LABEL_COLUMNS = tuple((label, label.lower()) for label in CHEXPERT_LABELS)
_RELEASE = re.compile(r"\A(?:\./)?CheXpert[^/]*/", re.IGNORECASE)
_PATIENT = re.compile(r"patient\d+")


def chexpert_labels(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the positive and the uncertain labels of a CheXpert-style row."""
    cells = row.cells
    marked = [(label, value) for label, column in _LABEL_COLUMNS if (value := cells.get(column))]
    positive = tuple(label for label, value in marked if value in ("1.0", "1", 1.0))
    uncertain = tuple(label for label, value in marked if value in ("-1.0", "-1", -1.0))
    return positive, uncertain


def _chexpert(row: Row, name: str, source: Source) -> dict[str, Any]:
    path = _RELEASE.sub("", name)
    patient = _PATIENT.search(path)
    projection, position = row.get("frontal/lateral"), row.get("ap/pa")
    positive, uncertain = chexpert_labels(row)
    return {
        "key": path.rpartition(".")[0],
        "image": source.prefix + path,
        "group": patient[0] if patient else "",
        "view": view_of("Lateral" if projection == "Lateral" else position or projection),
        "findings": positive,
        "uncertain": uncertain,
        "words": words(projection=projection, position=view_of(position)),  # LL and RL are lateral
        # Everybody in this set is grown up: the three ages of 0 are missing ones.
        "age": age_of(row.get("age")) or None,
    }


CHEXPERT = DatasetLayout(
    name="chexpert",
    title="CheXpert",
    licence="Stanford research use agreement",
    download="stanfordmlgroup.github.io/competitions/chexpert: CheXpert-v1.0-small or CheXpert-v1.0",
    reads="train.csv, valid.csv, test.csv, and the folders train/, valid/, test/",
    read=ColumnMap(
        title="CheXpert",
        files={"train.csv": "train", "valid.csv": "val", "test.csv": "test"},
        markers=("train.csv", "valid.csv"),
        image="path",
        has_paths=True,
        columns={"sex": "sex"},
        fixed={"modality": "XR", "region": "Chest"},
        quirks=_chexpert,
    ),
    texts=(),
    sentence="{view} chest X-ray of a {age} year old {sex} showing {labels}",
    fields="frontal/lateral: {projection}, ap/pa: {position}, diagnosis: {labels}",
    default_caption="template",
    has_labels=True,
)


# ChestX-ray14. Labels only, no reports. The header of 2017 ends in a comma and its ages may read 058Y or 414;
# that of 2020 has commas inside brackets, which makes eleven columns of nine. Some images are RGBA. The
# patient-disjoint lists of CheXNet are another split: most of its test images stand in the official training
# list. The validation part of train_val_list.txt is the user's to choose: cleaning divides it by patient.
def _chestxray14(row: Row, name: str, source: Source) -> dict[str, Any]:
    labels = (known(label) for label in (row.get("finding labels") or "").split("|"))
    # Patient ID 37 is the patient of 00000037_000.png.
    return {"group": name.partition("_")[0], "findings": tuple(label for label in labels if label)}


CHESTXRAY14 = DatasetLayout(
    name="chestxray14",
    title="NIH ChestX-ray14",
    licence="open, with attribution to the NIH Clinical Center",
    download="nihcc.app.box.com/v/ChestXray-NIHCC, or its copy on Kaggle",
    reads="Data_Entry_2017_v2020.csv (or Data_Entry_2017.csv), images*/, train_val_list.txt, test_list.txt",
    read=ColumnMap(
        title="ChestX-ray14",
        files={"Data_Entry_2017_v2020.csv": None, "Data_Entry_2017.csv": None},
        alternatives=True,
        lists={"train_val_list.txt": "train_val", "test_list.txt": "test"},
        image="image index",
        columns={"view": "view position", "age": "patient age", "sex": ("patient gender", "patient sex")},
        words={"follow_up": "follow-up #"},
        fixed={"modality": "XR", "region": "Chest"},
        quirks=_chestxray14,
    ),
    texts=(),
    sentence="{view} chest X-ray of a {age} year old {sex} showing {labels}",
    fields="view: {view}, age: {age}, sex: {sex}, diagnosis: {labels}",
    default_caption="template",
    has_labels=True,
)

# PadChest: one table, and 16-bit PNGs in numbered folders or all in one. The reports are Spanish, without
# accents, and stemmed: the English labels make the better captions, and are the default. Labels and
# localizations are Python lists written out. Projection EXCLUDE is left out, as the authors ask; the two
# dozen damaged files are found when the images are decoded.
_PADCHEST_TABLE = "PADCHEST_chest_x_ray_images_labels_160K*.csv*"
_PADCHEST_VIEWS = {"L": "Lateral", "AP_HORIZONTAL": "AP", "COSTAL": "Costal"}
_SAYS_NOTHING = frozenset({"nan", "impresion", "."})


def _find_padchest(root: Path, options: ReadOptions) -> Source:
    table = next(iter(sorted(root.glob(_PADCHEST_TABLE)) + sorted(root.glob(f"*/{_PADCHEST_TABLE}"))), None)
    if table is None:
        raise CorpusError(f"{root} has no {_PADCHEST_TABLE}: see medclip clean --list")
    return Source([(table, None, "")])


def _padchest(row: Row, name: str, source: Source) -> dict[str, Any]:
    projection, report = row.get("projection"), row.get("report")
    labels, places = written_list(row.get("labels")), written_list(row.get("localizations"))
    folder = (row.get("imagedir") or "").removesuffix(".0")
    fault = None
    if labels is None or places is None:
        fault = ("malformed_row", "labels or localizations are not a list")
    elif (projection or "").upper() == "EXCLUDE":
        fault = ("excluded_view", "the authors mark it EXCLUDE")
    try:
        # A date like 20140915 and a year like 1930.0; the birth date itself is not kept.
        age = float((row.get("studydate_dicom") or "")[:4]) - float(
            (row.get("patientbirth") or "").replace(",", ".")
        )
    except ValueError:
        age = -1.0
    named = f"{folder}/{name}"
    return {
        "image": source.images.find(named) or source.images.find(name) or named.lstrip("/"),
        "texts": {}
        if report is None or report.lower().strip(" .") in _SAYS_NOTHING
        else {"report": (report,)},
        "words": words(
            view=projection, localizations=", ".join(places or ()), label_method=row.get("methodlabel")
        ),
        "view": _PADCHEST_VIEWS.get((projection or "").upper(), view_of(projection)),
        "findings": labels or (),
        "age": age if 0 <= age <= OLDEST_AGE else None,
        "fault": fault,
    }


def written_list(cell: str | None) -> tuple[str, ...] | None:
    """Return the items of a Python list of strings, cleaned; None when the cell is something else.

    >>> written_list("['normal', ' loc  left', '']"), written_list(None), written_list("normal")
    (('normal', 'loc left'), (), None)
    """
    if cell is None:
        return ()
    try:
        items = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(items, list):
        return None
    return tuple(dict.fromkeys(text for item in items if isinstance(item, str) and (text := known(item))))


PADCHEST = DatasetLayout(
    name="padchest",
    title="PadChest",
    licence="BIMCV research use agreement",
    download="bimcv.cipf.es/bimcv-projects/padchest: the table and the zips, unpacked to folders 0 to 54 or "
    "to one",
    reads="PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv[.gz], {ImageDir}/{ImageID}",
    read=ColumnMap(
        title="PadChest",
        find=_find_padchest,
        image="imageid",
        columns={"group": "patientid", "sex": "patientsex_dicom"},
        fixed={"modality": "XR", "region": "Chest"},
        quirks=_padchest,
    ),
    texts=("report",),
    sentence="{view} chest X-ray of a {age} year old {sex} showing {labels}",
    fields="view: {view}, age: {age}, sex: {sex}, diagnosis: {labels}",
    default_caption="labels",
    has_labels=True,
)

# MedPix, the first scrape: the seed project's CSV, or the raw sheet of 34 columns as CSV or Excel. The seed's
# trimmed.csv has ten columns and is cp1252, its dataset.csv thirteen; both name images by "filename" and have
# no case, so images of one diagnosis are kept together. The raw sheet names images by ID or Image_URL and
# cases by Case_URL; its Demographics read "58 y.o. male". Excel turned 92 captions into #NAME?: under the
# caption style "report" they are counted as placeholders.
_MEDPIX_NEEDS = {"core_modality", "case_diagnosis"}
_DEMOGRAPHICS = re.compile(r"\s*(?P<age>[\d.]+\s*[a-z.]*?)?\.?\s*(?P<sex>male|female|man|woman)?\s*\Z", re.I)


def _find_medpix(root: Path, options: ReadOptions) -> Source:
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    if options.captions_file:
        return Source([(options.captions_file, None, "")])
    for pattern in ("*.csv", "*.xlsx", "*/*.csv", "*/*.xlsx"):
        for path in sorted(root.glob(pattern)):
            if _MEDPIX_NEEDS.issubset(columns_of(path)):
                return Source([(path, None, "")])
    raise CorpusError(f"{root} has no table with the columns Core_Modality and Case_Diagnosis: is it MedPix?")


def _medpix(row: Row, name: str, source: Source) -> dict[str, Any]:
    demographics = _DEMOGRAPHICS.match(row.get("demographics") or "")
    age = age_of(row.get("patient_age", "age") or (demographics["age"] if demographics else None))
    sex = row.get("patient_gender", "sex") or (demographics["sex"] if demographics else None)
    diagnosis = row.get("case_diagnosis", "diagnosis")
    plain = " ".join(re.findall(r"\w+", diagnosis.lower())) if diagnosis else None
    found = source.images.find(name) or source.images.find(_last_part(row.get("image_url")))
    return {
        "image": found or (name if "." in name else f"{name}.jpg"),
        "modality": modality_of(row.get("core_modality"), row.get("full_modality")),
        "group": row.get("case_url") or plain or name,
        "texts": texts(
            report=row.raw("caption"), findings=row.get("findings"), impression=row.get("case_diagnosis")
        ),
        "words": words(
            modality=row.get("core_modality"),
            view=row.get("plane"),
            age=f"{age:g}" if age is not None else None,
            diagnosis=diagnosis,
            sequence=row.get("full_modality"),
            caption=row.get("caption"),
            keywords=row.get("keywords"),
        ),
        "age": age,
        "sex": sex_of(sex),
    }


def _last_part(url: str | None) -> str:
    return (url or "").rpartition("/")[2]


MEDPIX = DatasetLayout(
    name="medpix",
    title="MedPix (first scrape)",
    licence="MedPix terms of use (NLM)",
    download="github.com/Mauville/MedCLIP (dataset.csv) or the sheet Dataset_MedPix_V1.xlsx, and the images",
    reads="a table with Core_Modality and Case_Diagnosis (.csv or .xlsx), and all images",
    read=ColumnMap(
        title="MedPix",
        find=_find_medpix,
        image=lambda row: row.get("filename", "id") or _last_part(row.get("image_url")),
        columns={"view": "plane", "region": "location", "category": "category"},
        quirks=_medpix,
    ),
    texts=("report", "findings", "impression"),
    sentence="{view} {modality} of the {region} of a {age} year old {sex}, {category}: {diagnosis}",
    fields="modality: {modality}, plane: {view}, category: {category}, diagnosis: {diagnosis}",
    default_caption="medpix-seed",
)

# PEIR Gross, as nlpaueb/bio_image_caption crawls it. A caption reads "AREA: ORGAN: Gross: description". There
# is no patient: images with the same caption, but for numbers, are taken for one case. The official split is
# by image, so it leaks. The crawler's newest version writes the tags under the second name.
_PEIR_TAGS = ("peir_gross_tags.json", "peir_gross.json")


def _peir_rows(path: Path) -> Iterator[Row]:
    if path.suffix != ".json":
        return read_table(path, columns=("image", "caption"), delimiter="\t", quoted=False)
    pairs = enumerate(_json_object(path).items(), 1)
    return (Row(number, {"image": name, "caption": caption}) for number, (name, caption) in pairs)


def _json_object(path: Path) -> Mapping[str, Any]:
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def _peir_beside(base: Path) -> dict[str, Any]:
    tags = next((_json_object(base / name) for name in _PEIR_TAGS if (base / name).is_file()), {})
    return {"beside": tags}


def _peir(row: Row, name: str, source: Source) -> dict[str, Any]:
    caption, tags = row.get("caption"), source.beside.get(name)
    parts = [part.strip() for part in (caption or "").split(":")]
    return {
        "key": name,
        "group": re.sub(r"[\W\d_]+", " ", (caption or name).lower()).strip() or name,
        "texts": texts(report=parts[-1], full=caption),
        "words": words(area=parts[0] if len(parts) > 1 else None),
        "region": known(parts[1].capitalize()) if len(parts) > 2 else None,
        "findings": tuple(t for tag in tags if (t := known(tag))) if isinstance(tags, list) else (),
    }


PEIR = DatasetLayout(
    name="peir",
    title="PEIR Gross",
    licence="University of Alabama at Birmingham, by the site's terms",
    download="peir.path.uab.edu by the crawler of github.com/nlpaueb/bio_image_caption",
    reads="peir_gross.tsv (or peir_gross_captions.json), {train,test}_images.tsv, peir_gross_images/",
    read=ColumnMap(
        title="PEIR Gross",
        files={"peir_gross.tsv": None, "peir_gross_captions.json": None},
        alternatives=True,
        lists={"train_images.tsv": "train_val", "test_images.tsv": "test"},
        beside=_peir_beside,
        rows=_peir_rows,
        image="image",
        path="peir_gross_images/{name}",
        fixed={"modality": "GX"},
        quirks=_peir,
    ),
    texts=("report", "full"),
    sentence="gross specimen of {region} showing {labels}",
    fields="area: {area}, organ: {region}, tags: {labels}",
    default_caption="report",
    has_labels=True,
)
