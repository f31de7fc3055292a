"""Judges a collection on a held-out split: captions and retrieval, beside what needs no model at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip_cli.errors import CorpusError
from medclip_cli.records import CaptionedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.engines import Model
    from medclip_cli.scoring.captions import CaptionScores
    from medclip_cli.scoring.retrieval import RetrievalScores
    from medclip_cli.vector_index.base import VectorIndex

    Vectors = NDArray[np.float32]

THUMBNAIL_SIDE = 32
FLOOR_SEED = 0
Advance = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out of one evaluation.

    Attributes:
        split: which split was judged.
        queries: how many of its images could be read and were asked.
        pool: how many known images could answer.
        unreadable: images that could not be read, with the reason.
        captions: scores by method: ``nearest`` is the model, the others are floors and an oracle.
        distinct: how many different captions each method gave.
        retrieval: scores by direction, over the split alone.
        chance: recall by direction of an order drawn at random.
    """

    split: str
    queries: int
    pool: int
    unreadable: dict[str, str]
    captions: dict[str, CaptionScores]
    distinct: dict[str, int]
    retrieval: dict[str, RetrievalScores]
    chance: dict[str, dict[int, float]]


def evaluate_split(
    corpus: Corpus, index: VectorIndex, model: Model, split: str, on_image: Advance = lambda: None
) -> Evaluation:
    """Ask a collection for the caption of every image of a split, and score the answers.

    No case is on both sides: an image is never answered by its own patient, case or article, and the floors
    draw from the same pool of known images as the model does.

    Args:
        corpus: where the split's images and captions are.
        index: the collection that answers.
        model: the model that made it.
        split: the split to judge.
        on_image: called after each image.

    Raises:
        CorpusError: the split is empty or unreadable, or the collection knows no other case of this corpus.
    """
    asked = corpus.split(split)
    if not asked:
        raise CorpusError(f"{corpus.path} has no images in its {split} split: choose another --split")
    rows, vectors, unreadable = _embed(corpus, asked, model, on_image)
    pool = _known_images(corpus, index, {row.group for row in asked})
    candidates = {
        "nearest": _ask(index, rows, vectors),
        **_floors(corpus, rows, pool),
    }
    scores = _score(candidates, [row.captions for row in rows])
    retrieval, chance = _retrieve(vectors, model.embed_texts([row.caption for row in rows]), rows)
    distinct = {method: len(set(captions)) for method, captions in candidates.items()}
    return Evaluation(split, len(rows), len(pool), unreadable, scores, distinct, retrieval, chance)


def _embed(
    corpus: Corpus, asked: Sequence[CaptionedImage], model: Model, on_image: Advance
) -> tuple[list[CaptionedImage], Vectors, dict[str, str]]:
    rows, vectors, unreadable = [], [], {}
    for embedded in model.embed_files(corpus.image_path(row) for row in asked):
        row = asked[embedded.index]
        if embedded.vector is None:
            unreadable[row.id] = embedded.error or "unreadable"
        else:
            rows.append(row)
            vectors.append(embedded.vector)
        on_image()
    if not rows:
        first = next(iter(unreadable.values()))
        raise CorpusError(
            f"none of the {len(asked)} images can be read ({first}): is {corpus.image_root} there?"
        )
    return rows, np.stack(vectors), unreadable


def _known_images(corpus: Corpus, index: VectorIndex, asked_groups: set[str]) -> list[CaptionedImage]:
    """Return the records of this corpus that the collection holds, without the groups being judged."""
    source = index.info.corpora.get(corpus.name)
    known = [
        record
        for record in corpus.records
        if source and record.split in source.splits and record.group not in asked_groups
    ]
    if not known:
        raise CorpusError(
            f"collection {index.info.name!r} holds no other case of corpus {corpus.name!r}: "
            f"index its train split with medclip index {corpus.path}"
        )
    return known


def _ask(index: VectorIndex, rows: Sequence[CaptionedImage], vectors: Vectors) -> list[str]:
    from medclip_cli.vector_index.base import Query

    answers = index.query(
        [
            Query(image_vector=vector, top=1, exclude_groups=frozenset({row.group}))
            for row, vector in zip(rows, vectors, strict=True)
        ]
    )
    return [neighbours[0].caption if neighbours else "" for neighbours in answers]


def _floors(corpus: Corpus, rows: list[CaptionedImage], pool: list[CaptionedImage]) -> dict[str, list[str]]:
    from medclip_cli.scoring import floors

    rng = np.random.default_rng(FLOOR_SEED)
    chosen = {
        "random": floors.random_floor(len(rows), len(pool), rng),
        "most_frequent": floors.most_frequent_floor(len(rows), [record.caption for record in pool]),
        "pixel_nearest": floors.pixel_nearest_floor(_thumbnails(corpus, rows), _thumbnails(corpus, pool)),
        "same_fields_oracle": floors.same_fields_oracle(
            [_fields(row) for row in rows], [_fields(record) for record in pool], rng
        ),
    }
    return {method: [pool[i].caption for i in picks] for method, picks in chosen.items()}


def _fields(record: CaptionedImage) -> tuple[str | None, ...]:
    return record.modality, record.view, record.region


def _thumbnails(corpus: Corpus, records: Sequence[CaptionedImage]) -> NDArray[np.uint8]:
    from medclip_cli.engines import grey_thumbnails

    paths: list[Path] = [corpus.image_path(record) for record in records]
    return grey_thumbnails(paths, THUMBNAIL_SIDE)


def _score(candidates: dict[str, list[str]], references: list[tuple[str, ...]]) -> dict[str, CaptionScores]:
    from medclip_cli.scoring.captions import score_captions

    return {method: score_captions(captions, references) for method, captions in candidates.items()}


def _retrieve(
    images: Vectors, texts: Vectors, rows: Sequence[CaptionedImage]
) -> tuple[dict[str, RetrievalScores], dict[str, dict[int, float]]]:
    """Retrieve within the split. Equal captions cannot be told apart, so any of them is a right answer."""
    from medclip_cli.scoring.retrieval import both_directions, chance_recall, relevance_of

    captions = [row.caption for row in rows]
    chance = chance_recall(relevance_of(captions, captions))
    return both_directions(images, texts, captions), {"image_to_text": chance, "text_to_image": chance}


def as_json(evaluation: Evaluation, corpus: Corpus, index: VectorIndex) -> dict[str, Any]:
    """Return the evaluation as one JSON object."""
    info = index.info
    return {
        "corpus": corpus.name,
        "split": evaluation.split,
        "collection": info.name,
        "model": info.model_name,
        "fingerprint": info.fingerprint,
        "n": evaluation.queries,
        "pool": evaluation.pool,
        "captions": {
            method: {**scores.corpus, "distinct": evaluation.distinct[method]}
            for method, scores in evaluation.captions.items()
        },
        "retrieval": {
            direction: {
                **{f"r@{k}": value for k, value in scores.recall.items()},
                **{f"chance_r@{k}": value for k, value in evaluation.chance[direction].items()},
                "median_rank": scores.median_rank,
                "mean_rank": scores.mean_rank,
                "mrr": scores.mrr,
                "pool": scores.pool,
            }
            for direction, scores in evaluation.retrieval.items()
        },
        "variants": next(iter(evaluation.captions.values())).variants,
        "unreadable": evaluation.unreadable,
    }
