"""What other tests say of the CPU, said of a GPU: `pytest -m gpu`, where there is one."""

import numpy as np
import pytest
import torch

from encoders.bundle import ModelBundle
from encoders.errors import DeviceMemoryError
from encoders.runtime import OnnxEncoder
from encoders.torch_runtime import TorchEncoder
from tests.trainers import drawn_captions
from tests.trainers.drawn import Recorder, draw_pairs, small_model, small_options, small_tokenizer
from tests.trainers.test_stepping import OBJECTIVES, batches_of, fresh_model, gradients, stepper_for
from trainers import contrastive
from trainers.augmentation import Augmentation
from trainers.captioning import train_decoder
from trainers.contrastive import train_encoders
from trainers.device import Placement

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
GPU = Placement(torch.device("cuda"), bf16=False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return draw_pairs(folder / "train", 48), draw_pairs(folder / "val", 16, seed=1)


@pytest.fixture(autouse=True)
def small_towers(monkeypatch):
    monkeypatch.setattr(
        contrastive, "build_dual_encoder", lambda preset, *, vocab_size, **_: small_model(vocab_size)
    )


def gpu_options(**given):
    defaults = {"device": "cuda", "epochs": 30, "learning_rate": 5e-3, "augmentation": Augmentation()}
    return small_options(**(defaults | given))


@pytest.mark.parametrize("given", [{}, {"label_weight": 0.5, "view_weight": 0.5}, {"ema": 0.9}], ids=str)
def test_what_is_trained_in_bf16_can_be_asked_on_a_cpu(pairs, tmp_path, given):
    listener = Recorder()
    result = train_encoders(*pairs, tmp_path / "model", gpu_options(**given), listener)
    bundle = ModelBundle.open(tmp_path / "model")
    assert bundle.config.trained_on["device"] == "cuda"
    assert bundle.config.trained_on["precision"] == "bf16"
    assert result.validation.mean_recall > 2 * listener.epochs[0].validation.mean_recall or (
        result.validation.mean_recall > 0.6
    )
    texts = [pair.text for pair in pairs[1]]
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    on_cpu, on_gpu = OnnxEncoder(bundle), TorchEncoder(bundle)
    assert ((on_cpu.embed_texts(texts) * on_gpu.embed_texts(texts)).sum(axis=1) > 0.995).all()
    assert ((on_cpu.embed_images(images) * on_gpu.embed_images(images)).sum(axis=1) > 0.995).all()


class StopAt(Recorder):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_step(self, report):
        super().on_step(report)
        if report.step == self.step:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on(pairs, tmp_path):
    out = tmp_path / "model"
    first = train_encoders(*pairs, out, gpu_options(epochs=4), StopAt(9))
    assert (first.interrupted, first.epochs) == (True, 1)
    listener = Recorder()
    second = train_encoders(*pairs, out, gpu_options(epochs=4, resume=True), listener)
    assert (second.interrupted, second.epochs) == (False, 4)
    assert [report.step for report in listener.steps] == list(range(10, 25))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_cached_gradients_equal_the_whole_batch(pairs, objective):
    tokenizer = small_tokenizer(pairs[0])
    found = []
    for size in (None, 5):
        stepper, encoder = stepper_for(
            pairs[0], fresh_model(tokenizer), placement=GPU, cache_chunk=size, clip_norm=1e9, **objective
        )
        value = stepper.step(batches_of(pairs[0], tokenizer, views=stepper._options.views), 0, 0.0)
        found.append((value, gradients(encoder)))
    (whole, expected), (cached, by_chunks) = found
    assert cached == pytest.approx(whole, abs=1e-4)
    for name, gradient in expected.items():
        assert (by_chunks[name] - gradient).abs().max() < 1e-4, name


def test_frozen_towers_are_embedded_once(pairs, tmp_path):
    result = train_encoders(*pairs, tmp_path / "model", gpu_options(epochs=3, freeze="both"), Recorder())
    assert (result.epochs, result.skipped) == (3, 0)


@pytest.fixture
def little_memory():
    """Leave this process a megabyte more of the GPU than it holds already."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (24 << 20)) / whole)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_too_little_memory_names_what_to_turn(pairs, tmp_path, little_memory):
    many = [pair for _ in range(300) for pair in pairs[0]]
    options = gpu_options(batch_size=len(many), epochs=1)
    with pytest.raises(DeviceMemoryError, match=r"too small for \d+ pairs at once: use a cache chunk of \d+"):
        train_encoders(many, pairs[1], tmp_path / "model", options, Recorder())


@pytest.mark.parametrize("decoder", ["lstm", "transformer"])
def test_a_decoder_learns_in_bf16(pairs, tmp_path, decoder):
    model = drawn_captions.drawn_bundle(pairs[0], tmp_path / "model")
    options = drawn_captions.small_options(decoder=decoder, device="cuda", epochs=30, learning_rate=5e-3)
    watcher = drawn_captions.Watcher()
    result = train_decoder(*pairs, model, options, drawn_captions.share_right, watcher)
    assert watcher.starts[0].device.startswith("cuda")
    losses = [report.loss for report in watcher.epochs]
    assert losses[-1] < 0.6 * losses[0]
    assert {"decoder.json"} < result.files.keys()
