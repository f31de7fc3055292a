"""The list of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medclip_cli.corpora.registry import LAYOUTS, layout_named, layout_of_folder
from medclip_cli.errors import UsageError
from tests.encoders.drawn_dicom import write_dicom


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_what_it_is(name: str) -> None:
    layout = layout_named(name)
    assert layout.name == name
    assert layout.title and layout.licence and layout.download and layout.reads
    assert layout.default_caption in {*layout.texts, "labels", "template", "fields", "medpix-seed"}
    assert layout.has_labels or layout.default_caption != "labels"


def test_a_folder_nobody_described(tmp_path: Path) -> None:
    assert layout_of_folder(tmp_path).name == "folder"
    write_dicom(tmp_path / "series" / "IM1", np.zeros((32, 32), np.uint8))
    assert layout_of_folder(tmp_path).name == "dicom"
    (tmp_path / "captions.csv").touch()
    assert layout_of_folder(tmp_path).name == "folder"
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "a.png").touch()
    assert layout_of_folder(tmp_path).name == "folder"


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="no data set 'MedPix2': did you mean medpix2"):
        layout_named("MedPix2")
    with pytest.raises(UsageError, match="no data set 'zzz': medclip clean --list names them"):
        layout_named("zzz")
