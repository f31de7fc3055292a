"""What the README and the pages of docs/ tell people to type is there, and works."""

import os
import re
import shlex
import shutil

import pytest
import typer

from medclip_cli.app import app

from .pages import PAGES, REPOSITORY, Block, blocks, mentioned, session
from .stage import Stage, build

ROOT = typer.main.get_command(app)
WITH_SESSIONS = [page for page in PAGES if session(page)]
# Options of other programs that the pages name.
FOREIGN = {"--nproc-per-node", "--install-completion", "--folder"}


def name_of(page):
    return str(page.relative_to(REPOSITORY))


@pytest.fixture(scope="module")
def prepared(trained_decoder, tmp_path_factory):
    """The stage, made once; every page gets it as it was."""
    model, _ = trained_decoder
    base = tmp_path_factory.mktemp("pages")
    stage = Stage(base / "stage", base / "pristine")
    before = os.environ.get("MEDCLIP_HOME"), os.getcwd()
    os.environ["MEDCLIP_HOME"] = str(stage.folder / "home")
    stage.folder.mkdir()
    os.chdir(stage.folder)
    build(stage.folder, model)
    os.chdir(before[1])
    if before[0] is not None:
        os.environ["MEDCLIP_HOME"] = before[0]
    shutil.copytree(stage.folder, stage.pristine)
    return stage


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=name_of)
def test_every_session_runs(prepared, page, monkeypatch):
    prepared.reset()
    monkeypatch.chdir(prepared.folder)
    monkeypatch.setenv("MEDCLIP_HOME", str(prepared.folder / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for command in session(page):
        code, said = prepared.run(command)
        assert code == 0, f"{name_of(page)}: $ {command}\n{said}"


def test_the_python_of_the_readme_runs(prepared, monkeypatch, capsys):
    prepared.reset()
    monkeypatch.chdir(prepared.folder)
    monkeypatch.setenv("MEDCLIP_HOME", str(prepared.folder / "home"))
    (block,) = [block for block in blocks(REPOSITORY / "README.md") if block.language == "python"]
    exec("\n".join(block.lines), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_in_a_block_is_run_or_it_says_why_not(page):
    left_out = [
        f"{name_of(page)}:{block.number}: {next(block.commands())}"
        for block in blocks(page)
        if block.language != "console" and not block.not_run and any(block.commands())
    ]
    assert not left_out, "put them into a console block after '$ ', or say <!-- not run: why --> above"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_option_that_is_mentioned_exists(page):
    unknown = [command for command in mentioned(page) if not is_known(command)]
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_named_in_a_sentence_exists(page):
    named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text(encoding="utf-8")))
    assert named <= all_options(ROOT) | FOREIGN


def test_links_between_the_pages_lead_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{name_of(page)}: {target}")
    assert not broken


def test_every_page_is_in_the_list_of_pages():
    listed = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page for page in (REPOSITORY / "docs").glob("*.md") if page.name != "README.md"]
    assert not [page.name for page in pages if f"({page.name})" not in listed]


def is_known(text):
    """Whether a line names a command that exists and only options that it has; patterns in capitals pass."""
    words = shlex.split(re.split(r"[|;&]|\s#", text)[0].replace("...", " "))
    if words and words[0] != "medclip":  # it stands in a pipe, or behind an assignment
        text = text.partition("medclip ")[2]
        return not text or is_known(f"medclip {text}")
    command, rest = ROOT, words[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        command = command.commands.get(rest[0])
        if command is None:
            return bool(re.match(r"[A-Z]", rest[0]))
        rest = rest[1:]
    known = all_options(command)
    return not [
        word for word in rest if word.startswith("-") and len(word) > 1 and word.split("=")[0] not in known
    ]


def all_options(command):
    """Every option of a command and of what is below it."""
    found = {"--help", "-h"}
    for parameter in getattr(command, "params", ()):
        found |= {flag for flag in (*parameter.opts, *parameter.secondary_opts) if flag.startswith("-")}
    for below in getattr(command, "commands", {}).values():
        found |= all_options(below)
    return found


def test_a_block_that_is_not_run_says_why(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: a server -->\n\n    medclip doctor \\\n      --json\n\nThen:\n"
        "```console\n$ medclip paths\n{}\n```\n"
    )
    assert list(blocks(page)) == [
        Block("", ("    medclip doctor \\", "      --json"), 3, "a server"),
        Block("console", ("$ medclip paths", "{}"), 8, ""),
    ]
    assert session(page) == ["medclip paths"]
    assert [" ".join(command.split()) for command in mentioned(page)] == [
        "medclip doctor --json",
        "medclip paths",
    ]


@pytest.mark.parametrize(
    "wrong",
    ["medclip guess scan.jpg", "medclip caption --no-such", "ls | medclip search --nope", "medclip train x"],
)
def test_what_does_not_exist_is_noticed(wrong):
    assert not is_known(wrong)
