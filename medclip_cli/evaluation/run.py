"""Evaluates a collection on a held-out split: captions and retrieval, beside baselines that need no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from medclip_cli.cleaning.corpus_builder import prepare_corpus
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CollectionError, CorpusError, UsageError
from medclip_cli.evaluation.answers import (
    FIELDS,
    METHODS,
    Prediction,
    baseline_captions,
    fields_of,
    generated_captions,
    neighbour_captions,
)
from medclip_cli.evaluation.report import EvaluationReport, compare_runs, read_run
from medclip_cli.progress import OnProgress, Progress, counted, log, no_progress
from medclip_cli.records import CaptionedImage
from medclip_cli.scoring.meteor import ABSENT, wanted_meteor
from medclip_cli.scoring.resampling import RESAMPLES, ScoreTable, compare, confidence_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medclip_cli.models import Model
    from medclip_cli.scoring.retrieval import RankedQueries
    from medclip_cli.vector_index.base import VectorIndex

    Vectors = NDArray[np.float32]

DEFAULT_METHODS = ("nearest", "consensus")
BREAKDOWNS = (*FIELDS, "category", "sex")
_NAMED_AT_MOST = 5
_OVERLAPS_LOOKED_AT = 1_000


class OpenCollection(Protocol):
    """An opened collection: what `medclip_cli.open_collection` returns, or anything like it."""

    @property
    def index(self) -> VectorIndex:
        """Its images and captions."""

    @property
    def model(self) -> Model:
        """The model that made it."""


def evaluate(  # noqa: PLR0913 - the options of the command
    corpus: Corpus | Path | str,
    collection: OpenCollection | str,
    *,
    split: str = "val",
    methods: Sequence[str] = DEFAULT_METHODS,
    skip_overlap: bool = True,
    by: Sequence[str] = (),
    against: Path | str | Mapping[str, Any] | None = None,
    meteor: bool | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: OnProgress = no_progress,
) -> EvaluationReport:
    """Caption every image of a split from a collection, and score the answers.

    No case is on both sides: no image is answered by a patient, case or article of the split, and the
    baselines draw from the same pool of known images as the model does.

    Args:
        corpus: where the split's images and captions are: a corpus, or a folder of images with captions.
        collection: that answers, opened or by name.
        split: the held-out split to evaluate.
        methods: that choose the caption: ``nearest``, ``consensus``, ``generate``.
        skip_overlap: leave patients or cases of the split out of the answers; otherwise a collection that
            holds any is an error.
        by: fields by whose values retrieval is broken down: modality, view, region, category, sex.
        against: an earlier run, to test the difference: its report as a dict, or the file of ``--json``.
        meteor: True requires METEOR, False leaves it out, None takes it where it is installed.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: of the bootstrap.
        on_progress: called after each image.

    Raises:
        UsageError: no such split, method or field.
        CorpusError: the split is empty or unreadable, or the collection knows no other case of this corpus.
        CollectionError: it holds cases of the split, and they are not to be left out.
        ModelError: captions are to be generated and the model has no decoder.
        ScoringError: METEOR is required and missing, or `against` is no run on the same items.
    """
    methods, by = _known(methods, METHODS, "method"), _known(by, BREAKDOWNS, "field")
    program = wanted_meteor(meteor)
    earlier = None if against is None else read_run(against)
    opened = prepare_corpus(corpus, on_progress=on_progress)
    wanted = opened.split(split)
    if not wanted:
        raise CorpusError(f"{opened.path} has no images in its {split} split: choose another split")
    with _opened(collection) as (index, model):
        _log_where_it_learned(model, opened)
        groups = frozenset(row.group for row in wanted)
        overlap = _held_groups(index, groups)
        if overlap and not skip_overlap:
            raise CollectionError(
                f"collection {index.info.name!r} holds {len(overlap)} cases of the {split} split "
                f"({_named(overlap)}): skip_overlap leaves them out, or index the train split alone"
            )
        rows, vectors, unreadable = _embed(opened, wanted, model, on_progress)
        pool = _known_images(opened, index, groups)
        excluded = groups if overlap else frozenset[str]()
        answers = _answers(methods, opened, rows, vectors, index, model, excluded)
        answers |= baseline_captions(opened, rows, pool)
        retrieval = _retrieve(vectors, model.embed_texts([row.caption for row in rows]), rows)
        info = index.info
    from medclip_cli.scoring.captions import score_captions

    references = [row.captions for row in rows]
    captions = {
        method: score_captions([answer.caption for answer in given], references, meteor_program=program)
        for method, given in answers.items()
    }
    tables = {method: ScoreTable.of(scores) for method, scores in captions.items()}
    first, *others = tables
    report = EvaluationReport(
        corpus=opened.name,
        split=split,
        collection=info.name,
        model=info.model_name,
        fingerprint=info.fingerprint,
        rows=rows,
        images=[opened.image_path(row) for row in rows],
        pool=len(pool),
        excluded_groups=overlap,
        unreadable=unreadable,
        answers=answers,
        captions=captions,
        retrieval=retrieval,
        by=by,
        intervals={
            method: confidence_intervals(table, resamples=resamples, seed=seed)
            for method, table in tables.items()
            if resamples
        },
        comparisons={
            other: compare(tables[first], tables[other], resamples=resamples, seed=seed)
            for other in others
            if resamples
        },
    )
    if earlier is not None:
        report = replace(report, against=compare_runs(report, earlier, resamples=resamples, seed=seed))
    if overlap:
        log.info(
            "The collection holds %s of the split: they are left out of the answers.",
            counted(len(overlap), "case"),
        )
    if program is None and meteor is None:
        log.info(ABSENT)
    for image, reason in unreadable.items():
        log.warning("%s: %s", image, reason)
    return report


def _known(names: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            raise UsageError(f"{what} {name!r} is not one of {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(names[:_NAMED_AT_MOST]) + more


@contextmanager
def _opened(collection: OpenCollection | str) -> Iterator[tuple[VectorIndex, Model]]:
    if not isinstance(collection, str):
        yield collection.index, collection.model
        return
    from medclip_cli.captioning import session
    from medclip_cli.settings import load_settings

    settings = load_settings({"collection": collection})
    with session.open_collection(settings) as index:
        yield index, session.open_matching_model(index.info, settings.model)


def _log_where_it_learned(model: Model, corpus: Corpus) -> None:
    """Say it when a model may have learned from the images of the split: other corpora have other splits."""
    learned = model.trained_on.get("corpus")
    if learned and learned != corpus.name:
        log.info(
            "Model %s was trained on corpus %s, not on %s: it may have been trained on shared images.",
            *(model.name, learned, corpus.name),
        )


def _held_groups(index: VectorIndex, groups: frozenset[str]) -> tuple[str, ...]:
    """The groups among these that the collection holds (the first thousand hits of them)."""
    from medclip_cli.vector_index.base import Condition, Query

    held = Condition("group", "any", tuple(sorted(groups)))
    anywhere = np.zeros(index.info.dim, dtype=np.float32)
    anywhere[0] = 1.0
    query = Query(image_vector=anywhere, top=_OVERLAPS_LOOKED_AT, where=(held,), exact=True)
    return tuple(sorted({neighbour.group for neighbour in index.query([query])[0]}))


def _embed(
    corpus: Corpus, wanted: Sequence[CaptionedImage], model: Model, on_progress: OnProgress
) -> tuple[list[CaptionedImage], Vectors, dict[str, str]]:
    """The rows whose images can be read, their vectors [n, d], and why the others cannot."""
    rows: list[CaptionedImage] = []
    vectors: list[Vectors] = []
    unreadable: dict[str, str] = {}
    for done, embedded in enumerate(model.embed_files(corpus.image_path(row) for row in wanted), 1):
        row = wanted[embedded.index]
        if embedded.vector is None:
            unreadable[row.id] = embedded.error or "unreadable"
        else:
            rows.append(row)
            vectors.append(embedded.vector)
        on_progress(Progress("Evaluating", done, len(wanted), len(unreadable)))
    if not rows:
        first = next(iter(unreadable.values()))
        raise CorpusError(
            f"none of the {len(wanted)} images can be read ({first}): is {corpus.image_root} there?"
        )
    return rows, np.stack(vectors), unreadable


def _known_images(corpus: Corpus, index: VectorIndex, groups: frozenset[str]) -> list[CaptionedImage]:
    """Return the records of this corpus that the collection holds, without the groups of the split."""
    source = index.info.corpora.get(corpus.name)
    known = [
        record
        for record in corpus.records
        if source and record.split in source.splits and record.group not in groups
    ]
    if not known:
        raise CorpusError(
            f"collection {index.info.name!r} holds no other case of corpus {corpus.name!r}: "
            f"index its train split with medclip index {quote(str(corpus.path))}"
        )
    return known


def _answers(
    methods: Sequence[str],
    corpus: Corpus,
    rows: Sequence[CaptionedImage],
    vectors: Vectors,
    index: VectorIndex,
    model: Model,
    excluded: frozenset[str],
) -> dict[str, list[Prediction]]:
    from medclip_cli.captioning.consensus import POOL
    from medclip_cli.vector_index.base import Query

    queries = [Query(image_vector=vector, top=POOL, exclude_groups=excluded) for vector in vectors]
    neighbours = index.query(queries) if set(methods) != {"generate"} else []
    paths = [corpus.image_path(row) for row in rows]
    return {
        method: generated_captions(paths, index, model, excluded)
        if method == "generate"
        else neighbour_captions(method, neighbours, index.info)
        for method in methods
    }


def _retrieve(images: Vectors, texts: Vectors, rows: Sequence[CaptionedImage]) -> dict[str, RankedQueries]:
    """Retrieve within the split. Equal captions cannot be distinguished, so any of them is a right answer."""
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
