"""From the words and example images of a search to the vectors that are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medclip_cli.errors import MedclipError

if TYPE_CHECKING:
    from medclip_cli.models import Model, Vectors
    from medclip_cli.vector_index.base import Query


def with_words(query: Query, words: str, open_model: Callable[[], Model]) -> Query:
    """Look for words; by the captions' words alone, in mode ``words``, that needs no model at all."""
    query = replace(query, words=words)
    if query.mode == "words":
        return query
    return replace(query, text_vector=open_model().embed_texts([words])[0])


def with_examples(
    query: Query,
    like: Sequence[Path],
    unlike: Sequence[Path],
    combine: Literal["mean", "rrf"],
    open_model: Callable[[], Model],
) -> Query:
    """Look for what is like some images and unlike others.

    Raises:
        MedclipError: an example image cannot be read.
    """
    from medclip_cli.vector_index.queries import combine as amid

    if not (like or unlike):
        return query
    wanted, unwanted = _embed(open_model(), like), _embed(open_model(), unlike)
    if combine == "rrf" and not unwanted:
        return replace(query, image_vector=wanted[0], examples=tuple(wanted[1:]))
    return replace(query, image_vector=amid(wanted, unwanted))


def _embed(model: Model, images: Sequence[Path]) -> list[Vectors]:
    vectors = []
    for embedded in model.embed_files(images):
        if embedded.vector is None:
            raise MedclipError(f"{embedded.source}: {embedded.error}")
        vectors.append(embedded.vector)
    return vectors
