"""Tokens of the Java-free PTB tokenizer, against the reference's and by hand."""

import json
import re
import signal

import pytest

from medclip_cli.scoring.ptb import INNER_BLANK, PtbTokenizer
from medclip_cli.scoring.ptb_rules import RULES


def tokens(caption):
    return " ".join(PtbTokenizer()(caption))


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.parametrize("name", ["set_a", "set_c"])
def test_same_tokens_as_the_java_tokenizer(shared_dir, name):
    tokenize = PtbTokenizer()
    captions = read_lines(shared_dir / "golden" / f"{name}.jsonl")
    golden = read_lines(shared_dir / "golden" / f"{name}.tokens.jsonl")
    for given, expected in zip(captions, golden, strict=True):
        assert given["id"] == expected["id"]
        ours = [" ".join(tokenize(text)) for text in [given["prediction"], *given["references"]]]
        assert ours == [expected["prediction"], *expected["references"]], given["id"]


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_each_rule_matches_its_example(rule):
    # Some rules look at what follows, so the example is tried at the end, before a comma and before a letter.
    matches = [re.match(rule.pattern, rule.example + after) for after in ("", ",", "h")]
    assert rule.example in [match.group() for match in matches if match]
    assert not rule.needs or set(rule.example) & set(rule.needs)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        # What a radiology caption holds.
        ("Axial CT shows a mass.", "axial ct shows a mass"),
        ("T1-weighted, post-contrast", "t1-weighted post-contrast"),
        ("A 3.5-cm by 2.1-cm mass", "a 3.5-cm by 2.1-cm mass"),
        ("1.2x3.4x5.6cm, 35 HU.", "1.2 x3 .4 x5 .6 cm 35 hu"),
        ("12,000/mm3 at 37.5\u00b0C", "12,000 / mm3 at 37.5 \u00b0 c"),
        ("ap/pa and C5-6", "ap/pa and c5-6"),
        ("(NF1) [arrow]", "-lrb- nf1 -rrb- -lsb- arrow -rsb-"),
        ("Crohn\u2019s doesn't", "crohn 's does n't"),
        ("can't cannot gonna", "ca n't can not gon na"),
        ("e.g. Dr. Smith vs. him", "e.g. dr. smith vs. him"),
        ("No. 5, Fig. 3", "no. 5 fig. 3"),
        ("AT&T R&D A&amp;B", "at&t r&d a&b"),
        ("&lt;5 cm", "< 5 cm"),
        ("1 1/2 inches", f"1{INNER_BLANK}1/2 inches"),
        ("\u00bd of it", "1/2 of it"),
        ("5\u00bd\u00b2 #\u00e9", "5 1/2 \u00b2 #\u00e9"),
        ("grade A. The rest", "grade a the rest"),
        ("grade A. rest", "grade a. rest"),
        # What COCO drops, and what it keeps because it drops before lower-casing would match.
        ("wait... what?! -- ; : ' \"", "wait what ?!"),
        ("", ""),
        (" \t\u00a0 ", ""),
        # What breaks lines, or is no text at all, is a blank.
        ("left\r\nlung\x0bis\x0cclear\u2028now\u2029so", "left lung is clear now so"),
        ("lone \ud800 surrogate \U0001fa7b", "lone surrogate"),
        ("co\u00adoperate", "cooperate"),
        # Other scripts stay words.
        (
            "\u80f8\u90e8CT \u03b1\u03b2\u03b3 \u041b\u0401\u0413\u041a\u0418\u0415",
            "\u80f8\u90e8ct \u03b1\u03b2\u03b3 \u043b\u0451\u0433\u043a\u0438\u0435",
        ),
    ],
)
def test_tokens_by_hand(caption, expected):
    assert tokens(caption) == expected


def test_the_cache_does_not_change_tokens():
    tokenize = PtbTokenizer()
    caption = "No. 5 (Crohn's) No. cannot"
    assert tokenize(caption) == tokenize(caption) == PtbTokenizer()(caption)


HOSTILE = {
    "brackets": "<a " * 20_000,
    "open comment": "<!--" * 20_000,
    "open tag and blanks": "<a" + " " * 80_000,
    "commas": "a," * 40_000,
    "dots": ". " * 40_000,
    "hyphens": "a-" * 40_000,
    "apostrophes": "a'" * 40_000,
    "one word": "a" * 80_000,
    "digits": "1 " * 40_000,
    "quotes": "<a b='" * 15_000,
    "mail": "a@" * 40_000,
    "ampersands": "A&amp;" * 15_000,
}


@pytest.fixture
def a_minute_of_processor_time():
    """Stop what needs more; time that other processes take does not count."""

    def stop(*_):
        raise TimeoutError("more than a minute of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, 60)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_captions_end(name, a_minute_of_processor_time):
    """Each takes well under two seconds; an expression that backtracks would run for hours."""
    assert bool(PtbTokenizer()(HOSTILE[name])) == (name != "dots"), "dots alone are no words"
