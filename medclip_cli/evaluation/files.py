"""Writes the page and the charts of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclip_cli.errors import ScoringError

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.evaluation.run import Evaluation
    from medclip_cli.pages.reports import ShownItem

SHOWN_ITEMS = 20
RANKED_BY = "rouge_l"  # lies between 0 and 1 for every item, unlike CIDEr


def write_page_and_plots(
    result: Evaluation, report: Mapping[str, Any], corpus: Corpus, page: Path | None, plots: Path | None
) -> None:
    """Write what was asked for, each file beside its target first and then renamed.

    Args:
        result: the evaluation.
        report: the same as plain values.
        corpus: what was judged.
        page: where the page goes, if anywhere.
        plots: the folder for the charts, if any.

    Raises:
        MedclipError: a file cannot be written.
    """
    if page is None and plots is None:
        return
    from medclip_cli.pages.charts import evaluation_charts, write_charts
    from medclip_cli.pages.html import write_page
    from medclip_cli.pages.reports import evaluation_page

    method = next(iter(result.captions))
    values = result.captions[method].items[RANKED_BY]
    answers = result.answers[method]
    confidence = [(a.score, float(v)) for a, v in zip(answers, values, strict=True) if a.score is not None]
    charts = evaluation_charts(report, confidence)
    try:
        if plots is not None:
            write_charts(plots, charts)
        if page is not None:
            order = np.argsort(-values, kind="stable").tolist()
            best = _shown(result, corpus, method, order[:SHOWN_ITEMS])
            worst = _shown(result, corpus, method, order[::-1][:SHOWN_ITEMS])
            write_page(page, evaluation_page(report, charts, best, worst))
    except OSError as error:
        raise ScoringError(f"cannot write {error.filename or page or plots}: {error.strerror}") from error


def _shown(result: Evaluation, corpus: Corpus, method: str, chosen: Sequence[int]) -> list[ShownItem]:
    from medclip_cli.pages.reports import ShownItem

    answers, values = result.answers[method], result.captions[method].items[RANKED_BY]
    return [
        ShownItem(
            id=result.rows[i].id,
            reference=result.rows[i].caption,
            caption=answers[i].caption,
            score=float(values[i]),
            image=corpus.image_path(result.rows[i]),
            neighbour=answers[i].image,
        )
        for i in chosen
    ]
