"""What `medclip score` does between reading its options and showing the result."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.errors import ScoringError
from medclip_cli.private_files import open_private_text
from medclip_cli.scoring import plugins
from medclip_cli.scoring.bootstrap import confidence_intervals
from medclip_cli.scoring.captions import CaptionScores, score_captions
from medclip_cli.scoring.meteor import ABSENT, MeteorProgram, wanted_meteor
from medclip_cli.scoring.predictions import Predictions, parse_predictions, parse_references
from medclip_cli.scoring.score_table import table_of
from medclip_cli.scoring.significance import Difference, compare

if TYPE_CHECKING:
    from medclip_cli.scoring.clinical.findings import Vocabulary
    from medclip_cli.scoring.clinical.report import ClinicalScores

File = tuple[bytes, str]
"""Contents and name."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to score, and how.

    Attributes:
        tokenize: ``ptb``, ``none`` or ``13a``.
        meteor: True asks for METEOR, False leaves it out, None takes it where it is installed.
        scorers: names of plug-in scorers.
        clinical: whether fields and findings are scored.
        findings: a vocabulary file.
        resamples: of the bootstrap; 0 leaves intervals and tests out.
        seed: of the bootstrap.
    """

    tokenize: str = "ptb"
    meteor: bool | None = None
    scorers: tuple[str, ...] = ()
    clinical: bool = False
    findings: File | None = None
    resamples: int = 1_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rival:
    """Another system's captions of the same items.

    Attributes:
        name: of its file.
        scores: of its captions.
        differences: ours minus theirs, by score.
    """

    name: str
    scores: CaptionScores
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class ScoringRun:
    """What came out.

    Attributes:
        given: the items, and what had no counterpart.
        scores: of the captions.
        intervals: by score.
        clinical: fields and findings, if they were asked for.
        against: the comparison, if it was asked for.
        meteor_missing: why METEOR was left out, if it was not by choice.
    """

    given: Predictions
    scores: CaptionScores
    intervals: dict[str, tuple[float, float]]
    clinical: ClinicalScores | None = None
    against: Rival | None = None
    meteor_missing: str | None = None


def run(predictions: File, references: File | None, against: File | None, request: Request) -> ScoringRun:
    """Read, match and score.

    Raises:
        ScoringError: a file cannot be read or scored; METEOR is asked for and missing, or a scorer fails.
        UsageError: no such tokenizer or scorer.
    """
    known = parse_references(*references) if references else None
    given = parse_predictions(*predictions, references=known)
    program = wanted_meteor(request.meteor)
    scorers = plugins.load_scorers(request.scorers)
    scores = _score(given, request.tokenize, program, scorers)
    table = table_of(scores)
    result = ScoringRun(
        given=given,
        scores=scores,
        intervals=confidence_intervals(table, resamples=request.resamples, seed=request.seed)
        if request.resamples
        else {},
        meteor_missing=ABSENT if program is None and request.meteor is None else None,
    )
    if request.clinical:
        result = replace(result, clinical=_clinical(given, request.findings))
    if against is not None:
        rival = _paired(given, against)
        theirs = _score(rival, request.tokenize, program, scorers)
        found = compare(table, table_of(theirs), resamples=max(1, request.resamples), seed=request.seed)
        result = replace(result, against=Rival(against[1], theirs, found))
    return result


def _score(
    given: Predictions, tokenize: str, program: MeteorProgram | None, scorers: dict[str, plugins.Scorer]
) -> CaptionScores:
    captions = [item.prediction for item in given.items]
    references = [item.references for item in given.items]
    scores = score_captions(captions, references, tokenize=tokenize, meteor_program=program)
    for name, scorer in scorers.items():
        values = plugins.run_scorer(name, scorer, captions, references)
        scores = scores.with_score(name, values, plugins.variant_of(name, scorer))
    return scores


def _clinical(given: Predictions, findings: File | None) -> ClinicalScores:
    from medclip_cli.scoring.clinical.report import clinical_scores

    return clinical_scores(
        [item.prediction for item in given.items],
        [item.references for item in given.items],
        _vocabulary(findings) if findings else None,
    )


def _vocabulary(file: File) -> Vocabulary:
    from medclip_cli.scoring.clinical.findings import parse_vocabulary

    data, name = file
    return parse_vocabulary(data.decode("utf-8-sig", "replace"), name)


def _paired(given: Predictions, against: File) -> Predictions:
    """The other system's captions for our items, in our order, with our references."""
    references = {item.id: item.references for item in given.items}
    theirs = parse_predictions(*against, references=references)
    if theirs.missing:
        raise ScoringError(
            f"{against[1]} has no prediction for {len(theirs.missing)} of the items (the first is "
            f"{theirs.missing[0]!r}): a paired test needs both systems' answers to each"
        )
    of_id = {item.id: item for item in theirs.items}
    return Predictions(tuple(of_id[item.id] for item in given.items), ())


def as_json(run: ScoringRun) -> dict[str, Any]:
    """The report as one JSON object; see docs/scores.md."""
    report: dict[str, Any] = {
        "n": len(run.scores),
        "scores": run.scores.corpus,
        "intervals": run.intervals,
        "variants": run.scores.variants,
        "unmatched": [*run.given.unmatched, *run.given.missing],
        "empty_predictions": run.given.empty,
    }
    if run.clinical is not None:
        report["clinical"] = run.clinical.to_json()
    if run.against is not None:
        report["against"] = {
            "name": run.against.name,
            "scores": run.against.scores.corpus,
            "differences": {
                name: {"difference": found.value, "interval": found.interval, "p": found.p_value}
                for name, found in run.against.differences.items()
            },
        }
    return report


def write_items(path: Path, run: ScoringRun) -> None:
    """Write one JSON line an item, in the order of the input, beside the target first and then renamed.

    Raises:
        ScoringError: it cannot be written.
    """
    columns = [values.tolist() for values in run.scores.items.values()]
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open_private_text(partial) as file:
            for item, *values in zip(run.given.items, *columns, strict=True):
                file.write(
                    json.dumps({"id": item.id, **dict(zip(run.scores.items, values, strict=True))}) + "\n"
                )
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ScoringError(f"cannot write {path}: {error.strerror or error}") from error
