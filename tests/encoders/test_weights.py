"""Weights and tokenizers of files, folders, torchvision and the hub: found, fitted, or refused."""

import json
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from safetensors.torch import save, save_file

from encoders import weights
from encoders.bundle import write_bundle
from encoders.decoder_export import describe_decoder, load_decoder
from encoders.dual import build_dual_encoder, build_tokenizer, load_dual_encoder
from encoders.errors import PresetError, WeightsError
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import preset_named
from encoders.vision import SmallResNet, build_image_tower
from encoders.weights import (
    load_state,
    pretrained_text_tower,
    pretrained_tokenizer,
    read_weights,
    torchvision_state,
    unpretrained_text_tower,
)
from tests.encoders.test_decoder import DECODERS

BACKBONE = "squeezenet1_1"


@pytest.fixture(scope="module")
def backbone_state():
    torch.manual_seed(1)
    return build_image_tower(BACKBONE, image_size=64).backbone.state_dict()


def test_safetensors_and_torch_files_read_the_same(tmp_path):
    state = {"layer.weight": torch.randn(3, 2), "layer.bias": torch.randn(3)}
    save_file(state, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "model.pth")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pt")
    for name in ("model.safetensors", "model.pth", "checkpoint.pt"):
        read = read_weights(tmp_path / name)
        assert read.keys() == state.keys()
        assert all(torch.equal(read[key], state[key]) for key in state)


def test_a_folder_is_searched_for_its_weights(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    assert torch.equal(read_weights(tmp_path)["weight"], torch.ones(2))


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(WeightsError, match="there is no weights file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="holds no weights: expected one of model.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "words.safetensors").write_text("only words")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(tmp_path / "words.safetensors")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="hold no state dict"):
        read_weights(tmp_path / "empty.pth")


class Trap:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(tmp_path / "trap.pth")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "module.", "image_tower.backbone."])
def test_weights_fit_whatever_their_prefix(prefix):
    source, target = SmallResNet(widths=(4, 8), blocks=(1, 1)), SmallResNet(widths=(4, 8), blocks=(1, 1))
    state = {prefix + name: value for name, value in source.state_dict().items()}
    load_state(target, state | {"fc.weight": torch.ones(2)}, source="a test")
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_weights_that_do_not_fit():
    target = SmallResNet(widths=(4, 8), blocks=(1, 1))
    with pytest.raises(
        WeightsError, match=r"weights a test do not fit: \d+ of \d+ tensors are missing, layers"
    ):
        load_state(target, {"other": torch.ones(2)}, source="a test")
    wider = SmallResNet(widths=(4, 12), blocks=(1, 1)).state_dict()
    with pytest.raises(WeightsError, match=r"is \(12, .* and should be \(8, "):
        load_state(target, wider, source="a test")


@pytest.fixture
def nothing_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "reachable", lambda url: False)


@pytest.mark.parametrize("offline", [True, False])
def test_without_weights_and_network_one_line_names_the_ways(nothing_cached, offline):
    with pytest.raises(WeightsError) as caught:
        torchvision_state(BACKBONE, offline=offline)
    message = str(caught.value)
    assert "\n" not in message
    for way in ("'squeezenet1_1'", "--image-weights FILE", "--text-encoder FOLDER", "--from-scratch"):
        assert way in message


def test_offline_never_asks_the_network(nothing_cached, monkeypatch):
    def fail(url):
        raise AssertionError(url)

    monkeypatch.setattr(weights, "reachable", fail)
    with pytest.raises(WeightsError):
        torchvision_state(BACKBONE, offline=True)


def test_a_download_that_breaks_says_so(nothing_cached, monkeypatch):
    def broken(url, **_):
        raise OSError("connection reset")

    monkeypatch.setattr(weights, "reachable", lambda url: True)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", broken)
    with pytest.raises(WeightsError, match="cannot be fetched .connection reset"):
        torchvision_state(BACKBONE)


def test_cached_torchvision_weights_need_no_network(nothing_cached, tmp_path, backbone_state, monkeypatch):
    import torchvision

    url = torchvision.models.get_model_weights(BACKBONE).DEFAULT.url
    cached = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[-1]
    cached.parent.mkdir(parents=True)
    torch.save(backbone_state, cached)
    read = torchvision_state(BACKBONE, offline=True)
    assert all(torch.equal(read[name], value) for name, value in backbone_state.items())


def test_an_unknown_backbone_has_no_weights():
    with pytest.raises(PresetError, match="unknown image encoder"):
        torchvision_state("resnet5")


def test_the_image_tower_takes_a_weights_file(tmp_path, backbone_state):
    torch.save(backbone_state, tmp_path / "backbone.pth")
    preset = preset_named("tiny", image_encoder=BACKBONE, image_size=64)
    model = build_dual_encoder(preset, vocab_size=50, image_weights=tmp_path / "backbone.pth")
    loaded = model.image_tower.backbone.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in backbone_state.items())


def test_towers_go_on_from_another_model_folder(saved_model, tmp_path):
    """A model trained before is a weights folder like any other, for either of our own towers."""
    bundle, model = saved_model
    image, text = SmallResNet(widths=(4, 8), blocks=(1, 1)), model.text_tower
    load_state(image, read_weights(bundle.path), source="the model")
    assert all(torch.equal(image.state_dict()[k], v) for k, v in model.image_tower.state_dict().items())
    fresh = type(text)(vocab_size=text.tokens.num_embeddings, max_tokens=16, width=8, layers=2, heads=2)
    load_state(fresh, read_weights(bundle.path), source="the model")
    assert all(torch.equal(fresh.state_dict()[k], v) for k, v in text.state_dict().items())


def test_from_scratch_needs_nothing(nothing_cached):
    preset = preset_named("tiny", image_encoder=BACKBONE, image_size=64)
    model = build_dual_encoder(preset, vocab_size=50, from_scratch=True, offline=True)
    assert model.embed_images(torch.randn(1, 3, 64, 64)).shape == (1, 128)


def test_the_small_transformer_needs_a_vocabulary():
    with pytest.raises(PresetError, match="needs the size of its vocabulary"):
        build_dual_encoder(preset_named("tiny"))


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
def test_decoders_with_former_names_still_open(make):
    decoder = make()
    former = {weights._former_name(name): value for name, value in decoder.state_dict().items()}
    if decoder.architecture["kind"] == "transformer":  # whose query kept its name
        former = {name.replace(".ask.", ".query."): value for name, value in former.items()}
    assert former.keys() != decoder.state_dict().keys()
    config = describe_decoder(decoder, (4, 4), 12)
    again = load_decoder(config, save({name: value.contiguous() for name, value in former.items()}))
    assert all(torch.equal(again.state_dict()[name], value) for name, value in decoder.state_dict().items())


def test_model_folders_with_former_names_still_open(saved_model, tmp_path):
    bundle, model = saved_model
    former = {weights._former_name(name): value for name, value in model.state_dict().items()}
    assert any(".attend." in name for name in former)
    files = {name: bundle.read_verified(name) for name in bundle.config.files}
    files["model.safetensors"] = save({name: value.contiguous() for name, value in former.items()})
    again = load_dual_encoder(write_bundle(tmp_path / "model", bundle.config, files))
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    text = type(model.text_tower)(
        vocab_size=model.text_tower.tokens.num_embeddings, max_tokens=16, width=8, layers=2, heads=2
    )
    load_state(text, former, source="the model")
    assert all(torch.equal(text.state_dict()[k], v) for k, v in model.text_tower.state_dict().items())


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
    with pytest.raises(WeightsError, match="is not a model that transformers can load"):
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


class Refusing(BaseHTTPRequestHandler):
    def do_HEAD(self):  # noqa: N802
        self.send_response(403 if self.path == "/forbidden" else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_answer_counts(server):
    assert weights.reachable(f"{server}/")
    assert weights.reachable(f"{server}/forbidden")


def test_nobody_there(server):
    # Port 9 (discard) of this machine: nothing listens.
    assert not weights.reachable("http://127.0.0.1:9/")
    assert not weights.reachable("http://no-such-host.invalid/")


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (urllib.error.URLError(ssl.SSLError("self-signed")), True),
        (urllib.error.URLError(OSError("no route")), False),
        (TimeoutError(), False),
    ],
)
def test_certificates_and_time_outs(monkeypatch, error, answer):
    def fail(request, timeout):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert weights.reachable("https://hub.example") is answer
