"""Towers: shapes, unit length, what padding must not change; the vocabulary of a corpus."""

import subprocess
import sys

import pytest
import torch

from encoders.dual import DualEncoder, build_projection, rebuild_tower
from encoders.errors import PresetError
from encoders.text import SmallTransformer, TransformersTower, train_wordpiece, transformers_tower
from encoders.vision import (
    SmallResNet,
    TorchvisionTower,
    build_image_tower,
    pool_quadrants,
)

TINY_BERT = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}


def rows_of_unit_length(vectors):
    return torch.allclose(vectors.norm(dim=-1), torch.ones(len(vectors)), atol=1e-5)


def test_both_sides_end_in_unit_vectors(model):
    images = model.embed_images(torch.randn(3, 3, 32, 32))
    texts = model.embed_texts(torch.randint(0, 50, (4, 9)), torch.ones(4, 9, dtype=torch.int64))
    assert images.shape == (3, 8) and texts.shape == (4, 8)
    assert rows_of_unit_length(images) and rows_of_unit_length(texts)


def test_forward_is_both_sides(model):
    pixels, ids, mask = torch.randn(2, 3, 32, 32), torch.randint(0, 50, (2, 5)), torch.ones(2, 5).long()
    images, texts = model(pixels, ids, mask)
    assert torch.equal(images, model.embed_images(pixels))
    assert torch.equal(texts, model.embed_texts(ids, mask))


def test_the_steps_add_up(model):
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.project_images(model.image_tower(pixels)), model.embed_images(pixels))


def test_the_logit_scale_is_the_inverse_temperature(tokenizer):
    towers = (
        SmallResNet(widths=(4,), blocks=(1,)),
        SmallTransformer(vocab_size=9, max_tokens=4, width=4, heads=2),
    )
    free = DualEncoder(*towers, embedding_dim=4, temperature=0.05)
    assert free.logit_scale.exp().item() == pytest.approx(20)
    assert free.logit_scale.requires_grad
    fixed = DualEncoder(*towers, embedding_dim=4, temperature=1.0, learn_temperature=False)
    assert fixed.logit_scale.item() == 0
    assert not fixed.logit_scale.requires_grad


def text_towers():
    torch.manual_seed(0)
    return [
        SmallTransformer(vocab_size=50, max_tokens=32, width=8, layers=2, heads=2),
        transformers_tower(TINY_BERT, pooling="mean"),
        transformers_tower(TINY_BERT, pooling="cls"),
    ]


@pytest.mark.parametrize("tower", text_towers(), ids=["small", "bert-mean", "bert-cls"])
def test_padding_changes_nothing(tower):
    tower.eval()
    ids = torch.randint(0, 50, (2, 7))
    mask = torch.ones_like(ids)
    alone = tower(ids, mask)
    padded = tower(
        torch.cat([ids, torch.randint(0, 50, (2, 5))], dim=1),
        torch.cat([mask, torch.zeros(2, 5).long()], dim=1),
    )
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tower", text_towers(), ids=["small", "bert-mean", "bert-cls"])
def test_every_parameter_is_trained(tower):
    """DistributedDataParallel fails on parameters that no loss reaches."""
    tower(torch.randint(0, 50, (2, 7)), torch.ones(2, 7).long()).sum().backward()
    assert [name for name, value in tower.named_parameters() if value.grad is None] == []


def test_mean_pooling_is_the_mean_of_the_tokens():
    tower = transformers_tower(TINY_BERT, pooling="mean").eval()
    ids, mask = torch.randint(0, 50, (1, 6)), torch.tensor([[1, 1, 1, 1, 0, 0]])
    states = tower.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(tower(ids, mask)[0], states[0, :4].mean(dim=0))


def test_quadrants_keep_the_side():
    features = torch.zeros(1, 1, 7, 7)
    features[..., :, 5:] = 1
    pooled = pool_quadrants(features).view(2, 2)
    assert (pooled[:, 1] > 0).all() and (pooled[:, 0] == 0).all()
    even = torch.arange(16.0).view(1, 1, 4, 4)
    assert pool_quadrants(even)[0].tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize("size", [32, 96, 112, 128])
def test_the_small_tower_sees_any_square(size):
    tower = build_image_tower("small-resnet", image_size=size).eval()
    assert tower(torch.randn(1, 3, size, size)).shape == (1, tower.feature_dim)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("resnet18", 512),
        ("densenet121", 1024),
        ("squeezenet1_1", 512),
        ("mobilenet_v3_small", 1024),
        ("shufflenet_v2_x0_5", 1024),
        ("regnet_y_400mf", 440),
        ("vit_b_32", 768),
    ],
)
def test_any_torchvision_backbone_gives_features(name, features):
    tower = build_image_tower(name, image_size=64).eval()
    with torch.no_grad():
        assert tower(torch.randn(1, 3, 64, 64)).shape == (1, features) == (1, tower.feature_dim)


def test_auxiliary_classifiers_are_left_out():
    tower = build_image_tower("googlenet", image_size=64).train()
    assert tower(torch.randn(2, 3, 64, 64)).shape == (2, 1024)


def test_an_unknown_backbone_names_near_ones():
    with pytest.raises(PresetError, match="unknown image encoder 'resnet5'.*resnet50"):
        build_image_tower("resnet5", image_size=64)
    # A segmentation model is no classification backbone.
    with pytest.raises(PresetError, match="unknown image encoder 'fcn_resnet50'"):
        build_image_tower("fcn_resnet50", image_size=64)


def test_an_image_size_a_backbone_refuses():
    with pytest.raises(PresetError, match="'maxvit_t' does not take 100 pixels"):
        build_image_tower("maxvit_t", image_size=100)


@pytest.mark.parametrize("kind", ["linear", "residual"])
def test_heads_map_features_to_the_space(kind):
    head = build_projection(kind, 12, 5, dropout=0.1)
    assert head(torch.randn(3, 12)).shape == (3, 5)


def test_the_residual_head_is_the_published_one():
    head = build_projection("residual", 12, 5).eval()
    features = torch.randn(3, 12)
    projected = features @ head.project.weight.T + head.project.bias
    refined = torch.nn.functional.gelu(projected) @ head.refine.weight.T + head.refine.bias
    summed = projected + refined
    centred = summed - summed.mean(dim=1, keepdim=True)
    expected = centred / (centred.pow(2).mean(dim=1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(head(features), expected)


@pytest.mark.parametrize(
    "tower",
    [SmallResNet(widths=(4, 8), blocks=(1, 1)), TorchvisionTower("squeezenet1_1", image_size=64)],
    ids=["small", "torchvision"],
)
def test_an_image_tower_is_rebuilt_from_its_description(tower):
    again = rebuild_tower(tower.architecture)
    again.load_state_dict(tower.state_dict())
    pixels = torch.randn(1, 3, 64, 64)
    assert torch.equal(again.eval()(pixels), tower.eval()(pixels))


@pytest.mark.parametrize("tower", text_towers(), ids=["small", "bert-mean", "bert-cls"])
def test_a_text_tower_is_rebuilt_from_its_description(tower):
    again = rebuild_tower(tower.architecture)
    again.load_state_dict(tower.state_dict())
    ids, mask = torch.randint(0, 50, (2, 6)), torch.ones(2, 6).long()
    assert torch.equal(again.eval()(ids, mask), tower.eval()(ids, mask))


def test_towers_of_the_future_are_refused():
    with pytest.raises(PresetError, match="unknown kind of tower 'quantum'"):
        rebuild_tower({"kind": "quantum"})
    with pytest.raises(PresetError, match="no text encoder of type 'quantum'"):
        transformers_tower({"model_type": "quantum"})


@pytest.mark.parametrize("model_type", ["distilbert", "mpnet", "t5", "bart"])
def test_other_families_of_text_encoders(model_type):
    shapes = {
        "distilbert": {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
        "mpnet": {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
        "t5": {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2},
        "bart": {
            "d_model": 8,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
        },
    }
    tower = transformers_tower({"model_type": model_type, "vocab_size": 50, **shapes[model_type]}).eval()
    assert isinstance(tower, TransformersTower)
    assert tower.vocab_size == 50
    assert tower(torch.randint(3, 50, (2, 6)), torch.ones(2, 6).long()).shape == (2, 8)
    assert rebuild_tower(tower.architecture).state_dict().keys() == tower.state_dict().keys()


TRAIN = """
from encoders.text import train_wordpiece
import hashlib
captions = ["axial CT of the brain", "sagittal MR of the spine", "chest radiograph, PA", "ménière"] * 3
print(hashlib.sha256(train_wordpiece(captions, 90, 16).to_bytes()).hexdigest())
"""


def test_common_words_become_one_token(captions):
    tokenizer = train_wordpiece(captions * 5, 400, 16)
    ids, _ = tokenizer(["glioblastoma"])
    assert ids.shape == (1, 3)


def test_case_and_accents_do_not_matter(tokenizer):
    ids, _ = tokenizer(["Axial CT", "áxial ct"])
    assert ids[0].tolist() == ids[1].tolist()


def test_unknown_letters_are_one_unknown_token(tokenizer):
    ids, _ = tokenizer(["日"])
    assert ids[0, 1] == 1


def test_the_vocabulary_keeps_its_limit(captions):
    assert train_wordpiece(captions, 100, 16).vocab_size == 100


def test_the_order_of_the_captions_does_not_matter(captions):
    assert (
        train_wordpiece(captions, 120, 16).to_bytes() == train_wordpiece(captions[::-1], 120, 16).to_bytes()
    )


def test_every_process_trains_the_same_vocabulary(capsys):
    """The library's own trainer gives another one each time: it walks hash maps with random seeds."""
    runs = {
        subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    exec(TRAIN, {})
    assert runs == {capsys.readouterr().out}
