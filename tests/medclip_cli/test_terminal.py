"""medclip among pipes, signals and terminals; a process of its own where a shell or a signal is the point."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.medclip_cli.in_process import run_on

MEDCLIP = f"{shlex.quote(sys.executable)} -m medclip_cli"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def environment(demo):
    home = {"MEDCLIP_HOME": str(demo.folder / "home"), "OMP_NUM_THREADS": "2", "TERM": "xterm-256color"}
    return {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | home


@pytest.fixture
def shell(demo, environment):
    """Run a line of bash in the folder of the demo; `medclip` is ours."""

    def shell(line):
        script = f'medclip() {{ {MEDCLIP} "$@"; }}; {line}'
        done = subprocess.run(["bash", "-c", script], cwd=demo.folder, env=environment, capture_output=True)
        return done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode()

    return shell


@pytest.fixture
def on_terminal(demo, environment, monkeypatch):
    """Run medclip with stdout and stderr on a terminal; returns the exit code and what is seen."""
    monkeypatch.chdir(demo.folder)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments, **variables):
        ours, theirs = pty.openpty()
        with ThreadPoolExecutor(1) as reader:
            seen = reader.submit(_read_all, ours)
            with open(os.devnull) as nothing, open(theirs, "w", encoding="utf-8") as screen:
                code = run_on((nothing, screen, screen), arguments, environment | variables)
        os.close(ours)
        return code, seen.result().decode("utf-8").replace("\r\n", "\n")

    return run


def _read_all(descriptor):
    seen = b""
    with suppress(OSError):  # the other end is closed: Linux says EIO
        while chunk := os.read(descriptor, 65_536):
            seen += chunk
    return seen


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("caption raw/images -c phantoms --json", '{"image": "raw/images/phantom0000.png"'),
        ("caption raw/images -c phantoms", "raw/images/phantom0000.png: "),
        ("search 'axial CT' -c phantoms -k 50", "rank "),
        ("corpus export corpus", '{"id": '),
    ],
)
def test_a_reader_that_has_seen_enough_is_no_failure(shell, command, first):
    code, out, err = shell(f"medclip {command} 2>err.log | head -1; echo ${{PIPESTATUS[0]}}; cat err.log")
    line, status, *rest = out.splitlines()
    assert line.startswith(first)
    assert (code, status, err) == (0, "0", "")
    assert rest in ([], ["medclip is a research tool, not a medical device."])


@pytest.mark.parametrize(
    "command",
    [
        "collections list",
        "--help",
        "--version",
        "caption --help",
        "train --help",
        "search 'axial CT' --pictures always --quiet",
    ],
)
def test_a_reader_that_was_never_there_is_no_failure(shell, command):
    # The reader is gone for certain before anything is written.
    line = f"{{ read -r _; medclip {command} <&-; }} < <(sleep 0.2; echo) | exec >&-; echo ${{PIPESTATUS[0]}}"
    assert shell(line) == (0, "0\n", "")


def test_a_failure_is_one_even_where_nobody_reads(shell):
    code, out, err = shell("medclip caption gone.png --quiet | true; echo ${PIPESTATUS[0]}")
    assert (code, out) == (0, "1\n")
    assert err == "medclip: gone.png: there is no such file\n"


def test_ctrl_c_says_what_was_done_and_how_to_go_on(demo, environment):
    with subprocess.Popen(
        [sys.executable, "-m", "medclip_cli", "caption", "-", "-c", "phantoms", "--json"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        process.stdin.write(f"{demo.scan}\n" * 30)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["image"] == str(demo.scan)
        process.send_signal(signal.SIGINT)  # while it waits for more paths
        # Not communicate(), which forgets what readline() has read ahead.
        answers, said = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    counted = re.search(r"(\d+) images? answered: caption the others next\.\n", said)
    printed = len(answers.splitlines()) + 1
    assert printed - 1 <= int(counted[1]) <= printed, "the signal may come between an answer and its count"
    assert said.endswith("medclip: interrupted\n")


@pytest.mark.parametrize("module", ["typer", "medclip_cli.commands.doctor"])
def test_ctrl_c_before_a_command_runs_shows_no_traceback(environment, module):
    """The signal comes while a module is imported: medclip's own first one, or that of the command."""
    script = f"""
import signal, sys
from medclip_cli.__main__ import main
class Interrupt:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["medclip", "doctor", "--help"]
main()
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "medclip: interrupted\n")


@pytest.mark.parametrize(
    ("ask", "separator"),
    [
        (("-0", "-"), "\0"),
        (("-0",), "\0"),
        (("-",), "\n"),
        (("--files-from", "list"), ""),
        (("--files-from", "-"), "\n"),
        (("raw/images/*000[0-2].png",), ""),
        (("three",), ""),
    ],
)
def test_every_way_to_name_images_gives_the_same_answers(demo, monkeypatch, tmp_path, ask, separator):
    names = [f"phantom000{n}.png" for n in range(3)]
    monkeypatch.chdir(tmp_path)
    os.symlink(demo.raw, "raw")
    os.mkdir("three")
    for name in names:
        shutil.copy(f"raw/images/{name}", "three")
    Path("list").write_text("".join(f"raw/images/{name}\n" for name in names))
    piped = "".join(f"raw/images/{name}{separator}" for name in names) if separator else ""
    done = demo.medclip("caption", *ask, "--json", stdin=piped)
    assert (done.code, done.err) == (0, "")
    assert [os.path.basename(record["image"]) for record in done.records] == names


def test_an_image_on_stdin(shell, demo):
    code, out, _ = shell(f"cat {shlex.quote(str(demo.scan))} | medclip caption --stdin-image --json")
    assert (code, json.loads(out)["image"]) == (0, "-")
    assert json.loads(out)["neighbours"][0]["image"] == "images/phantom0000.png"


def test_an_image_on_stdin_is_the_only_one(shell, demo):
    code, out, err = shell(
        f"cat {shlex.quote(str(demo.scan))} | medclip caption --stdin-image raw/images --json"
    )
    assert (code, out) == (2, "")
    assert err == "medclip: --stdin-image is the only image: name no other, or leave it out\n"


def test_file_names_need_not_be_utf8_nor_hold_still(shell, demo):
    code, out, err = shell(
        "mkdir -p odd; cp raw/images/phantom0000.png $'odd/a\\xff.png'; "
        "cp raw/images/phantom0000.png $'odd/b\\n\\e[31m.png'; cp raw/images/phantom0000.png odd/é→.png; "
        "medclip caption odd --json; medclip caption odd --quiet | grep -a ^odd"
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    names = [json.loads(line)["image"] for line in lines[:3]]
    assert [os.fsencode(name) for name in names] == [
        b"odd/a\xff.png",
        b"odd/b\n\x1b[31m.png",
        "odd/é→.png".encode(),
    ]
    assert [line.split(": ")[0] for line in lines[3:]] == [
        "odd/a\\udcff.png",
        "odd/b\\n\\x1b[31m.png",
        "odd/é→.png",
    ]


def test_a_terminal_of_another_encoding_gets_escapes(shell):
    code, out, err = shell(
        "cp raw/images/phantom0000.png é→.png; export PYTHONIOENCODING=ascii; "
        "medclip caption é→.png --quiet | head -1; medclip caption é→.png --json; "
        "medclip caption gone→.png --json"
    )
    plain, record, failure = out.splitlines()
    assert plain.startswith("\\xe9\\u2192.png: ")
    assert json.loads(record)["image"] == "é→.png"
    assert json.loads(failure)["image"] == "gone→.png"
    assert (code, err) == (1, "medclip: gone\\u2192.png: there is no such file\n")


def test_no_terminal_and_no_stdin_at_all(shell):
    code, out, err = shell(
        "medclip search 'axial CT' -k 1 --json <&-; medclip caption - <&- >/dev/null; echo $?"
    )
    found, status = out.splitlines()
    assert len(json.loads(found)) == 1
    assert (code, status) == (0, "2")
    assert err == "medclip: stdin is read, but nothing is piped into it: name the images instead\n"


def test_closed_streams_are_written_to_in_vain(shell):
    code, out, err = shell("medclip search 'axial CT' -k 1 2>&-")
    assert (code, err, len(out.splitlines())) == (0, "", 2)
    assert shell("medclip search 'axial CT' -k 1 --quiet >&-") == (0, "", "")
    assert shell("medclip search 'axial CT' --collection none 2>&-") == (1, "", "")
    assert shell("medclip search 'axial CT' >&- 2>&- <&-") == (0, "", "")


def test_a_terminal_gets_colours_and_pictures_unless_told_otherwise(on_terminal):
    ask = ("search", "axial CT", "-k", "2")
    code, seen = on_terminal(*ask)
    assert code == 0
    assert "▀" in seen
    assert "\x1b[" in seen
    assert "▀" not in on_terminal(*ask, "--pictures", "never")[1]
    code, seen = on_terminal(*ask, NO_COLOR="1")
    assert (code, "▀" in seen) == (0, False)
    assert not re.search(r"\x1b\[[0-9;]*[34]8", seen), "a colour"
    code, seen = on_terminal(*ask, TERM="dumb")
    assert (code, "▀" in seen, "\x1b" in seen) == (0, False, False)


@pytest.mark.parametrize("columns", [30, 140])
@pytest.mark.parametrize(
    "command",
    [
        ("search", "axial CT", "-k", "3"),
        ("caption", "raw/images/phantom0000.png", "--fields", "--reference", "axial CT"),
        ("collections", "show", "phantoms"),
        ("models", "show", "model"),
        ("paths",),
        ("corpus", "show", "corpus", "--samples", "2"),
    ],
    ids=" ".join,
)
def test_nothing_drawn_is_wider_than_the_terminal(on_terminal, command, columns):
    code, seen = on_terminal(*command, COLUMNS=str(columns))
    assert code == 0, seen
    drawn = [line for line in ESCAPE.sub("", seen).splitlines() if "▀" in line or "─" in line]
    assert drawn
    assert max(map(len, drawn)) <= columns
    assert "Traceback" not in seen


def test_json_on_a_terminal_is_json_and_nothing_else(on_terminal):
    code, seen = on_terminal("search", "axial CT", "-k", "2", "--json", "--quiet")
    assert (code, len(json.loads(seen))) == (0, 2)


def test_quiet_says_nothing_and_verbose_says_whom_it_asks(shell):
    assert shell("medclip search 'axial CT' --quiet")[2] == ""
    said = shell("medclip search 'axial CT' --verbose")[2]
    assert "collection phantoms: 144 images in " in said
    assert re.search(r"model model \([0-9a-f]{16}\) at ", said)
