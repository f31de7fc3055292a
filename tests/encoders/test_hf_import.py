"""Tiny CLIP and SigLIP models, built here, saved as transformers saves them, and read as model folders."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoders.bundle import ModelBundle
from encoders.dual import build_projection, load_dual_encoder
from encoders.errors import BundleError, PresetError, WeightsError
from encoders.hf_import import PooledImageTower, PooledTextTower, convert_whole_model
from encoders.preprocessing import CaptionTokenizer, load_image, normalize_image
from encoders.runtime import OnnxEncoder
from encoders.weights import (
    pretrained_config,
    pretrained_model,
    pretrained_text_tower,
    pretrained_tokenizer,
    unpretrained_text_tower,
)

WORDS = ["<pad>", "<unk>", "axial", "ct", "of", "the", "brain", "knee", "<start>", "<end>"]
TEXTS = ["axial ct of the brain", "knee", "ct"]
HALF = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**HALF, "image_size": 32, "patch_size": 16}
TEXT = {**HALF, "vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 9}


def save_tokenizer(folder):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 8), ("<end>", 9)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        model_max_length=12,
    )
    fast.save_pretrained(folder)


def save_preprocessor(folder, **settings):
    common = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(common | settings))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=6)
    model = transformers.CLIPModel(config).eval()
    # Freshly made embeddings are so small that every picture looks alike.
    torch.nn.init.normal_(model.vision_model.embeddings.patch_embedding.weight, std=0.5)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    save_preprocessor(
        folder,
        image_processor_type="CLIPImageProcessor",
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        do_center_crop=True,
        image_mean=[0.48, 0.46, 0.41],
        image_std=[0.27, 0.26, 0.28],
    )
    return folder, model


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    config = transformers.SiglipConfig(text_config={**TEXT, "projection_size": 8}, vision_config=VISION)
    model = transformers.SiglipModel(config).eval()
    torch.nn.init.normal_(model.vision_model.embeddings.patch_embedding.weight, std=0.5)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    save_preprocessor(
        folder,
        image_processor_type="SiglipImageProcessor",
        size={"height": 32, "width": 32},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return folder, model


@pytest.fixture(scope="module")
def converted(clip, siglip, tmp_path_factory):
    root = tmp_path_factory.mktemp("converted")
    return {
        "clip": convert_whole_model(f"hf:{clip[0]}", root / "clip", offline=True),
        "siglip": convert_whole_model(str(siglip[0]), root / "siglip", offline=True),
    }


def unit(output):
    vectors = getattr(output, "pooler_output", output).detach()
    return (vectors / vectors.norm(dim=-1, keepdim=True)).numpy()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_are_what_transformers_says(kind, request, converted):
    folder, model = request.getfixturevalue(kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # SigLIP's card: the model was trained on rows padded to full length, without a mask.
    inputs = tokenizer(TEXTS, padding="max_length" if kind == "siglip" else True, return_tensors="pt")
    mask = {} if kind == "siglip" else {"attention_mask": inputs["attention_mask"]}
    expected = unit(model.get_text_features(input_ids=inputs["input_ids"], **mask))
    np.testing.assert_allclose(OnnxEncoder(converted[kind]).embed_texts(TEXTS), expected, atol=2e-3)
    assert not np.allclose(expected[0], expected[1], atol=0.01)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_images_are_what_transformers_says(kind, request, converted, tmp_path):
    folder, model = request.getfixturevalue(kind)
    ramp = np.add.outer(np.arange(48), 2 * np.arange(64)).astype(np.uint8)
    image = Image.fromarray(np.dstack([ramp, ramp[::-1], ramp]))
    image.save(tmp_path / "scan.png")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    expected = unit(model.get_image_features(pixel_values=pixels))
    encoder = OnnxEncoder(converted[kind])
    ours = encoder.embed_pixels(
        normalize_image(load_image(tmp_path / "scan.png", encoder.image_spec), encoder.image_spec)[None]
    )
    assert ours.shape == (1, encoder.dim) == expected.shape
    assert (ours * expected).sum() > 0.999


def test_the_preprocessing_is_the_models_own(converted):
    clip, siglip = converted["clip"].config.image, converted["siglip"].config.image
    assert (clip.size, clip.fit, clip.resample, clip.mean) == (32, "crop", "bicubic", (0.48, 0.46, 0.41))
    assert (siglip.size, siglip.fit, siglip.std) == (32, "squash", (0.5, 0.5, 0.5))


def test_siglip_rows_have_full_length(converted):
    tokenizer = CaptionTokenizer.from_bytes(converted["siglip"].read_verified("tokenizer.json"))
    assert tokenizer(["ct"])[0].shape == (1, 12)
    tokenizer = CaptionTokenizer.from_bytes(converted["clip"].read_verified("tokenizer.json"))
    assert tokenizer(["ct"])[0].shape == (1, 3)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_folder_loads_into_torch_again(kind, converted, request):
    _, whole = request.getfixturevalue(kind)
    model = load_dual_encoder(ModelBundle.open(converted[kind].path))
    pixels = torch.randn(2, 3, 32, 32)
    expected = unit(whole.get_image_features(pixel_values=pixels))
    np.testing.assert_allclose(model.embed_images(pixels).detach().numpy(), expected, atol=1e-5)
    assert model.logit_scale.item() == pytest.approx(whole.logit_scale.item(), abs=1e-5)


def test_where_it_came_from_is_recorded(converted, clip):
    config = converted["clip"].config
    assert config.preset == f"hf:{clip[0].name}"
    assert str(clip[0].parent) not in config.to_json()
    assert (config.image_encoder, config.embedding_dim, config.projection) == (
        "clip_vision_model",
        6,
        "linear",
    )
    assert (converted["siglip"].config.embedding_dim, converted["siglip"].config.projection) == (8, "none")


def test_an_existing_folder_is_refused(clip, converted):
    with pytest.raises(BundleError, match="exists already"):
        convert_whole_model(str(clip[0]), converted["clip"].path, offline=True)


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(PresetError, match="is a bert model: only whole clip and siglip models are read"):
        convert_whole_model(str(tmp_path), tmp_path / "out", offline=True)


def altered(clip, folder, change):
    """A copy of the CLIP folder whose weights are what `change` makes of them."""
    shutil.copytree(clip[0], folder)
    state = change(load_file(folder / "model.safetensors"))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("prefix", ["module.", "base_model.model.", "model."])
def test_a_prefix_before_every_name_is_stripped(clip, tmp_path, prefix):
    """transformers leaves all of these random, and goes on."""
    folder = altered(
        clip, tmp_path / "clip", lambda state: {prefix + name: value for name, value in state.items()}
    )
    read = pretrained_model(str(folder), transformers.AutoModel, pretrained_config(str(folder)))
    assert all(torch.equal(read.state_dict()[name], value) for name, value in clip[1].state_dict().items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: {name: s[name] for name in s if "vision_model" not in name}, r"vision_model\."),
        (lambda s: {name: s[name] for name in s if "text_projection" not in name}, "text_projection.weight"),
        (lambda s: s | {"text_projection.weight": torch.zeros(7, 8)}, r"text_projection.weight is \(7, 8\)"),
        (lambda s: {f"other.{name}.x": value for name, value in s.items()}, "tensors are missing"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(clip, tmp_path, change, named):
    folder = altered(clip, tmp_path / "clip", change)
    with pytest.raises(WeightsError, match=named) as caught:
        convert_whole_model(str(folder), tmp_path / "out", offline=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_tokenizer_files_is_refused(clip, tmp_path):
    """transformers makes a tokenizer of two tokens for it."""
    shutil.copytree(clip[0], tmp_path / "clip")
    for file in (tmp_path / "clip").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(WeightsError, match="tokenizer"):
        convert_whole_model(str(tmp_path / "clip"), tmp_path / "out", offline=True)


def test_a_tokenizer_of_another_model_is_refused(clip, tmp_path):
    folder = shutil.copytree(clip[0], tmp_path / "clip")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {"hip": 10, "rib": 11}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="knows 10 tokens and its tokenizer gives 12"):
        convert_whole_model(str(folder), tmp_path / "out", offline=True)


def test_code_that_comes_with_a_model_is_never_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    classes = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": classes}))
    (tmp_path / "own.py").write_text("raise SystemExit('own code was run')")
    for load in (
        lambda: convert_whole_model(str(tmp_path), tmp_path / "out"),
        lambda: pretrained_text_tower(str(tmp_path), pooling="mean"),
        lambda: unpretrained_text_tower(str(tmp_path), pooling="mean", vocab_size=9),
    ):
        with pytest.raises(WeightsError, match="needs its own Python code .* never runs") as caught:
            load()
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError):
        pretrained_tokenizer(str(tmp_path), 8)
    assert capsys.readouterr() == ("", "")


OFFLINE = """
import os, socket

def caught(*args, **kwargs):
    os._exit(99)  # no library can swallow it

socket.getaddrinfo = socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = caught
from encoders.dual import build_dual_encoder, build_tokenizer
from encoders.errors import WeightsError
from encoders.hf_import import convert_whole_model
from encoders.presets import preset_named

base = preset_named("base", image_encoder="small-resnet")
for ask in (
    lambda: convert_whole_model("hf:nobody/no-such-clip", "out", offline=True),
    lambda: build_tokenizer(base, [], offline=True),
    lambda: build_dual_encoder(base, offline=True),
):
    try:
        ask()
    except WeightsError:
        continue
    os._exit(98)
"""


def test_offline_sends_nothing(tmp_path):
    """In a fresh process: huggingface_hub asks once for each process, also with local_files_only."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {**plain, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, cwd=tmp_path, check=False)
    assert run.returncode == 0


def test_a_model_that_is_nowhere(tmp_path):
    with pytest.raises(WeightsError, match="'nobody/no-such-clip' is not on this machine"):
        convert_whole_model("hf:nobody/no-such-clip", tmp_path / "out", offline=True)


@pytest.mark.parametrize("tower", [PooledImageTower, PooledTextTower])
def test_other_halves_are_refused(tower):
    with pytest.raises(PresetError, match="'bert' is not half of a CLIP or SigLIP model"):
        tower({"model_type": "bert"})


def test_no_head_needs_the_right_dimension():
    assert build_projection("none", 8, 8)(torch.ones(1, 8)).shape == (1, 8)
    with pytest.raises(PresetError, match="a tower of 8 features needs a projection to 4 dimensions"):
        build_projection("none", 8, 4)
