"""No caption, name or number of a data set becomes markup, in any page; nor a command to a terminal."""

import io
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medclip_cli.pages.corpus_page import corpus_page
from medclip_cli.pages.evaluation_page import ShownItem, evaluation_page
from medclip_cli.pages.explanation_page import Explanation, ShownNeighbour, WordAttention, explanation_page
from medclip_cli.pages.gallery_page import Hit, Question, gallery_article, gallery_foot, gallery_head
from medclip_cli.terminal import console, json_output, tables
from tests.medclip_cli.robustness.damage import HOSTILE_TEXTS

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


class Browser(HTMLParser):
    """What a browser would make of a page: its tags, and the addresses it would ask."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.handlers, self.addresses = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("src", "href", "action", "data", "srcset", "poster"):
                self.addresses.append(value)


def gallery(text):
    hit = Hit(1, 0.5, text, text, {text: text, "findings": [text]}, b"jpeg")
    question = Question(text, [hit], [b"scan"], said=text, note=text)
    return gallery_head(text, text) + gallery_article(question) + gallery_foot(text)


def explanation(text):
    import numpy as np

    glance = WordAttention(text, np.ones((2, 2), dtype=np.float32))
    neighbour = ShownNeighbour(text, 0.5, text, b"jpeg")
    one = Explanation(
        text,
        b"jpeg",
        text,
        text,
        text,
        0.5,
        votes=[(text, text, 0.5)],
        neighbours=[neighbour],
        attention_maps=[glance],
    )
    return explanation_page([one], text, text)


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
    return evaluation_page(report, {}, [item], [item])


PAGES = {page.__name__: page for page in (gallery, explanation, corpus, evaluation)}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts)
def test_text_never_becomes_markup(page, text):
    plain, hostile = Browser(page("plain")), Browser(page(text))
    assert set(hostile.tags) <= set(plain.tags)
    assert hostile.handlers == []
    assert all(address.startswith("data:image/") for address in hostile.addresses)


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
