import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medclip_cli.app import app

runner = CliRunner()


@pytest.fixture
def model(demo, tmp_path):
    """A copy of the trained model that a test may damage."""
    copy = tmp_path / "trained" / "mine"
    shutil.copytree(demo.model, copy)
    return copy


def listed(*arguments):
    result = runner.invoke(app, ["models", "list", "--json", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_models_of_collections_settings_and_folders_are_listed_once_each(demo, model, monkeypatch):
    monkeypatch.setenv("MEDCLIP_HOME", str(demo.folder / "home"))
    monkeypatch.setenv("MEDCLIP_MODEL", str(demo.model))
    by_path = {one["path"]: one for one in listed(model.parent, demo.folder)}
    assert set(by_path) == {str(demo.model), str(model)}
    assert by_path[str(demo.model)]["known_from"] == [
        "setting model (MEDCLIP_MODEL)",
        "collection phantoms",
        f"folder {demo.folder}",
    ]
    one = by_path[str(model)]
    facts = (one["name"], one["preset"], one["corpus"], one["pairs"], one["can"])
    assert facts == ("mine", "tiny", "corpus", 144, [])
    assert 0 <= one["r10"] <= 1


def test_a_damaged_model_is_listed_with_what_is_wrong(model):
    (model / "text.onnx").unlink()
    (one,) = listed(model)
    assert "text.onnx is missing" in one["error"]
    result = runner.invoke(app, ["models", "list", str(model)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "text.onnx is missing" in result.stderr


def test_no_model_is_a_hint():
    result = runner.invoke(app, ["models", "list"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "train one with medclip train encoders" in result.stderr


def test_a_model_is_shown_by_folder_or_by_name(demo, monkeypatch):
    by_folder = json.loads(runner.invoke(app, ["models", "show", str(demo.model), "--json"]).stdout)
    monkeypatch.setenv("MEDCLIP_MODEL", str(demo.model))
    by_name = json.loads(runner.invoke(app, ["models", "show", "model", "--json"]).stdout)
    assert by_name == by_folder | {"known_from": ["setting model (MEDCLIP_MODEL)"]}
    assert by_name["files"]["image.onnx"] == (demo.model / "image.onnx").stat().st_size
    shown = runner.invoke(app, ["models", "show", "model"]).stdout
    for fact in (by_name["fingerprint"], "48 x 48 pixels", "corpus", "recall"):
        assert fact.lower() in shown.lower()


def test_a_model_nobody_knows_is_one_line(demo, tmp_path, monkeypatch):
    result = runner.invoke(app, ["models", "show", "nowhere"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no model folder 'nowhere', and no known model of that name" in result.stderr
    for folder in ("one/twin", "two/twin"):
        shutil.copytree(demo.model, tmp_path / "home" / "models" / folder)
    monkeypatch.setenv("MEDCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDCLIP_MODEL", str(tmp_path / "home" / "models" / "one" / "twin"))
    shutil.move(tmp_path / "home" / "models" / "two" / "twin", tmp_path / "home" / "models" / "twin")
    result = runner.invoke(app, ["models", "show", "twin"])
    assert "several models are named 'twin'" in result.stderr


def test_paths_say_where_everything_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDCLIP_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "medclip.toml").touch()
    found = json.loads(runner.invoke(app, ["paths", "--json"]).stdout)
    assert {name: Path(one["path"]) for name, one in found.items()} == {
        "home": tmp_path / "data",
        "collections": tmp_path / "data/collections",
        "models": tmp_path / "data/models",
        "corpora": tmp_path / "data/corpora",
        "hub_cache": tmp_path / "hub/hub",
        "user_settings": Path(found["user_settings"]["path"]),
        "project_settings": tmp_path / "medclip.toml",
    }
    assert found["project_settings"]["exists"]
    assert not found["home"]["exists"]
    assert "project settings" in runner.invoke(app, ["paths"]).stdout


def test_the_hub_cache_follows_the_rules_of_the_hub(monkeypatch):
    def cache():
        return json.loads(runner.invoke(app, ["paths", "--json"]).stdout)["hub_cache"]["path"]

    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache() == "/caches/huggingface/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert cache() == "/elsewhere"
