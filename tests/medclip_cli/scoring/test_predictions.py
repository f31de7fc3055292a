"""Predictions from any system: formats, and every way they can be wrong."""

import io
import json

import pytest

from medclip_cli.errors import ScoringError, UsageError
from medclip_cli.scoring.predictions import read_predictions, read_references


def opened(data, name):
    file = io.BytesIO(data)
    file.name = name
    return file


def parse_predictions(data, name, references=None):
    return read_predictions(opened(data, name), references)


def parse_references(data, name):
    return read_references(opened(data, name))


def lines(*records):
    return "\n".join(json.dumps(record) for record in records).encode()


def items(data, name="p.jsonl"):
    return [(i.id, i.prediction, i.references) for i in parse_predictions(data, name).items]


GOOD = {"id": "a", "prediction": "left", "references": ["right", "wrong"]}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (lines(GOOD), "p.jsonl"),
        (lines(GOOD) + b"\r\n\n", "standard input"),
        (b"\xef\xbb\xbf" + lines(GOOD), "p.jsonl"),
        (json.dumps([GOOD], indent=1).encode(), "p.json"),
        (lines({"id": "a", "hypothesis": "left", "reference": ["right", "wrong"]}), "p.jsonl"),
        (lines({"image_id": "a", "caption": "left", "references": ["right", "wrong"]}), "p.jsonl"),
        (b'id,prediction,references\na,left,"[""right"", ""wrong""]"\n', "p.csv"),
        (b"id,prediction,references\na,left,\"['right', 'wrong']\"\n", "p.csv"),
        (b"id,prediction,references\na,left,\"['right'\n 'wrong']\"\n", "p.csv"),
        (lines({"id": "a", "prediction": "left", "references": "['right', \"wrong\"]"}), "p.jsonl"),
        (b"ID,Prediction,reference_1,reference_2\na,left,right,wrong\n", "p.csv"),
        (b"id,caption,reference1,reference2,reference3\na,left,right,wrong,\n", "standard input"),
        (b"id\tprediction\treference 1\treference 2\na\tleft\tright\twrong\n", "p.tsv"),
    ],
)
def test_formats(data, name):
    assert items(data, name) == [("a", "left", ("right", "wrong"))]


def test_line_breaks_inside_captions_stay_inside():
    odd = "left\u2028lung\u2029is\x0bnot\x0cso\x85clear\r"
    raw = json.dumps({"id": "a", "prediction": odd, "references": [odd]}, ensure_ascii=False)
    assert items(raw.encode() + b"\n" + lines({**GOOD, "id": "b"})) == [
        ("a", odd, (odd,)),
        ("b", "left", ("right", "wrong")),
    ]
    assert items('id,prediction,reference\na,"left\u2028\nlung",right\n'.encode(), "p.csv") == [
        ("a", "left\u2028\nlung", ("right",))
    ]


def test_one_reference_may_be_a_text_and_ids_may_be_numbers():
    assert items(lines({"id": 7, "prediction": "a", "references": "b"})) == [("7", "a", ("b",))]


def test_a_cell_that_only_looks_like_a_list_is_a_caption():
    assert items(b'id,prediction,reference\na,b,"[""c"" d""]"\n', "p.csv") == [("a", "b", ('["c" d"]',))]


def test_no_answer_is_an_empty_prediction_and_is_counted():
    found = parse_predictions(
        lines({**GOOD, "prediction": None}, {**GOOD, "id": "b", "prediction": " "}, {**GOOD, "id": "c"}), "p"
    )
    assert (len(found.items), found.empty) == (3, 2)


@pytest.mark.parametrize("missing", [{}, {"references": None}, {"references": []}])
def test_items_without_reference_are_unmatched(missing):
    bare = {"id": "b", "prediction": "x"} | missing
    found = parse_predictions(lines(GOOD, bare), "p")
    assert found.unmatched == ("b",)
    assert [item.id for item in found.items] == ["a"]


def test_a_long_caption_in_csv_is_read():
    caption = "word " * 250_000
    assert items(f"id,prediction,reference\na,{caption},b\n".encode(), "p.csv") == [("a", caption, ("b",))]


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "p.jsonl", "p.jsonl is empty: expected one record"),
        (b" \n\n", "standard input", "standard input is empty"),
        (b"[]", "p.json", "p.json holds no records"),
        (b"id,prediction,reference\n", "p.csv", "p.csv holds no records"),
        (
            lines(GOOD) + b'\n{"id": "b", ',
            "p.jsonl",
            r"p.jsonl, line 2: not JSON \(.*\); expected one object per line",
        ),
        (b'["a', "p.json", "p.json, line 1: not JSON"),
        (b"[" * 100_000, "p.json", "not JSON"),
        (b"{}\n3", "p.jsonl", "p.jsonl, line 1: no 'id'"),
        (lines(GOOD) + b"\n3", "p.jsonl", "line 2: expected an object with id"),
        (b"[3]", "p.json", "p.json, record 1: expected an object"),
        (lines(GOOD) + b"\n\xff", "p.jsonl", "p.jsonl, line 2: not UTF-8"),
        (lines(GOOD, GOOD), "p", "p, line 2: id 'a' was already given in p, line 1"),
        (lines({**GOOD, "id": True}), "p", "no 'id'"),
        (lines({**GOOD, "id": " "}), "p", "no 'id'"),
        (lines({"id": "a", "text": "x"}), "p", r"item 'a' has no 'prediction' \(found: id, text\)"),
        (lines({**GOOD, "prediction": float("nan")}), "p", "a prediction of item 'a' is NaN, expected text"),
        (lines({**GOOD, "prediction": 3}), "p", "a prediction of item 'a' is a number, expected text"),
        (lines({**GOOD, "prediction": ["x"]}), "p", "a prediction of item 'a' is list, expected text"),
        (lines({**GOOD, "prediction": "nan"}), "p", "reads 'nan', a missing value written as text"),
        (lines({**GOOD, "references": ["x", None]}), "p", "a reference of item 'a' is null, expected text"),
        (lines({**GOOD, "references": [float("nan")]}), "p", "a reference of item 'a' is NaN"),
        (lines({**GOOD, "references": []}), "p", "none of its 1 items has a reference .the first is 'a'."),
        (
            b'id,prediction,reference\na,"b,c\n',
            "p.csv",
            "p.csv, line 2: a quote is not closed or not doubled",
        ),
        (
            b'id,prediction,reference\na,"b"x,c\n',
            "p.csv",
            "p.csv, line 2: a quote is not closed or not doubled",
        ),
        (b"id,prediction,reference\na,b,c,d\n", "p.csv", "p.csv, line 2: 4 fields under 3 columns"),
    ],
)
def test_what_cannot_be_read_names_the_place(data, name, message):
    with pytest.raises(ScoringError, match=message) as caught:
        parse_predictions(data, name)
    assert "\n" not in str(caught.value)


def test_messages_hold_no_caption():
    for broken in ({**GOOD, "prediction": 3}, {**GOOD, "references": ["secret finding", None]}):
        with pytest.raises(ScoringError) as caught:
            parse_predictions(lines(broken), "p")
        assert "secret" not in str(caught.value)


ANNOTATIONS = {
    "images": [{"id": 1}, {"id": 2}],
    "annotations": [
        {"id": 10, "image_id": 1, "caption": "left lung"},
        {"id": 11, "image_id": 2, "caption": "right lung"},
        {"id": 12, "image_id": 1, "caption": "the left lung"},
    ],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_coco_results_and_annotations(indent):
    references = parse_references(json.dumps(ANNOTATIONS, indent=indent).encode(), "captions_val.json")
    assert references == {"1": ("left lung", "the left lung"), "2": ("right lung",)}
    results = json.dumps([{"image_id": 3, "caption": "x"}, {"image_id": 1, "caption": "lung"}]).encode()
    found = parse_predictions(results, "results.json", references)
    assert [(item.id, item.prediction, item.references) for item in found.items] == [
        ("1", "lung", ("left lung", "the left lung"))
    ]
    assert (found.unmatched, found.missing) == (("3",), ("2",))


def test_references_of_a_file_replace_those_in_the_records():
    references = parse_references(b"id,caption\na,true\n", "truth.csv")
    assert parse_predictions(lines(GOOD), "p", references).items[0].references == ("true",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (json.dumps({"annotations": []}).encode(), "r holds no references: expected COCO annotations"),
        (json.dumps({"annotations": [{"caption": "a"}]}).encode(), "r, record 1: no 'id'"),
        (json.dumps({"annotations": [7]}).encode(), "r, record 1: expected an object"),
        (lines({"id": "a", "references": [3]}), "a reference of item 'a' is a number"),
        (lines({"id": "a"}), "r holds no references"),
    ],
)
def test_references_that_cannot_be_read(data, message):
    with pytest.raises(ScoringError, match=message):
        parse_references(data, "r")


def test_a_file_that_is_not_there():
    with pytest.raises(UsageError, match=r"no/such\.jsonl"):
        read_predictions("no/such.jsonl")


@pytest.mark.parametrize("value", [3, None, float("nan"), ["a"]])
def test_python_values_are_checked_like_those_of_a_file(value):
    with pytest.raises(ScoringError, match="references, record 1"):
        read_references({"a": [value]})
    with pytest.raises(ScoringError, match="predictions, record 2"):
        read_predictions([GOOD, {**GOOD, "id": "b", "references": [value]}])
