"""A chart as a list of shapes, drawn as SVG (for pages and files) or PNG (for slides).

Shapes have a role instead of a colour: in a page the role is a CSS class that follows light and dark; in a
file it is a colour of the light theme.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Role = Literal["ink", "faint", "grid", "ours", "baseline", "upper_bound", "other"]
Anchor = Literal["start", "middle", "end"]

# Okabe and Ito's palette, which people with any colour vision can tell apart.
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
    """Shapes on a canvas.

    Attributes:
        title: what the chart shows, for those who cannot see it.
        width: in pixels.
        height: in pixels.
        shapes: drawn in order.
    """

    title: str
    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list)

    def svg(self, *, themed: bool = False) -> str:
        """As an SVG element.

        Args:
            themed: colours come from the page's style sheet instead of the light theme.
        """
        body = "".join(_svg_shape(shape, themed) for shape in self.shapes)
        ground = "" if themed else f'<rect width="{self.width}" height="{self.height}" fill="#fff"/>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'font-family="system-ui,sans-serif" font-size="{FONT_PIXELS}" aria-label="{escape(self.title)}">'
            f"<title>{escape(self.title)}</title>{ground}{body}</svg>"
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
        place = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{DOT_RADIUS}" fill-opacity="0.6"'
        return f"<circle {place} {paint('fill')}>{tip}</circle>"
    place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
    return f"<rect {place} {paint('fill')}>{tip}</rect>"


def _png_shape(draw: ImageDraw, shape: Shape, font: ImageFont | FreeTypeFont) -> None:
    colour, scale = COLOURS[shape.role], _PNG_SCALE
    if isinstance(shape, Label):
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        draw.text((shape.x * scale, shape.y * scale), shape.text, colour, font, anchor)
    elif isinstance(shape, Polyline):
        points = [(x * scale, y * scale) for x, y in shape.points]
        draw.line(points, colour, round(shape.width * scale))
    elif isinstance(shape, Dot):
        draw.circle((shape.x * scale, shape.y * scale), DOT_RADIUS * scale, colour)
    else:
        right, bottom = shape.x + shape.width, shape.y + shape.height
        draw.rectangle((shape.x * scale, shape.y * scale, right * scale, bottom * scale), colour)
