"""PadChest: English labels from Python lists, Spanish reports that say nothing, excluded views."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest

from medclip_cli.corpora import table_layouts as adapter
from medclip_cli.corpora.table_layouts import written_list
from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import padchest
from tests.medclip_cli.corpora.layouts.padchest import LONG
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run


def test_rows(tmp_path: Path) -> None:
    padchest.draw(tmp_path)
    rows = rows_of("padchest", tmp_path)
    first, second = rows[f"{LONG}_k6ga29"], rows[f"{LONG}_b"]
    assert (first.image, first.group, first.split) == (f"0/{LONG}_k6ga29.png", f"8398{LONG}", None)
    assert (first.view, first.sex, first.age, first.findings) == ("PA", "F", 84.0, ("normal",))
    assert first.texts == {"report": ("sin hallazg .",)}
    assert (second.image, second.findings) == (f"13/{LONG}_b.png", ("pleural effusion",))
    assert second.words["localizations"] == "loc left, loc basal"
    assert (second.view, second.texts, second.age) == ("Lateral", {}, None)
    assert rows[f"{LONG}_c"].fault == ("excluded_view", "the authors mark it EXCLUDE")
    assert (rows[f"{LONG}_d"].view, rows[f"{LONG}_d"].age, rows[f"{LONG}_d"].findings) == ("AP", None, ())
    assert rows[f"{LONG}_e"].fault == ("malformed_row", "labels or localizations are not a list")


def test_images_all_in_one_folder_and_a_gzipped_table(tmp_path: Path) -> None:
    write(tmp_path / "x" / f"{padchest.TABLE}.gz", padchest.HEADER + padchest.ROWS)
    write(tmp_path / f"{LONG}_b.png", "")
    assert rows_of("padchest", tmp_path)[f"{LONG}_b"].image == f"{LONG}_b.png"


def test_16_bit_images_are_kept_and_english_labels_are_the_captions(tmp_path: Path) -> None:
    padchest.draw(tmp_path)
    report = json.loads(run("padchest", tmp_path, "--dry-run", "--json").stdout)
    assert report["kept"] == 2
    assert report["rejected"] == {"malformed_row": 1, "excluded_view": 1, "missing_caption": 1}
    assert report["caption_style"] == "labels"


@pytest.mark.parametrize("cell", ["{'a': 1}", "['a'", "__import__('os').getcwd()", "(" * 5000, "[[['a']]"])
def test_what_is_no_list_is_never_run(cell: str) -> None:
    assert written_list(cell) is None


def test_other_folders_and_rows(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no PADCHEST_chest_x_ray_images_labels_160K"):
        rows_of("padchest", tmp_path)
    write(tmp_path / padchest.TABLE, padchest.HEADER + "5,,0,,,,,,,,,,,\n")
    assert rows_of("padchest", tmp_path)["line2"].fault == ("malformed_row", "no image named")


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(adapter).failed == 0
