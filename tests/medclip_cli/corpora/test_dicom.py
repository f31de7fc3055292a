"""DICOM trees: what a header may say, and that nothing else of it gets into a corpus."""

from __future__ import annotations

import doctest
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medclip_cli.corpora import dicom as adapter
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.corpora.dicom import KEY_BYTES, KEY_FILE, keyed_hash, patient_key
from medclip_cli.errors import CorpusError
from tests.encoders.drawn_dicom import header_of, item, save, write_dicom
from tests.medclip_cli.corpora.layouts import dicom
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_any_layout import HOSTILE_CELLS, rows_or_one_line
from tests.medclip_cli.corpora.test_clean_command import run


def test_rows(tmp_path: Path) -> None:
    dicom.draw(tmp_path)
    rows = {row.image: row for row in rows_of("dicom", tmp_path, secret=b"s").values()}
    brain, knee, plain = rows["S1/IM0001"], rows["S1/2.dcm"], rows["S2/3"]
    assert (brain.modality, brain.view, brain.region) == ("MR", "Axial", "Brain")
    assert (knee.modality, knee.view, knee.region, knee.words["laterality"]) == ("XR", "AP", "Knee", "left")
    assert (plain.modality, plain.view, plain.region) == ("CT", None, None)
    assert brain.group == knee.group != plain.group
    assert (brain.age, brain.sex, brain.split) == (None, None, None)
    assert rows["S1/report"].fault == ("no_pixel_data", "no picture in it (modality SR)")
    assert set(rows) == {"S1/IM0001", "S1/2.dcm", "S2/3", "S1/report"}


def test_no_word_of_a_patient_leaves_the_header(tmp_path: Path) -> None:
    dicom.draw(tmp_path / "raw")
    result = run("dicom", tmp_path / "raw", "--out", tmp_path / "corpus", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rejected"] == {"no_pixel_data": 1}
    records = Corpus.open(tmp_path / "corpus").records
    assert sorted(record.caption for record in records) == [
        "AP X-ray of the left knee",
        "Axial MR of the brain",
        "CT",
    ]
    written = repr(records) + "".join(
        (tmp_path / "corpus" / name).read_text() for name in ("report.json", "rejected.csv")
    )
    assert not [word for word in (*dicom.SECRETS, "1.2.3", "1.1", "4.5.6") if word in written + result.output]


def test_hashes_depend_on_the_secret_and_stay_the_same(tmp_path: Path) -> None:
    dicom.draw(tmp_path)
    first, again, other = (
        sorted((row.image, row.key, row.group) for row in rows_of("dicom", tmp_path, secret=secret).values())
        for secret in (b"one", b"one", b"two")
    )
    assert first == again
    assert not {group for _, _, group in first} & {group for _, _, group in other}
    assert keyed_hash(b"", "x") != keyed_hash(b"s", "x")


def test_captions_from_a_table_by_path_name_or_uid(tmp_path: Path) -> None:
    dicom.draw(tmp_path / "raw")
    table = write(tmp_path / "t.csv", "image,caption\nS1/IM0001,A brain.\n2,A knee.\n1.3,An abdomen.\n")
    rows = rows_of("dicom", tmp_path / "raw", captions_file=table)
    assert [row.texts["report"][0] for row in rows.values() if not row.fault] == [
        "A knee.",
        "A brain.",
        "An abdomen.",
    ]
    counted = json.loads(run("dicom", tmp_path / "raw", "--captions", table, "--dry-run", "--json").stdout)
    assert (counted["caption_style"], counted["kept"]) == ("report", 3)
    write(table, "image,other\nx,y\n")
    with pytest.raises(CorpusError, match="has no caption column: give caption_column"):
        rows_of("dicom", tmp_path / "raw", captions_file=table)


def test_what_is_no_body_part_is_not_taken_for_one(tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "a", dicom.scan(0), SOPInstanceUID="1", BodyPartExamined="ROE JANE", ViewPosition="JANE"
    )
    write_dicom(tmp_path / "b", dicom.scan(1), BodyPartExamined="C SPINE", ViewPosition="LL")
    rows = {row.image: (row.region, row.view) for row in rows_of("dicom", tmp_path, secret=b"s").values()}
    assert rows == {"a": (None, None), "b": ("Cervical spine", "Lateral")}


def test_pydicom_warnings_never_quote_a_header(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "raw" / "a", dicom.scan(0), BodyPartExamined="NAME_NAME")
    path.write_bytes(path.read_bytes().replace(b"NAME_NAME", b"Roe^Jane "))
    result = run("dicom", tmp_path / "raw", "--out", tmp_path / "corpus", "--caption", "{modality} {image}")
    assert result.exit_code == 0, result.output
    assert "Roe" not in result.output


def test_the_plane_of_an_enhanced_file(tmp_path: Path) -> None:
    plane = item(PlaneOrientationSequence=[item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])])
    write_dicom(tmp_path / "a", dicom.scan(0), SharedFunctionalGroupsSequence=[plane])
    (row,) = rows_of("dicom", tmp_path).values()
    assert row.view == "Sagittal"


def test_damaged_headers_and_other_folders(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no folder"):
        rows_of("dicom", tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="has no DICOM files: name the folder they are in"):
        rows_of("dicom", tmp_path)
    whole = save(header_of(PatientName="Roe^Jane", Modality="CT"), tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:150] + b"\xff" * 40)
    (row,) = rows_of("dicom", tmp_path).values()
    assert row.fault is not None
    assert "Roe" not in row.fault[1]


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(adapter).failed == 0


def test_the_key_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    key = patient_key(tmp_path / "home")
    assert len(key) == KEY_BYTES
    assert patient_key(tmp_path / "home") == key
    assert [path.name for path in (tmp_path / "home").iterdir()] == [KEY_FILE]
    assert (tmp_path / "home" / KEY_FILE).stat().st_mode & 0o077 == 0


def test_a_key_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(CorpusError, match="is damaged: restore it"):
        patient_key(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot be used .*set MEDCLIP_HOME"):
        patient_key(tmp_path / "file")


@pytest.fixture(scope="module")
def dicom_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    stored = np.random.default_rng(0).integers(0, 4000, (32, 32), dtype=np.uint16)
    path = write_dicom(
        tmp_path_factory.mktemp("dicom") / "IM1", stored, PatientID="1", BodyPartExamined="CHEST"
    )
    return path.read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_damaged_dicom_headers_and_tables_give_rows_or_reasons(
    dicom_file: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(dicom_file)
    for at in data.draw(st.lists(st.integers(132, len(damaged) - 1), max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(132, len(damaged)))
    cells = data.draw(st.lists(st.sampled_from(HOSTILE_CELLS), min_size=2, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "raw").mkdir()
        (root / "raw" / "IM1").write_bytes(damaged[:cut])
        (root / "raw" / "IM2").write_bytes(dicom_file)
        rows = f"image,caption\nIM2,A scan.\n{','.join(cells)}\n"
        (root / "t.csv").write_bytes(rows.encode("utf-8", "surrogatepass"))
        rows_or_one_line("dicom", root / "raw")
        rows_or_one_line("dicom", root / "raw", "--captions", root / "t.csv")
