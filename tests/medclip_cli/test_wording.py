"""What people read, command by command: one snapshot each in snapshots/, on the files of tests/compatibility.

    pytest tests/medclip_cli/test_wording.py --update-snapshots

writes them anew, to be looked at with git diff. Decimal numbers are left out: scores are compared elsewhere.
"""

import re
import tarfile
from pathlib import Path

import pytest

from tests.medclip_cli.in_process import run_here

SNAPSHOTS = Path(__file__).parent / "snapshots"
DATA = Path(__file__).resolve().parents[1] / "compatibility" / "data" / "old.tar.xz"
MADE_AT = "/tmp/olddata"
IMAGE = "corpus/images/images/phantom0000.png"
COMMANDS = {
    "caption": ("caption", IMAGE, "gone.png", "-k", 2, "--fields", "--collection", "rounded"),
    "search": ("search", "coronal MR", "-k", 3, "--collection", "rounded"),
    "score": ("score", "predictions.jsonl", "--no-meteor", "--resamples", 0),
    "evaluate": ("evaluate", "corpus", "--collection", "rounded", "--no-meteor", "--resamples", 0),
    "index": ("index", "corpus", "--model", "model", "--collection", "rounded", "--dry-run"),
    "clean": ("clean", "folder", "corpus/images", "--out", "new", "--dry-run"),
    "corpus-show": ("corpus", "show", "corpus", "--samples", 1),
    "collections-list": ("collections", "list"),
    "collections-show": ("collections", "show", "rounded"),
    "collections-verify": ("collections", "verify", "rounded"),
    "models-show": ("models", "show", "model"),
    "duplicates": ("duplicates", "corpus"),
    "unknown-collection": ("caption", IMAGE, "--collection", "nope"),
    "wrong-filter": ("search", "x", "--where", "colour=red", "--collection", "rounded"),
    "wrong-preset": ("train", "encoders", "corpus", "--out", "new", "--preset", "huge"),
}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wording") / "old"
    with tarfile.open(DATA) as archive:
        archive.extractall(folder, filter="data")
    for manifest in (folder / "home").glob("collections/*/collection.json"):
        manifest.write_text(manifest.read_text().replace(MADE_AT, str(folder)))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_what_people_read(old, monkeypatch, request, name):
    monkeypatch.chdir(old)
    monkeypatch.setenv("MEDCLIP_HOME", str(old / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    done = run_here(COMMANDS[name])
    said = f"exit code {done.code}\n--- stdout\n{done.out}--- stderr\n{done.err}".replace(str(old), "HERE")
    said = re.sub(r"\d+\.\d+", "0.0", said)
    said = re.sub(r"[ \t]+(?=\n)", "", said)
    snapshot = SNAPSHOTS / f"{name}.txt"
    if request.config.getoption("--update-snapshots"):
        SNAPSHOTS.mkdir(exist_ok=True)
        snapshot.write_text(said, encoding="utf-8")
    assert said == snapshot.read_text(encoding="utf-8")


def test_no_snapshot_is_left_over():
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(COMMANDS)
