"""The list of data sets."""

from __future__ import annotations

import pytest

from medclip_cli.corpora.registry import LAYOUTS, layout_named
from medclip_cli.errors import UsageError


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_what_it_is(name: str) -> None:
    layout = layout_named(name)
    assert layout.name == name
    assert layout.title and layout.licence and layout.download and layout.reads
    assert layout.default_caption in {*layout.texts, "labels", "template", "fields", "medpix-seed"}
    assert layout.has_labels or layout.default_caption != "labels"


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="no data set 'MedPix2': did you mean medpix2"):
        layout_named("MedPix2")
    with pytest.raises(UsageError, match="no data set 'zzz': medclip clean --list names them"):
        layout_named("zzz")
