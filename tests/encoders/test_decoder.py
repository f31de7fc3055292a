import json
import shutil

import numpy as np
import pytest
import torch

from encoders.bundle import ModelBundle, add_files
from encoders.captioner import (
    DECODER_FILES,
    DECODER_WEIGHTS_FILE,
    PAD_ID,
    STEP_GRAPH_FILE,
    DecoderConfig,
    OnnxCaptioner,
    retrieved_ids,
    train_codec,
)
from encoders.decoder import LstmDecoder, TransformerDecoder, build_decoder, encode_grid
from encoders.decoder_export import check_close, decoder_files, describe_decoder, load_decoder
from encoders.errors import BundleError, ExportError, OptionsError, PresetError
from encoders.generation import GenerationOptions
from encoders.runtime import OnnxEncoder
from encoders.vision import TorchvisionTower
from tests.encoders.conftest import CAPTIONS, input_shapes

CELLS, CHANNELS, VOCABULARY = 16, 8, 60


def lstm(**shape):
    torch.manual_seed(1)
    given = {"vocab_size": VOCABULARY, "grid_cells": CELLS, "grid_dim": CHANNELS, "width": 16} | shape
    return LstmDecoder(**given).eval()


def transformer(**shape):
    torch.manual_seed(1)
    given = {"vocab_size": VOCABULARY, "grid_cells": CELLS, "grid_dim": CHANNELS, "max_tokens": 12}
    given |= {"width": 16, "layers": 2, "heads": 2, "retrieved_tokens": 4}
    return TransformerDecoder(**(given | shape)).eval()


DECODERS = {"lstm": lstm, "transformer": transformer, "retrieving": lambda **s: transformer(retrieve=2, **s)}


def drawn_images(decoder, count=3):
    grid = torch.randn(count, CELLS, CHANNELS, generator=torch.Generator().manual_seed(2))
    if not decoder.retrieve:
        return grid, None
    ids = torch.randint(3, VOCABULARY, (count, 2, 4), generator=torch.Generator().manual_seed(3))
    ids[:, :, 3] = PAD_ID
    return grid, ids


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
@torch.inference_mode()
def test_token_by_token_says_what_the_whole_caption_says(make):
    decoder = make()
    grid, retrieved = drawn_images(decoder)
    ids = torch.randint(3, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(4))
    ids[:, 0] = 1
    whole = decoder(ids, grid, retrieved)
    told, memory = decoder.begin(grid, retrieved)
    steps = [told.logits]
    for place in range(1, 7):
        told = decoder.step(ids[:, place], memory, told.state)
        steps.append(told.logits)
        torch.testing.assert_close(told.attention.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_transformer_does_not_see_what_is_yet_to_be_written():
    decoder = transformer()
    grid, _ = drawn_images(decoder)
    ids = torch.full((3, 6), 5)
    other = ids.clone()
    other[:, 4:] = 9
    torch.testing.assert_close(decoder(ids, grid)[:, :4], decoder(other, grid)[:, :4])
    assert not torch.allclose(decoder(ids, grid)[:, 4], decoder(other, grid)[:, 4])


@torch.inference_mode()
def test_padding_of_retrieved_captions_is_not_read():
    decoder = transformer(retrieve=2)
    grid, retrieved = drawn_images(decoder)
    ids = torch.full((3, 4), 5)
    words = decoder(ids, grid, retrieved)
    with torch.no_grad():
        decoder.tokens.weight[PAD_ID] += 100
    # The padding token is also one of the outputs; all others must not move.
    torch.testing.assert_close(decoder(ids, grid, retrieved)[..., 1:], words[..., 1:])
    changed = retrieved.clone()
    changed[:, 0, 0] = 7 + (retrieved[:, 0, 0] == 7)
    assert not torch.allclose(decoder(ids, grid, changed), words)


@torch.inference_mode()
def test_looking_gives_the_encoders_own_vectors_and_a_grid(model):
    pixels = torch.randn(2, 3, 32, 32)
    vectors, grid = encode_grid(model, pixels)
    torch.testing.assert_close(vectors, model.embed_images(pixels))
    assert grid.shape == (2, 16, 8)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("densenet121", 1024)])
def test_the_grid_of_a_torchvision_tower_is_its_last_map(name, channels):
    tower = TorchvisionTower(name, image_size=64).eval()
    pixels = torch.randn(1, 3, 64, 64)
    features, feature_map = tower.features_and_map(pixels)
    torch.testing.assert_close(features, tower(pixels))
    assert feature_map.shape == (1, channels, 2, 2)
    assert not any(module._forward_hooks for module in tower.modules())


def test_a_tower_without_a_map_is_refused(model):
    tower = TorchvisionTower("vit_b_16", image_size=32)
    with pytest.raises(PresetError, match="no feature map"):
        tower.features_and_map(torch.randn(1, 3, 32, 32))
    model.image_tower = torch.nn.Identity()
    with pytest.raises(PresetError, match="no feature map"):
        encode_grid(model, torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
def test_a_decoder_is_built_again_from_its_description(make):
    decoder = make()
    again = build_decoder(json.loads(json.dumps(decoder.architecture)))
    assert type(again) is type(decoder)
    again.load_state_dict(decoder.state_dict())


def test_an_unknown_decoder_is_refused():
    with pytest.raises(PresetError, match="unknown kind of decoder 'poet'"):
        build_decoder({"kind": "poet"})


def test_weights_of_another_decoder_are_refused():
    from safetensors.torch import save

    config = describe_decoder(lstm(), (4, 4), 12)
    with pytest.raises(BundleError, match="do not fit"):
        load_decoder(config, save(transformer().state_dict()))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format_version": 1}'])
def test_a_damaged_description_is_refused(text):
    with pytest.raises(BundleError, match="cannot be read"):
        DecoderConfig.from_json(text)


def test_a_newer_description_is_refused():
    with pytest.raises(BundleError, match="newer than this medclip"):
        DecoderConfig.from_json('{"format_version": 99}')


def test_a_description_survives_its_file():
    config = describe_decoder(transformer(retrieve=2), (4, 4), 12, validation={"cider": 0.5})
    assert DecoderConfig.from_json(config.to_json()) == config


def test_a_graph_that_says_something_else_is_refused():
    with pytest.raises(ExportError, match="disagrees with torch"):
        check_close(np.ones(3), np.ones(3) + 0.1, "StepGraph")
    with pytest.raises(ExportError, match="disagrees with torch"):
        check_close(np.array([np.nan]), np.ones(1), "StepGraph")
    with pytest.raises(ExportError, match="torch"):
        check_close(np.ones(3), np.ones(2), "StepGraph")
    check_close(np.ones(3), np.ones(3) + 1e-5, "StepGraph")


def test_retrieved_captions_become_padded_ids():
    codec = train_codec(CAPTIONS, 400)
    ids = retrieved_ids(codec, [[CAPTIONS[0], "CT"], [], [CAPTIONS[0]] * 5], count=2, longest=5)
    assert ids.shape == (3, 2, 5)
    assert codec.decode(ids[0, 0]) == codec.decode(codec.encode([CAPTIONS[0]], 6)[0])
    assert (ids[1] == PAD_ID).all()
    assert (ids[0, 1] == PAD_ID).any()
    assert (ids[2, 0] == ids[2, 1]).all()


@pytest.fixture(scope="module", params=["lstm", "retrieving"])
def writing_model(request, saved_model, tmp_path_factory):
    """A model folder with an exported decoder."""
    bundle, model = saved_model
    folder = tmp_path_factory.mktemp(request.param) / "model"
    shutil.copytree(bundle.path, folder)
    codec = train_codec(CAPTIONS, 320)
    shape = {"vocab_size": codec.vocab_size, "grid_cells": 16, "grid_dim": 8}
    decoder = DECODERS[request.param](**shape)
    files = decoder_files(decoder, model, codec, describe_decoder(decoder, (4, 4), 12), 32)
    return add_files(ModelBundle.open(folder), files)


def test_a_decoder_writes_with_onnx_alone(writing_model):
    assert set(DECODER_FILES) <= set(writing_model.config.files)
    captioner = OnnxCaptioner(writing_model)
    pixels = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    vectors, grid = captioner.encode(pixels)
    expected = OnnxEncoder(writing_model).embed_pixels(pixels)
    np.testing.assert_allclose(vectors, expected, atol=2e-3)
    options = GenerationOptions(beam=3, captions=2, max_tokens=8)
    retrieved = [list(CAPTIONS[:2])] * 3 if captioner.retrieve else None
    written = captioner.write(grid, retrieved, options)
    assert [len(one) for one in written] == [2, 2, 2]
    for best, second in written:
        assert best.score >= second.score
        assert best.attention.shape == (len(best.pieces), 4, 4)
        np.testing.assert_allclose(best.attention.sum(axis=(1, 2)), 1, atol=1e-5)
        assert "".join(best.pieces).split() == best.caption.split()


def test_a_decoder_steps_on_from_any_state(writing_model):
    # The export compared begin and step with torch already, in batches of many sizes, after some steps.
    begin, step = (
        input_shapes(writing_model.read_verified(f"decoder-{name}.onnx")) for name in ("begin", "step")
    )
    assert {shape[0] for shape in (*begin.values(), *step.values())} == {"batch"}
    assert "past" not in step or step["past"][4] == "time"
    assert input_shapes(writing_model.read_verified("decoder-look.onnx")) == {"pixels": ["batch", 3, 32, 32]}


def test_longer_captions_than_it_learned_are_refused(writing_model):
    captioner = OnnxCaptioner(writing_model)
    with pytest.raises(OptionsError, match="max_tokens is 12: this decoder writes 11"):
        captioner.write(np.zeros((1, 16, 8), dtype=np.float32), None, GenerationOptions(max_tokens=12))


def test_a_model_without_a_decoder_says_how_to_get_one(saved_model):
    with pytest.raises(BundleError, match="medclip train decoder"):
        OnnxCaptioner(saved_model[0])


def test_an_altered_graph_is_refused(writing_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(writing_model.path, folder)
    graph = folder / STEP_GRAPH_FILE
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    captioner = OnnxCaptioner(ModelBundle.open(folder))
    with pytest.raises(BundleError, match="altered"):
        captioner.write(np.zeros((1, 16, 8), dtype=np.float32), None, GenerationOptions(max_tokens=8))


def test_a_file_that_is_no_graph_is_refused(writing_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(writing_model.path, folder)
    bundle = add_files(ModelBundle.open(folder), {"decoder-begin.onnx": b"no graph"})
    with pytest.raises(BundleError, match="ONNX Runtime cannot open decoder-begin.onnx"):
        OnnxCaptioner(bundle).write(np.zeros((1, 16, 8), np.float32), None, GenerationOptions(max_tokens=8))


def test_the_exported_decoder_is_the_saved_one(writing_model):
    captioner = OnnxCaptioner(writing_model)
    decoder = load_decoder(captioner.config, writing_model.read_verified(DECODER_WEIGHTS_FILE))
    assert decoder.architecture == captioner.config.architecture
