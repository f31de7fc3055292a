"""`--copy-images`: a corpus that stands alone."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from medclip_cli.corpora import exporting
from medclip_cli.corpora.corpus_folder import Corpus, staging_folder
from medclip_cli.corpora.exporting import copy_images, keep_only
from medclip_cli.errors import CorpusError
from tests.medclip_cli.cleaning.drawn import draw
from tests.medclip_cli.corpora.drawn import record
from tests.medclip_cli.corpora.test_clean_command import refusal, run


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    root = tmp_path / "scans"
    for seed, name in enumerate(("a", "deep/b", "c")):
        draw(root / f"{name}.png", seed=seed)
        (root / f"{name}.txt").write_text(f"scan {name}")
    (root / "c.png").write_bytes(b"damaged")
    return root


def test_the_images_kept_go_along(scans: Path, tmp_path: Path) -> None:
    result = run("folder", scans, "--out", tmp_path / "corpus", "--copy-images")
    assert result.exit_code == 0, result.output
    contents = {path.name: path.read_bytes() for path in (scans / "a.png", scans / "deep" / "b.png")}
    scans.rename(tmp_path / "gone")
    (tmp_path / "corpus").rename(tmp_path / "moved")
    corpus = Corpus.open(tmp_path / "moved")
    assert [r.image for r in corpus.records] == ["a.png", "deep/b.png"]
    for one in corpus.records:
        path = corpus.image_path(one)
        assert path.read_bytes() == contents[path.name]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == one.sha256
    files = sorted(p.relative_to(corpus.image_root).as_posix() for p in corpus.image_root.rglob("*.*"))
    assert files == ["a.png", "deep/b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone", "moved"]
    assert json.loads((tmp_path / "moved" / "report.json").read_text())["image_root"] == "images"


def test_a_corpus_with_images_is_replaced_whole(scans: Path, tmp_path: Path) -> None:
    again = ("folder", scans, "--out", tmp_path / "corpus", "--copy-images")
    assert run(*again).exit_code == 0
    assert "replace it with force" in refusal(*again)
    (scans / "a.png").unlink()
    assert run(*again, "--force").exit_code == 0
    assert not (tmp_path / "corpus" / "images" / "a.png").exists()
    assert run(*again[:-1], "--force").exit_code == 0
    assert not (tmp_path / "corpus" / "images").exists()


def test_a_dry_run_copies_nothing(scans: Path, tmp_path: Path) -> None:
    assert run("folder", scans, "--dry-run", "--copy-images").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_images_that_nobody_looked_at_are_not_copied(scans: Path, tmp_path: Path) -> None:
    message = refusal("folder", scans, "--out", tmp_path / "c", "--copy-images", "--skip-image-check")
    assert "leave out skip_image_check" in message


def test_an_interrupted_copy_is_gone_on_with(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("folder", scans, "--out", tmp_path / "corpus", "--copy-images")
    real, copied = exporting._copy, []

    def copy_one(source: Path, target: Path, sha256: str) -> None:
        if copied:
            raise OSError(28, "No space left on device")
        copied.append(source.name)
        real(source, target, sha256)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_copy", copy_one)
        assert "deep/b.png cannot be copied (No space left on device)" in refusal(*command)
    assert not (tmp_path / "corpus").exists()
    first = staging_folder(tmp_path / "corpus") / "a.png"
    inode = os.stat(first).st_ino
    assert run(*command).exit_code == 0
    assert os.stat(tmp_path / "corpus" / "images" / "a.png").st_ino == inode
    assert not staging_folder(tmp_path / "corpus").exists()


def test_what_changed_since_it_was_looked_at_is_not_copied(scans: Path, tmp_path: Path) -> None:
    looked_at = record(0, image="a.png", sha256="0" * 64)
    with pytest.raises(CorpusError, match="has changed since it was checked"):
        copy_images([looked_at], scans, tmp_path / "staging")


def test_only_what_is_wanted_stays(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png", "deeper/still/c.png", ".a.png.part"):
        draw(tmp_path / "staging" / "x.png").rename(_made(tmp_path / "staging" / name))
    keep_only([record(0, image="deep/b.png")], tmp_path / "staging")
    left = [p.relative_to(tmp_path / "staging").as_posix() for p in (tmp_path / "staging").rglob("*")]
    assert sorted(left) == ["deep", "deep/b.png"]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
