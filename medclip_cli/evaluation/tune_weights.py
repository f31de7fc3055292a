"""What `collections tune` asks and how it judges the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import CorpusError

if TYPE_CHECKING:
    from medclip_cli.records import CaptionedImage, Neighbour
    from medclip_cli.vector_index.store import StoreLocation
    from medclip_cli.vector_index.tuning import WeightScore

JUDGED_FIELDS = ("modality", "view", "region", "category")


def learn_weights(
    place: StoreLocation, name: str, source: Path, split: str, model: Path | None, top: int
) -> list[WeightScore]:
    """Score each pair of weights by what the captions of a held-out split find.

    A question never finds its own patient, case or article.

    Args:
        place: where the collection lies.
        name: of the collection.
        source: the corpus.
        split: the split whose captions are asked.
        model: the model folder; None takes the collection's.
        top: how many answers are judged.

    Raises:
        CorpusError: the split is empty, or nothing is known of its images that answers could be judged by.
    """
    from medclip_cli.captioning.session import open_matching_model
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.vector_index.base import Query
    from medclip_cli.vector_index.store import open_collection
    from medclip_cli.vector_index.tuning import score_weights

    asked = Corpus.open(source).split(split)
    if not asked:
        raise CorpusError(f"{source} has no images in its {split} split: choose another --split")
    if not any(_fields(record) for record in asked):
        raise CorpusError(
            f"{source} has no {', '.join(JUDGED_FIELDS[:-1])} or {JUDGED_FIELDS[-1]} in its {split} split: "
            "there is nothing to judge answers by"
        )
    with open_collection(place, name) as index:
        encoder = open_matching_model(index.info, model)
        vectors = encoder.embed_texts([record.caption for record in asked])
        questions = [
            Query(
                text_vector=vector,
                words=record.caption,
                mode="hybrid",
                top=top,
                exclude_groups=frozenset({record.group}),
            )
            for record, vector in zip(asked, vectors, strict=True)
        ]
        return score_weights(index, questions, lambda number, answer: shared_fields(asked, number, answer))


def shared_fields(asked: Sequence[CaptionedImage], number: int, answer: Neighbour) -> float:
    """Return the share of the question's known fields that an answer has in common with it."""
    known = _fields(asked[number])
    shared = [answer.fields.get(field) == value for field, value in known.items()]
    return float(sum(shared)) / max(1, len(known))


def _fields(record: CaptionedImage) -> dict[str, str]:
    from medclip_cli.captioning.consensus import known_fields

    return known_fields(record, JUDGED_FIELDS)
