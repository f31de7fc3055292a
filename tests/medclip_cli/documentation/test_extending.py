"""The example packages of docs/extending do what their pages say."""

import json
import shutil

import pytest
import torch

from .examples import PAGES, code_lines, files_of, use_here

LONGEST = 40


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md") if path.name != "README.md"))
def test_an_example_is_short(page):
    files = files_of(page)
    assert "pyproject.toml" in files
    sources = [source for name, source in files.items() if name.endswith(".py")]
    assert sources
    assert sum(map(code_lines, sources)) < LONGEST


def test_a_data_set(demo, tmp_path, monkeypatch):
    images = sorted((demo.raw / "images").glob("*.png"))[:24]
    for number, image in enumerate(images):
        folder = tmp_path / "scans" / ("cyst", "tumour")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / f"p{number // 4}_{number}.png")
    use_here("dataset.md", tmp_path, monkeypatch)
    listed = demo.medclip("clean", "--list", "--json").answer
    assert "breast-us" in [layout["name"] for layout in listed]
    done = demo.medclip("clean", "breast-us", tmp_path / "scans", "--out", tmp_path / "corpus", "--json")
    assert done.code == 0, done.err
    assert done.answer["kept"] == 24
    shown = demo.medclip("corpus", "show", tmp_path / "corpus", "--json").out
    assert "breast-us" in shown


def test_a_data_set_of_another_folder_is_refused(demo, tmp_path, monkeypatch):
    use_here("dataset.md", tmp_path, monkeypatch)
    done = demo.medclip("clean", "breast-us", demo.raw, "--out", tmp_path / "corpus")
    assert done.code == 1
    assert "give the folder of the diagnoses" in done.err


def test_a_score(demo, tmp_path, monkeypatch):
    lines = [
        {"id": "a", "prediction": "mass in the left lung", "references": ["left lung, mass"]},
        {"id": "b", "prediction": "mass in the right lung", "references": ["left lung, mass"]},
    ]
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    use_here("score.md", tmp_path, monkeypatch)
    done = demo.medclip("score", file, "--scorer", "side", "--no-meteor", "--json")
    assert done.code == 0, done.err
    assert done.answer["scores"]["side"] == 0.5
    assert done.answer["variants"]["side"] == "sides named, exact match (example 1.0)"


def test_an_encoder(tmp_path, monkeypatch):
    from encoders.bundle import ModelBundle
    from encoders.dual import build_dual_encoder, build_tokenizer, load_dual_encoder
    from encoders.errors import BundleError
    from encoders.export import describe_model, save_bundle
    from encoders.presets import preset_named
    from encoders.runtime import OnnxEncoder

    use_here("encoder.md", tmp_path, monkeypatch)
    shape = {"image_size": 32, "embedding_dim": 8, "text_width": 32, "text_layers": 1}
    preset = preset_named("tiny", image_encoder="patches", **shape)
    tokenizer = build_tokenizer(preset, ["axial CT", "sagittal MR"])
    model = build_dual_encoder(preset, vocab_size=tokenizer.vocab_size).eval()
    save_bundle(tmp_path / "model", model, tokenizer, describe_model(model, tokenizer, preset))
    bundle = ModelBundle.open(tmp_path / "model")
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.embed_images(pixels)
        again = load_dual_encoder(bundle).eval().embed_images(pixels)
    assert torch.equal(again, expected)
    onnx = OnnxEncoder(bundle).embed_pixels(pixels.numpy())
    assert torch.allclose(torch.from_numpy(onnx), expected, atol=1e-3)
    (tmp_path / "example-1.0.dist-info" / "entry_points.txt").write_text("")
    with pytest.raises(BundleError, match="no installed package offers the image encoder 'patches'"):
        load_dual_encoder(bundle)


def test_a_tower_that_cannot_be_built_is_one_line(tmp_path, monkeypatch):
    from encoders.errors import PresetError
    from encoders.vision import build_image_tower

    use_here("encoder.md", tmp_path, monkeypatch)
    points = "[medclip.image_towers]\nabsent = my_tower:ABSENT\nother = builtins:dict\n"
    (tmp_path / "example-1.0.dist-info" / "entry_points.txt").write_text(points)
    with pytest.raises(PresetError, match=r"'absent' \(my_tower:ABSENT\) cannot be built"):
        build_image_tower("absent", image_size=32)
    with pytest.raises(PresetError, match=r"'other' \(builtins:dict\) is no torch module with a feature_dim"):
        build_image_tower("other", image_size=32)


def test_an_example_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    from medclip_cli.corpora.registry import known_layouts, layout_named
    from medclip_cli.errors import CorpusError

    use_here("dataset.md", tmp_path, monkeypatch)
    points = "[medclip.datasets]\nabsent = my_scans:ABSENT\nother = my_scans:read\n"
    (tmp_path / "example-1.0.dist-info" / "entry_points.txt").write_text(points)
    with pytest.raises(CorpusError, match=r"data set 'absent' \(my_scans:ABSENT\) cannot be loaded"):
        layout_named("absent")
    with pytest.raises(CorpusError, match="data set 'other': my_scans:read is no DatasetLayout"):
        layout_named("other")
    with pytest.raises(CorpusError, match="cannot be loaded"):
        known_layouts()
