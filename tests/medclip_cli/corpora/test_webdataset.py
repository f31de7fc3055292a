"""Shards of tar files, made by others, unpacked into the corpus."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from medclip_cli.corpora import webdataset
from medclip_cli.corpora.corpus_folder import Corpus
from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.layouts.webdataset import draw, pack
from tests.medclip_cli.corpora.test_clean_command import refusal, run


def test_shards_become_a_corpus_with_its_own_images(tmp_path: Path) -> None:
    draw(tmp_path / "shards")
    assert run("webdataset", tmp_path / "shards", "--out", tmp_path / "corpus").exit_code == 0
    for shard in (tmp_path / "shards").iterdir():
        shard.unlink()
    (tmp_path / "corpus").rename(tmp_path / "moved")
    corpus = Corpus.open(tmp_path / "moved")
    assert [(r.caption, r.split, r.modality, r.findings) for r in corpus.records] == [
        ("Clear lungs.", "test", "OT", ()),
        ("A mass.", "train", "CT", ("Mass", "Edema")),
    ]
    assert corpus.image_root == tmp_path / "moved" / "images"
    assert all(corpus.image_path(record).is_file() for record in corpus.records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved", "shards"]


def test_one_shard_and_a_dry_run_that_leaves_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "shards")
    result = run("webdataset", tmp_path / "shards" / "train-000000.tar", "--dry-run", "--json")
    assert json.loads(result.stdout)["kept"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_members_that_climb_out_link_or_say_nothing(tmp_path: Path) -> None:
    picture = draw_scan(tmp_path / "x.png").read_bytes()
    members = {
        "../../evil.png": picture,
        "../../evil.txt": b"climbs out",
        "b.JPG": picture,
        "b.json": b'{"caption": "from json", "image": "/etc/passwd", "sha256": "0"}',
        "c.txt": b"no image",
        "d.png": picture,
        "d.json": b"[broken",
        "e.seg.png": picture,
        "g" * 200 + ".png": picture,
    }
    pack(tmp_path / "shards" / "x.tar", members)
    with tarfile.open(tmp_path / "shards" / "x.tar", "a") as tar:
        link = tarfile.TarInfo("f.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    into = tmp_path / "deep" / "down" / "here"
    webdataset.unpack(tmp_path / "shards", into)
    rows = [json.loads(line) for line in (into / "captions.jsonl").read_text().splitlines()]
    assert [row["caption"] for row in rows] == ["climbs out", "from json", None, None]
    assert all((into / row["image"]).is_file() for row in rows)
    assert "sha256" not in rows[1]
    assert not list(tmp_path.rglob("evil.png"))


def test_what_an_interrupted_run_unpacked_is_not_unpacked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "shards")
    (tmp_path / "shards" / "val-000000.tar").write_bytes(b"cut short")
    assert "cannot be unpacked" in refusal("webdataset", tmp_path / "shards", "--out", tmp_path / "corpus")
    pack(tmp_path / "shards" / "val-000000.tar", {"c.png": draw_scan(tmp_path / "c.png", 5).read_bytes()})
    unpacked: list[str] = []
    real = webdataset._rows
    monkeypatch.setattr(
        webdataset, "_rows", lambda shard, into: (unpacked.append(shard.name), real(shard, into))[1]
    )
    assert run("webdataset", tmp_path / "shards", "--out", tmp_path / "corpus").exit_code == 0
    assert unpacked == ["val-000000.tar"]
    assert len(Corpus.open(tmp_path / "corpus").records) == 2


def test_folders_without_shards_and_those_that_cannot_be_written(tmp_path: Path) -> None:
    assert "has no *.tar shards" in refusal("webdataset", tmp_path, "--out", tmp_path / "corpus")
    draw(tmp_path / "shards")
    (tmp_path / "corpus-to-be").write_text("in the way")
    os.rename(tmp_path / "corpus-to-be", tmp_path / ".corpus.images")
    assert "cannot be unpacked" in refusal("webdataset", tmp_path / "shards", "--out", tmp_path / "corpus")
