"""transformers models from a folder, and what happens when there is none."""

import json

import pytest
import torch

from encoders import weights
from encoders.dual import build_dual_encoder, build_tokenizer
from encoders.errors import WeightsError
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import preset_named
from encoders.weights import pretrained_text_tower, pretrained_tokenizer, unpretrained_text_tower

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "axial", "ct", "of", "the", "brain", "##s"]


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A BERT of 8 dimensions with a vocabulary of eleven words, saved as transformers saves it."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=24,
        )
    )
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 24})
    )
    return folder


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_hub_reachable", lambda: False)


def test_a_tower_from_a_folder_says_what_transformers_says(bert_folder):
    from transformers import BertModel

    tower = pretrained_text_tower(str(bert_folder), pooling="cls", offline=True).eval()
    ids, mask = torch.tensor([[2, 5, 6, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    expected = (
        BertModel.from_pretrained(bert_folder).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    )
    torch.testing.assert_close(tower(ids, mask), expected[:, 0])


def test_half_precision_checkpoints_are_trained_in_float32(bert_folder, tmp_path):
    from transformers import BertModel

    BertModel.from_pretrained(bert_folder).half().save_pretrained(tmp_path)
    tower = pretrained_text_tower(str(tmp_path), pooling="mean", offline=True)
    assert {value.dtype for value in tower.parameters()} == {torch.float32}


def test_the_tokenizer_from_a_folder(bert_folder):
    tokenizer = pretrained_tokenizer(str(bert_folder), 8, offline=True)
    ids, mask = tokenizer(["Axial CT of the brains", "CT"])
    assert ids.tolist() == [[2, 5, 6, 7, 8, 9, 10, 3], [2, 6, 3, 0, 0, 0, 0, 0]]
    assert mask[1].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    again = CaptionTokenizer.from_bytes(tokenizer.to_bytes())
    assert again(["the brain"])[0].tolist() == [[2, 8, 9, 3]]


def test_no_row_is_longer_than_the_model_reads(bert_folder):
    tokenizer = pretrained_tokenizer(str(bert_folder), 100, offline=True)
    assert tokenizer.max_tokens == 24
    assert tokenizer(["axial " * 50])[0].shape == (1, 24)


def test_a_dual_encoder_with_the_folders_tower_and_tokenizer(bert_folder):
    preset = preset_named("tiny", text_encoder=str(bert_folder), embedding_dim=8, image_size=32)
    tokenizer = build_tokenizer(preset, ["not read"], offline=True)
    model = build_dual_encoder(preset, vocab_size=tokenizer.vocab_size, offline=True).eval()
    ids, mask = tokenizer(["axial CT", "CT of the brain"])
    assert model.embed_texts(torch.from_numpy(ids), torch.from_numpy(mask)).shape == (2, 8)


def test_from_scratch_keeps_the_folders_shape_but_not_its_weights(bert_folder):
    tower = unpretrained_text_tower(str(bert_folder), pooling="mean", vocab_size=30, offline=True)
    trained = pretrained_text_tower(str(bert_folder), pooling="mean", offline=True)
    assert tower.vocab_size == 30
    name = "encoder.layer.0.attention.self.query.weight"
    assert tower.model.state_dict()[name].shape == trained.model.state_dict()[name].shape
    assert not torch.equal(tower.model.state_dict()[name], trained.model.state_dict()[name])


def test_from_scratch_trains_a_wordpiece_for_a_hub_model(captions, no_hub):
    preset = preset_named("base")
    tokenizer = build_tokenizer(preset, captions, from_scratch=True, offline=True)
    assert tokenizer.vocab_size <= preset.vocab_size
    assert tokenizer([captions[0]])[0].shape[0] == 1


def test_text_weights_from_a_file(bert_folder):
    preset = preset_named("tiny", text_encoder=str(bert_folder), image_size=32)
    model = build_dual_encoder(preset, text_weights=bert_folder / "model.safetensors", offline=True)
    trained = pretrained_text_tower(str(bert_folder), pooling="mean", offline=True)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(model.text_tower.model.state_dict()[name], value)


def test_a_tokenizer_with_more_words_than_the_model(bert_folder):
    preset = preset_named("tiny", text_encoder=str(bert_folder), image_size=32)
    with pytest.raises(WeightsError, match="knows 11 tokens and its tokenizer gives 99"):
        build_dual_encoder(preset, vocab_size=99, offline=True)


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(
    "load",
    [
        lambda name, offline: pretrained_text_tower(name, pooling="mean", offline=offline),
        lambda name, offline: unpretrained_text_tower(name, pooling="mean", vocab_size=9, offline=offline),
        lambda name, offline: pretrained_tokenizer(name, 16, offline=offline),
    ],
    ids=["tower", "shape", "tokenizer"],
)
def test_out_of_reach_one_line_names_the_ways(no_hub, load, offline):
    with pytest.raises(WeightsError) as caught:
        load("nobody/no-such-model", offline)
    message = str(caught.value)
    assert "\n" not in message
    for way in ("'nobody/no-such-model'", "--image-weights FILE", "--text-encoder FOLDER", "--from-scratch"):
        assert way in message


def test_offline_never_asks_the_hub(monkeypatch):
    def fail():
        raise AssertionError("asked")

    monkeypatch.setattr(weights, "_hub_reachable", fail)
    with pytest.raises(WeightsError, match="out of reach"):
        pretrained_tokenizer("nobody/no-such-model", 16, offline=True)


def test_a_hub_that_does_not_know_the_model(monkeypatch):
    def load(local):
        raise OSError("404 not found\nwith a page of advice")

    monkeypatch.setattr(weights, "_hub_reachable", lambda: True)
    with pytest.raises(WeightsError, match=r"gave no 'a/b' \(404 not found\): give a file"):
        weights.from_cache_or_hub("a/b", load, offline=False)


def test_the_hubs_own_offline_switch_is_kept(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    assert not weights._hub_reachable()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert weights._hub_reachable()


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(WeightsError, match="is no model transformers can load"):
        pretrained_text_tower(str(tmp_path), pooling="mean")


def test_incomplete_weights_are_refused(bert_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(bert_folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((bert_folder / "config.json").read_text())
    with pytest.raises(WeightsError, match="1 of .* are missing, encoder.layer.1.output.dense.weight"):
        pretrained_text_tower(str(tmp_path), pooling="mean", offline=True)


def test_a_tokenizer_without_padding_is_refused(monkeypatch):
    monkeypatch.setattr(weights, "from_cache_or_hub", lambda *_, **__: object())
    with pytest.raises(WeightsError, match="the tokenizer of 'x' needs Python code"):
        pretrained_tokenizer("x", 16)


def test_transformers_is_quiet_and_left_as_it_was(bert_folder, capfd):
    from transformers.utils import logging

    level = logging.get_verbosity()
    pretrained_text_tower(str(bert_folder), pooling="mean", offline=True)
    pretrained_tokenizer(str(bert_folder), 8, offline=True)
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == level
    assert logging.is_progress_bar_enabled()
