"""What holds for every data set: drawn right it is kept, drawn wrong each row has its reason."""

from __future__ import annotations

import json
import re
import tempfile
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medclip_cli.corpora import tables
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.corpora.registry import LAYOUTS
from medclip_cli.errors import MedclipError
from tests.medclip_cli.corpora.test_clean_command import run

DRAWN = {
    name: import_module(f"tests.medclip_cli.corpora.layouts.{name.replace('-', '_')}")
    for name in LAYOUTS
    if name != "dicom"
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_kept_row_is_whole(name: str, tmp_path: Path) -> None:
    DRAWN[name].draw(tmp_path / "raw")
    result = run(name, tmp_path / "raw", "--out", tmp_path / "corpus", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["read"] == report["kept"] + sum(report["rejected"].values())
    assert report["kept"] >= 2
    corpus = Corpus.open(tmp_path / "corpus")
    for record in corpus.records:
        assert corpus.image_path(record).is_file()
        assert record.id.startswith(f"{record.source}/")
        assert record.group.startswith(f"{record.source}/")
        assert record.caption == record.captions[0]
        assert "nan" not in record.caption.split()
        assert len(record.sha256) == 64


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("style", ["template", "fields", "medpix-seed", "labels"])
def test_every_style_of_every_set(name: str, style: str, tmp_path: Path) -> None:
    if style == "labels" and not LAYOUTS[name].has_labels:
        pytest.skip("this data set has no labels")
    DRAWN[name].draw(tmp_path)
    result = run(name, tmp_path, "--dry-run", "--skip-image-check", "--caption", style, "--json")
    if isinstance(result.exception, MedclipError):
        assert "missing_caption" in str(result.exception)
    else:
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["kept"] > 0


EXAMPLES = 25

# What people's tables have done to programs: NULs, formulas, surrogates, half a quote, ten megabytes.
HOSTILE_CELLS = (
    *(
        "\0",
        "=cmd|' /C calc'!A0",
        "\ud800",
        "\\ud800",
        '"',
        "\r",
        "\u2028",
        "../../etc/passwd",
        "C:\\x",
        "{x.__class__}",
    ),
    *("%s%n", "[" * 3000, "9" * 400, "-1e999", "１２", "\ufeff", "'; DROP", "[1, {}]", "null", "x" * 3000),
)


def spoil(text: str, draw: st.DrawFn) -> str:
    """Put hostile cells where cells are, drop, double and swap lines, or cut the end off."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["cell", "word", "drop", "double", "swap", "columns", "cut"]))
        if kind == "cell":
            separator = "\t" if "\t" in lines[at] else ","
            cells = lines[at].split(separator)
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(HOSTILE_CELLS))
            lines[at] = separator.join(cells)
        elif kind == "word":
            words = re.findall(r"\w+", lines[at]) or [""]
            lines[at] = lines[at].replace(
                draw(st.sampled_from(words)), draw(st.sampled_from(HOSTILE_CELLS)), 1
            )
        elif kind == "drop":
            lines[at] = ""
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "swap":
            lines[at], lines[0] = lines[0], lines[at]
        elif kind == "columns":
            lines[at] = ",".join(reversed(lines[at].split(",")))
        else:
            lines[at] = lines[at][: len(lines[at]) // 2]
    return "\n".join(lines)


@st.composite
def spoilt(draw: st.DrawFn, text: str) -> bytes:
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    return spoil(text, draw).encode("utf-8", "surrogatepass")


def rows_or_one_line(name: str, root: Path, *options: object) -> None:
    """Clean and write; that must end in counts that add up, or in one line."""
    result = run(name, root, "--out", root / ".corpus", "--force", "--skip-image-check", "--json", *options)
    if isinstance(result.exception, MedclipError):
        assert str(result.exception)
        assert "\n" not in str(result.exception)
        return
    assert result.exit_code == 0, (result.exception, result.output)
    report = json.loads(result.stdout)
    assert report["read"] == report["kept"] + sum(report["rejected"].values())


@pytest.mark.parametrize("name", DRAWN)
def test_malformed_tables_give_rows_or_reasons(name: str) -> None:
    layout = DRAWN[name]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        layout.draw(root)
        table = root / layout.TABLE
        original = b"".join(_unpacked(table))

        @settings(
            max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(spoilt(original.decode("utf-8", "surrogateescape")))
        @example(b"")
        @example(b"\0" * 50)
        @example(b"PK\x03\x04 not Excel")
        @example(b"\x1f\x8b not gzip")
        @example(b"\xff\xfei\0m\0a\0g\0e\0")
        def clean_spoilt(content: bytes) -> None:
            table.write_bytes(content)
            rows_or_one_line(name, root)

        clean_spoilt()
        table.write_bytes(original + b'\n"' + b"y" * (10 * tables.MAX_CELL) + b'",\n')
        rows_or_one_line(name, root)


def _unpacked(path: Path) -> list[bytes]:
    import gzip

    content = path.read_bytes()
    return [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content]
