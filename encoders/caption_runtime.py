"""Writes captions with ONNX Runtime, by the decoder of a model folder. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.bundle import ModelBundle
from encoders.caption_codec import PAD_ID, CaptionCodec
from encoders.decoder_files import (
    BEGIN_GRAPH_FILE,
    DECODER_FILE,
    DECODER_TOKENIZER_FILE,
    LOOK_GRAPH_FILE,
    STEP_GRAPH_FILE,
    DecoderConfig,
)
from encoders.errors import BundleError, GenerationError, first_line
from encoders.generation import GenerationOptions, Hypothesis, Step, Tensors, generate
from encoders.runtime import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.float32]

# Hypotheses in one step: enough to keep the cores busy, few enough that their memory stays in the caches.
ROWS_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class GeneratedCaption:
    """One generated caption.

    Attributes:
        caption: its text.
        score: log probability by length; higher is better.
        log_probability: of the whole caption.
        pieces: the text of each token.
        attention: where the decoder looked before each token, ``[tokens, rows, columns]``, each sums to 1.
    """

    caption: str
    score: float
    log_probability: float
    pieces: tuple[str, ...]
    attention: Floats


class OnnxCaptioner:
    """Looks at images and writes captions, by the decoder graphs of a model folder."""

    def __init__(self, bundle: ModelBundle, *, threads: int | None = None) -> None:
        """Read the small files; graphs are loaded when they are first needed.

        Args:
            bundle: an open model folder.
            threads: that one forward pass may use; None for one a core.

        Raises:
            BundleError: the model has no decoder, or it is damaged.
        """
        if DECODER_FILE not in bundle.config.files:
            raise BundleError(
                f"model {bundle.path} has no decoder: medclip train decoder CORPUS --model {bundle.path}"
            )
        self._bundle, self._threads = bundle, threads
        self.config = DecoderConfig.from_json(bundle.read_verified(DECODER_FILE).decode("utf-8"))
        self._codec = CaptionCodec.from_bytes(bundle.read_verified(DECODER_TOKENIZER_FILE))
        self._sessions: dict[str, InferenceSession] = {}

    @property
    def retrieve(self) -> int:
        """Captions of neighbours that `write` wants for each image; 0 for none."""
        return self.config.retrieve

    def look(self, pixels: Floats) -> tuple[Floats, Floats]:
        """See preprocessed images.

        Args:
            pixels: float32 ``[b, 3, size, size]``.

        Returns:
            Vectors ``[b, dim]``, those of the encoder, and the grid ``[b, cells, channels]``.
        """
        vectors, grid = self._session(LOOK_GRAPH_FILE).run(
            None, {"pixels": np.ascontiguousarray(pixels, dtype=np.float32)}
        )
        return vectors, grid

    def write(
        self, grid: Floats, retrieved: Sequence[Sequence[str]] | None, options: GenerationOptions
    ) -> list[list[GeneratedCaption]]:
        """Write captions.

        Args:
            grid: ``[b, cells, channels]`` of `look`.
            retrieved: captions of each image's neighbours, nearest first; None for a decoder that reads none.
            options: of the search.

        Returns:
            For each image its captions, best first.

        Raises:
            GenerationError: longer captions are asked for than the decoder can write.
        """
        if options.max_tokens >= self.config.max_tokens:
            raise GenerationError(
                f"--max-tokens is {options.max_tokens}: this decoder writes {self.config.max_tokens - 1}"
            )
        at_once = max(1, ROWS_AT_ONCE // max(options.beam, options.captions))
        written = []
        for start in range(0, len(grid), at_once):
            end = start + at_once
            part = None if retrieved is None else retrieved[start:end]
            written += self._write_batch(grid[start:end], part, options)
        return written

    def _write_batch(
        self, grid: Floats, retrieved: Sequence[Sequence[str]] | None, options: GenerationOptions
    ) -> list[list[GeneratedCaption]]:
        inputs: dict[str, np.ndarray] = {"grid": np.ascontiguousarray(grid, dtype=np.float32)}
        if self.retrieve:
            inputs["retrieved"] = retrieved_ids(
                self._codec, retrieved or [[]] * len(grid), self.retrieve, self.config.retrieved_tokens
            )
        logits, attention, *rest = self._session(BEGIN_GRAPH_FILE).run(None, inputs)
        memories = len(self.config.memory)
        first = Step(logits, attention, tuple(rest[memories:]))
        found = generate(first, tuple(rest[:memories]), self._step, options)
        return [[self._written(one) for one in hypotheses] for hypotheses in found]

    def _step(self, tokens: NDArray[np.int64], memory: Tensors, state: Tensors) -> Step:
        names = (*self.config.memory, *self.config.state)
        inputs = {"token": tokens, **dict(zip(names, (*memory, *state), strict=True))}
        logits, attention, *after = self._session(STEP_GRAPH_FILE).run(None, inputs)
        return Step(logits, attention, tuple(after))

    def _written(self, hypothesis: Hypothesis) -> GeneratedCaption:
        rows, columns = self.config.grid
        return GeneratedCaption(
            caption=self._codec.decode(hypothesis.tokens),
            score=hypothesis.score,
            log_probability=hypothesis.log_probability,
            pieces=tuple(self._codec.pieces(hypothesis.tokens)),
            attention=hypothesis.attention.reshape(-1, rows, columns),
        )

    def _session(self, name: str) -> InferenceSession:
        if name not in self._sessions:
            graph = self._bundle.read_verified(name)
            try:
                self._sessions[name] = open_session(graph, threads=self._threads)
            except Exception as error:  # ONNX Runtime's exceptions have no common base
                raise BundleError(
                    f"model {self._bundle.path}: ONNX Runtime cannot open {name} ({first_line(error)}): "
                    "upgrade onnxruntime, or train the decoder again"
                ) from error
        return self._sessions[name]


def retrieved_ids(
    codec: CaptionCodec, captions: Sequence[Sequence[str]], count: int, longest: int
) -> NDArray[np.int64]:
    """Token ids of retrieved captions, each without its start token.

    Args:
        codec: the decoder's tokenizer.
        captions: of each image's neighbours, nearest first.
        count: how many of them are read, k.
        longest: tokens that are read of each, r.

    Returns:
        int64 ``[b, k, r]``, padded where there are fewer captions or tokens.
    """
    ids = np.full((len(captions), count, longest), PAD_ID, dtype=np.int64)
    for image, texts in enumerate(captions):
        if texts:
            rows = codec.encode(texts[:count], longest + 1)[:, 1:]
            ids[image, : len(rows), : rows.shape[1]] = rows
    return ids
