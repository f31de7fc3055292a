"""Embeds images and words with ONNX Runtime: the encoder of the asking path. Never imports torch.

Notable choices, with their measurements in docs/decisions:

* sessions are made when they are first needed, image and text apart: a caption needs no text graph, a search
  by words no image graph;
* the first few texts go through a light session that opens quickly and answers slowly; whoever embeds more
  gets the full one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from encoders.bundle import IMAGE_GRAPH_FILE, TEXT_GRAPH_FILE, TOKENIZER_FILE, ModelBundle
from encoders.errors import BundleError, first_line
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing, normalize_image

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Enough rows to keep the cores busy; more only costs memory.
TEXT_BATCH = 64
# A light session saves about as much at opening as it loses on this many texts.
LIGHT_TEXTS = 8


class OnnxEncoder:
    """Images and captions to unit vectors of length ``dim``, by the graphs of a model folder."""

    usual_batch: ClassVar[int] = 32  # images in one forward pass; more only costs memory
    passes_at_once: ClassVar[int] = 1  # which keeps all cores busy

    def __init__(self, bundle: ModelBundle, *, threads: int | None = None) -> None:
        """Remember the folder; nothing is loaded yet. `threads`: of one forward pass; None for one a core."""
        self.fingerprint, self.dim = bundle.fingerprint, bundle.config.embedding_dim
        self.image_spec: ImagePreprocessing = bundle.config.image
        self._bundle, self._threads = bundle, threads
        self._light_text_session: InferenceSession | None = None
        self._texts_seen = 0

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Embed preprocessed images: float32 ``[b, 3, size, size]`` to float32 ``[b, dim]``, unit length.

        Raises:
            BundleError: the image graph is missing, altered or unreadable.
        """
        if len(pixels) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        return _run(self._image_session, pixels=np.ascontiguousarray(pixels, dtype=np.float32))

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """Embed images of ``fit_image``: uint8 ``[b, size, size, 3]`` to float32 ``[b, dim]``, unit length.

        Raises:
            BundleError: the image graph is missing, altered or unreadable.
        """
        pixels = [normalize_image(image, self.image_spec) for image in images]
        return self.embed_pixels(np.stack(pixels) if pixels else np.zeros((0,)))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed captions or queries: float32 ``[b, dim]``, unit length, in the order of the texts.

        Raises:
            BundleError: the text graph or the tokenizer is missing, altered or unreadable.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if len(texts) == 0:
            return vectors
        session = self._text_session(len(texts))
        # Alike lengths together: a batch is as wide as its longest caption.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, mask = self._tokenizer([texts[index] for index in chosen])
            vectors[chosen] = _run(session, ids=ids, mask=mask)
        return vectors

    @cached_property
    def _image_session(self) -> InferenceSession:
        return open_graph(self._bundle, IMAGE_GRAPH_FILE, threads=self._threads)

    @cached_property
    def _tokenizer(self) -> CaptionTokenizer:
        return CaptionTokenizer.from_bytes(self._bundle.read_verified(TOKENIZER_FILE))

    @cached_property
    def _full_text_session(self) -> InferenceSession:
        return open_graph(self._bundle, TEXT_GRAPH_FILE, threads=self._threads)

    def _text_session(self, texts: int) -> InferenceSession:
        """The session that suits this many texts more."""
        self._texts_seen += texts
        if self._texts_seen > LIGHT_TEXTS:
            self._light_text_session = None
            return self._full_text_session
        if self._light_text_session is None:
            self._light_text_session = open_graph(
                self._bundle, TEXT_GRAPH_FILE, threads=self._threads, light=True
            )
        return self._light_text_session


def open_session(graph: bytes | Path, *, threads: int | None = None, light: bool = False) -> InferenceSession:
    """Make an ONNX Runtime session on the CPU, of a serialised graph or its file.

    `threads` is for one forward pass; None for one a core. A light session opens quickly, neither optimising
    the graph nor packing its weights; each run then takes longer.
    """
    # ONNX Runtime's builds from 1.29 on report what they run on to their maker, unless this is set before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    if light:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    source = graph if isinstance(graph, bytes) else str(graph)
    # No fallback: a second try on the same CPU cannot help, and is announced on stdout, where data goes.
    return onnxruntime.InferenceSession(
        source, sess_options=options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def open_graph(
    bundle: ModelBundle, name: str, *, threads: int | None = None, light: bool = False
) -> InferenceSession:
    """Check a graph of a model folder, and open it by its path: half the time and memory of its bytes.

    Raises:
        BundleError: it is missing or altered, or ONNX Runtime cannot open it.
    """
    path = bundle.verified_path(name)
    try:
        return open_session(path, threads=threads, light=light)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise BundleError(
            f"model {bundle.path}: ONNX Runtime cannot open {name} ({first_line(error)}): "
            "upgrade onnxruntime, or make the model again"
        ) from error


def _run(session: InferenceSession, **inputs: np.ndarray) -> np.ndarray:
    # The text graph of a model that reads no mask has no such input.
    inputs_of_graph = {item.name for item in session.get_inputs()}
    (vectors,) = session.run(None, {name: value for name, value in inputs.items() if name in inputs_of_graph})
    return np.asarray(vectors, dtype=np.float32)
