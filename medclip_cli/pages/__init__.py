"""HTML pages, and fragments of them for notebooks.

Nothing here knows of collections or models: callers say what is to be shown as `Card` and `AnswerCard`.

    cards([Card("scan.png", caption="Axial CT", rank=1)])    hits of a search
    answers([AnswerCard("scan.png", ["scan.png"], "Axial CT", neighbours=[...])])    answers, and why
    report_html(report.to_dict())    the tables of an evaluation
    table_html("Splits", ("split", "images"), rows)    any table

Each returns a fragment for `_repr_html_`, its style in it and every value escaped. Pictures are JPEG bytes or
paths of image files; a path is read when the fragment is made, and one that cannot be read is said to be.
"""

from medclip_cli.pages.answers import AnswerCard, Attention, Card, answers, cards, open_gallery
from medclip_cli.pages.html import check_page, table_html, write_page
from medclip_cli.pages.reports import corpus_page, evaluation_page, report_html

__all__ = [
    "AnswerCard",
    "Attention",
    "Card",
    "answers",
    "cards",
    "check_page",
    "corpus_page",
    "evaluation_page",
    "open_gallery",
    "report_html",
    "table_html",
    "write_page",
]
