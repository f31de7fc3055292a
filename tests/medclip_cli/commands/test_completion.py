"""What a shell gets when Tab is pressed: asked as bash asks, in a process of its own."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "pandas", "pyarrow", "onnxruntime", "PIL", "qdrant_edge")
PROBE = """
import atexit, sys
from medclip_cli.app import app
atexit.register(lambda: print(*(m for m in {heavy!r} if m in sys.modules), file=sys.stderr))
app(prog_name="medclip")
"""


@pytest.fixture
def press_tab(demo):
    def press_tab(line, folder=None, **environment):
        words = line.split(" ")
        asked = {
            "_MEDCLIP_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "MEDCLIP_HOME": str(demo.folder / "home"),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(heavy=HEAVY)],
            env=os.environ | asked | environment,
            cwd=folder or demo.folder,
            capture_output=True,
            text=True,
        )
        assert done.stderr.split() == [], "completion must import nothing heavy"
        return [line for line in done.stdout.splitlines() if line]

    return press_tab


def test_commands_complete(press_tab):
    assert press_tab("medclip co") == ["corpus", "collections", "config"]
    assert press_tab("medclip models ") == ["list", "show"]


@pytest.mark.parametrize(
    "line", ["medclip search --collection ph", "medclip caption -c ", "medclip collections show "]
)
def test_collections_complete(press_tab, line):
    assert press_tab(line) == ["phantoms"]


def test_models_complete_as_one_would_type_them(press_tab, demo, tmp_path):
    assert press_tab("medclip caption --model ") == ["model"]
    assert press_tab("medclip models show ", folder=tmp_path) == [str(demo.model)]
    assert press_tab("medclip index x -m elsewhere/", folder=tmp_path) == [], "the shell completes paths"


def test_data_sets_complete(press_tab):
    assert press_tab("medclip clean medpix") == ["medpix2", "medpix"]


def test_broken_settings_complete_nothing_and_say_nothing(press_tab, tmp_path):
    (tmp_path / "medclip.toml").write_text("colection = 1", encoding="utf-8")
    assert press_tab("medclip search --collection ", folder=tmp_path) == []
    assert press_tab("medclip search --model ", folder=tmp_path) == []


def test_a_damaged_collection_still_has_a_name_but_no_model(press_tab, tmp_path):
    folder = tmp_path / "home" / "collections" / "broken"
    folder.mkdir(parents=True)
    for content in ("{", "[]", "[" * 100_000, '{"model_path": ["a"]}', '{"model_path": "a\\u0000b"}'):
        (folder / "collection.json").write_text(content, encoding="utf-8")
        home = {"MEDCLIP_HOME": str(tmp_path / "home"), "folder": tmp_path}
        assert press_tab("medclip search --collection ", **home) == ["broken"]
        assert press_tab("medclip search --model ", **home) == []
