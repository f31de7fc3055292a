"""The data sets medclip knows, by name."""

from __future__ import annotations

from difflib import get_close_matches

from medclip_cli.corpora import (
    bcidr,
    chestxray14,
    chexpert,
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
from medclip_cli.corpora.layout import DatasetLayout
from medclip_cli.errors import UsageError

_ALL = (
    *(folder.LAYOUT, medpix2.LAYOUT, medpix.LAYOUT, chexpert.LAYOUT, chestxray14.LAYOUT, iuxray.LAYOUT),
    *(mimic_cxr.LAYOUT, padchest.LAYOUT, roco.LAYOUT, roco2.LAYOUT, imageclef.LAYOUT, peir.LAYOUT),
    bcidr.LAYOUT,
)
LAYOUTS: dict[str, DatasetLayout] = {layout.name: layout for layout in _ALL}


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
