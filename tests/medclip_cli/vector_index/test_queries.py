import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclip_cli.errors import UsageError
from medclip_cli.vector_index.queries import Condition, combine, parse_condition

from .drawn import draw_vector


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("modality=CT", Condition("modality", "any", ("CT",))),
        ("modality=CT,MR", Condition("modality", "any", ("CT", "MR"))),
        ("modality = CT , MR,CT", Condition("modality", "any", ("CT", "MR"))),
        ("view!=Axial", Condition("view", "any", ("Axial",), negated=True)),
        ("plane=Axial", Condition("view", "any", ("Axial",))),
        ("patient!=p1", Condition("group", "any", ("p1",), negated=True)),
        ("findings=*", Condition("findings", "exists")),
        ("findings!=*", Condition("findings", "exists", negated=True)),
        ("region=Head, neck", Condition("region", "any", ("Head", "neck"))),
        ("category=a=b", Condition("category", "any", ("a=b",))),
        ("age>=60", Condition("age", "range", low=60)),
        ("age>60", Condition("age", "range", low=60, includes_low=False)),
        ("age<=1.5", Condition("age", "range", high=1.5)),
        ("age<70", Condition("age", "range", high=70, includes_high=False)),
        ("age=60", Condition("age", "range", low=60, high=60)),
        ("age=60..70", Condition("age", "range", low=60, high=70)),
        ("age!=60..70", Condition("age", "range", low=60, high=70, negated=True)),
        ("age!=*", Condition("age", "exists", negated=True)),
    ],
)
def test_reads_what_a_person_types(text, condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modality", "cannot read the filter 'modality': write FIELD=VALUE"),
        ("modality=", "cannot read the filter"),
        ("modality=,", "cannot read the filter"),
        ("=CT", "cannot read the filter"),
        ("colour=red", "cannot filter by 'colour': the fields are modality, view, region"),
        ("modality>CT", "modality is not a number, so > does not apply"),
        ("age=old", "age is a number, not 'old'"),
        ("age>=nan", "age is a number, not 'nan'"),
        ("age=1..inf", "age is a number, not 'inf'"),
        ("age=70..60", "age=70..60 holds nothing: write the smaller number first"),
    ],
)
def test_refuses_what_is_no_filter(text, message):
    with pytest.raises(UsageError, match=message):
        parse_condition(text)


@given(st.floats(0, 150), st.floats(0, 150))
def test_a_range_holds_its_bounds(one, other):
    low, high = sorted((one, other))
    condition = parse_condition(f"age={low}..{high}")
    assert (condition.low, condition.high) == (low, high)
    assert not math.isnan(condition.low)


def test_values_are_spelt_as_the_collection_spells_them():
    known = {"CT": 3, "Axial Oblique": 2}
    condition = parse_condition("modality=ct,axial oblique,us").with_known_values(known)
    assert condition.values == ("CT", "Axial Oblique", "us")
    assert parse_condition("age=3").with_known_values(known).low == 3


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("region=Chest, Pulmonary", ("Chest, Pulmonary",)),
        ("region=chest,pulmonary,spine", ("Chest, Pulmonary", "Spine")),
        ("region=spine, chest , pulmonary", ("Spine", "Chest, Pulmonary")),
        ("region=pulmonary,chest", ("pulmonary", "Chest")),
        ("region=skull", ("skull",)),
    ],
)
def test_values_with_a_comma_are_put_together_again(text, values):
    known = {"Chest, Pulmonary": 3, "Chest": 1, "Spine": 2}
    assert parse_condition(text).with_known_values(known).values == values


X, Y = np.eye(2, dtype=np.float32)


def test_one_example_is_itself():
    np.testing.assert_allclose(combine([draw_vector(1)]), draw_vector(1), rtol=1e-6)


def test_several_examples_are_averaged():
    np.testing.assert_allclose(combine([X, Y]), [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_unlike_examples_push_away():
    combined = combine([X], [Y])
    np.testing.assert_allclose(combined, np.array([2, -1]) / 5**0.5, rtol=1e-6)
    assert combined.dtype == np.float32


def test_nothing_to_look_like_is_refused():
    with pytest.raises(UsageError, match="needs one to look like"):
        combine([], [X])


def test_examples_that_cancel_out_are_refused():
    with pytest.raises(UsageError, match="cancel each other out"):
        combine([X, -X])
