"""How close predicted captions come to the true ones: `score`, the library function and the command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.errors import ScoringError
from medclip_cli.private_files import open_private_text
from medclip_cli.progress import counted, log
from medclip_cli.scoring import meteor as meteor_scorer
from medclip_cli.scoring import plugins
from medclip_cli.scoring.captions import CaptionScores, score_captions
from medclip_cli.scoring.predictions import (
    Captions,
    File,
    Predictions,
    read_file,
    read_predictions,
    read_references,
)
from medclip_cli.scoring.resampling import (
    RESAMPLES,
    Difference,
    Interval,
    ScoreTable,
    compare,
    confidence_intervals,
)

if TYPE_CHECKING:
    import pandas as pd

    from medclip_cli.scoring.clinical import ClinicalScores

_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another system's captions of the same items."""

    name: str  # of its file, or ``against``
    scores: CaptionScores  # of its captions
    differences: dict[str, Difference]  # ours minus theirs, by score


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What came out of scoring.

    Attributes:
        predictions: the items that were scored, and the ids that had no counterpart.
        captions: every score, of the corpus and of each item.
        intervals: 95 % of each score of the corpus; empty without resamples.
        clinical: fields and findings, if requested.
        against: the comparison with another system, if one was given.
    """

    predictions: Predictions
    captions: CaptionScores
    intervals: dict[str, Interval]
    clinical: ClinicalScores | None = None
    against: Comparison | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The value of each score over all items."""
        return self.captions.corpus

    @property
    def unmatched(self) -> list[str]:
        """Ids without a counterpart; they were not scored."""
        return [*self.predictions.unmatched, *self.predictions.missing]

    def to_dict(self) -> dict[str, Any]:
        """The object that `medclip score --json` prints; see docs/scores.md."""
        report: dict[str, Any] = {
            "n": len(self.captions),
            "scores": self.scores,
            "intervals": self.intervals,
            "variants": self.captions.variants,
            "unmatched": self.unmatched,
            "empty_predictions": self.predictions.empty,
        }
        if self.clinical is not None:
            report["clinical"] = self.clinical.to_dict()
        if self.against is not None:
            report["against"] = {
                "name": self.against.name,
                "scores": self.against.scores.corpus,
                "differences": {name: found.to_dict() for name, found in self.against.differences.items()},
            }
        return report

    def to_pandas(self) -> pd.DataFrame:
        """A row for each score: its value, its interval and which variant it is."""
        import pandas as pd

        rows = {
            name: (value, *self.intervals.get(name, (None, None)), self.captions.variant_of(name))
            for name, value in self.scores.items()
        }
        columns = ["value", "low", "high", "variant"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("score")

    def items_to_pandas(self) -> pd.DataFrame:
        """A row for each item, by id, with a column for each score."""
        import pandas as pd

        ids = pd.Index([item.id for item in self.predictions.items], name="id")
        return pd.DataFrame(self.captions.items, index=ids)

    def _repr_html_(self) -> str:
        return self.to_pandas().to_html(float_format="{:.3f}".format, na_rep="")

    def write_items(self, path: Path) -> None:
        """Write one JSON line an item, in their order, beside the target first and then renamed.

        Raises:
            ScoringError: it cannot be written.
        """
        columns = [values.tolist() for values in self.captions.items.values()]
        partial = path.with_name(f".{path.name}.partial")
        try:
            with open_private_text(partial) as file:
                for item, *values in zip(self.predictions.items, *columns, strict=True):
                    scores = dict(zip(self.captions.items, values, strict=True))
                    file.write(json.dumps({"id": item.id, **scores}) + "\n")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ScoringError(f"cannot write {path}: {error.strerror or error}") from error


def score(  # noqa: PLR0913 - the options of the command
    predictions: Captions,
    references: Captions | None = None,
    *,
    tokenize: str = "ptb",
    meteor: bool | None = None,
    scorers: Sequence[str] = (),
    clinical: bool = False,
    findings: File | Mapping[str, Iterable[str]] | None = None,
    against: Captions | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ScoreReport:
    """Score captions of any system as COCO caption evaluation does: BLEU, ROUGE-L, METEOR, CIDEr.

    Captions may be a list, a dict by id, a pandas DataFrame or list of records with ``id``, ``prediction``
    and ``references``, or a file of such records (JSON Lines, JSON, CSV, COCO).

    Args:
        predictions: the captions to score.
        references: the true captions, one or several of each; without them each record brings its own.
        tokenize: ``ptb`` (COCO's), ``none`` (already tokens) or ``13a`` (sacrebleu's).
        meteor: True requires METEOR, False leaves it out, None takes it where it is installed.
        scorers: names of scorers that installed packages offer.
        clinical: whether fields and findings that the captions name are scored, too.
        findings: to look for: synonyms by name, or a file of ``name: synonym, synonym`` lines.
        against: another system's captions of the same items, to test the difference.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: of the bootstrap.

    Raises:
        ScoringError: captions cannot be read or scored; METEOR is required and missing, or a scorer fails.
        UsageError: no such file, tokenizer or scorer.

    >>> report = score(["a mass in the lung"], ["a mass in the left lung"], meteor=False)
    >>> round(report.scores["bleu1"], 4)
    0.8187
    """
    if isinstance(predictions, list) and isinstance(references, list) and len(predictions) != len(references):
        raise ScoringError(
            f"{len(predictions)} predictions but {len(references)} sets of references: they must pair up"
        )
    known = None if references is None else read_references(references)
    given = read_predictions(predictions, known)
    program = meteor_scorer.wanted_meteor(meteor)
    loaded = plugins.load_scorers(scorers)
    truths = [item.references for item in given.items]

    def scored(items: Predictions) -> CaptionScores:
        captions = [item.prediction for item in items.items]
        scores = score_captions(captions, truths, tokenize=tokenize, meteor_program=program)
        for name, scorer in loaded.items():
            values = plugins.run_scorer(name, scorer, captions, truths)
            scores = scores.with_score(name, values, plugins.variant_of(name, scorer))
        return scores

    scores = scored(given)
    table = ScoreTable.of(scores)
    comparison = None
    if against is not None:
        rival = _paired(given, against)
        theirs = scored(rival)
        differences = compare(table, ScoreTable.of(theirs), resamples=resamples, seed=seed)
        comparison = Comparison(rival.name, theirs, differences)
    if program is None and meteor is None:
        log.info(meteor_scorer.ABSENT)
    _log_what_scores_hide(given)
    return ScoreReport(
        predictions=given,
        captions=scores,
        intervals=confidence_intervals(table, resamples=resamples, seed=seed),
        clinical=_clinical(given, findings) if clinical or findings is not None else None,
        against=comparison,
    )


def _paired(given: Predictions, against: Captions) -> Predictions:
    """The other system's captions for our items, in our order, with our references."""
    theirs = read_predictions(against, {item.id: item.references for item in given.items}, "against")
    if theirs.missing:
        raise ScoringError(
            f"{theirs.name} has no prediction for {len(theirs.missing)} of the items (the first is "
            f"{theirs.missing[0]!r}): a paired test needs both systems' answers to each"
        )
    of_id = {item.id: item for item in theirs.items}
    return replace(theirs, items=tuple(of_id[item.id] for item in given.items))


def _clinical(given: Predictions, findings: File | Mapping[str, Iterable[str]] | None) -> ClinicalScores:
    from medclip_cli.scoring.clinical import clinical_scores
    from medclip_cli.scoring.clinical_words import parse_vocabulary, vocabulary_of

    vocabulary = None
    if isinstance(findings, Mapping):
        vocabulary = vocabulary_of("findings", findings)
    elif findings is not None:
        name, data = read_file(findings)
        vocabulary = parse_vocabulary(data.decode("utf-8-sig", "replace"), name)
    captions = [item.prediction for item in given.items]
    return clinical_scores(captions, [item.references for item in given.items], vocabulary)


def _log_what_scores_hide(given: Predictions) -> None:
    if given.empty:
        log.info("%s are empty; they score 0 and count in every mean", counted(given.empty, "prediction"))
    for ids, what in ((given.unmatched, "no reference"), (given.missing, "no prediction")):
        if ids:
            more = f" and {len(ids) - _NAMED_AT_MOST} more" if len(ids) > _NAMED_AT_MOST else ""
            named = ", ".join(ids[:_NAMED_AT_MOST])
            log.warning("%d items have %s and were not scored: %s%s", len(ids), what, named, more)
