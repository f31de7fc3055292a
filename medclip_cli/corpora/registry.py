"""The data sets medclip knows, by name, and those that other packages bring.

A package offers a `DatasetLayout` under the entry point group ``medclip.datasets``::

    [project.entry-points."medclip.datasets"]
    my-lab = "my_package.scans:LAYOUT"
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from medclip_cli.corpora import (
    bcidr,
    dicom,
    folder,
    iuxray,
    medpix2,
    mimic_cxr,
    roco,
    table_layouts,
    webdataset,
)
from medclip_cli.corpora.layout import IMAGE_SUFFIXES, DatasetLayout, list_images
from medclip_cli.errors import CorpusError, UsageError

_ALL = (
    *(folder.LAYOUT, dicom.LAYOUT, webdataset.LAYOUT, medpix2.LAYOUT, table_layouts.MEDPIX),
    *(table_layouts.CHEXPERT, table_layouts.CHESTXRAY14, iuxray.LAYOUT, mimic_cxr.LAYOUT),
    *(table_layouts.PADCHEST, roco.ROCO, roco.ROCO2, roco.IMAGECLEF, table_layouts.PEIR),
    bcidr.LAYOUT,
)
GROUP = "medclip.datasets"
LAYOUTS: dict[str, DatasetLayout] = {layout.name: layout for layout in _ALL}


def layout_of_folder(root: Path) -> DatasetLayout:
    """Return how to read a folder nobody described: as DICOM if it has no other images and no table."""
    others = list_images(root, IMAGE_SUFFIXES - {".dcm", ".dicom"}).paths
    has_table = any(path.name.lower().endswith(folder.TABLE_SUFFIXES) for path in root.iterdir())
    is_dicom = not others and not has_table and next(dicom.dicom_files(root), None) is not None
    return dicom.LAYOUT if is_dicom else folder.LAYOUT


def known_layouts() -> list[DatasetLayout]:
    """Return the layouts of medclip, then those of installed packages.

    Raises:
        CorpusError: one of an installed package cannot be loaded.
    """
    return [*LAYOUTS.values(), *(_load(point) for point in _offered().values())]


def layout_named(name: str) -> DatasetLayout:
    """Return the layout of a data set.

    Raises:
        UsageError: there is none of this name.
        CorpusError: an installed package offers it, and it cannot be loaded.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    offered = _offered()
    if name in offered:
        return _load(offered[name])
    near = get_close_matches(name.lower(), [*LAYOUTS, *offered], n=1)
    hint = f"did you mean {near[0]}?" if near else "medclip clean --list names them"
    raise UsageError(f"no data set {name!r}: {hint}")


def _offered() -> dict[str, EntryPoint]:
    """The layouts of installed packages, by name; none takes the name of one of ours."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in LAYOUTS}


def _load(point: EntryPoint) -> DatasetLayout:
    try:
        layout = point.load()
    except Exception as error:  # noqa: BLE001 - whatever a foreign module does on import
        raise CorpusError(f"data set {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(layout, DatasetLayout):
        raise CorpusError(f"data set {point.name!r}: {point.value} is no DatasetLayout")
    return layout
