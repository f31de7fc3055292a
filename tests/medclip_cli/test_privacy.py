"""Asking reaches no network, what is written is for its owner's eyes, and captions stand in no message."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medclip_cli.private_files import make_private_folder, open_private_bytes, open_private_text
from tests.medclip_cli.robustness.running import PATIENT_WORD, Case, run

REPOSITORY = Path(__file__).resolve().parents[2]
UNREACHABLE = "http://server.invalid:6333"
# Runs commands in one process, in which every use of a socket is an error, and prints their exit codes.
PROBE = """
import json, sys
from tests.medclip_cli.robustness.running import Case, run

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(watch)
found = []
for arguments in json.load(sys.stdin):
    outcome = run(Case("", tuple(arguments)))
    found.append([arguments, outcome.code, outcome.err])
print(json.dumps(found))
"""


def in_a_sealed_process(demo, commands, *prefix):
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PROBE],
        input=json.dumps([list(map(str, command)) for command in commands]),
        cwd=REPOSITORY,
        env=dict(os.environ, MEDCLIP_HOME=str(demo.folder / "home"), OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def without_network():
    """The prefix of a command that runs where there is no network, as far as this system has one."""
    prefix = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        return prefix
    return ()


def test_no_library_reports_what_it_runs_on(demo, tmp_path):
    """ONNX Runtime would leave the name of this machine and what it is about to send in the user's cache."""
    ask = ("--collection", "phantoms", "--json")
    # Nothing else of the environment, where a variable like CI would keep it from reporting.
    env = {"HOME": str(tmp_path), "MEDCLIP_HOME": str(demo.folder / "home"), "OMP_NUM_THREADS": "1"}
    for command in (("caption", str(demo.scan), *ask), ("search", "axial CT", *ask)):
        arguments = [sys.executable, "-m", "medclip_cli", *command]
        done = subprocess.run(arguments, cwd=REPOSITORY, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_asking_command_works_without_a_network(demo, tmp_path):
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text('{"id": "1", "prediction": "a chest CT", "references": ["CT of the chest"]}\n')
    ask = ("--collection", "phantoms")
    commands = (
        ("caption", demo.scan, *ask, "--json"),
        ("caption", demo.scan, *ask, "--explain", tmp_path / "explained.html"),
        ("search", "axial CT", *ask),
        ("search", "--image", demo.scan, "--mode", "dense", *ask),
        ("score", predictions, "--no-meteor", "--resamples", "10"),
        ("evaluate", demo.corpus, *ask, "--no-meteor", "--resamples", "10"),
        ("index", demo.corpus, "--model", demo.model, *ask, "--dry-run"),
        ("corpus", "show", demo.corpus),
        ("clean", "folder", demo.raw, "--out", tmp_path / "corpus"),
        ("duplicates", demo.corpus, *ask),
        ("collections", "list"),
        ("collections", "show", "phantoms"),
        ("collections", "verify", "phantoms"),
        ("collections", "export", "phantoms", "--out", tmp_path / "phantoms.medclip", "--force"),
        ("config", "show"),
        ("doctor",),
    )
    for arguments, code, said in in_a_sealed_process(demo, commands, *without_network()):
        assert code == 0, (arguments, said)


def test_offline_fails_before_any_socket(demo):
    server = ("--url", UNREACHABLE, "--offline")
    commands = (
        ("caption", demo.scan, *server),
        ("search", "x", *server),
        ("evaluate", demo.corpus, *server),
        ("index", demo.corpus, "--model", demo.model, *server),
        ("index", demo.corpus, "--model", "hf:nobody/nothing", "--offline"),
        ("duplicates", demo.corpus, "--collection", "phantoms", *server),
        ("collections", "list", *server),
        ("collections", "show", "phantoms", *server),
        ("collections", "drop", "phantoms", "--yes", *server),
        ("collections", "verify", "phantoms", *server),
        ("collections", "tune", "phantoms", demo.corpus, *server),
    )
    for arguments, code, said in in_a_sealed_process(demo, commands):
        assert code in (1, 2), (arguments, said)
        assert said.startswith("medclip: ") and said.count("\n") == 1, (arguments, said)
        assert "offline" in said or "hub is out of reach" in said, (arguments, said)


def others_may_read(folder):
    """The files and folders that somebody else could open, those inside closed folders left out."""
    found = []
    for entry in sorted(folder.iterdir()):
        mode = stat.S_IMODE(entry.stat().st_mode)
        if mode & 0o077:
            found.append(entry.name)
            if entry.is_dir():
                found += others_may_read(entry)
    return found


@pytest.fixture
def open_umask():
    """The least careful of all users."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_holds_captions_is_for_its_owner_alone(demo, tmp_path, open_umask, monkeypatch):
    predictions = tmp_path.parent / f"{tmp_path.name}.jsonl"
    predictions.write_text('{"id": "1", "prediction": "a chest CT", "references": ["CT of the chest"]}\n')
    monkeypatch.setenv("MEDCLIP_HOME", str(demo.folder / "home"))
    ask, out = ("--collection", "phantoms"), tmp_path
    (out / "old.csv").touch(0o666)
    for arguments in (
        ("caption", demo.scan, *ask, "--explain", out / "explained.html"),
        ("caption", demo.scan, *ask, "--html", out / "captioned.html"),
        ("search", "axial CT", *ask, "--html", out / "found.html"),
        ("corpus", "show", demo.corpus, "--html", out / "corpus.html"),
        ("corpus", "export", demo.corpus, "--format", "csv", "--out", out / "old.csv"),
        ("corpus", "export", demo.corpus, "--out", out / "rows.jsonl"),
        ("evaluate", demo.corpus, *ask, "--no-meteor", "--resamples", "0", "--html", out / "evaluated.html"),
        ("score", predictions, "--no-meteor", "--resamples", "0", "--per-item", out / "items.jsonl"),
        ("collections", "export", "phantoms", "--out", out / "phantoms.medclip"),
    ):
        outcome = run(Case("", tuple(map(str, arguments))))
        assert outcome.code == 0, (arguments, outcome.err)
    assert len(list(out.iterdir())) == 9
    assert others_may_read(out) == []


def test_shards_are_for_their_owner_alone(demo, tmp_path, open_umask):
    out = ("--format", "webdataset", "--split", "val", "--out", str(tmp_path / "shards"))
    assert run(Case("", ("corpus", "export", str(demo.corpus), *out))).code == 0
    (shard,) = (tmp_path / "shards").iterdir()
    assert stat.S_IMODE(shard.stat().st_mode) == 0o600


def test_a_new_collection_is_for_its_owner_alone(demo, tmp_path, open_umask, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("MEDCLIP_HOME", str(home))
    made = run(Case("", ("index", str(demo.corpus), "--model", str(demo.model), "--collection", "mine")))
    assert made.code == 0, made.err
    assert "mine" not in others_may_read(home)
    os.chmod(home / "collections" / "mine", 0o750)
    again = run(Case("", ("index", str(demo.corpus), "--model", str(demo.model), "--collection", "mine")))
    assert again.code == 0, again.err
    assert "mine" in others_may_read(home), "rights that were given stay"


def test_private_files_whatever_was_there(tmp_path, open_umask):
    path = tmp_path / "file"
    path.touch(0o666)
    with open_private_text(path) as file:
        file.write("a \udcff b\n")
    with open_private_text(path, append=True) as file:
        file.write("c\n")
    assert path.read_text(encoding="utf-8") == "a \\udcff b\nc\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_private_bytes(path) as file:
        file.write(b"d")
    assert path.read_bytes() == b"d"
    make_private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


BROKEN = {
    "no_reference.jsonl": f'{{"id": "1", "prediction": "{PATIENT_WORD}"}}\n',
    "torn.jsonl": f'{{"id": "1", "prediction": "{PATIENT_WORD}',
    "a_list.jsonl": f'{{"id": "1", "prediction": ["{PATIENT_WORD}"], "references": ["x"]}}\n',
    "quotes.csv": f'id,prediction,references\n1,"{PATIENT_WORD}"x,y\n',
    "columns.csv": f"id,prediction,references\n1,a,b,{PATIENT_WORD},c\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_traceback_shows_neither_variables_nor_captions(demo, tmp_path, name):
    path = tmp_path / name
    path.write_text(BROKEN[name], encoding="utf-8")
    code = "from medclip_cli.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "score", str(path), "--debug", "--no-meteor", "--resamples", "0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Traceback" in done.stderr or "no reference" in done.stderr
    assert PATIENT_WORD not in done.stderr


def test_the_journal_of_a_cleaning_holds_no_captions(tmp_path, monkeypatch):
    from PIL import Image

    root, kept = tmp_path / "raw", io.StringIO()
    root.mkdir()
    Image.linear_gradient("L").save(root / "a.png")
    (root / "captions.csv").write_text(f"image,caption\na.png,CT of {PATIENT_WORD}\nb.png,no such image\n")
    monkeypatch.setattr(Path, "unlink", _copy_first(kept, Path.unlink))
    done = run(Case("", ("clean", "folder", str(root), "--out", str(tmp_path / "corpus"))))
    assert done.code == 0, done.err
    assert "a.png" in kept.getvalue()
    assert PATIENT_WORD not in kept.getvalue() + done.out + done.err


def _copy_first(into, unlink):
    def copy_and_unlink(path, *arguments, **options):
        if path.name.endswith(".cleaning.jsonl") and path.exists():
            into.write(path.read_text(encoding="utf-8"))
        return unlink(path, *arguments, **options)

    return copy_and_unlink
