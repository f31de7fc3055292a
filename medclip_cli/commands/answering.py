"""From the neighbours of one image to its answer: the caption, how sure it is, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError

if TYPE_CHECKING:
    from medclip_cli.captioning.calibration import Calibration
    from medclip_cli.captioning.votes import Vote
    from medclip_cli.engines import Model, Vectors
    from medclip_cli.records import Neighbour
    from medclip_cli.vector_index.base import Condition, VectorIndex

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
    """

    caption: str | None
    method: str
    score: float | None = None
    confidence: float | None = None
    votes: dict[str, Vote] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answerer:
    """Answers by one method, as its model was calibrated.

    Attributes:
        method: that chooses the caption.
        calibration: of the model, if it has one.
        min_confidence: an answer that is less sure than this is none.
    """

    method: str
    calibration: Calibration | None
    min_confidence: float = 0.0

    @property
    def neighbours(self) -> int:
        """How many neighbours an answer is made of."""
        from medclip_cli.captioning.consensus import NEIGHBOURS

        return self.calibration.neighbours if self.calibration else NEIGHBOURS

    def answer(self, neighbours: Sequence[Neighbour], scores: Sequence[float]) -> Answer:
        """Answer for one image.

        Args:
            neighbours: that may answer, nearest first, at least one.
            scores: of the nearest of all known images, also those that may not answer: what is far from the
                CT scans asked for may be near to others, and no stranger.
        """
        from medclip_cli.captioning.confidence import features_of

        chosen, support, votes = choose(self.method, neighbours[: self.neighbours])
        best = neighbours[chosen]
        if self.calibration is None:
            return Answer(best.caption, self.method, best.score, votes=votes)
        features = features_of([n.score for n in neighbours[: self.neighbours]], votes, support)
        confidence = self.calibration.confidence(self.method, features)
        reason = self._doubt(scores, confidence)
        return Answer(None if reason else best.caption, self.method, best.score, confidence, votes, reason)

    def _doubt(self, scores: Sequence[float], confidence: float | None) -> str | None:
        assert self.calibration is not None
        if self.calibration.is_foreign(scores):
            return f"{NO_MATCH}: the image is further from everything known than scans are"
        if confidence is not None and confidence < self.min_confidence:
            return f"{NO_MATCH}: confidence {confidence:.2f} is under {self.min_confidence:g}"
        return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a collection for each image.

    Attributes:
        answerer: makes the answer.
        where: filters; all must hold.
        top: how many neighbours are shown.
        min_score: neighbours with a lower score neither answer nor are shown.
    """

    answerer: Answerer
    where: tuple[Condition, ...] = ()
    top: int = 5
    min_score: float | None = None


def ask(index: VectorIndex, vector: Vectors, asked: Asked) -> tuple[Answer, list[Neighbour]]:
    """Ask a collection about one image.

    Returns:
        The answer, and the neighbours to show.
    """
    from medclip_cli.vector_index.base import Query

    answerer = asked.answerer
    most = max(asked.top, answerer.neighbours)
    queries = [Query(image_vector=vector, top=most, where=asked.where, min_score=asked.min_score)]
    if asked.where or asked.min_score is not None:
        queries.append(Query(image_vector=vector, top=answerer.neighbours))
    neighbours, *unfiltered = index.query(queries)
    if not neighbours:
        return Answer(None, answerer.method, reason=_why_nothing(asked.min_score)), []
    scores = [neighbour.score for neighbour in (unfiltered[0] if unfiltered else neighbours)]
    return answerer.answer(neighbours, scores), neighbours[: asked.top]


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


def make_answerer(model: Model, method: str, min_confidence: float | None) -> Answerer:
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
    if method == "auto":
        method = measured.best_method if measured else "nearest"
    return Answerer(method, measured, min_confidence or 0.0)
