from pathlib import Path

import pytest

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
    project = write("medclip.toml", 'collection = "project"\nmodel = "work/model"\n')
    settings = load(tmp_path, MEDCLIP_MODEL="elsewhere")
    assert (settings.collection, settings.origins["collection"]) == ("project", str(project))
    assert (settings.lock_timeout_seconds, settings.origins["lock_timeout_seconds"]) == (3.0, str(user))
    assert (settings.model, settings.origins["model"]) == (Path("elsewhere"), "MEDCLIP_MODEL")


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
        ('home = ""\n', "home from .* must be a path in quotes"),
        ('lock_timeout_seconds = "soon"\n', "must be a number of seconds, not 'soon'"),
        ("lock_timeout_seconds = -1\n", "must be a number of seconds, 0 or more, not -1"),
    ],
)
def test_a_bad_settings_file_is_one_line(tmp_path, write, text, message):
    write("medclip.toml", text)
    with pytest.raises(SettingsError, match=message):
        load(tmp_path)
