"""The asking path: what it loads, when it loads it, and what it says when a graph is bad."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from encoders import runtime
from encoders.bundle import ModelBundle, write_bundle
from encoders.errors import BundleError
from encoders.preprocessing import normalize_image
from encoders.runtime import LIGHT_TEXTS, TEXT_BATCH, OnnxEncoder


@pytest.fixture
def encoder(saved_model):
    return OnnxEncoder(saved_model[0], threads=1)


def test_it_knows_its_model(encoder, saved_model, preset):
    assert encoder.fingerprint == saved_model[0].fingerprint
    assert encoder.dim == 8
    assert encoder.image_spec == preset.image_preprocessing


def test_vectors_are_float32_of_unit_length(encoder):
    images = encoder.embed_pixels(np.random.default_rng(0).normal(size=(3, 3, 32, 32)))
    texts = encoder.embed_texts(["axial CT", ""])
    for vectors, rows in ((images, 3), (texts, 2)):
        assert vectors.shape == (rows, 8)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_nothing_in_nothing_out(encoder):
    assert encoder.embed_pixels(np.zeros((0, 3, 32, 32), np.float32)).shape == (0, 8)
    assert encoder.embed_texts([]).shape == (0, 8)


def test_many_texts_keep_their_order(encoder):
    texts = [f"axial CT {'of the brain ' * (index % 5)}{index}" for index in range(2 * TEXT_BATCH + 3)]
    together = encoder.embed_texts(texts)
    for index in (0, 1, TEXT_BATCH, len(texts) - 1):
        np.testing.assert_allclose(together[index], encoder.embed_texts([texts[index]])[0], atol=1e-5)


def test_a_few_texts_get_a_light_session_and_more_a_full_one(saved_model, monkeypatch):
    opened = []
    original = runtime.open_session

    def open_session(graph, *, threads=None, light=False):
        opened.append(light)
        return original(graph, threads=threads, light=light)

    monkeypatch.setattr(runtime, "open_session", open_session)
    encoder = OnnxEncoder(saved_model[0])
    first = encoder.embed_texts(["axial CT"])
    for _ in range(LIGHT_TEXTS - 1):
        encoder.embed_texts(["sagittal MR"])
    assert opened == [True]
    np.testing.assert_allclose(encoder.embed_texts(["axial CT"]), first, atol=1e-5)
    encoder.embed_texts(["axial CT"])
    assert opened == [True, False]
    OnnxEncoder(saved_model[0]).embed_texts(["axial CT"] * (LIGHT_TEXTS + 1))
    assert opened == [True, False, False]


def test_squares_are_normalised_and_embedded(encoder):
    squares = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    pixels = np.stack([normalize_image(square, encoder.image_spec) for square in squares])
    np.testing.assert_array_equal(encoder.embed_images(squares), encoder.embed_pixels(pixels))
    assert encoder.embed_images(squares[:0]).shape == (0, 8)


def test_each_graph_is_opened_when_it_is_needed_and_once(saved_model, monkeypatch):
    read = []
    for method in ("read_verified", "verified_path"):
        original = getattr(ModelBundle, method)
        monkeypatch.setattr(
            ModelBundle,
            method,
            lambda self, name, original=original: read.append(name) or original(self, name),
        )
    encoder = OnnxEncoder(saved_model[0])
    assert read == []
    encoder.embed_pixels(np.zeros((1, 3, 32, 32), np.float32))
    encoder.embed_pixels(np.zeros((2, 3, 32, 32), np.float32))
    assert read == ["image.onnx"]
    encoder.embed_texts(["axial"])
    encoder.embed_texts(["CT"])
    assert read == ["image.onnx", "text.onnx", "tokenizer.json"]


def test_an_altered_graph_is_not_opened(saved_model, tmp_path):
    folder = shutil.copytree(saved_model[0].path, tmp_path / "copy")
    data = bytearray((folder / "text.onnx").read_bytes())
    data[-20] ^= 1
    (folder / "text.onnx").write_bytes(bytes(data))
    encoder = OnnxEncoder(ModelBundle.open(folder))
    encoder.embed_pixels(np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(BundleError, match="text.onnx was altered"):
        encoder.embed_texts(["axial"])


def test_a_graph_onnx_runtime_does_not_know(saved_model, tmp_path):
    bundle = saved_model[0]
    files = {name: bundle.read_verified(name) for name in bundle.config.files} | {"image.onnx": b"no graph"}
    encoder = OnnxEncoder(write_bundle(tmp_path / "model", bundle.config, files))
    with pytest.raises(BundleError, match="ONNX Runtime cannot open image.onnx"):
        encoder.embed_pixels(np.zeros((1, 3, 32, 32), np.float32))


def test_asking_loads_no_torch(saved_model, tmp_path):
    code = """
import sys
import numpy as np
from PIL import Image
from encoders.bundle import ModelBundle
from encoders.preprocessing import load_image, normalize_image
from encoders.runtime import OnnxEncoder

encoder = OnnxEncoder(ModelBundle.open(sys.argv[1]))
Image.new("L", (50, 40), 99).save(sys.argv[2])
pixels = normalize_image(load_image(sys.argv[2], encoder.image_spec), encoder.image_spec)
assert encoder.embed_pixels(pixels[None]).shape == (1, 8)
assert encoder.embed_texts(["axial CT"]).shape == (1, 8)
print(sorted({"torch", "torchvision", "transformers", "onnx", "pandas", "safetensors"} & set(sys.modules)))
"""
    arguments = [sys.executable, "-c", code, str(saved_model[0].path), str(tmp_path / "scan.png")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_module_itself_needs_no_onnx_runtime():
    assert not hasattr(runtime, "onnxruntime")
