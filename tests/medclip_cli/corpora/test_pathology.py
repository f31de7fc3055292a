"""PEIR Gross and BCIDR: pictures of organs and tissue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import bcidr, peir
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run


def test_peir(tmp_path: Path) -> None:
    peir.draw(tmp_path)
    rows = rows_of("peir", tmp_path)
    first, second, plain = rows["a1.jpg"], rows["a2.jpg"], rows["b.jpg"]
    assert first.image == "peir_gross_images/a1.jpg"
    assert first.texts["report"] == ('Cirrhosis, case 12, with "nodules"',)
    assert first.texts["full"] == (peir.CAPTIONS["a1.jpg"],)
    assert (first.modality, first.region, first.words["area"]) == ("GX", "Liver", "ABDOMEN")
    assert first.findings == ("liver", "cirrhosis")
    # The same words but for a number: one case, although the official split cuts it.
    assert first.group == second.group
    assert (first.split, second.split, plain.split) == ("train_val", "test", None)
    assert (plain.texts["report"], plain.region, plain.findings) == (("A description alone",), None, ())


def test_peir_as_the_newest_crawler_writes_it(tmp_path: Path) -> None:
    write(
        tmp_path / "peir_gross_captions.json", json.dumps({"a.jpg": "X: HEART: Gross: Clot", "": "no name"})
    )
    write(tmp_path / "peir_gross.json", json.dumps({"a.jpg": ["clot"]}))
    rows = rows_of("peir", tmp_path)
    assert (rows["a.jpg"].region, rows["a.jpg"].findings) == ("Heart", ("clot",))
    assert rows["line2"].fault == ("malformed_row", "no image named")
    write(tmp_path / "peir_gross_captions.json", "[]")
    assert rows_of("peir", tmp_path) == {}


def test_bcidr_keeps_all_five_captions(tmp_path: Path) -> None:
    bcidr.draw(tmp_path)
    rows = rows_of("bcidr", tmp_path)
    first = rows["1_00143_sub0_021"]
    assert first.texts == {"report": tuple(bcidr.FIVE)}
    assert (first.image, first.group, first.split) == (
        "Img/1_00143_sub0_021.png",
        "1_00143_sub0",
        "train_val",
    )
    assert (first.modality, first.region, first.findings) == ("HE", "Bladder", ("low grade",))
    assert rows["1_00143_sub0_022"].findings == ()
    assert (rows["2_00001_sub0_001"].split, rows["2_00001_sub0_001"].category) == ("test", "normal")
    assert rows["odd"].fault == ("malformed_row", "not an image with captions")
    assert run("bcidr", tmp_path, "--out", tmp_path / "corpus").exit_code == 0
    record = Corpus.open(tmp_path / "corpus").records[0]
    assert (record.caption, record.captions) == (bcidr.FIVE[0], tuple(bcidr.FIVE))


def test_bcidr_of_the_later_paper(tmp_path: Path) -> None:
    bcidr.draw_nmi(tmp_path)
    rows = rows_of("bcidr", tmp_path)
    assert rows["1_00143_sub0_021"].image == "Images/1_00143_sub0_021.png"
    assert rows["1_00143_sub0_021"].split == "train"
    assert rows["entry1"].texts == {}
    assert rows["entry2"].fault == ("malformed_row", "not an image with captions")


@pytest.mark.parametrize(("dataset", "title"), [("peir", "PEIR Gross"), ("bcidr", "BCIDR")])
def test_other_folders(tmp_path: Path, dataset: str, title: str) -> None:
    with pytest.raises(CorpusError, match=f"is no {title} folder"):
        rows_of(dataset, tmp_path)
