"""Embeds images and words with ONNX Runtime: the encoder of the asking path. Never imports torch.

Sessions are made when they are first needed, image and text apart: a caption needs no text graph, a search by
words no image graph, and each is a good part of the cost of a cold start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.bundle import IMAGE_GRAPH_FILE, TEXT_GRAPH_FILE, TOKENIZER_FILE, ModelBundle
from encoders.errors import BundleError, first_line
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Enough rows to keep the cores busy; more only costs memory.
TEXT_BATCH = 64


class OnnxEncoder:
    """Images and captions to unit vectors, by the graphs of a model folder."""

    def __init__(self, bundle: ModelBundle, *, threads: int | None = None) -> None:
        """Remember the folder; nothing is loaded yet.

        Args:
            bundle: an open model folder.
            threads: that one forward pass may use; None for one a core.
        """
        self._bundle = bundle
        self._threads = threads
        self._image_session: InferenceSession | None = None
        self._text_session: InferenceSession | None = None
        self._tokenizer: CaptionTokenizer | None = None

    @classmethod
    def open(cls, bundle: ModelBundle, *, threads: int | None = None) -> OnnxEncoder:
        """Make an encoder of an open model folder."""
        return cls(bundle, threads=threads)

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint."""
        return self._bundle.fingerprint

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._bundle.config.embedding_dim

    @property
    def image_spec(self) -> ImagePreprocessing:
        """How image files become the pixels that ``embed_pixels`` takes."""
        return self._bundle.config.image

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
            self._image_session = self._open_session(IMAGE_GRAPH_FILE)
        return _run(self._image_session, {"pixels": np.ascontiguousarray(pixels, dtype=np.float32)})

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
        if self._text_session is None:
            self._tokenizer = CaptionTokenizer.from_bytes(self._bundle.read_verified(TOKENIZER_FILE))
            self._text_session = self._open_session(TEXT_GRAPH_FILE)
        assert self._tokenizer is not None
        # Alike lengths together: a batch is as wide as its longest caption.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, mask = self._tokenizer([texts[index] for index in chosen])
            vectors[chosen] = _run(self._text_session, {"ids": ids, "mask": mask})
        return vectors

    def _open_session(self, name: str) -> InferenceSession:
        # One read serves both the check and the session.
        graph = self._bundle.read_verified(name)
        try:
            return open_session(graph, threads=self._threads)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise BundleError(
                f"model {self._bundle.path}: ONNX Runtime cannot open {name} ({first_line(error)}): "
                "upgrade onnxruntime, or export the model again"
            ) from error


def open_session(graph: bytes, *, threads: int | None = None) -> InferenceSession:
    """Make an ONNX Runtime session on the CPU.

    Args:
        graph: the serialised graph.
        threads: that one forward pass may use; None for one a core.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])


def _run(session: InferenceSession, inputs: dict[str, Any]) -> np.ndarray:
    # The text graph of a model that reads no mask has no such input.
    wanted = {item.name for item in session.get_inputs()}
    (vectors,) = session.run(None, {name: value for name, value in inputs.items() if name in wanted})
    return np.asarray(vectors, dtype=np.float32)
