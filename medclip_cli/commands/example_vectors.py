"""From the words and example images of a search to the vectors that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medclip_cli.commands import asking
from medclip_cli.errors import MedclipError, UsageError

if TYPE_CHECKING:
    from medclip_cli.engines import Model, Vectors
    from medclip_cli.vector_index.base import CollectionInfo, Query


def with_vectors(
    query: Query,
    like: Sequence[Path],
    unlike: Sequence[Path],
    combine: Literal["mean", "rrf"],
    info: CollectionInfo,
    model_path: Path | None,
) -> Query:
    """Embed what the query compares; words alone, in mode ``words``, need no model at all.

    Raises:
        UsageError: there is nothing to look for.
        MedclipError: an example image cannot be read.
    """
    from medclip_cli.vector_index.examples import combine as amid

    words = (query.words or "").strip()
    if not (words or like or unlike):
        raise UsageError("nothing to look for: give words, or --image FILE")
    if query.mode == "words" and not (like or unlike):
        return query
    model = asking.open_matching_model(info, model_path)
    if words:
        query = replace(query, text_vector=model.embed_texts([words])[0])
    if not (like or unlike):
        return query
    wanted, unwanted = _embed(model, like), _embed(model, unlike)
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
