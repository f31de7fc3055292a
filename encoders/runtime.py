"""Embeds images and words with ONNX Runtime: the encoder of the asking path. Never imports torch.

Notable choices, with their measurements in docs/decisions:

* sessions are made when they are first needed, image and text apart: a caption needs no text graph, a search
  by words no image graph;
* a graph is checked on disk and opened by its path: half the time and memory of passing its bytes;
* the first few texts go through a light session that opens quickly and answers slowly; whoever embeds more
  gets the full one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """Images and captions to unit vectors, by the graphs of a model folder.

    Attributes:
        fingerprint: of the model.
        dim: length of the vectors.
        image_spec: how image files become what `embed_images` and `embed_pixels` take.
        usual_batch: images in one forward pass; more only costs memory.
        passes_at_once: one keeps all cores busy.
    """

    usual_batch: ClassVar[int] = 32
    passes_at_once: ClassVar[int] = 1

    def __init__(self, bundle: ModelBundle, *, threads: int | None = None) -> None:
        """Remember the folder; nothing is loaded yet.

        Args:
            bundle: an open model folder.
            threads: that one forward pass may use; None for one a core.
        """
        self.fingerprint, self.dim = bundle.fingerprint, bundle.config.embedding_dim
        self.image_spec: ImagePreprocessing = bundle.config.image
        self._bundle, self._threads = bundle, threads
        self._image_session: InferenceSession | None = None
        self._text_graph: _TextGraph | None = None

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Embed preprocessed images.

        Args:
            pixels: float32 ``[b, 3, size, size]``.

        Returns:
            float32 ``[b, dim]``, unit length.

        Raises:
            BundleError: the image graph is missing, altered or unreadable.
        """
        if len(pixels) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        if self._image_session is None:
            self._image_session = _open_graph(self._bundle, IMAGE_GRAPH_FILE, threads=self._threads)
        return _run(self._image_session, pixels=np.ascontiguousarray(pixels, dtype=np.float32))

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """Embed images that are of the right size but not yet normalised.

        Args:
            images: uint8 ``[b, size, size, 3]`` of ``fit_image``.

        Returns:
            float32 ``[b, dim]``, unit length.

        Raises:
            BundleError: the image graph is missing, altered or unreadable.
        """
        pixels = [normalize_image(image, self.image_spec) for image in images]
        return self.embed_pixels(np.stack(pixels) if pixels else np.zeros((0,)))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed captions or queries.

        Returns:
            float32 ``[b, dim]``, unit length, in the order of the texts.

        Raises:
            BundleError: the text graph or the tokenizer is missing, altered or unreadable.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if len(texts) == 0:
            return vectors
        if self._text_graph is None:
            self._text_graph = _TextGraph(self._bundle, self._threads)
        session = self._text_graph.session_for(len(texts))
        # Alike lengths together: a batch is as wide as its longest caption.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, mask = self._text_graph.tokenizer([texts[index] for index in chosen])
            vectors[chosen] = _run(session, ids=ids, mask=mask)
        return vectors


class _TextGraph:
    """The tokenizer and the text graph, opened for as many texts as there have been."""

    def __init__(self, bundle: ModelBundle, threads: int | None) -> None:
        self.tokenizer = CaptionTokenizer.from_bytes(bundle.read_verified(TOKENIZER_FILE))
        self._bundle = bundle
        self._threads = threads
        self._light: InferenceSession | None = None
        self._full: InferenceSession | None = None
        self._texts_seen = 0

    def session_for(self, texts: int) -> InferenceSession:
        """The session that suits this many texts more."""
        self._texts_seen += texts
        if self._full is None and self._texts_seen > LIGHT_TEXTS:
            self._full, self._light = self._open(light=False), None
        if self._full is not None:
            return self._full
        if self._light is None:
            self._light = self._open(light=True)
        return self._light

    def _open(self, *, light: bool) -> InferenceSession:
        return _open_graph(self._bundle, TEXT_GRAPH_FILE, threads=self._threads, light=light)


def open_session(graph: bytes | Path, *, threads: int | None = None, light: bool = False) -> InferenceSession:
    """Make an ONNX Runtime session on the CPU.

    Args:
        graph: the serialised graph, or its file.
        threads: that one forward pass may use; None for one a core.
        light: open quickly, neither optimising the graph nor packing its weights; each run then takes longer.
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


def _open_graph(
    bundle: ModelBundle, name: str, *, threads: int | None, light: bool = False
) -> InferenceSession:
    path = bundle.verified_path(name)
    try:
        return open_session(path, threads=threads, light=light)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise BundleError(
            f"model {bundle.path}: ONNX Runtime cannot open {name} ({first_line(error)}): "
            "upgrade onnxruntime, or export the model again"
        ) from error


def _run(session: InferenceSession, **inputs: np.ndarray) -> np.ndarray:
    # The text graph of a model that reads no mask has no such input.
    inputs_of_graph = {item.name for item in session.get_inputs()}
    (vectors,) = session.run(None, {name: value for name, value in inputs.items() if name in inputs_of_graph})
    return np.asarray(vectors, dtype=np.float32)
