"""An evaluation as one plain object: what `--json` prints, `--against` reads, and pages are drawn from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip_cli.errors import ScoringError
from medclip_cli.evaluation.answers import BASELINES, FIELDS, fields_of
from medclip_cli.evaluation.run import Evaluation
from medclip_cli.scoring.clinical import field_agreement, label_scores
from medclip_cli.scoring.published import published_for
from medclip_cli.scoring.resampling import Difference, ScoreTable, compare, confidence_intervals
from medclip_cli.scoring.retrieval import RankedQueries, chance_recall

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.vector_index.base import CollectionInfo

FORMAT_VERSION = 1
CURVE = tuple(range(1, 51))
CSV_COLUMNS = ("part", "what", "score", "value", "low", "high", "n")


def build_report(
    result: Evaluation,
    corpus: Corpus,
    info: CollectionInfo,
    *,
    by: Sequence[str] = (),
    resamples: int = 1_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the evaluation as one JSON object; see docs/scores.md.

    Args:
        result: the evaluation.
        corpus: what was judged.
        info: of the collection that answered.
        by: fields by whose values retrieval is broken down.
        resamples: of intervals and tests; 0 leaves them out.
        seed: of the resampling.
    """
    tables = {method: ScoreTable.of(scores) for method, scores in result.captions.items()}
    first = next(iter(tables))
    return {
        "format": FORMAT_VERSION,
        "corpus": corpus.name,
        "split": result.split,
        "collection": info.name,
        "model": info.model_name,
        "fingerprint": info.fingerprint,
        "n": len(result.rows),
        "pool": result.pool,
        "excluded_groups": list(result.overlap),
        "captions": {
            method: {**scores.corpus, "distinct": result.distinct[method]}
            for method, scores in result.captions.items()
        },
        "intervals": {
            method: confidence_intervals(table, resamples=resamples, seed=seed)
            for method, table in tables.items()
            if resamples
        },
        "comparisons": {
            other: _differences(compare(tables[first], table, resamples=resamples, seed=seed))
            for other, table in tables.items()
            if resamples and other != first
        },
        "fields": _fields(result),
        "findings": _findings(result),
        "retrieval": {name: _retrieval(ranked) for name, ranked in result.retrieval.items()},
        "recall_curve": {name: _curve(ranked) for name, ranked in result.retrieval.items()},
        "by": {field: _by(result, field) for field in by},
        "published": [figure.to_json() for figure in published_for(row.source for row in result.rows)],
        "variants": result.captions[first].variants,
        "unreadable": result.unreadable,
        "items": {
            "ids": [row.id for row in result.rows],
            "methods": {method: tables[method].to_dict() for method in tables if method not in BASELINES},
        },
    }


def _differences(found: dict[str, Difference]) -> dict[str, Any]:
    return {
        name: {"difference": one.value, "interval": one.interval, "p": one.p_value}
        for name, one in found.items()
    }


def _fields(result: Evaluation) -> dict[str, Any]:
    true = [fields_of(row) for row in result.rows]
    return {
        method: {
            name: agreement.to_dict()
            for name, agreement in field_agreement([answer.fields for answer in answers], true).items()
        }
        for method, answers in result.answers.items()
    }


def _findings(result: Evaluation) -> dict[str, Any]:
    if not any(row.findings for row in result.rows):
        return {}
    true = [frozenset(row.findings) for row in result.rows]
    return {
        method: label_scores(
            [frozenset(answer.fields.get("findings") or ()) for answer in answers], true
        ).to_dict()
        for method, answers in result.answers.items()
    }


def _retrieval(ranked: RankedQueries) -> dict[str, Any]:
    scores = ranked.scores()
    return {
        **{f"r@{k}": value for k, value in scores.recall.items()},
        **{f"chance_r@{k}": value for k, value in scores.chance.items()},
        "median_rank": scores.median_rank,
        "mean_rank": scores.mean_rank,
        "mrr": scores.mrr,
        "map": scores.mean_average_precision,
        "ndcg@10": scores.ndcg,
        "queries": scores.queries,
        "pool": scores.pool,
    }


def _curve(ranked: RankedQueries) -> dict[str, list[float]]:
    ks = [k for k in CURVE if k <= ranked.pool]
    return {
        "k": [float(k) for k in ks],
        "recall": list(ranked.recall(ks).values()),
        "chance": list(chance_recall(ranked.right, ranked.pool, ks).values()) if ks else [],
    }


def _by(result: Evaluation, field: str) -> dict[str, Any]:
    """Retrieval of the queries with each value of a field, against the whole pool."""
    of_row = np.array([str(getattr(row, field) or "-") for row in result.rows])
    return {
        str(value): {
            name: _retrieval(ranked.only(of_row == value)) for name, ranked in result.retrieval.items()
        }
        for value in np.unique(of_row)
    }


def compare_runs(
    report: dict[str, Any], path: Path, *, resamples: int = 1_000, seed: int = 0
) -> dict[str, Any]:
    """Compare this run with an earlier one, method by method, item by item.

    Args:
        report: of `build_report`.
        path: what `medclip evaluate --json` printed before.
        resamples: of intervals and tests.
        seed: of the resampling.

    Raises:
        ScoringError: it is no such file, or speaks of other items.
    """
    earlier = _read_run(path)
    theirs = {identity: place for place, identity in enumerate(earlier["items"]["ids"])}
    ours = report["items"]["ids"]
    strangers = [identity for identity in ours if identity not in theirs]
    if strangers or len(theirs) != len(ours):
        raise ScoringError(
            f"{path} judged {len(theirs)} items, this run {len(ours)}, of which {len(strangers)} are new: "
            "a paired test needs both runs on the same split of the same corpus"
        )
    order = [theirs[identity] for identity in ours]
    found = {}
    for method in report["items"]["methods"]:
        if method in earlier["items"]["methods"]:
            now = ScoreTable.from_dict(report["items"]["methods"][method])
            then = _stored_table(earlier["items"]["methods"][method], path)
            then = ScoreTable(then.means, then.columns[order])
            found[method] = _differences(compare(now, then, resamples=max(1, resamples), seed=seed))
    return {"run": path.name, "model": earlier.get("model"), "differences": found}


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        run["items"]["ids"], run["items"]["methods"]
    except OSError as error:
        raise ScoringError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ScoringError(
            f"{path} is no run: save one with medclip evaluate ... --json > {path.name}"
        ) from error
    return run


def _stored_table(stored: dict[str, Any], path: Path) -> ScoreTable:
    try:
        return ScoreTable.from_dict(stored)
    except ValueError as error:
        raise ScoringError(f"{path}: {error}") from error


def as_csv(report: dict[str, Any]) -> str:
    """The numbers of a report as a table: part, what, score, value, interval, n."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_caption_rows(report))
    writer.writerows(_field_rows(report))
    writer.writerows(_retrieval_rows(report))
    return out.getvalue()


def _caption_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for method, scores in report["captions"].items():
        for name, value in scores.items():
            interval = report["intervals"].get(method, {}).get(name, ("", ""))
            yield ("captions", method, name, value, *interval, report["n"])
    for figure in report["published"]:
        for name, value in figure["scores"].items():
            yield (figure["note"], figure["name"], name, value, "", "", "")


def _field_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for method, fields in report["fields"].items():
        for name in (name for name in FIELDS if name in fields):
            yield ("fields", method, name, fields[name]["agreement"], "", "", fields[name]["n"])


def _retrieval_rows(report: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for part, directions in _retrieval_parts(report):
        for direction, scores in directions.items():
            for name in (name for name in scores if name not in ("queries", "pool")):
                yield (part, direction, name, scores[name], "", "", scores["queries"])


def _retrieval_parts(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    broken_down = [
        (f"retrieval {field}={value}", directions)
        for field, values in report["by"].items()
        for value, directions in values.items()
    ]
    return [("retrieval", report["retrieval"]), *broken_down]
