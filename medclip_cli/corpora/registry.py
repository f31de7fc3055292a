"""The data sets medclip knows, by name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from medclip_cli.corpora import (
    bcidr,
    chestxray14,
    chexpert,
    dicom,
    folder,
    imageclef,
    iuxray,
    medpix,
    medpix2,
    mimic_cxr,
    padchest,
    peir,
    roco,
    roco2,
)
from medclip_cli.corpora.image_files import IMAGE_SUFFIXES, list_images
from medclip_cli.corpora.layout import DatasetLayout
from medclip_cli.errors import UsageError

_ALL = (
    *(folder.LAYOUT, dicom.LAYOUT, medpix2.LAYOUT, medpix.LAYOUT, chexpert.LAYOUT, chestxray14.LAYOUT),
    iuxray.LAYOUT,
    *(mimic_cxr.LAYOUT, padchest.LAYOUT, roco.LAYOUT, roco2.LAYOUT, imageclef.LAYOUT, peir.LAYOUT),
    bcidr.LAYOUT,
)
LAYOUTS: dict[str, DatasetLayout] = {layout.name: layout for layout in _ALL}


def layout_of_folder(root: Path) -> DatasetLayout:
    """Return how to read a folder nobody described: as DICOM if it has no other images and no table."""
    others = list_images(root, IMAGE_SUFFIXES - {".dcm", ".dicom"}).paths
    has_table = any(path.name.lower().endswith(folder.TABLE_SUFFIXES) for path in root.iterdir())
    is_dicom = not others and not has_table and next(dicom.dicom_files(root), None) is not None
    return dicom.LAYOUT if is_dicom else folder.LAYOUT


def layout_named(name: str) -> DatasetLayout:
    """Return the layout of a data set.

    Raises:
        UsageError: there is none of this name.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    near = get_close_matches(name.lower(), LAYOUTS, n=1)
    hint = f"did you mean {near[0]}?" if near else "medclip clean --list names them"
    raise UsageError(f"no data set {name!r}: {hint}")
