"""From the neighbours of one image to its answer: the caption, how sure it is, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medclip_cli.captioning.calibration import Calibration
    from medclip_cli.captioning.votes import Vote
    from medclip_cli.models import (
        Captioner,
        Embedded,
        EncodedImage,
        GeneratedCaption,
        GenerationOptions,
        Model,
        Source,
    )
    from medclip_cli.records import Neighbour
    from medclip_cli.vector_index.base import Condition, VectorIndex

BATCH_SIZE = 8  # small, so that the first answer of a long list comes soon
NO_MATCH = "no reliable match"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one image.

    Attributes:
        caption: None where no answer is better than a wrong one.
        method: that made it.
        score: cosine similarity of the neighbour whose caption it is.
        confidence: probability that its modality, view and region are right; None where nobody measured it.
        votes: of the neighbours on each field.
        reason: why there is no caption.
        written: captions a decoder wrote, best first.
    """

    caption: str | None
    method: str
    score: float | None = None
    confidence: float | None = None
    votes: dict[str, Vote] = field(default_factory=dict)
    reason: str | None = None
    written: tuple[GeneratedCaption, ...] = ()


@dataclass(frozen=True, slots=True)
class Predictor:
    """Answers by one method, as its model was calibrated.

    Attributes:
        method: that chooses the caption.
        calibration: of the model, if it has one.
        min_confidence: an answer that is less sure than this is none.
    """

    method: str
    calibration: Calibration | None
    min_confidence: float = 0.0

    def answer(
        self,
        neighbours: Sequence[Neighbour],
        scores: Sequence[float],
        written: Sequence[GeneratedCaption] = (),
        square: NDArray[np.uint8] | None = None,
    ) -> Answer:
        """Answer for one image.

        Args:
            neighbours: that may answer, nearest first, at least one.
            scores: of the nearest of all known images, also those that may not answer: what is far from the
                CT scans asked for may be near to others, and no stranger.
            written: captions a decoder wrote, best first; they are the answer where there are any.
            square: the picture, to tell a scan from what is none.
        """
        from medclip_cli.captioning.confidence import features_of
        from medclip_cli.captioning.consensus import distinct

        near = distinct(neighbours)
        if written:
            caption, best = written[0].caption, neighbours[0]
            support, votes = support_of(caption, near)
        else:
            chosen, support, votes = choose(self.method, near)
            caption, best = near[chosen].caption, near[chosen]
        confidence = reason = None
        if self.calibration is not None:
            features = features_of([neighbour.score for neighbour in near], votes, support)
            confidence = self.calibration.confidence(self.method, features)
            reason = self._doubt(scores, square, confidence)
        return Answer(
            None if reason else caption, self.method, best.score, confidence, votes, reason, tuple(written)
        )

    def _doubt(
        self, scores: Sequence[float], square: NDArray[np.uint8] | None, confidence: float | None
    ) -> str | None:
        assert self.calibration is not None
        if self.calibration.looks_foreign(square):
            return f"{NO_MATCH}: the image does not look like the scans that are known"
        if self.calibration.is_far(scores):
            return f"{NO_MATCH}: the image is further from everything known than scans are"
        if confidence is not None and confidence < self.min_confidence:
            return f"{NO_MATCH}: confidence {confidence:.2f} is under {self.min_confidence:g}"
        return None


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """What is asked of a collection for each image.

    Attributes:
        answerer: makes the answer.
        where: filters; all must hold.
        top: how many neighbours are shown.
        min_score: neighbours with a lower score neither answer nor are shown.
        writing: how a decoder searches for captions.
        own_group: patient, case or article of an image, where it is known: it must not answer for itself.
    """

    answerer: Predictor
    where: tuple[Condition, ...] = ()
    top: int = 5
    min_score: float | None = None
    writing: GenerationOptions | None = None
    own_group: Callable[[Source], frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image with its answer.

    Attributes:
        embedded: which image, or why it cannot be read.
        answer: None where it cannot be read.
        neighbours: to show.
    """

    embedded: Embedded
    answer: Answer | None = None
    neighbours: list[Neighbour] = field(default_factory=list)


def answer_files(
    index: VectorIndex, model: Model, sources: Iterable[Source], asked: PredictionRequest
) -> Iterator[Prediction]:
    """Answer for each image file, in order.

    Raises:
        ModelError: captions are to be written and the model has no decoder.
    """
    if asked.answerer.method != "generate":
        for embedded in model.embed_files(sources, BATCH_SIZE):
            if embedded.vector is None:
                yield Prediction(embedded)
            else:
                yield _answer(embedded, *_near(index, embedded, asked), (), asked)
        return
    from medclip_cli.models import open_captioner

    captioner = open_captioner(model.path)
    looked = captioner.encode_files(sources, BATCH_SIZE)
    while batch := list(islice(looked, BATCH_SIZE)):
        yield from _write_and_answer(index, captioner, batch, asked)


def _write_and_answer(
    index: VectorIndex, captioner: Captioner, batch: Sequence[EncodedImage], asked: PredictionRequest
) -> Iterator[Prediction]:
    import numpy as np

    from medclip_cli.captioning.consensus import distinct

    near = {
        seen.embedded.index: _near(index, seen.embedded, asked)
        for seen in batch
        if seen.embedded.vector is not None
    }
    grids = [seen.grid for seen in batch if seen.grid is not None]
    texts = [[neighbour.caption for neighbour in distinct(found)] for found, _ in near.values()]
    assert asked.writing is not None
    written = iter(captioner.write(np.stack(grids), texts, asked.writing) if grids else ())
    for seen in batch:
        if seen.grid is None:
            yield Prediction(seen.embedded)
        else:
            yield _answer(seen.embedded, *near[seen.embedded.index], next(written), asked)


def _near(
    index: VectorIndex, embedded: Embedded, asked: PredictionRequest
) -> tuple[list[Neighbour], list[float]]:
    """The neighbours that may answer, and the scores of the nearest of all known images."""
    from medclip_cli.captioning.consensus import POOL
    from medclip_cli.vector_index.base import Query

    vector, most = embedded.vector, max(asked.top, POOL)
    own = asked.own_group(embedded.source) if asked.own_group else frozenset[str]()
    queries = [
        Query(
            image_vector=vector,
            top=most,
            where=asked.where,
            min_score=asked.min_score,
            exclude_groups=own,
        )
    ]
    if asked.where or asked.min_score is not None:
        queries.append(Query(image_vector=vector, top=POOL, exclude_groups=own))
    neighbours, *unfiltered = index.query(queries)
    return neighbours, [neighbour.score for neighbour in (unfiltered[0] if unfiltered else neighbours)]


def _answer(
    embedded: Embedded,
    neighbours: list[Neighbour],
    scores: list[float],
    written: Sequence[GeneratedCaption],
    asked: PredictionRequest,
) -> Prediction:
    if not neighbours:
        nothing = Answer(None, asked.answerer.method, reason=_why_nothing(asked.min_score))
        return Prediction(embedded, nothing)
    answer = asked.answerer.answer(neighbours, scores, written, embedded.image)
    return Prediction(embedded, answer, neighbours[: asked.top])


def _why_nothing(min_score: float | None) -> str:
    if min_score is not None:
        return f"no known image that matches scores {min_score:g} or more"
    return "no known image matches the conditions"


def choose(method: str, neighbours: Sequence[Neighbour]) -> tuple[int, float, dict[str, Vote]]:
    """Choose a caption among the neighbours'.

    Returns:
        Which one, how much the neighbours support it (0 to 1), and their votes on the fields.
    """
    from medclip_cli.captioning.consensus import consensus, similarity_weights
    from medclip_cli.captioning.votes import vote

    weights = similarity_weights([neighbour.score for neighbour in neighbours])
    agreed = consensus([neighbour.caption for neighbour in neighbours], weights)
    chosen = agreed.index if method == "consensus" else 0
    votes = vote([neighbour.fields for neighbour in neighbours], weights)
    return chosen, float(agreed.support[chosen]), votes


def support_of(caption: str, neighbours: Sequence[Neighbour]) -> tuple[float, dict[str, Vote]]:
    """How much the neighbours support a caption that none of them need have, and their votes."""
    from medclip_cli.captioning.consensus import similarity_weights
    from medclip_cli.captioning.kernels import bleu_kernel
    from medclip_cli.captioning.votes import vote

    weights = similarity_weights([neighbour.score for neighbour in neighbours])
    likeness = bleu_kernel([caption, *(neighbour.caption for neighbour in neighbours)])[0, 1:]
    return float(likeness @ weights), vote([neighbour.fields for neighbour in neighbours], weights)


def make_predictor(model: Model, method: str, min_confidence: float | None) -> Predictor:
    """Settle what ``auto`` means for this model.

    Raises:
        UsageError: a confidence is asked for, and nobody measured any.
        ModelError: the model's calibration is damaged.
    """
    from medclip_cli.captioning import calibration

    text = model.read_addition(calibration.FILE_NAME)
    measured = calibration.Calibration.from_json(text) if text is not None else None
    if measured is None and min_confidence is not None:
        raise UsageError(
            f"model {model.name} has no measure of confidence: run medclip train confidence CORPUS "
            f"--model {model.path}, or leave out --min-confidence"
        )
    if measured is not None and min_confidence is not None and not measured.knows_confidence:
        raise UsageError(
            f"model {model.name} has no measure of confidence: too few val images of {measured.corpus} have "
            "a modality, view or region to judge answers by; leave out --min-confidence"
        )
    if method == "auto":
        method = measured.best_method if measured else "nearest"
    return Predictor(method, measured, min_confidence or 0.0)
