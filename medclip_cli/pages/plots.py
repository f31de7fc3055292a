"""The charts of an evaluation: scores with their intervals, recall by k, score against confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medclip_cli.pages.chart import Chart, Dot, Label, Polyline, Rectangle, Role
from medclip_cli.pages.evaluation_names import method_name

WIDTH = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 16, 22, 34
_ROW = 24
_PLOT_HEIGHT = 280
_CURVE_LEFT = 40
_LEGEND_TOP = 180  # lower right, where a curve of recall leaves room
SCORE_NAMES = {"cider": "CIDEr", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L"}
METHOD_ROLES: Mapping[str, Role] = {
    "random": "baseline",
    "most_frequent": "baseline",
    "pixel_nearest": "baseline",
    "same_fields_oracle": "upper_bound",
}
DIRECTION_ROLES: Mapping[str, Role] = {"image_to_text": "ours", "text_to_image": "other"}


def charts_of(report: Mapping[str, Any], confidence: Sequence[tuple[float, float]]) -> dict[str, Chart]:
    """Every chart of a report, by the name of its file.

    Args:
        report: what `medclip evaluate --json` prints.
        confidence: (similarity of the nearest neighbour, ROUGE-L) of each item.
    """
    charts = {name: score_chart(report, name) for name in SCORE_NAMES}
    charts["recall"] = recall_chart(report["recall_curve"])
    if confidence:
        charts["confidence"] = confidence_chart(confidence)
    return charts


def write_charts(folder: Path, charts: Mapping[str, Chart]) -> None:
    """Write each chart as SVG and as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        (folder / f"{name}.svg").write_text(chart.svg(), encoding="utf-8")
        (folder / f"{name}.png").write_bytes(chart.png())


def score_chart(report: Mapping[str, Any], score: str) -> Chart:
    """One bar a method, with its interval, on one score."""
    values = {method: scores[score] for method, scores in report["captions"].items()}
    intervals = {method: found.get(score) for method, found in report["intervals"].items()}
    highest = max([*values.values(), *(high for found in intervals.values() if found for high in found[1:])])
    top = _round_up(highest)
    chart = Chart(f"{SCORE_NAMES[score]} by method", WIDTH, _TOP + _ROW * len(values) + _BOTTOM)
    scale = (WIDTH - _LEFT - _RIGHT - 50) / top
    _vertical_grid(chart, top, scale)
    for row, (method, value) in enumerate(values.items()):
        y = _TOP + row * _ROW
        role = METHOD_ROLES.get(method, "ours")
        interval = intervals.get(method)
        tip = f"{method_name(method)}: {value:.3f}" + (
            f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        )
        chart.shapes.append(Label(_LEFT - 8, y + 16, method_name(method), "end"))
        chart.shapes.append(Rectangle(_LEFT, y + 4, value * scale, _ROW - 8, role, tip))
        end = value
        if interval:
            low, high = interval
            end = max(value, high)
            chart.shapes.append(
                Polyline([(_LEFT + low * scale, y + 12), (_LEFT + high * scale, y + 12)], "ink", width=2)
            )
        chart.shapes.append(Label(_LEFT + end * scale + 6, y + 16, f"{value:.3f}", role="faint"))
    return chart


def recall_chart(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Chart:
    """Recall at k for both directions, beside chance."""
    chart = Chart("Recall at k", WIDTH, _PLOT_HEIGHT)
    right = max([1.0, *(k for curve in curves.values() for k in curve["k"])])

    def place(k: float, recall: float) -> tuple[float, float]:
        return _place(k / right, recall)

    _frame(chart, f"k = 1 to {right:.0f}", "recall")
    for number, (direction, curve) in enumerate(curves.items()):
        role = DIRECTION_ROLES.get(direction, "ink")
        chart.shapes.append(
            Polyline(
                [place(*point) for point in zip(curve["k"], curve["recall"], strict=True)], role, width=2
            )
        )
        chart.shapes.append(
            Label(WIDTH - _RIGHT, _LEGEND_TOP + 17 * number, direction.replace("_", " "), "end", role)
        )
    chance = next(iter(curves.values()), {"k": [], "chance": []})
    line = [place(*point) for point in zip(chance["k"], chance["chance"], strict=True)]
    chart.shapes.append(Polyline(line, "faint", dashed=True))
    chart.shapes.append(Label(WIDTH - _RIGHT, _LEGEND_TOP + 17 * len(curves), "chance", "end", "faint"))
    return chart


def confidence_chart(items: Sequence[tuple[float, float]]) -> Chart:
    """Each item's ROUGE-L over its nearest neighbour's similarity, and the mean of each tenth of them."""
    chart = Chart("Score against confidence", WIDTH, _PLOT_HEIGHT)
    lowest, highest = min(x for x, _ in items), max(x for x, _ in items)
    span = max(highest - lowest, 1e-9)
    _frame(chart, f"similarity of the nearest neighbour, {lowest:.3g} to {highest:.3g}", "ROUGE-L")
    ordered = sorted(items)
    for x, y in ordered:
        chart.shapes.append(Dot(*_place((x - lowest) / span, y), "ours", f"{x:.3f}, {y:.3f}"))
    tenths = [ordered[len(ordered) * i // 10 : len(ordered) * (i + 1) // 10] for i in range(10)]
    means = [tuple(sum(column) / len(part) for column in zip(*part, strict=True)) for part in tenths if part]
    line = [_place((x - lowest) / span, y) for x, y in means]
    chart.shapes.append(Polyline(line, "upper_bound", width=2.5))
    chart.shapes.append(Label(WIDTH - _RIGHT, 13, "mean of each tenth", "end", "upper_bound"))
    return chart


def _place(x: float, y: float) -> tuple[float, float]:
    """Where a point of the unit square lies in the frame."""
    width, height = WIDTH - _CURVE_LEFT - _RIGHT, _PLOT_HEIGHT - _TOP - _BOTTOM
    return _CURVE_LEFT + x * width, _TOP + (1 - y) * height


def _frame(chart: Chart, x_name: str, y_name: str) -> None:
    for step in range(6):
        y = step / 5
        chart.shapes.append(Polyline([_place(0, y), _place(1, y)], "grid", width=1))
        left, base = _place(0, y)
        chart.shapes.append(Label(left - 6, base + 4, f"{y:.1f}", "end", "faint"))
    chart.shapes.append(Label(*_place(0.5, -0.11), x_name, "middle", "faint"))
    chart.shapes.append(Label(_CURVE_LEFT, 13, y_name, role="faint"))


def _vertical_grid(chart: Chart, top: float, scale: float) -> None:
    bottom = chart.height - _BOTTOM
    for step in range(5):
        value = top * step / 4
        x = _LEFT + value * scale
        chart.shapes.append(Polyline([(x, _TOP), (x, bottom)], "grid", width=1))
        chart.shapes.append(Label(x, bottom + 16, f"{value:g}", "middle", "faint"))


def _round_up(value: float) -> float:
    """The next value that divides into four round steps."""
    return next(
        top
        for top in (0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 1e9)
        if value <= top
    )
