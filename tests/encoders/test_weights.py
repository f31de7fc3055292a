"""Weights from files, folders and torchvision: found, fitted, or refused in one line."""

import pytest
import torch
from safetensors.torch import save, save_file

from encoders import weights
from encoders.bundle import write_bundle
from encoders.decoder_export import describe_decoder, load_decoder
from encoders.dual import build_dual_encoder, load_dual_encoder
from encoders.errors import PresetError, WeightsError
from encoders.presets import preset_named
from encoders.vision import SmallResNet, build_image_tower
from encoders.weights import load_state, read_weights, torchvision_state
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
