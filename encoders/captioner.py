"""Captions from images by the decoder of a model folder, with ONNX Runtime (no torch).

`DecoderConfig` is what ``decoder.json`` says, `CaptionCodec` its tokenizer, `OnnxCaptioner` runs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.bundle import ModelBundle
from encoders.errors import BundleError, OptionsError
from encoders.generation import (
    END_ID,
    PAD_ID,
    START_ID,
    GenerationOptions,
    Hypothesis,
    Step,
    Tensors,
    generate,
)
from encoders.runtime import open_graph

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

Floats = NDArray[np.float32]

DECODER_FILE = "decoder.json"
DECODER_WEIGHTS_FILE = "decoder.safetensors"
DECODER_TOKENIZER_FILE = "decoder-tokenizer.json"
LOOK_GRAPH_FILE = "decoder-look.onnx"
BEGIN_GRAPH_FILE = "decoder-begin.onnx"
STEP_GRAPH_FILE = "decoder-step.onnx"
DECODER_FILES = (
    DECODER_FILE,
    DECODER_WEIGHTS_FILE,
    DECODER_TOKENIZER_FILE,
    LOOK_GRAPH_FILE,
    BEGIN_GRAPH_FILE,
    STEP_GRAPH_FILE,
)
FORMAT_VERSION = 1
PAD, START, END = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, START, END)
# Hypotheses in one step: enough to keep the cores busy, few enough that their memory stays in the caches.
ROWS_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Everything about a decoder that is not a weight."""

    architecture: dict[str, Any]  # how to build the torch module again
    grid: tuple[int, int]  # rows and columns of the image grid
    max_tokens: int  # longest caption it was trained on, start and end included
    retrieve: int  # captions of neighbours it reads; 0 for none
    retrieved_tokens: int  # tokens it reads of each
    memory: tuple[str, ...]  # names of the arrays of the encoded image, in order
    state: tuple[str, ...]  # names of the arrays that a step passes to the next, in order
    trained_on: dict[str, Any] = field(default_factory=dict)  # the corpus and the run
    validation: dict[str, Any] = field(default_factory=dict)  # scores on the validation split
    format_version: int = FORMAT_VERSION  # of the file

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DecoderConfig:
        """Read the content of the file.

        Raises:
            BundleError: it is damaged, or comes from a newer medclip.
        """
        try:
            content = json.loads(text)
            if int(content["format_version"]) > FORMAT_VERSION:
                raise BundleError(f"{DECODER_FILE} is newer than this medclip: upgrade medclip-cli")
            known = {item.name: content[item.name] for item in fields(cls)}
            for name in ("grid", "memory", "state"):
                known[name] = tuple(known[name])
            return cls(**known)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{DECODER_FILE} cannot be read: train the decoder again") from error


class CaptionCodec:
    """Encodes captions as token ids between a start and an end token, and decodes what was generated."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wrap a tokenizer whose first three tokens are ``SPECIAL``."""
        self._tokenizer = tokenizer
        # A caption that says "</s>" has these letters in it, and no end.
        tokenizer.encode_special_tokens = True

    @classmethod
    def from_bytes(cls, data: bytes) -> CaptionCodec:
        """Read what `to_bytes` wrote.

        Raises:
            BundleError: it is no tokenizer of a decoder.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the library raises plain Exception
            raise BundleError("the decoder's tokenizer cannot be read: train the decoder again") from error
        if [tokenizer.token_to_id(token) for token in SPECIAL] != [PAD_ID, START_ID, END_ID]:
            raise BundleError("the decoder's tokenizer lacks its special tokens: train the decoder again")
        return cls(tokenizer)

    def to_bytes(self) -> bytes:
        """The content of a ``tokenizer.json``."""
        text: str = self._tokenizer.to_str(pretty=False)
        return text.encode("utf-8")

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, captions: Sequence[str], max_tokens: int) -> np.ndarray:
        """Token ids of b captions: int64 ``[b, s]``, padded with ``PAD_ID`` to the longest row.

        A caption longer than `max_tokens`, start and end included, loses its end, and so its end token.
        """
        rows = [
            [START_ID, *encoding.ids, END_ID][:max_tokens]
            for encoding in self._tokenizer.encode_batch(list(captions), add_special_tokens=False)
        ]
        ids = np.full((len(rows), max((len(row) for row in rows), default=1)), PAD_ID, dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, on one line."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return " ".join(text.split())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token by itself, with the blank that comes before it."""
        return [self._tokenizer.decode([token], skip_special_tokens=True) for token in ids]


def train_codec(captions: Iterable[str], vocab_size: int) -> CaptionCodec:
    """Learn byte-pair merges on captions (Sennrich et al., https://arxiv.org/abs/1508.07909).

    Args:
        captions: of the training split; sorted first, so that their order changes nothing.
        vocab_size: at most so many tokens, the 256 bytes and the special ones included.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(captions), trainer)
    return CaptionCodec(tokenizer)


@dataclass(frozen=True, slots=True)
class GeneratedCaption:
    """One generated caption."""

    caption: str  # its text
    score: float  # log probability by length; higher is better
    log_probability: float  # of the whole caption
    pieces: tuple[str, ...]  # the text of each token
    attention: Floats  # on the image before each token, ``[tokens, rows, columns]``, each sums to 1


class OnnxCaptioner:
    """Looks at images and writes captions, by the decoder graphs of a model folder."""

    def __init__(self, bundle: ModelBundle, *, threads: int | None = None) -> None:
        """Read the small files; graphs are loaded when they are first needed.

        One forward pass uses so many threads; None for one a core.

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

    def encode(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Encode preprocessed images, float32 ``[b, 3, size, size]``.

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
        """Write captions for grids ``[b, cells, channels]`` of `encode`: for each image some, best first.

        Retrieved are captions of each image's neighbours, nearest first; None where the decoder reads none.

        Raises:
            OptionsError: `max_tokens` is more than the decoder can write.
        """
        if options.max_tokens >= self.config.max_tokens:
            raise OptionsError(
                f"max_tokens is {options.max_tokens}: this decoder writes {self.config.max_tokens - 1}"
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
            self._sessions[name] = open_graph(self._bundle, name, threads=self._threads)
        return self._sessions[name]


def retrieved_ids(
    codec: CaptionCodec, captions: Sequence[Sequence[str]], count: int, longest: int
) -> NDArray[np.int64]:
    """Token ids of the first `count` (k) captions of each image's neighbours, without their start tokens.

    Returns:
        int64 ``[b, k, r]``, r being `longest`; padded where there are fewer captions or tokens.
    """
    ids = np.full((len(captions), count, longest), PAD_ID, dtype=np.int64)
    for image, texts in enumerate(captions):
        if texts:
            rows = codec.encode(texts[:count], longest + 1)[:, 1:]
            ids[image, : len(rows), : rows.shape[1]] = rows
    return ids
