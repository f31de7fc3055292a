"""No caption, name or number of a data set becomes markup, in any page; nor a command to a terminal."""

import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medclip_cli import pages
from medclip_cli.pages.answers import AnswerCard, Attention, Card
from medclip_cli.pages.html import macros
from medclip_cli.pages.reports import ShownItem, corpus_page, evaluation_page
from medclip_cli.terminal import console, json_output, tables
from tests.medclip_cli.robustness.damage import HOSTILE_TEXTS

from .browser import Browser

MARKUP = (
    "<script>alert(1)</script>",
    "</style><script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</title><svg/onload=alert(1)>",
    "<!--",
    "]]>",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "http://evil.example/x.png",
)
texts = st.one_of(
    st.sampled_from((*MARKUP, *HOSTILE_TEXTS)),
    st.text(st.sampled_from("<>&\"'/=` \n\x00\x1b\u202eabc\ud800"), max_size=30),
    st.lists(st.sampled_from(MARKUP), max_size=3).map("".join),
)


def answers(text):
    card = Card(b"jpeg", text, text, 1, text, [text, text], lent_caption=True)
    answer = AnswerCard(
        text, [b"scan"], text, text, text, 0.5, [(text, text, 0.5)], [card, Card(text, text)],
        [Attention(text, np.ones((2, 2), dtype=np.float32))],
    )  # fmt: skip
    without = AnswerCard(text, reason=text)
    top, bottom = macros().page_top(text, text), macros().page_bottom([text, text])
    return top + pages.answers([answer, without]) + pages.cards([card], text) + bottom


def table(text):
    return pages.table_html(text, (text, text), [(text, text), (text, (text, text))])


def corpus(text):
    counts = {text: 3}
    described = {
        **{"name": text, "caption_style": text, "images": 3, "groups": 2, "different_captions": 1},
        **{"vocabulary": 5, "duplicate_images": 0, "splits": {text: {"images": 3}}},
        "caption_words": {"shortest": 1, "longest": 2, "median": 1},
        **dict.fromkeys(("modalities", "views", "regions", "sources", "findings"), counts),
        "samples": [{"id": text, "modality": text, "split": text, "caption": text}],
    }
    return corpus_page(described, [b"jpeg"])


def evaluation(text):
    scores = dict.fromkeys(("bleu1", "bleu4", "rouge_l", "cider"), 0.5)
    direction = dict.fromkeys(("r@1", "r@5", "r@10", "chance_r@1", "chance_r@5", "chance_r@10"), 0.5)
    direction |= dict.fromkeys(("median_rank", "mean_rank", "mrr", "map", "ndcg@10", "queries", "pool"), 2.0)
    confusion = {"values": [text, "b"], "counts": [[3, 1], [0, 5]]}
    report = {
        **dict.fromkeys(("corpus", "split", "collection", "model", "fingerprint"), text),
        **{"n": 9, "pool": 30, "excluded_groups": [text], "unreadable": {text: text}},
        "captions": {"nearest": {**scores, "distinct": 7}},
        "intervals": {"nearest": {name: (0.1, 0.9) for name in scores}},
        "comparisons": {},
        "fields": {"nearest": {text: {"n": 9, "agreement": 0.5, "confusion": confusion}}},
        "retrieval": {"image_to_text": direction, "text_to_image": direction},
        "by": {text: {text: {"image_to_text": direction}}},
        "published": [{"name": text, "scores": {"bleu1": 0.5}, "note": text}],
        "variants": {text: text},
    }
    item = ShownItem(text, text, text, 0.5, b"jpeg", b"jpeg")
    return evaluation_page(report, {}, [item], [item]) + pages.report_html(report)


PAGES = {page.__name__: page for page in (answers, table, corpus, evaluation)}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts)
def test_text_never_becomes_markup(page, text):
    plain, hostile = Browser(page("plain")), Browser(page(text))
    assert set(hostile.tags) <= set(plain.tags)
    assert hostile.handlers == []
    assert all(address.startswith("data:image/") for address in hostile.addresses)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", hostile.text)


@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_text_never_commands_a_terminal(text):
    for out, is_terminal in ((io.StringIO(), True), (io.StringIO(), False)):
        out.isatty = lambda is_terminal=is_terminal: is_terminal
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", out)
            patch.setenv("TERM", "dumb")
            console.forget_streams()
            tables.show(text, (text, "n"), [(text, 1)])
            console.note(text)
            console.warn(text)
            console.out(text)
            json_output.write({text: text})
            console.forget_streams()
        shown = out.getvalue().replace("\n", "")
        assert not [c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160]
        shown.encode("utf-8")
