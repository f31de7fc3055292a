"""The report of an evaluation: what `--json` prints and `--against` reads, tables, charts and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip_cli.errors import ScoringError
from medclip_cli.evaluation.answers import BASELINES, FIELDS, Prediction, fields_of
from medclip_cli.scoring.clinical import field_agreement, label_scores
from medclip_cli.scoring.resampling import RESAMPLES, Difference, Interval, ScoreTable, compare
from medclip_cli.scoring.retrieval import RankedQueries

if TYPE_CHECKING:
    import pandas as pd

    from medclip_cli.pages.charts import Chart
    from medclip_cli.records import CaptionedImage
    from medclip_cli.scoring.captions import CaptionScores

FORMAT_VERSION = 1
CURVE = tuple(range(1, 51))
CSV_COLUMNS = ("part", "what", "score", "value", "low", "high", "n")
EXAMPLES = 20
RANKED_BY = "rouge_l"  # between 0 and 1 for every item, unlike CIDEr
# What others have published of captioning by retrieval, by data set, shown beside ours with a warning. A
# score whose variant is not named keeps the name it was given.
PUBLISHED: Mapping[str, Sequence[dict[str, Any]]] = {
    "medpix": (
        {
            "name": "MedCLIP on MedPix, its README",
            "source": "https://github.com/Mauville/MedCLIP",
            "scores": {"rouge": 0.61},
            "note": "published, not comparable: which ROUGE is not said, and its split is by image, so that "
            "a case is on both sides",
        },
        {
            "name": "MedCLIP on MedPix, its report",
            "source": "https://github.com/Mauville/MedCLIP",
            "scores": {"bleu1": 0.567, "bleu4": 0.347, "rouge_l": 0.582, "meteor": 0.267, "cider": 0.428},
            "note": "published, not comparable: 114 captions of other images, from a pool that held the "
            "query's own case",
        },
    )
}


@dataclass(frozen=True, slots=True)
class RunComparison:
    """This run beside an earlier one."""

    run: str  # the name of its file
    model: str | None  # that it evaluated
    differences: dict[str, dict[str, Difference]]  # this run minus that, by method and score

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"run": self.run, "model": self.model, "differences": _plain(self.differences)}


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What came out of one evaluation.

    Attributes:
        corpus: its name.
        split: which split was evaluated.
        collection: that answered.
        model: that made the collection.
        fingerprint: of the model.
        rows: the images that could be read.
        images: their files.
        pool: how many known images could answer.
        excluded_groups: of the split that the collection holds; they were left out of the answers.
        unreadable: images that could not be read, with the reason.
        answers: by method, in the order of the rows: the model's methods, then the baselines.
        captions: scores by method.
        retrieval: ranks by direction, over the split alone.
        by: fields by whose values retrieval is broken down.
        intervals: 95 %, by method and score; empty without resamples.
        comparisons: the first method minus each of the others, by score; empty without resamples.
        against: the comparison with an earlier run, if one was given.
    """

    corpus: str
    split: str
    collection: str
    model: str
    fingerprint: str
    rows: list[CaptionedImage]
    images: list[Path]
    pool: int
    excluded_groups: tuple[str, ...]
    unreadable: dict[str, str]
    answers: dict[str, list[Prediction]]
    captions: dict[str, CaptionScores]
    retrieval: dict[str, RankedQueries]
    by: tuple[str, ...]
    intervals: dict[str, dict[str, Interval]]
    comparisons: dict[str, dict[str, Difference]]
    against: RunComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that `medclip evaluate --json` prints; see docs/scores.md."""
        true = [fields_of(row) for row in self.rows]
        findings = [frozenset(row.findings) for row in self.rows]
        sources = {row.source for row in self.rows}
        report: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "corpus": self.corpus,
            "split": self.split,
            "collection": self.collection,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "n": len(self.rows),
            "pool": self.pool,
            "excluded_groups": list(self.excluded_groups),
            "captions": {
                method: {**scores.corpus, "distinct": len({one.caption for one in self.answers[method]})}
                for method, scores in self.captions.items()
            },
            "intervals": self.intervals,
            "comparisons": _plain(self.comparisons),
            "fields": {
                method: {
                    name: agreement.to_dict()
                    for name, agreement in field_agreement([one.fields for one in answers], true).items()
                }
                for method, answers in self.answers.items()
            },
            "findings": {
                method: label_scores(
                    [frozenset(one.fields.get("findings") or ()) for one in answers], findings
                ).to_dict()
                for method, answers in self.answers.items()
                if any(findings)
            },
            "retrieval": {name: ranked.scores() for name, ranked in self.retrieval.items()},
            "recall_curve": {name: ranked.curve(CURVE) for name, ranked in self.retrieval.items()},
            "by": {field: self._retrieval_by(field) for field in self.by},
            "published": [
                figure
                for data_set, figures in PUBLISHED.items()
                if any(source.startswith(data_set) for source in sources)
                for figure in figures
            ],
            "variants": next(iter(self.captions.values())).variants,
            "unreadable": self.unreadable,
            "items": {
                "ids": [row.id for row in self.rows],
                "methods": {
                    method: ScoreTable.of(scores).to_dict()
                    for method, scores in self.captions.items()
                    if method not in BASELINES
                },
            },
        }
        return report if self.against is None else report | {"against": self.against.to_dict()}

    def _retrieval_by(self, field: str) -> dict[str, Any]:
        """Retrieval of the queries with each value of a field, against the whole pool."""
        of_row = np.array([str(getattr(row, field) or "-") for row in self.rows])
        return {
            str(value): {
                name: ranked.only(of_row == value).scores() for name, ranked in self.retrieval.items()
            }
            for value in np.unique(of_row)
        }

    def to_pandas(self) -> pd.DataFrame:
        """A row for each method, with a column for each score of its captions."""
        import pandas as pd

        rows = self.to_dict()["captions"]
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    def retrieval_to_pandas(self) -> pd.DataFrame:
        """A row for each direction of retrieval, and for each value of the fields it is broken down by."""
        import pandas as pd

        rows = [
            {"part": part, "direction": direction, **scores}
            for part, directions in _retrieval_parts(self.to_dict())
            for direction, scores in directions.items()
        ]
        return pd.DataFrame(rows).set_index(["part", "direction"])

    def items_to_pandas(self) -> pd.DataFrame:
        """A row for each image and method: the true caption, the answer and its scores."""
        import pandas as pd

        rows = [
            {"id": row.id, "method": method, "reference": row.caption, "caption": answer.caption}
            | {name: float(values[number]) for name, values in self.captions[method].items.items()}
            for method, answers in self.answers.items()
            for number, (row, answer) in enumerate(zip(self.rows, answers, strict=True))
        ]
        return pd.DataFrame(rows)

    def to_csv(self) -> str:
        """The numbers as a table: part, what, score, value, interval, n."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(_csv_rows(self.to_dict()))
        return out.getvalue()

    def _repr_html_(self) -> str:
        from medclip_cli.pages import report_html

        return report_html(self.to_dict())

    def charts(self) -> dict[str, Chart]:
        """The charts by name: scores by method, recall by k, score by similarity."""
        from medclip_cli.pages.charts import evaluation_charts

        method = next(iter(self.captions))
        values = self.captions[method].items[RANKED_BY].tolist()
        similar = [
            (one.score, value)
            for one, value in zip(self.answers[method], values, strict=True)
            if one.score is not None
        ]
        return evaluation_charts(self.to_dict(), similar)

    def write_html(self, path: Path | str) -> None:
        """Write one self-contained page: tables, charts, the best and the worst captions.

        It holds captions and pictures: only its owner may read it.

        Raises:
            ScoringError: it cannot be written.
        """
        from medclip_cli.pages import evaluation_page, write_page
        from medclip_cli.pages.reports import ShownItem

        method = next(iter(self.captions))
        values, answers = self.captions[method].items[RANKED_BY], self.answers[method]
        order = np.argsort(-values, kind="stable").tolist()
        best, worst = (
            [
                ShownItem(
                    id=self.rows[i].id,
                    reference=self.rows[i].caption,
                    caption=answers[i].caption,
                    score=float(values[i]),
                    image=self.images[i],
                    neighbour=answers[i].image,
                )
                for i in chosen[:EXAMPLES]
            ]
            for chosen in (order, order[::-1])
        )
        try:
            write_page(Path(path), evaluation_page(self.to_dict(), self.charts(), best, worst))
        except OSError as error:
            raise ScoringError(f"cannot write {error.filename or path}: {error.strerror}") from error

    def write_charts(self, folder: Path | str) -> None:
        """Write the charts as SVG and PNG.

        Raises:
            ScoringError: one cannot be written.
        """
        from medclip_cli.pages.charts import write_charts

        try:
            write_charts(Path(folder), self.charts())
        except OSError as error:
            raise ScoringError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def read_run(source: Path | str | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return what an earlier run is called, and its report.

    Args:
        source: what `medclip evaluate --json` printed, or `EvaluationReport.to_dict` returned.

    Raises:
        ScoringError: it is no such file.
    """
    name = "against" if isinstance(source, Mapping) else Path(source).name
    try:
        run = source if isinstance(source, Mapping) else json.loads(Path(source).read_text(encoding="utf-8"))
        run["items"]["ids"], run["items"]["methods"]
    except OSError as error:
        raise ScoringError(f"cannot read {source}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ScoringError(
            f"{name} is no run: save one with medclip evaluate CORPUS --json > {name}"
        ) from error
    return name, run


def compare_runs(
    report: EvaluationReport,
    earlier: tuple[str, Mapping[str, Any]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RunComparison:
    """Compare a run with an earlier one, method by method, item by item.

    Args:
        report: of this run.
        earlier: of `read_run`.
        resamples: of intervals and tests.
        seed: of the resampling.

    Raises:
        ScoringError: the earlier run is of other items.
    """
    name, run = earlier
    theirs = {identity: number for number, identity in enumerate(run["items"]["ids"])}
    ours = [row.id for row in report.rows]
    new = [identity for identity in ours if identity not in theirs]
    if new or len(theirs) != len(ours):
        raise ScoringError(
            f"{name} has {len(theirs)} items, this run {len(ours)}, of which {len(new)} are new: "
            "a paired test needs both runs on the same split of the same corpus"
        )
    order = [theirs[identity] for identity in ours]
    differences = {}
    for method, scores in report.captions.items():
        if method in BASELINES or method not in run["items"]["methods"]:
            continue
        try:
            then = ScoreTable.from_dict(run["items"]["methods"][method])
        except ValueError as error:
            raise ScoringError(f"{name}: {error}") from error
        # Stored tables are rounded, so this run is compared as it would be stored.
        now = ScoreTable.from_dict(ScoreTable.of(scores).to_dict())
        then = ScoreTable(then.means, then.columns[order])
        differences[method] = compare(now, then, resamples=resamples, seed=seed)
    return RunComparison(name, run.get("model"), differences)


def _plain(differences: Mapping[str, Mapping[str, Difference]]) -> dict[str, Any]:
    return {
        method: {name: one.to_dict() for name, one in found.items()} for method, found in differences.items()
    }


def _csv_rows(report: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for method, scores in report["captions"].items():
        for name, value in scores.items():
            interval = report["intervals"].get(method, {}).get(name, ("", ""))
            yield ("captions", method, name, value, *interval, report["n"])
    for figure in report["published"]:
        for name, value in figure["scores"].items():
            yield (figure["note"], figure["name"], name, value, "", "", "")
    for method, fields in report["fields"].items():
        for name in (name for name in FIELDS if name in fields):
            yield ("fields", method, name, fields[name]["agreement"], "", "", fields[name]["n"])
    for part, directions in _retrieval_parts(report):
        for direction, scores in directions.items():
            for name in (name for name in scores if name not in ("queries", "pool")):
                yield (part, direction, name, scores[name], "", "", scores["queries"])


def _retrieval_parts(report: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "retrieval", report["retrieval"]
    for field, values in report["by"].items():
        for value, directions in values.items():
            yield f"retrieval {field}={value}", directions
