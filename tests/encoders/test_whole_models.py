"""Tiny CLIP and SigLIP models, built here, saved as transformers saves them, and read as model folders."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoders.bundle import ModelBundle
from encoders.clip_towers import PooledImageTower, PooledTextTower
from encoders.dual import load_dual_encoder
from encoders.errors import BundleError, PresetError, WeightsError
from encoders.hf_import import convert_whole_model
from encoders.preprocessing import CaptionTokenizer, load_pixels
from encoders.projection import build_projection
from encoders.runtime import OnnxEncoder

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
    np.testing.assert_allclose(OnnxEncoder.open(converted[kind]).embed_texts(TEXTS), expected, atol=2e-3)
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
    encoder = OnnxEncoder.open(converted[kind])
    ours = encoder.embed_pixels(load_pixels(tmp_path / "scan.png", encoder.image_spec)[None])
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


def test_a_model_that_is_nowhere(tmp_path):
    with pytest.raises(WeightsError, match="'nobody/no-such-clip' is not on this machine"):
        convert_whole_model("hf:nobody/no-such-clip", tmp_path / "out", offline=True)


@pytest.mark.parametrize("tower", [PooledImageTower, PooledTextTower])
def test_other_halves_are_refused(tower):
    with pytest.raises(PresetError, match="'bert' is no half of a CLIP or SigLIP model"):
        tower({"model_type": "bert"})


def test_no_head_needs_the_right_dimension():
    assert build_projection("none", 8, 8)(torch.ones(1, 8)).shape == (1, 8)
    with pytest.raises(PresetError, match="a tower of 8 features needs a projection to 4 dimensions"):
        build_projection("none", 8, 4)
