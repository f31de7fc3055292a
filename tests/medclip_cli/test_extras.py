"""What needs an extra that is not installed says so in one line, before any work."""

from pathlib import Path

import pytest
import tomllib

from medclip_cli import extras, models
from medclip_cli.extras import MissingExtraError, require

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def bare(monkeypatch):
    """An environment without any extra."""
    monkeypatch.setattr(extras, "find_spec", lambda module: None)


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_the_message_names_what_is_missing_and_how_to_install_it(bare, extra):
    with pytest.raises(MissingExtraError) as raised:
        require(extra, "this")
    first = extras.EXTRAS[extra][0]
    assert (
        str(raised.value) == f"this needs {first}, which is not installed: pip install 'medclip-cli[{extra}]'"
    )


def test_every_extra_is_one_of_the_package():
    offered = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.EXTRAS) | {"all", "dev"} == set(offered)
    (everything,) = offered["all"]
    assert everything == f"medclip-cli[{','.join(extras.EXTRAS)}]"


def test_what_is_installed_is_not_refused(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: object())
    require("train", "this")


def test_a_hub_model_is_refused_before_anything_is_written(bare, tmp_path):
    with pytest.raises(MissingExtraError, match="hf:some/clip needs torch"):
        models.hub_model("hf:some/clip", tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_torch_a_gpu_is_not_used(bare):
    assert not models._has_gpu()
