"""PadChest: one table, and 16-bit PNGs in numbered folders or all in one.

The reports are Spanish, without accents, and stemmed: the English labels make the better captions, and are
the default. Labels and localizations are Python lists written out. Projection ``EXCLUDE`` is left out, as the
authors ask; the two dozen damaged files are found when the images are decoded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from medclip_cli.corpora.image_files import ImageFiles, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, read_table, unusable
from medclip_cli.corpora.vocabulary import OLDEST_AGE, known, sex_of, texts, view_of, words
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

_TABLE = "PADCHEST_chest_x_ray_images_labels_160K*.csv*"
_VIEWS = {"L": "Lateral", "AP_horizontal": "AP", "COSTAL": "Costal"}
_SAYS_NOTHING = frozenset({"nan", "impresion", "."})


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image."""
    table = next(iter(sorted(root.glob(_TABLE)) + sorted(root.glob(f"*/{_TABLE}"))), None)
    if table is None:
        raise CorpusError(f"{root} has no {_TABLE}: see medclip clean --list")
    images = list_images(root)
    return (_row(row, images) for row in read_table(table))


def _row(row: Row, images: ImageFiles) -> SourceRow:
    name, projection = row.get("imageid"), row.get("projection")
    if row.fault or name is None:
        return unusable(row)
    labels, places = written_list(row.get("labels")), written_list(row.get("localizations"))
    folder = (row.get("imagedir") or "").removesuffix(".0")
    image = images.find(f"{folder}/{name}") or images.find(name) or f"{folder}/{name}".lstrip("/")
    fault = None
    if labels is None or places is None:
        fault = ("malformed_row", "labels or localizations are not a list")
    elif projection == "EXCLUDE":
        fault = ("excluded_view", "the authors mark it EXCLUDE")
    return SourceRow(
        key=name.rpartition(".")[0] or name,
        image=image,
        modality="XR",
        group=row.get("patientid") or "",
        texts=texts(report=_report(row.get("report"))),
        words=words(
            view=projection, localizations=", ".join(places or ()), label_method=row.get("methodlabel")
        ),
        view=_VIEWS.get(projection or "", view_of(projection)),
        region="Chest",
        findings=labels or (),
        age=_age(row.get("studydate_dicom"), row.get("patientbirth")),
        sex=sex_of(row.get("patientsex_dicom")),
        fault=fault,
    )


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


def _report(text: str | None) -> str | None:
    return None if text is None or text.lower().strip(" .") in _SAYS_NOTHING else text


def _age(study_date: str | None, birth_year: str | None) -> float | None:
    """Years between a date like 20140915 and a year like 1930.0; the birth date itself is not kept."""
    try:
        age = float((study_date or "")[:4]) - float(birth_year or "")
    except ValueError:
        return None
    return age if 0 <= age <= OLDEST_AGE else None


LAYOUT = DatasetLayout(
    name="padchest",
    title="PadChest",
    licence="BIMCV research use agreement",
    download="bimcv.cipf.es/bimcv-projects/padchest: the table and the zips, unpacked to folders 0 to 54 or "
    "to one",
    reads="PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv[.gz], {ImageDir}/{ImageID}",
    read=read,
    texts=("report",),
    sentence="{view} chest X-ray of a {age} year old {sex} showing {labels}",
    fields="view: {view}, age: {age}, sex: {sex}, diagnosis: {labels}",
    default_caption="labels",
    has_labels=True,
)
