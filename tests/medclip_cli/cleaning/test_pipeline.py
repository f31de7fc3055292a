"""The counting pipeline: read = kept + rejected, one reason each."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclip_cli.cleaning.images import open_journal
from medclip_cli.cleaning.pipeline import Cleaning, check_images, read_rows, settle_splits, unfilled_names
from medclip_cli.progress import Progress
from medclip_cli.records import SourceRow
from tests.medclip_cli.cleaning.drawn import draw, options, row


def reasons(cleaning: Cleaning) -> dict[str, str]:
    return {rejection.id: rejection.reason for rejection in cleaning.rejected}


def examine(cleaning: Cleaning, root: Path) -> Cleaning:
    with open_journal(None, root) as journal:
        check_images(cleaning, root, journal=journal, threads=2)
    return cleaning


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (row(fault=("malformed_row", "3 cells under 2 headers")), "malformed_row"),
        (row(image=""), "malformed_row"),
        (row(key=""), "malformed_row"),
        (row(key="bad\ud800"), "malformed_row"),
        (row(group="bad\ud800"), "malformed_row"),
        (row(image="../0.png"), "unsafe_path"),
        (row(image="/etc/passwd"), "unsafe_path"),
        (row(image="C:/scan.png"), "unsafe_path"),
        (row(image="a\\..\\..\\b.png"), "unsafe_path"),
        (row(image="bad\x00name.png"), "unsafe_path"),
        (row(image="bad\udce4name.png"), "unsafe_path"),
        (row(modality="MR"), "modality"),
        (row(texts={}), "missing_caption"),
        (row(texts={"report": (" \n ",)}), "missing_caption"),
        (row(texts={"report": ("Replace this - DESCRIPTION OF THE IMAGE",)}), "placeholder_caption"),
        (row(uncertain=("Edema",)), "uncertain_label"),
    ],
)
def test_each_rule_has_its_reason(source: SourceRow, reason: str) -> None:
    cleaning = read_rows([source], options(modalities=frozenset({"CT"}), uncertain="drop"))
    assert (cleaning.read, cleaning.records, cleaning.reasons()) == (1, [], {reason: 1})


def test_a_kept_row_has_every_column() -> None:
    source = row(5, view="Axial", region="Chest", category="Trauma", findings=("Mass",), age=3.0, sex="F")
    (record,) = read_rows([source], options()).records
    assert (record.id, record.group, record.caption, record.captions) == (
        "drawn/5",
        "drawn/case5",
        "scan 5",
        ("scan 5",),
    )
    assert (record.view, record.region, record.category, record.findings, record.age, record.sex) == (
        "Axial",
        "Chest",
        "Trauma",
        ("Mass",),
        3.0,
        "F",
    )


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    (record,) = read_rows([row(5, group="")], options()).records
    assert record.group == "drawn/5"


def test_the_same_pair_twice_is_a_duplicate_and_a_second_caption_is_not() -> None:
    rows = [row(0), row(0), row(0, texts={"report": ("another reading",)})]
    cleaning = read_rows(rows, options())
    assert [record.id for record in cleaning.records] == ["drawn/0", "drawn/0#2"]
    assert cleaning.reasons() == {"duplicate_row": 1}


def test_limit_reads_no_further() -> None:
    def rows():  # type: ignore[no-untyped-def]
        yield row(0)
        yield row(1)
        raise AssertionError("read past the limit")

    assert read_rows(rows(), options(limit=2)).read == 2


def test_images_are_decoded_and_counted(tmp_path: Path) -> None:
    draw(tmp_path / "0.png", seed=0)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("not an image at all")
    draw(tmp_path / "4.png", size=(1, 1))
    (tmp_path / "6.png").mkdir()
    draw(tmp_path / "7.png", seed=0)
    draw(tmp_path / "8.png", seed=0)
    draw(tmp_path / "9.png", seed=0)
    again = [row(8, texts={"report": ("scan 0",)}), row(9, texts={"report": ("scan 7",)})]
    rows = [row(n) for n in range(8)] + again
    seen: list[Progress] = []
    cleaning = read_rows(rows, options())
    with open_journal(None, tmp_path) as journal:
        check_images(cleaning, tmp_path, journal=journal, on_progress=seen.append)
    # 7 has the content of 0 with a caption of its own: a second pair. 8 says the same as 0 again, 9 as 7.
    assert [record.id for record in cleaning.records] == ["drawn/0", "drawn/7"]
    assert reasons(cleaning) == {
        "drawn/1": "unreadable_image",
        "drawn/2": "unreadable_image",
        "drawn/3": "unreadable_image",
        "drawn/4": "tiny_image",
        "drawn/5": "missing_image",
        "drawn/6": "missing_image",
        "drawn/8": "duplicate_image",
        "drawn/9": "duplicate_image",
    }
    assert cleaning.read == len(cleaning.records) + len(cleaning.rejected)
    assert seen[-1] == Progress("Decoding", 10, 10, failed=8)
    assert len(cleaning.records[0].sha256) == 64
    assert len(cleaning.records[0].dhash) == 16


def test_a_link_out_of_the_root_is_unsafe(tmp_path: Path) -> None:
    draw(tmp_path / "secret.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "0.png").symlink_to(tmp_path / "secret.png")
    draw(tmp_path / "root" / "real.png", seed=1)
    (tmp_path / "root" / "1.png").symlink_to("real.png")
    draw(tmp_path / "elsewhere" / "2.png", seed=2)
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "elsewhere")
    rows = [row(0), row(1), row(2, image="folder/2.png")]
    cleaning = examine(read_rows(rows, options()), tmp_path / "root")
    assert reasons(cleaning) == {"drawn/0": "unsafe_path", "drawn/2": "unsafe_path"}


def test_official_splits_are_kept(tmp_path: Path) -> None:
    cleaning = read_rows([row(0), row(1, split="val"), row(2, split="test")], options())
    settle_splits(cleaning, options())
    assert [record.split for record in cleaning.records] == ["train", "val", "test"]


def test_filtered_splits_leave_out_leaked_groups() -> None:
    rows = [row(0, group="a"), row(1, group="a", split="test"), row(2, group="b", split="test")]
    cleaning = read_rows(rows, options())
    settle_splits(cleaning, options(splits="filtered"))
    assert [record.id for record in cleaning.records] == ["drawn/0", "drawn/2"]
    assert cleaning.reasons() == {"leaked_group": 1}


def test_group_splits_forget_the_official_ones() -> None:
    cleaning = read_rows([row(n) for n in range(40)], options())
    settle_splits(cleaning, options(splits="group"))
    assert {record.split for record in cleaning.records} == {"train", "val", "test"}


def test_names_that_no_row_fills() -> None:
    asked = options("{modality} of {plain} and {view}")
    cleaning = read_rows([row(0), row(1, view="Axial")], asked)
    assert unfilled_names(cleaning, asked.style) == ("plain",)
    assert unfilled_names(cleaning, options().style) == ()
