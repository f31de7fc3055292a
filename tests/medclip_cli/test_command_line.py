"""The contract of the command line: help, exit codes, two streams, JSON that parses."""

import json
import sys
from collections import defaultdict

import pytest
import typer
from typer.testing import CliRunner

from medclip_cli import __version__
from medclip_cli.app import app

runner = CliRunner()
root = typer.main.get_command(app)


def every_command(group=root, path=()):
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))
        else:
            yield pytest.param((*path, name), command, id=" ".join((*path, name)))


@pytest.mark.parametrize(("path", "command"), list(every_command()))
def test_every_command_and_option_has_help_and_an_example(path, command):
    assert command.help, "no docstring"
    assert command.epilog and f"medclip {' '.join(path)}" in command.epilog, "no example in the epilog"
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{parameter.name} has no help"


@pytest.mark.parametrize(("path", "command"), list(every_command()))
def test_help_of_every_command_is_printed_on_stdout(path, command):
    result = runner.invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert result.stderr == ""


# What a flag means in general, where each command says in its help what it is of.
OF_THE_COMMAND = {
    "--against": "another run: test the difference",
    "--batch-size": "items that go through the model at once",
    "--collection": "the collection that is asked",
    "--dry-run": "say what would be done, write nothing",
    "--epochs": "passes over what training sees",
    "--force": "replace what stands in the way",
    "--learning-rate": "peak learning rate",
    "--max-tokens": "longest caption",
    "--method": "how captions are made",
    "--min-score": "leave out what is less alike",
    "--model": "a model folder",
    "--name": "what to call what is made",
    "--out": "where to write what is made",
    "--patience": "stop after so many epochs without a better score",
    "--precision": "number format of what is trained",
    "--schedule": "how the learning rate falls",
    "--seed": "of what is drawn at random",
    "--split": "which split",
    "--url": "a Qdrant server",
}


def every_option():
    for case in every_command():
        path, command = case.values
        for parameter in command.params:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                if flag.startswith("-"):
                    yield flag, " ".join(path), parameter


def test_the_same_flag_means_the_same_everywhere():
    helps, names, valued = defaultdict(set), defaultdict(set), defaultdict(set)
    for flag, _, parameter in every_option():
        helps[flag].add(parameter.help.partition(r" \[default:")[0])
        names[flag].add(frozenset(name for name in parameter.opts if name.startswith("--")))
        valued[flag].add(bool(parameter.metavar) or not isinstance(parameter.default, bool))
    several = {flag: found for flag, found in helps.items() if len(found) > 1}
    assert {flag for flag in several if flag.startswith("--")} <= set(OF_THE_COMMAND), several
    assert {flag: found for flag, found in names.items() if len(found) > 1} == {}
    assert {flag: found for flag, found in valued.items() if len(found) > 1} == {}


def test_every_command_can_be_silent_talkative_and_debugged():
    flags = defaultdict(set)
    for flag, command, _ in every_option():
        flags[command].add(flag)
    assert [command for command, own in flags.items() if not {"--quiet", "--verbose", "--debug"} <= own] == []


def test_options_of_a_command_with_many_are_grouped():
    ungrouped = defaultdict(list)
    for flag, command, parameter in every_option():
        if getattr(parameter, "rich_help_panel", None) is None and flag != "--help":
            ungrouped[command].append(flag)
    assert {command: flags for command, flags in ungrouped.items() if len(flags) > 12} == {}


def test_the_help_of_an_option_that_has_a_default_shows_it():
    hidden = {
        (flag, command)
        for flag, command, parameter in every_option()
        if parameter.default not in (None, False, True, ())
        and not parameter.required
        and not parameter.show_default
    }
    assert hidden == set()


@pytest.mark.parametrize(("path", "command"), list(every_command()))
def test_a_default_that_is_worked_out_is_shown_and_a_switch_takes_no_value(path, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown = runner.invoke(app, [*path, "--help"]).stdout
    said = [parameter.help for parameter in command.params if r"\[default:" in (parameter.help or "")]
    assert [text for text in said if text.replace("\\", "") not in shown] == []
    switches = [line for line in shown.splitlines() if "<bool>" in line]
    assert [line for line in switches if "--help" not in line] == []


def test_version():
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"medclip {__version__}\n")


def test_wrong_usage_is_exit_2_on_stderr():
    result = runner.invoke(app, ["caption", "--no-such-option"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no-such-option" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loud"], "no such option: --loud: see medclip --help"),
        (["serch"], "no such command 'serch'. Did you mean 'search'? See medclip --help"),
        (
            ["caption", "--colection", "x"],
            "no such option: --colection (Possible options: --collection, --offline): "
            "see medclip caption --help",
        ),
        (
            ["caption", "x", "-k", "0"],
            "--top must be greater than or equal to 1, not '0': see medclip caption --help",
        ),
        (
            ["caption", "x", "--method", "best"],
            "--method 'best' is not one of 'auto', 'nearest', 'consensus', 'generate': "
            "see medclip caption --help",
        ),
        (["models", "shw"], "no such command 'shw'. Did you mean 'show'? See medclip models --help"),
        (["collections", "show"], "missing argument 'NAME': see medclip collections show --help"),
        (["caption"], "no image is named: give image files, a folder, or '-' to read paths from stdin"),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_to_look(arguments, said):
    result = runner.invoke(app, arguments, prog_name="medclip")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"medclip: {said}\n")


@pytest.mark.parametrize("path", [[], ["models"], ["collections"], ["train"]])
def test_without_a_command_the_help_is_printed(path):
    result = runner.invoke(app, path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == runner.invoke(app, [*path, "--help"]).stdout != ""


def test_an_error_is_one_line_on_stderr_and_exit_1(tmp_path):
    result = runner.invoke(
        app, ["clean", "folder", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("medclip: ")
    assert result.stderr.count("\n") == 1
    assert "nowhere" in result.stderr


def test_a_traceback_only_with_debug(tmp_path):
    arguments = ["clean", "folder", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), "--debug"]
    result = runner.invoke(app, arguments)
    assert type(result.exception).__name__ == "CorpusError"


def test_ctrl_c_is_exit_130(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("medclip_cli.diagnosis.examine", interrupted)
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 130
    assert result.stderr == "medclip: interrupted\n"


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "corpus.parquet")

    monkeypatch.setattr("medclip_cli.diagnosis.examine", full)
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert result.stderr == "medclip: corpus.parquet: No space left on device\n"


def test_python_m_runs_the_same_program(demo):
    assert demo.medclip("--version").out == f"medclip {__version__}\n"
    assert sys.executable  # the fixture runs `python -m medclip_cli`


def test_an_error_nobody_foresaw_shows_its_kind_but_no_patient_words(monkeypatch):
    def broken(*_):
        raise ValueError("a caption about somebody")

    monkeypatch.setattr("medclip_cli.diagnosis.examine", broken)
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "ValueError" in result.stderr
    assert "--debug" in result.stderr
    assert "somebody" not in result.stderr
    assert isinstance(runner.invoke(app, ["doctor", "--debug"]).exception, ValueError)


def test_config_show_says_where_each_setting_came_from(monkeypatch):
    monkeypatch.setenv("MEDCLIP_COLLECTION", "chests")
    answer = json.loads(runner.invoke(app, ["config", "show", "--json"]).stdout)
    assert answer["collection"] == {"value": "chests", "origin": "MEDCLIP_COLLECTION"}
    assert answer["lock_timeout_seconds"] == {"value": 10.0, "origin": "default"}
    assert "MEDCLIP_COLLECTION" in runner.invoke(app, ["config", "show"]).stdout
