"""docs/commands.md says what the commands say, on every machine alike."""

import re
from pathlib import Path

import pytest
import typer

from docs.tools import command_reference
from medclip_cli.app import app


@pytest.fixture(scope="module")
def page():
    return command_reference.reference()


def every_path(group=None, path=()):
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from every_path(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_has_its_section_and_an_example(page):
    sections = re.split(r"^## medclip ", page, flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == list(every_path())
    assert not [
        section.splitlines()[0] for section in sections if not re.search(r"\nExamples?: `.*medclip ", section)
    ]


def test_every_link_of_the_contents_has_its_section(page):
    headings = {line[3:].replace(" ", "-") for line in page.splitlines() if line.startswith("## ")}
    links = re.findall(r"\(#([^)]+)\)", page)
    assert len(links) > 10
    assert not set(links) - headings


def test_it_says_the_same_on_every_machine(page, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("MEDCLIP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert command_reference.reference() == page
    assert str(Path.home()) not in page


def test_choices_defaults_and_flags_are_shown(page):
    caption = page.split("\n## medclip caption\n")[1].split("\n## ")[0]
    assert "| `--method {auto, nearest, consensus, generate}` | `auto` |" in caption
    assert "| `-k, --top INTEGER` | `5` |" in caption
    assert "`--quiet`" not in caption, "what every command has is said once"


def test_check_tells_a_page_that_is_not_fresh(page, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command_reference, "PAGE", tmp_path / "commands.md")
    monkeypatch.setattr("sys.argv", ["command_reference", "--check"])
    assert command_reference.main() == 1
    assert "run make docs" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["command_reference"])
    assert command_reference.main() == 0
    monkeypatch.setattr("sys.argv", ["command_reference", "--check"])
    assert command_reference.main() == 0
