"""Takes the example packages out of the pages of docs/extending, and installs them for a test."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from .pages import REPOSITORY

PAGES = REPOSITORY / "docs" / "extending"
_FILE = re.compile(r"^```(\w+) (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def files_of(page: str) -> dict[str, str]:
    """Return the files that a page shows, by name: blocks whose fence says language and name."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return {name: content for _, name, content in _FILE.findall(text)}


def code_lines(source: str) -> int:
    """Count the lines of code: neither blank nor comment."""
    lines = (line.strip() for line in source.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def install(page: str, folder: Path) -> dict[str, str]:
    """Lay out what pip would install, in a folder, and return the environment in which it is found."""
    for name, content in files_of(page).items():
        if name == "pyproject.toml":
            info = folder / "example-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
            points = content.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
            (info / "entry_points.txt").write_text(points)
        else:
            (folder / name).write_text(content, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def use_here(page: str, folder: Path, monkeypatch) -> None:
    """Install into this process until the test ends."""
    install(page, folder)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    for name in files_of(page):
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
