import sys

import numpy as np
import pytest

from medclip_cli import models
from medclip_cli.errors import ModelError, ScanError
from medclip_cli.evaluation import answers
from tests.encoders.test_hf_import import clip  # noqa: F401 - a fixture: a tiny CLIP model as a folder


def vectors(model, images):
    return np.stack([embedded.vector for embedded in model.embed_files(images, batch_size=2)])


def test_files_are_embedded_in_order_and_a_bad_one_does_not_stop_the_others(demo, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    model = models.load_model(demo.model)
    images = sorted((demo.raw / "images").iterdir())[:5]
    found = list(model.embed_files([*images[:3], bad, *images[3:]], batch_size=2))
    assert [embedded.index for embedded in found] == list(range(6))
    assert [embedded.source for embedded in found if embedded.error] == [bad]
    alone = vectors(model, images[4:])
    assert found[5].vector == pytest.approx(alone[0], abs=1e-5)
    assert np.linalg.norm(alone[0]) == pytest.approx(1.0, abs=1e-4)


def test_images_are_embedded_as_rows_or_the_unreadable_one_is_named(demo, tmp_path):
    model = models.load_model(str(demo.model))
    images = sorted((demo.raw / "images").iterdir())[:3]
    with images[2].open("rb") as third:
        rows = model.embed_images([str(images[0]), images[1], third])
    assert (rows.dtype, rows.shape) == (np.float32, (3, model.dim))
    np.testing.assert_allclose(rows, vectors(model, images), atol=1e-5)
    assert model.embed_images([]).shape == (0, model.dim)
    with pytest.raises(ScanError, match="gone.png: "):
        model.embed_images([images[0], tmp_path / "gone.png"])


def test_a_model_says_what_it_is(demo):
    model = models.load_model(demo.model)
    assert model.info == models.describe_model(demo.model)
    assert model.fingerprint in repr(model)
    assert str(demo.model) in repr(model)
    assert models.load_model(demo.model, device="cpu").info.dim == model.dim


@pytest.mark.parametrize("name", ["hf:", "hf:..", "hf:/"])
def test_a_hub_name_leads_nowhere_else(name, tmp_path):
    with pytest.raises(ModelError, match="model name"):
        models.load_model(name, home=tmp_path)


def test_where_there_is_a_gpu_many_images_go_through_torch(demo, monkeypatch):
    images = sorted((demo.raw / "images").iterdir())[:4]
    expected = vectors(models.load_model(demo.model), images)
    monkeypatch.setattr(models, "_has_gpu", lambda: True)
    by_torch = models.load_model(demo.model, for_many=True)
    assert type(by_torch._encoder).__name__ == "TorchEncoder"
    assert np.sum(vectors(by_torch, images) * expected, axis=1) == pytest.approx(1.0, abs=1e-3)
    assert type(models.load_model(demo.model)._encoder).__name__ == "OnnxEncoder", "a few go without torch"


def test_without_a_driver_torch_is_not_even_imported(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: False)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now would raise
    assert not models._has_gpu()


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        models.load_model(tmp_path / "nowhere")


def test_thumbnails_of_images_that_cannot_be_read_are_black(demo, tmp_path):
    thumbnails = answers.grey_thumbnails([demo.scan, tmp_path / "gone.png"], 8)
    assert thumbnails.shape == (2, 8, 8)
    assert thumbnails[0].any()
    assert not thumbnails[1].any()


def test_a_whole_clip_model_indexes_and_answers_without_any_training(demo, tmp_path, clip):  # noqa: F811
    name = f"hf:{clip[0]}"
    first = demo.medclip("index", demo.corpus, "--model", name, "--collection", "clip", home=tmp_path)
    assert first.code == 0, first.err
    (kept,) = (tmp_path / "models").iterdir()
    made = (kept / "config.json").stat().st_mtime_ns
    again = demo.medclip(
        "index", demo.corpus, "--model", name, "--collection", "clip", "--json", home=tmp_path
    )
    assert again.answer["added"] == 0
    assert (kept / "config.json").stat().st_mtime_ns == made, "converted once"
    assert demo.medclip("caption", demo.scan, "--json", home=tmp_path).records[0]["caption"]


def test_a_hub_model_that_is_nowhere(tmp_path):
    with pytest.raises(ModelError, match="nobody/nothing"):
        models.hub_model("hf:nobody/nothing", tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_no_more_than_three_batches_are_asked_for_before_the_first_is_there():
    asked = []

    def names():
        for number in range(100):
            asked.append(number)
            yield number

    batches = models.decoded_ahead(lambda name: name, names(), 8)
    assert next(batches) == list(range(8))
    assert len(asked) == 24
    assert [number for batch in batches for number in batch] == list(range(8, 100))
