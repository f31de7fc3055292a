"""Every chart of medclip: shapes, drawn as SVG (for pages and files) or PNG (for slides and model folders).

Shapes have a role instead of a colour: in a page the role is a CSS class that follows light and dark; in a
file it is a colour of the light theme.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medclip_cli.pages.reports import SCORES, method_name

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Role = Literal["ink", "faint", "grid", "ours", "baseline", "upper_bound", "other"]
Anchor = Literal["start", "middle", "end"]

# Okabe and Ito's palette, distinguishable with any colour vision.
COLOURS: dict[Role, str] = {
    "ink": "#1b1f24",
    "faint": "#6a737d",
    "grid": "#dfe3e8",
    "ours": "#0072b2",
    "baseline": "#9aa3ad",
    "upper_bound": "#e69f00",
    "other": "#cc4f79",
}
FONT_PIXELS = 13
_PNG_SCALE = 2
WIDTH = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 16, 22, 34
_ROW = 24
_PLOT_HEIGHT = 280
_CURVE_LEFT = 40
_SERIES: tuple[Role, ...] = ("ours", "upper_bound", "other", "baseline")
CHARTED = ("cider", "bleu4", "rouge_l")
METHOD_ROLES: Mapping[str, Role] = {
    "random": "baseline",
    "most_frequent": "baseline",
    "pixel_nearest": "baseline",
    "same_fields_oracle": "upper_bound",
}
DIRECTION_ROLES: Mapping[str, Role] = {"image_to_text": "ours", "text_to_image": "other"}


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A filled rectangle, in pixels from the top left corner."""

    x: float
    y: float
    width: float
    height: float
    role: Role
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Polyline:
    """A line through points, dashed or not."""

    points: Sequence[tuple[float, float]]
    role: Role
    dashed: bool = False
    width: float = 1.5


@dataclass(frozen=True, slots=True)
class Dot:
    """A small disc."""

    x: float
    y: float
    role: Role
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text; ``y`` is its base line."""

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    role: Role = "ink"


Shape = Rectangle | Polyline | Dot | Label
DOT_RADIUS = 3.0


@dataclass(slots=True)
class Chart:
    """Shapes on a canvas."""

    title: str  # alternative text
    width: int  # in pixels
    height: int  # in pixels
    shapes: list[Shape] = field(default_factory=list)  # drawn in order

    def svg(self, *, themed: bool = False) -> str:
        """As an SVG element.

        Args:
            themed: colours come from the page's style sheet instead of the light theme.
        """
        body = "".join(_svg_shape(shape, themed) for shape in self.shapes)
        background = "" if themed else f'<rect width="{self.width}" height="{self.height}" fill="#fff"/>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'font-family="system-ui,sans-serif" font-size="{FONT_PIXELS}" aria-label="{escape(self.title)}">'
            f"<title>{escape(self.title)}</title>{background}{body}</svg>"
        )

    def png(self) -> bytes:
        """As a PNG file, at twice the resolution."""
        from PIL import Image, ImageFont
        from PIL.ImageDraw import Draw

        image = Image.new("RGB", (self.width * _PNG_SCALE, self.height * _PNG_SCALE), "white")
        draw = Draw(image)
        font = ImageFont.load_default(FONT_PIXELS * _PNG_SCALE)
        for shape in self.shapes:
            _png_shape(draw, shape, font)
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()


def evaluation_charts(
    report: Mapping[str, Any], confidence: Sequence[tuple[float, float]] = ()
) -> dict[str, Chart]:
    """Every chart of an evaluation, by the name of its file.

    Args:
        report: what `medclip evaluate --json` prints.
        confidence: (similarity of the nearest neighbour, ROUGE-L) of each item.
    """
    charts = {name: score_chart(report, name) for name in CHARTED}
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
    chart = Chart(f"{SCORES[score]} by method", WIDTH, _TOP + _ROW * len(values) + _BOTTOM)
    scale, bottom = (WIDTH - _LEFT - _RIGHT - 50) / top, chart.height - _BOTTOM
    for step in range(5):
        x = _LEFT + top * step / 4 * scale
        chart.shapes.append(Polyline([(x, _TOP), (x, bottom)], "grid", width=1))
        chart.shapes.append(Label(x, bottom + 16, f"{top * step / 4:g}", "middle", "faint"))
    for row, (method, value) in enumerate(values.items()):
        y, end, interval = _TOP + row * _ROW, value, intervals.get(method)
        tip = f"{method_name(method)}: {value:.3f}" + (
            f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        )
        role = METHOD_ROLES.get(method, "ours")
        chart.shapes.append(Label(_LEFT - 8, y + 16, method_name(method), "end"))
        chart.shapes.append(Rectangle(_LEFT, y + 4, value * scale, _ROW - 8, role, tip))
        if interval:
            low, high = (_LEFT + edge * scale for edge in interval)
            end = max(value, interval[1])
            chart.shapes.append(Polyline([(low, y + 12), (high, y + 12)], "ink", width=2))
        chart.shapes.append(Label(_LEFT + end * scale + 6, y + 16, f"{value:.3f}", role="faint"))
    return chart


def recall_chart(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Chart:
    """Recall at k for both directions, beside chance."""
    chart = Chart("Recall at k", WIDTH, _PLOT_HEIGHT)
    right = max([1.0, *(k for curve in curves.values() for k in curve["k"])])
    plot = Plot(chart, "recall", f"k = 1 to {right:.0f}", x_range=(0, right))
    lines: list[tuple[str, str, Role]] = [
        (name, "recall", DIRECTION_ROLES.get(name, "ink")) for name in curves
    ]
    for row, (name, values, role) in enumerate([*lines, *((n, "chance", "faint") for n in [*curves][:1])]):
        points = list(zip(curves[name]["k"], curves[name][values], strict=True))
        plot.line(points, role, dashed=values == "chance")
        label = values if values == "chance" else name.replace("_", " ")
        chart.shapes.append(
            Label(WIDTH - _RIGHT, 180 + 17 * row, label, "end", role)
        )  # curves leave room there
    return chart


def confidence_chart(items: Sequence[tuple[float, float]]) -> Chart:
    """Each item's ROUGE-L over its nearest neighbour's similarity, and the mean of each tenth of them."""
    chart, ordered = Chart("Score against confidence", WIDTH, _PLOT_HEIGHT), sorted(items)
    lowest, highest = ordered[0][0], ordered[-1][0]
    x_name = f"similarity of the nearest neighbour, {lowest:.3g} to {highest:.3g}"
    plot = Plot(chart, "ROUGE-L", x_name, x_range=(lowest, highest))
    for x, y in ordered:
        chart.shapes.append(Dot(*plot.at(x, y), "ours", f"{x:.3f}, {y:.3f}"))
    tenths = [ordered[len(ordered) * i // 10 : len(ordered) * (i + 1) // 10] for i in range(10)]
    means = [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in tenths if part
    ]
    plot.line(means, "upper_bound", width=2.5)
    chart.shapes.append(Label(WIDTH - _RIGHT, 13, "mean of each tenth", "end", "upper_bound"))
    return chart


def training_curves(journal: bytes) -> bytes:
    """Draw the epochs of a training journal as a PNG: the loss above, below it what the epochs were worth.

    Args:
        journal: the content of ``training.jsonl`` or ``decoder-training.jsonl``.
    """
    events = [json.loads(line) for line in journal.splitlines()]
    epochs = [event for event in events if event["event"] == "epoch"]
    worth: dict[str, list[float]] = {}
    for epoch in epochs:
        if "validation" in epoch:
            found = {
                f"R@{k} {name.replace('_', ' ')}": epoch["validation"][name][f"r{k}"]
                for name in DIRECTION_ROLES
                for k in (1, 10)
            }
        else:
            found = {SCORES[name]: epoch["scores"][name] for name in CHARTED if name in epoch["scores"]}
        for name, value in found.items():
            worth.setdefault(name, []).append(float(value))
    panels = {"training loss": {"loss": [float(epoch["loss"]) for epoch in epochs]}, "validation": worth}
    chart = Chart("Training", WIDTH + 40, 2 * _PLOT_HEIGHT)
    for row, (title, lines) in enumerate(panels.items()):
        highest = max((value for values in lines.values() for value in values), default=1.0) or 1.0
        count, top = len(epochs), row * _PLOT_HEIGHT
        plot = Plot(
            chart, title, f"{count} epochs", (1, max(count, 2)), (0, highest), top=top, right=_RIGHT + 160
        )
        for position, ((name, values), role) in enumerate(zip(lines.items(), _SERIES, strict=False)):
            points = list(enumerate(values, 1))
            plot.line(points, role)
            chart.shapes += [Dot(*plot.at(*point), role) for point in points[-1:]]
            chart.shapes.append(Label(chart.width - 155, top + 40 + 18 * position, name, role=role))
    return chart.png()


@dataclass(frozen=True, slots=True)
class Plot:
    """A part of a chart with two axes."""

    chart: Chart  # that it is drawn on
    y_name: str  # above it
    x_name: str  # below it
    x_range: tuple[float, float]  # values at the left and the right edge
    y_range: tuple[float, float] = (0, 1)  # values at the lower and the upper edge
    top: int = 0  # where on the chart it begins
    right: int = _RIGHT  # margin on its right

    def __post_init__(self) -> None:
        """Draw the axes."""
        (left, right), (low, high) = self.x_range, self.y_range
        for step in range(6):
            y = low + (high - low) * step / 5
            self.line([(left, y), (right, y)], "grid", width=1)
            x, base = self.at(left, y)
            self.chart.shapes.append(Label(x - 6, base + 4, f"{y:.{1 if high == 1 else 2}f}", "end", "faint"))
        x, y = self.at((left + right) / 2, low)
        self.chart.shapes.append(Label(x, y + 25, self.x_name, "middle", "faint"))
        self.chart.shapes.append(Label(_CURVE_LEFT, self.top + 13, self.y_name, role="faint"))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point's position on the chart."""
        width, height = self.chart.width - _CURVE_LEFT - self.right, _PLOT_HEIGHT - _TOP - _BOTTOM
        across = (x - self.x_range[0]) / max(self.x_range[1] - self.x_range[0], 1e-9)
        up = (y - self.y_range[0]) / max(self.y_range[1] - self.y_range[0], 1e-9)
        return _CURVE_LEFT + across * width, self.top + _TOP + (1 - up) * height

    def line(
        self, points: Sequence[tuple[float, float]], role: Role, *, dashed: bool = False, width: float = 2
    ) -> None:
        """Draw a line through points."""
        self.chart.shapes.append(Polyline([self.at(*point) for point in points], role, dashed, width))


def _round_up(value: float) -> float:
    """The next value that divides into four round steps."""
    steps = (0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 1e9)
    return next(top for top in steps if value <= top)


def _svg_shape(shape: Shape, themed: bool) -> str:
    colour = COLOURS[shape.role]

    def paint(attribute: str) -> str:
        return f'class="{attribute[0]}-{shape.role}"' if themed else f'{attribute}="{colour}"'

    if isinstance(shape, Label):
        return (
            f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}" {paint("fill")}>'
            f"{escape(shape.text)}</text>"
        )
    if isinstance(shape, Polyline):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dashes = ' stroke-dasharray="5 4"' if shape.dashed else ""
        stroke = f'{paint("stroke")} stroke-width="{shape.width}"{dashes}'
        return f'<polyline points="{points}" fill="none" {stroke}/>'
    tip = f"<title>{escape(shape.tip)}</title>" if shape.tip else ""
    if isinstance(shape, Dot):
        position = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{DOT_RADIUS}" fill-opacity="0.6"'
        return f"<circle {position} {paint('fill')}>{tip}</circle>"
    box = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
    return f"<rect {box} {paint('fill')}>{tip}</rect>"


def _png_shape(draw: ImageDraw, shape: Shape, font: ImageFont | FreeTypeFont) -> None:
    colour, scale = COLOURS[shape.role], _PNG_SCALE
    if isinstance(shape, Label):
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        draw.text((shape.x * scale, shape.y * scale), shape.text, colour, font, anchor)
    elif isinstance(shape, Polyline):
        points = [(x * scale, y * scale) for x, y in shape.points]
        if len(points) > 1:
            draw.line(points, colour, round(shape.width * scale))
    elif isinstance(shape, Dot):
        draw.circle((shape.x * scale, shape.y * scale), DOT_RADIUS * scale, colour)
    else:
        right, bottom = shape.x + shape.width, shape.y + shape.height
        draw.rectangle((shape.x * scale, shape.y * scale, right * scale, bottom * scale), colour)
