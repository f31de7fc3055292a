import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from medclip_cli.progress import Progress
from medclip_cli.terminal import console, json_output, progress, tables


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """Make stdout and stderr terminals; called within the test, since pytest swaps them before it."""

    def replace():
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        console.forget_streams()
        return out, err

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return replace


def test_a_table_in_a_pipe_is_plain_columns(capsys):
    tables.show("ignored", ("name", "score"), [("a", 0.5), ("longer", None)])
    assert capsys.readouterr().out == "name    score\na       0.500\nlonger      -\n"


def test_a_table_on_a_terminal_is_ruled_and_keeps_brackets(on_terminal):
    out, _ = on_terminal()
    tables.show("Title", ("name",), [("[bold]not markup[/bold]",)])
    text = out.getvalue()
    assert "Title" in text
    assert "[bold]not markup[/bold]" in text


def test_numbers_stay_whole_where_words_give_way(on_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    out, _ = on_terminal()
    tables.show("A title that is wider than its table", ("name", "score"), [("one two three four", 0.5)] * 2)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[:2] == ["\x1b[1mA title that is wider than its\x1b[0m", "\x1b[1mtable\x1b[0m"]
    assert sum(" 0.500" in line for line in lines) == 2
    assert " four" in out.getvalue()


@pytest.mark.parametrize(("columns", "stacked"), [(30, True), (31, False)])
def test_a_row_becomes_a_list_where_its_columns_do_not_fit(on_terminal, monkeypatch, columns, stacked):
    monkeypatch.setenv("COLUMNS", str(columns))
    out, _ = on_terminal()
    tables.show("", ("name", "a", "b", "c"), [("nearest", 0.5, 0.25, None), ("random", 0.1, None, 1 / 3)])
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(map(len, text.splitlines())) <= columns
    assert all(number in text for number in ("0.500", "0.250", "0.333"))
    assert sum("─" in line for line in text.splitlines()) == (3 if stacked else 1)
    assert text.count("nearest") == text.count("random") == 1
    assert text.count("name") == (2 if stacked else 1)


def test_a_sentence_is_folded_between_words_on_a_terminal_alone(on_terminal, monkeypatch, capsys):
    sentence = "scan.jpg: an axial plane-wise CT scan\nof \x1b[31m the chest"
    console.prose(sentence)
    whole = r"scan.jpg: an axial plane-wise CT scan\nof \x1b[31m the chest"
    assert capsys.readouterr().out == f"{whole}\n"
    monkeypatch.setenv("COLUMNS", "20")
    out, _ = on_terminal()
    console.prose(sentence)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 20
    assert " ".join(lines) == whole
    console.prose("")
    assert out.getvalue().endswith("chest\n\n")


def test_tables_are_parted_by_one_line(on_terminal, capsys):
    tables.gap()
    assert capsys.readouterr().out == "\n"
    out, _ = on_terminal()
    tables.show("", ("name",), [("a",)])
    tables.gap()
    assert [line.strip() for line in out.getvalue().splitlines()[-2:]] == ["a", ""]


def test_what_is_counted_is_one_or_many():
    counts = [console.counted(n, "image") for n in (0, 1, 1653)]
    assert counts == ["0 images", "1 image", "1,653 images"]
    assert console.counted(2, "copy", "copies") == "2 copies"


def test_control_characters_of_a_caption_do_not_reach_the_terminal(capsys):
    tables.show("", ("caption",), [("a\x1b[2Jb\nc",)])
    assert capsys.readouterr().out == "caption\na\\x1b[2Jb\\nc\n"


def test_json_knows_numpy_paths_and_what_is_not_a_number(capsys):
    json_output.write_line(
        {"path": Path("a/b"), "n": np.float32(0.5), "nan": float("nan"), "set": ("x", np.int64(3))}
    )
    assert json.loads(capsys.readouterr().out) == {"path": "a/b", "n": 0.5, "nan": None, "set": ["x", 3]}


def test_json_survives_a_file_name_that_is_not_utf8(capsys):
    name = b"scan\xff.png".decode("utf-8", "surrogateescape")
    json_output.write_line({"image": name})
    line = capsys.readouterr().out
    assert json.loads(line)["image"] == name
    assert line.encode("utf-8")


def test_json_is_indented_only_on_a_terminal(on_terminal):
    out, _ = on_terminal()
    json_output.write({"a": [1]})
    assert out.getvalue() == '{\n  "a": [\n    1\n  ]\n}\n'


def test_notes_go_to_stderr_and_quiet_silences_them(capsys):
    console.note("hello")
    console.verbosity.quiet = True
    console.note("silence")
    console.warn("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\nmedclip: careful\n"


def test_notes_are_folded_between_words_on_a_terminal_but_commands_stay_whole(on_terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    _, err = on_terminal()
    console.note("one two three four five\nsix")
    console.note("Next: medclip index corpus --model model")
    assert err.getvalue() == "one two three four\nfive\nsix\nNext: medclip index corpus --model model\n"


def test_details_are_for_verbose(capsys):
    console.detail("hidden")
    console.verbosity.verbose = True
    console.detail("shown")
    assert capsys.readouterr().err == "shown\n"


def test_progress_is_silent_in_a_pipe(capsys):
    with progress.track("Decoding", total=2) as bar:
        bar.advance()
        bar.fail()
    assert (bar.done, bar.failed) == (2, 1)
    assert capsys.readouterr() == ("", "")


def test_progress_is_silent_on_a_terminal_that_cannot_go_back_on_a_line(on_terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out, err = on_terminal()
    with progress.track("Decoding", total=2) as bar, progress.reported() as on_progress:
        bar.advance(2)
        on_progress(Progress("Writing"))
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_progress_on_a_terminal_shows_counts_and_failures(on_terminal):
    _, err = on_terminal()
    with progress.track("Decoding", total=3, unit="scans") as bar:
        bar.advance(2)
        bar.fail()
    text = err.getvalue()
    assert "Decoding" in text
    assert "3/3" in text
    assert "1 failed" in text


def test_progress_tells_the_mean_rate_and_the_time_left(monkeypatch):
    clock = iter((0.0, 4.0, 4.0))
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    bar = progress.Bar("scans", total=7300, _began=progress.monotonic())
    bar.done = 100
    assert bar.columns() == {"count": "100/7300", "rate": "25 scans/s", "left": "4:48 left", "failures": ""}
    bar.done = bar.failed = 8
    assert bar.columns() == {
        "count": "8/7300",
        "rate": "2.0 scans/s",
        "left": "1:00:46 left",
        "failures": "8 failed",
    }


def test_progress_of_nobody_knows_how_many(on_terminal):
    _, err = on_terminal()
    with progress.track("Looking") as bar:
        bar.advance(3)
    assert "3" in err.getvalue()
    assert "left" not in err.getvalue()


def test_data_stays_on_stdout_while_a_bar_is_drawn_on_stderr(on_terminal, monkeypatch):
    _, err = on_terminal()
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    console.forget_streams()
    with progress.track_output("Captioning") as bar:
        json_output.write_line({"caption": "axial CT"})
        bar.advance()
    assert json.loads(pipe.getvalue()) == {"caption": "axial CT"}
    assert "Captioning" in err.getvalue()
    assert "axial CT" not in err.getvalue()


def test_no_bar_while_the_answers_themselves_are_seen(on_terminal):
    _, err = on_terminal()
    with progress.track_output("Captioning") as bar:
        bar.advance()
    assert (bar.done, err.getvalue()) == (1, "")


def test_an_empty_table_keeps_its_headings_for_programs_alone(on_terminal, capsys):
    tables.show("Title", ("name",), [])
    assert capsys.readouterr().out == "name\n"
    out, _ = on_terminal()
    tables.show("Title", ("name",), [])
    assert out.getvalue() == ""


def test_each_stage_of_a_library_function_has_its_own_bar(on_terminal):
    _, err = on_terminal()
    with progress.reported() as on_progress:
        on_progress(Progress("Decoding", done=1, total=2))
        on_progress(Progress("Decoding", done=2, total=2, failed=1))
        on_progress(Progress("Writing", done=7, unit="rows"))
    text = err.getvalue()
    assert text.index("Decoding") < text.index("Writing")
    assert "2/2" in text
    assert "1 failed" in text
