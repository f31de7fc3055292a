"""Reading a drawn layout in tests."""

from __future__ import annotations

import gzip
from pathlib import Path

from medclip_cli.corpora.layout import ReadOptions
from medclip_cli.corpora.registry import LAYOUTS
from medclip_cli.records import SourceRow


def rows_of(dataset: str, root: Path, **options: object) -> dict[str, SourceRow]:
    """Read every row by its key; keys must be unique here."""
    found = list(LAYOUTS[dataset].read(root, ReadOptions(**options)))  # type: ignore[arg-type]
    by_key = {row.key: row for row in found}
    assert len(by_key) == len(found)
    return by_key


def write(path: Path, text: str, *, encoding: str = "utf-8", newline: str = "\n") -> Path:
    """Write a table, gzipped if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.replace("\n", newline).encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
