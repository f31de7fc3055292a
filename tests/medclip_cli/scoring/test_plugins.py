"""Scorers that other packages bring: an example package, and what may go wrong with one."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from medclip_cli.errors import ScoringError, UsageError
from medclip_cli.scoring import plugins

SOURCE = '''
def same_length(predictions, references):
    """1 where a prediction has as many words as its first reference."""
    return [float(len(p.split()) == len(r[0].split())) for p, r in zip(predictions, references)]

same_length.variant = "words of the first reference"

def fails(predictions, references):
    raise RuntimeError("secret " + predictions[0])

def too_few(predictions, references):
    return [1.0]

def not_finite(predictions, references):
    return [float("nan")] * len(predictions)
'''
ENTRY_POINTS = """[medclip.scorers]
same-length = example_scorer:same_length
fails = example_scorer:fails
too-few = example_scorer:too_few
not-finite = example_scorer:not_finite
broken = example_scorer:absent
"""


@pytest.fixture
def example_package(tmp_path, monkeypatch):
    """An installed package that offers scorers, as pip would lay it out."""
    (tmp_path / "example_scorer.py").write_text(SOURCE)
    info = tmp_path / "example_scorer-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-scorer\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("example_scorer", None)


def test_an_offered_scorer_is_found_and_run(example_package):
    scorers = plugins.load_scorers(["same-length"])
    values = plugins.run_scorer("same-length", scorers["same-length"], ["a b", "a"], [["c d"], ["c d"]])
    assert values.tolist() == [1.0, 0.0]
    variant = plugins.variant_of("same-length", scorers["same-length"])
    assert variant == "words of the first reference (example-scorer 1.2)"


def test_a_scorer_nobody_offers(example_package):
    with pytest.raises(UsageError, match=r"offers a scorer 'bleurt' \(offered: .*same-length.*\)"):
        plugins.load_scorers(["bleurt"])


def test_a_scorer_that_cannot_be_loaded(example_package):
    with pytest.raises(ScoringError, match=r"scorer 'broken' \(example_scorer:absent\) cannot be loaded"):
        plugins.load_scorers(["broken"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "scorer 'fails' failed with RuntimeError"),
        ("too-few", "scorer 'too-few' must return one finite number for each of the 2 items"),
        ("not-finite", "scorer 'not-finite' must return one finite number"),
    ],
)
def test_a_scorer_that_misbehaves_is_named_without_quoting_captions(example_package, name, message):
    scorer = plugins.load_scorers([name])[name]
    with pytest.raises(ScoringError, match=message) as caught:
        plugins.run_scorer(name, scorer, ["words", "more"], [["a"], ["b"]])
    assert "secret" not in str(caught.value)


def test_a_scorer_without_a_package_names_itself():
    assert plugins.variant_of("mine", SimpleNamespace()) == "mine"
