"""What only a process of its own can show: limits of memory and time, and signals."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.medclip_cli.robustness import images

LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from medclip_cli.__main__ import main
main()
"""
# Runs a list of commands in one process with that limit, and prints how they ended.
LIMITED_LIST = """
import json, resource, sys
from tests.medclip_cli.in_process import run_here
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
done = [run_here(arguments) for arguments in json.load(sys.stdin)]
print(json.dumps([(one.code, one.err) for one in done]))
"""
REPOSITORY = Path(__file__).resolve().parents[3]


def limited(demo, *arguments, stdin=b""):
    """Run medclip with an address space of 2 GiB."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=dict(os.environ, MEDCLIP_HOME=str(demo.folder / "home"), OMP_NUM_THREADS="1"),
    )


def ends_in_one_line(done, code):
    lines = done.stderr.decode().splitlines()
    assert done.returncode == code, lines
    assert len(lines) == 1 and lines[0].startswith("medclip: "), lines


def test_an_image_that_is_none(demo, tmp_path):
    commands = []
    for name, data in sorted(images.unreadable().items()):
        (tmp_path / name).write_bytes(data)
        commands.append(("caption", str(tmp_path / name), "--collection", "phantoms"))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED_LIST],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=dict(os.environ, MEDCLIP_HOME=str(demo.folder / "home"), OMP_NUM_THREADS="1"),
    )
    assert done.returncode == 0, done.stderr
    for command, (code, said) in zip(commands, json.loads(done.stdout), strict=True):
        assert code == 1, (command, said)
        assert said.startswith("medclip: ") and said.count("\n") == 1, (command, said)


def test_a_hundred_megapixels_with_transparency_fit(demo, tmp_path):
    side = 9_990
    packer = zlib.compressobj(1)
    row = bytes(1 + 4 * side)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    (tmp_path / "huge.png").write_bytes(images.png(side, side, colour=6, packed=pixels))
    shutil.copy(tmp_path / "huge.png", tmp_path / "again.png")
    both = (tmp_path / "huge.png", tmp_path / "again.png")
    done = limited(demo, "caption", *both, "--collection", "phantoms", "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_named_pipe_that_nobody_writes_to(demo, tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    ends_in_one_line(limited(demo, "caption", pipe, "--collection", "phantoms"), 1)
    ends_in_one_line(limited(demo, "score", pipe), 2)
    ends_in_one_line(limited(demo, "clean", "folder", tmp_path, "--out", tmp_path / "corpus"), 1)
    ends_in_one_line(limited(demo, "clean", "folder", demo.raw, "--captions", pipe, "--dry-run"), 1)


@pytest.mark.parametrize("listed", [b"\0" * 10_000, b"\xff\xfe\n" * 50, b"x" * 1_000_000, b"\n" * 1000])
def test_noise_instead_of_paths(demo, listed):
    done = limited(demo, "caption", "-", "--collection", "phantoms", "--quiet", stdin=listed)
    assert done.returncode in (0, 1)
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr
