"""The data sets medclip knows, by name."""

from __future__ import annotations

from difflib import get_close_matches

from medclip_cli.corpora import chestxray14, chexpert, folder, medpix2
from medclip_cli.corpora.layout import DatasetLayout
from medclip_cli.errors import UsageError

LAYOUTS: dict[str, DatasetLayout] = {
    module.LAYOUT.name: module.LAYOUT for module in (medpix2, chexpert, chestxray14, folder)
}


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
