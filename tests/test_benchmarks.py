"""What the benchmarks say of what they found."""

import json

import pytest

from benchmarks.__main__ import as_table, machine, put_between_marks
from benchmarks.timing import ROWS_VARIABLE, Comparison, Row, compare, record

FAST = Comparison("ours, cold / theirs", [0.2, 0.1, 0.3], [1.0, 2.0, 0.5], aim=0.25)


def test_a_comparison_is_of_medians():
    assert FAST.row == Row("ours, cold", 0.2, 0.25, "theirs", "0.2 s [0.1 s..0.3 s]", "1 s [0.5 s..2 s]")
    assert FAST.report().endswith("= 0.2 (aim at most 0.25, met)")


@pytest.mark.parametrize(
    ("row", "met", "wanted"),
    [
        (Row("a", 1.3, aim=1.2), False, "at most 1.2"),
        (Row("a", 1.2, aim=1.2), True, "at most 1.2"),
        (Row("recall", 0.97, aim=0.98, at_least=True), False, "at least 0.98"),
        (Row("consensus", 0.6, aim=5, unit="ms"), True, "at most 5 ms"),
    ],
)
def test_an_aim_is_met_or_not(row, met, wanted):
    assert (row.met, row.wanted) == (met, wanted)
    assert ("MISSED" in row.report()) is not met


def test_sides_are_run_in_turn_after_one_that_does_not_count():
    calls = []
    found = compare("a / b", lambda: calls.append("a"), lambda: calls.append("b"), aim=1, runs=3)
    assert "".join(calls) == "ab" * 4
    assert len(found.ours) == len(found.theirs) == 3


def test_rows_are_kept_where_the_table_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(ROWS_VARIABLE, str(tmp_path / "rows"))
    record(FAST)
    record(Row("recall", 0.99, aim=0.98, at_least=True))
    rows = [Row(**json.loads(line)) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [row.what for row in rows] == ["ours, cold", "recall"]
    assert capsys.readouterr().out.count("met") == 2
    lines = as_table(rows).splitlines()
    assert lines[2].split("|")[1:4] == [" ours, cold ", " theirs  ", " 0.2 s / 1 s "]
    assert len({len(line) for line in lines}) == 1


def test_a_page_carries_the_table_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->old<!-- bench -->\nafter\n")
    put_between_marks(page, "new\n")
    assert page.read_text() == "before\n<!-- bench -->\nnew\n<!-- bench -->\nafter\n"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="must hold <!-- bench --> twice"):
        put_between_marks(page, "new\n")


def test_the_machine_is_described():
    assert "cores" in machine() and "Python 3." in machine()
