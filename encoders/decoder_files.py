"""What a decoder is called in the model folder, and what ``decoder.json`` says of it (no torch)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from encoders.errors import BundleError

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


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Everything about a decoder that is not a weight.

    Attributes:
        architecture: how to build the torch module again.
        grid: rows and columns of the image grid it looks at.
        max_tokens: longest caption it was trained on, start and end included.
        retrieve: captions of neighbours it reads; 0 for none.
        retrieved_tokens: tokens it reads of each.
        memory: names of the arrays it looks at, in order.
        state: names of the arrays it remembers, in order.
        trained_on: the corpus and the run.
        validation: scores on the validation split.
        format_version: of the file.
    """

    architecture: dict[str, Any]
    grid: tuple[int, int]
    max_tokens: int
    retrieve: int
    retrieved_tokens: int
    memory: tuple[str, ...]
    state: tuple[str, ...]
    trained_on: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

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
