"""`medclip doctor`: what it finds of settings, models and collections."""

import pytest


@pytest.fixture
def findings(demo):
    def findings(**environment):
        done = demo.medclip("doctor", "--json", env=environment)
        return done.code, {one["what"]: one for one in done.answer["findings"]}

    return findings


def test_models_and_collections_are_opened(findings, demo):
    code, found = findings()
    assert code == 0
    assert found["model model"]["found"] == f"{demo.model} (collection phantoms)"
    assert found["collection phantoms"]["found"] == "144 images, model model"
    assert "server" not in found


def test_a_model_of_the_settings_that_is_gone_is_told(findings, tmp_path):
    code, found = findings(MEDCLIP_MODEL=str(tmp_path / "gone"))
    assert code == 1
    gone = found["model gone"]
    assert (gone["ok"], gone["found"]) == (False, f"{tmp_path / 'gone'} (setting model (MEDCLIP_MODEL))")
    assert "train one with" in gone["mend"]


def test_a_server_is_named_and_left_alone(findings):
    code, found = findings(MEDCLIP_QDRANT_URL="http://127.0.0.1:1")
    assert (code, found["server"]["found"]) == (0, "http://127.0.0.1:1")
