"""What a model folder says of itself, for people: no weight is loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclip_cli.engines import model_errors


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says of itself, read without loading a weight.

    Attributes:
        path: the folder.
        name: the folder's own name.
        fingerprint: of its weights and preprocessing.
        preset: it was made from.
        image_encoder: name of the image tower.
        text_encoder: name of the text tower.
        dim: length of its vectors.
        image_size: side of the square that its image tower sees, in pixels.
        max_tokens: longest caption it reads.
        trained_on: the corpus and the run.
        validation: scores on the validation split.
        files: size in bytes of each of its files.
    """

    path: Path
    name: str
    fingerprint: str
    preset: str
    image_encoder: str
    text_encoder: str
    dim: int
    image_size: int
    max_tokens: int
    trained_on: Mapping[str, Any]
    validation: Mapping[str, Any]
    files: Mapping[str, int]

    @property
    def can(self) -> tuple[str, ...]:
        """What it can do besides finding look-alikes: ``generate`` captions, say its ``confidence``."""
        abilities = {"generate": "decoder.json", "confidence": "captioning.json"}
        return tuple(ability for ability, file in abilities.items() if file in self.files)


def describe_model(path: Path) -> ModelFacts:
    """Read what a model folder says of itself.

    Raises:
        ModelError: the folder is missing, incomplete or altered.
    """
    from encoders.bundle import ModelBundle

    with model_errors():
        bundle = ModelBundle.open(path)
    config = bundle.config
    return ModelFacts(
        path=path.absolute(),
        name=bundle.name,
        fingerprint=bundle.fingerprint,
        preset=config.preset,
        image_encoder=config.image_encoder,
        text_encoder=config.text_encoder,
        dim=config.embedding_dim,
        image_size=config.image.size,
        max_tokens=config.max_tokens,
        trained_on=config.trained_on,
        validation=config.validation,
        files={name: record.bytes for name, record in config.files.items()},
    )
