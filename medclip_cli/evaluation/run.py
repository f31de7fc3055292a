"""Judges a collection on a held-out split: captions and retrieval, beside what needs no model at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from medclip_cli.errors import CollectionError, CorpusError, UsageError
from medclip_cli.evaluation import answers as answering
from medclip_cli.evaluation.answers import FIELDS, METHODS, Answer, fields_of
from medclip_cli.records import CaptionedImage, Neighbour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model
    from medclip_cli.scoring.captions import CaptionScores
    from medclip_cli.scoring.meteor import MeteorProgram
    from medclip_cli.scoring.retrieval import RankedQueries
    from medclip_cli.vector_index.base import VectorIndex

    Vectors = NDArray[np.float32]

DEFAULT_METHODS = ("nearest", "consensus")
BREAKDOWNS = (*FIELDS, "category", "sex")
NAMED_AT_MOST = 5
_OVERLAPS_LOOKED_AT = 1_000
Advance = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Request:
    """What to judge, and how.

    Attributes:
        split: the split whose images are asked.
        methods: which of `METHODS` choose the caption.
        exclude_groups: leave patients or cases of the split out of the answers; otherwise refuse to judge a
            collection that holds any.
        meteor: the program to score METEOR with, if at all.
    """

    split: str = "val"
    methods: tuple[str, ...] = DEFAULT_METHODS
    exclude_groups: bool = True
    meteor: MeteorProgram | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out of one evaluation.

    Attributes:
        split: which split was judged.
        rows: its images that could be read and were asked.
        pool: how many known images could answer.
        overlap: groups of the split that the collection holds; they were left out of the answers.
        unreadable: images that could not be read, with the reason.
        answers: by method, in the order of the rows; `METHODS` are the model's, `BASELINES` need none.
        captions: scores by method.
        retrieval: ranks by direction, over the split alone.
    """

    split: str
    rows: list[CaptionedImage]
    pool: int
    overlap: tuple[str, ...]
    unreadable: dict[str, str]
    answers: dict[str, list[Answer]]
    captions: dict[str, CaptionScores]
    retrieval: dict[str, RankedQueries]

    @property
    def distinct(self) -> dict[str, int]:
        """How many different captions each method gave."""
        return {
            method: len({answer.caption for answer in answers}) for method, answers in self.answers.items()
        }


def methods_named(names: Sequence[str] | None) -> tuple[str, ...]:
    """The methods asked for, in that order; nearest and consensus unless any is named.

    Raises:
        UsageError: no method has this name.
    """
    return _known(names or DEFAULT_METHODS, METHODS, "method")


def fields_named(names: Sequence[str] | None) -> tuple[str, ...]:
    """The fields to break retrieval down by.

    Raises:
        UsageError: it cannot be broken down by one of them.
    """
    return _known(names or (), BREAKDOWNS, "field")


def _known(names: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise UsageError(f"unknown {what} {name!r}: choose of {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def evaluate_split(
    corpus: Corpus, index: VectorIndex, model: Model, request: Request, on_image: Advance = lambda: None
) -> Evaluation:
    """Ask a collection for the caption of every image of a split, and score the answers.

    No case is on both sides: no image is answered by a patient, case or article of the split, and the
    baselines draw from the same pool of known images as the model does.

    Args:
        corpus: where the split's images and captions are.
        index: the collection that answers.
        model: the model that made it.
        request: what to judge, and how.
        on_image: called after each image.

    Raises:
        CorpusError: the split is empty or unreadable, or the collection knows no other case of this corpus.
        CollectionError: it holds cases of the split, and they are not to be left out.
    """
    asked = corpus.split(request.split)
    if not asked:
        raise CorpusError(f"{corpus.path} has no images in its {request.split} split: choose another --split")
    groups = frozenset(row.group for row in asked)
    overlap = _held_groups(index, groups)
    if overlap and not request.exclude_groups:
        raise CollectionError(_overlap_message(index, request.split, overlap))
    rows, vectors, unreadable = _embed(corpus, asked, model, on_image)
    pool = _known_images(corpus, index, groups)
    neighbours = _ask(index, vectors, groups if overlap else frozenset())
    answers = {
        **{method: _answers(method, corpus, rows, neighbours, index, model) for method in request.methods},
        **answering.baseline_answers(corpus, rows, pool),
    }
    return Evaluation(
        split=request.split,
        rows=rows,
        pool=len(pool),
        overlap=overlap,
        unreadable=unreadable,
        answers=answers,
        captions=_score(answers, [row.captions for row in rows], request.meteor),
        retrieval=_retrieve(vectors, model.embed_texts([row.caption for row in rows]), rows),
    )


def _held_groups(index: VectorIndex, groups: frozenset[str]) -> tuple[str, ...]:
    """The groups among these that the collection holds (the first thousand hits of them)."""
    from medclip_cli.vector_index.base import Condition, Query

    held = Condition("group", "any", tuple(sorted(groups)))
    anywhere = np.zeros(index.info.dim, dtype=np.float32)
    anywhere[0] = 1.0
    query = Query(image_vector=anywhere, top=_OVERLAPS_LOOKED_AT, where=(held,), exact=True)
    return tuple(sorted({neighbour.group for neighbour in index.query([query])[0]}))


def _overlap_message(index: VectorIndex, split: str, overlap: Sequence[str]) -> str:
    named = ", ".join(overlap[:NAMED_AT_MOST])
    more = f" and {len(overlap) - NAMED_AT_MOST} more" if len(overlap) > NAMED_AT_MOST else ""
    return (
        f"collection {index.info.name!r} holds {len(overlap)} cases of the {split} split ({named}{more}): "
        "leave them out with --skip-overlap, or index the train split alone"
    )


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


def _known_images(corpus: Corpus, index: VectorIndex, asked_groups: frozenset[str]) -> list[CaptionedImage]:
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
            f"index its train split with medclip index {quote(str(corpus.path))}"
        )
    return known


def _ask(index: VectorIndex, vectors: Vectors, excluded: frozenset[str]) -> list[list[Neighbour]]:
    from medclip_cli.captioning.consensus import POOL
    from medclip_cli.vector_index.base import Query

    return index.query([Query(image_vector=vector, top=POOL, exclude_groups=excluded) for vector in vectors])


def _answers(
    method: str,
    corpus: Corpus,
    rows: Sequence[CaptionedImage],
    neighbours: list[list[Neighbour]],
    index: VectorIndex,
    model: Model,
) -> list[Answer]:
    if method == "generate":
        paths = [corpus.image_path(row) for row in rows]
        return list(answering.written(paths, neighbours, model.path))
    return answering.looked_up(method, neighbours, index.info)


def _score(
    answers: dict[str, list[Answer]], references: list[tuple[str, ...]], program: MeteorProgram | None
) -> dict[str, CaptionScores]:
    from medclip_cli.scoring.captions import score_captions

    return {
        method: score_captions([answer.caption for answer in given], references, meteor_program=program)
        for method, given in answers.items()
    }


def _retrieve(images: Vectors, texts: Vectors, rows: Sequence[CaptionedImage]) -> dict[str, RankedQueries]:
    """Retrieve within the split. Equal captions cannot be told apart, so any of them is a right answer."""
    from medclip_cli.scoring.retrieval import rank_queries

    captions = [row.caption for row in rows]
    labels = [_labels(row) for row in rows]
    groups = (captions, captions)
    return {
        "image_to_text": rank_queries(images, texts, groups, (labels, labels)),
        "text_to_image": rank_queries(texts, images, groups, (labels, labels)),
    }


def _labels(row: CaptionedImage) -> frozenset[str]:
    """What two images may share: modality, view, region, category, findings."""
    fields = {**fields_of(row), "category": row.category}
    known = {f"{name}={value}" for name, value in fields.items() if value}
    return frozenset(known | {f"finding={finding}" for finding in row.findings})
