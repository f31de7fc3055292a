import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from encoders.errors import ModelError
from medclip_cli.app import app
from medclip_cli.errors import SettingsError
from medclip_cli.settings import load_settings


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load(tmp_path, flags=None, **environ):
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path), **environ}
    return load_settings(flags, environ=environ, folder=tmp_path)


def test_defaults_follow_the_xdg_folders(tmp_path):
    settings = load(tmp_path)
    assert settings.home == tmp_path / ".local/share/medclip"
    assert settings.collection == "default"
    assert set(settings.origins.values()) == {"default"}
    assert load(tmp_path, XDG_DATA_HOME="/data").home == Path("/data/medclip")
    assert load(tmp_path, XDG_DATA_HOME="relative").home == tmp_path / ".local/share/medclip"


def test_environment_beats_project_file_beats_user_file(tmp_path, write):
    user = write("config/medclip/config.toml", 'collection = "user"\nlock_timeout_seconds = 3\n')
    project = write("medclip.toml", 'collection = "project"\noffline = true\n')
    settings = load(tmp_path, MEDCLIP_OFFLINE="no")
    assert (settings.collection, settings.origins["collection"]) == ("project", str(project))
    assert (settings.lock_timeout_seconds, settings.origins["lock_timeout_seconds"]) == (3.0, str(user))
    assert (settings.offline, settings.origins["offline"]) == (False, "MEDCLIP_OFFLINE")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('qdrant_url = "http://collector.example"', "qdrant_url"),
        ('home = "/tmp/elsewhere"', "home"),
        ('model = "model"', "model"),
        ("offline = false", "offline"),
    ],
)
def test_a_project_file_never_decides_where_data_goes(tmp_path, write, line, key):
    user = write("config/medclip/config.toml", line)
    assert load(tmp_path).origins[key] == str(user)
    write("medclip.toml", line)
    with pytest.raises(SettingsError, match=f"medclip.toml sets {key}"):
        load(tmp_path)


def test_a_data_set_cannot_send_captions_and_keys_to_its_own_server(tmp_path, write, monkeypatch):
    def connected(*_):
        raise AssertionError("a socket")

    monkeypatch.setattr("socket.socket.connect", connected)
    monkeypatch.setenv("MEDCLIP_QDRANT_API_KEY", "secret")
    monkeypatch.chdir(write("medclip.toml", 'qdrant_url = "http://127.0.0.1:9"').parent)
    result = CliRunner().invoke(app, ["index", "."])
    assert result.exit_code == 1
    assert "qdrant_url" in result.stderr
    assert "config.toml" in result.stderr


def test_a_flag_beats_everything_and_no_flag_says_nothing(tmp_path):
    settings = load(tmp_path, {"collection": "mine", "model": None}, MEDCLIP_COLLECTION="theirs")
    assert (settings.collection, settings.origins["collection"]) == ("mine", "flag")
    assert (settings.model, settings.origins["model"]) == (None, "default")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colection = "x"\n', "unknown setting 'colection': did you mean collection?"),
        ("zzz = 1\n", "unknown setting 'zzz': known settings: home"),
        ("collection = \n", "cannot be read as TOML"),
        ("collection = 3\n", "collection from .*medclip.toml must be a name in quotes, not 3"),
        ('lock_timeout_seconds = "soon"\n', "must be a number of seconds, not 'soon'"),
        ("lock_timeout_seconds = -1\n", "must be a number of seconds, 0 or more, not -1"),
        ('offline = "maybe"\n', "offline from .* must be true or false, not 'maybe'"),
        ("offline = 2\n", "offline from .* must be true or false, not 2"),
    ],
)
def test_a_bad_settings_file_is_one_line(tmp_path, write, text, message):
    write("medclip.toml", text)
    with pytest.raises(SettingsError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(("text", "meant"), [("1", True), ("Yes", True), ("false", False), ("off", False)])
def test_a_switch_reads_the_usual_words(tmp_path, text, meant):
    assert load(tmp_path, MEDCLIP_OFFLINE=text).offline is meant


def test_a_variable_that_is_nearly_a_setting_was_meant_to_be_one(tmp_path):
    with pytest.raises(SettingsError, match="unknown variable MEDCLIP_COLECTION: .* MEDCLIP_COLLECTION"):
        load(tmp_path, MEDCLIP_COLECTION="chests")
    load(tmp_path, MEDCLIP_QDRANT_API_KEY="secret", MEDCLIP_TEST_QDRANT_URL="x", MEDCLIP_SOMETHING_ELSE="y")


def test_an_empty_variable_says_nothing(tmp_path):
    settings = load(tmp_path, MEDCLIP_COLLECTION="")
    assert (settings.collection, settings.origins["collection"]) == ("default", "default")


LAYERS = ("flag", "MEDCLIP_COLLECTION", "medclip.toml", "config.toml", "default")


@pytest.mark.parametrize("said", range(len(LAYERS)))
def test_of_all_layers_the_first_that_says_something_wins(tmp_path, write, said):
    """Every layer from `said` on has a value; the settings, and what they say of themselves, follow."""
    if said <= 3:
        write("config/medclip/config.toml", 'collection = "config.toml"')
    if said <= 2:
        write("medclip.toml", 'collection = "medclip.toml"')
    environ = {"MEDCLIP_COLLECTION": "MEDCLIP_COLLECTION"} if said <= 1 else {}
    settings = load(tmp_path, {"collection": "flag"} if said == 0 else None, **environ)
    assert settings.collection == LAYERS[said]
    assert settings.origins["collection"].endswith(LAYERS[said])


def test_config_show_tells_the_origin_of_each_setting(tmp_path, write, monkeypatch):
    project = write("here/medclip.toml", "lock_timeout_seconds = 3\noffline = true\n")
    user = write("config/medclip/config.toml", 'model = "m"\nlock_timeout_seconds = 9\n')
    monkeypatch.chdir(project.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MEDCLIP_HOME", str(tmp_path / "data"))
    result = CliRunner().invoke(app, ["config", "show", "--json"])
    assert json.loads(result.stdout) == {
        "home": {"value": str(tmp_path / "data"), "origin": "MEDCLIP_HOME"},
        "collection": {"value": "default", "origin": "default"},
        "model": {"value": "m", "origin": str(user)},
        "lock_timeout_seconds": {"value": 3.0, "origin": "medclip.toml"},
        "qdrant_url": {"value": None, "origin": "default"},
        "offline": {"value": True, "origin": "medclip.toml"},
    }


def test_offline_refuses_a_server_before_any_socket(monkeypatch):
    def reached(*_, **__):
        raise AssertionError("a socket")

    monkeypatch.setattr("socket.socket.connect", reached)
    monkeypatch.setenv("MEDCLIP_OFFLINE", "1")
    result = CliRunner().invoke(app, ["collections", "list", "--url", "http://qdrant.example:6333"])
    assert result.exit_code == 2
    assert (
        "offline cannot be combined with the Qdrant server http://qdrant.example:6333 (flag)" in result.stderr
    )


@pytest.mark.parametrize(("flags", "variable"), [(("--offline",), ""), ((), "true")])
def test_offline_reaches_those_who_fetch_models(tmp_path, monkeypatch, flags, variable):
    told = {}

    def convert(name, folder, **options):
        told.update(options, name=name)
        raise ModelError("not here")

    monkeypatch.setitem(sys.modules, "encoders.hf_import", SimpleNamespace(convert_whole_model=convert))
    monkeypatch.setenv("MEDCLIP_OFFLINE", variable)
    result = CliRunner().invoke(app, ["index", str(tmp_path), "--model", "hf:some/clip", *flags])
    assert (result.exit_code, result.stderr) == (1, "medclip: not here\n")
    assert told == {"name": "hf:some/clip", "offline": True}
