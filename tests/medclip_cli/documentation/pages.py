"""Reads the README and the pages of docs/: their blocks of code, and the medclip commands in them.

A ``console`` block is a session: each of its lines that starts with ``$`` is run by a test, in order. A block
that cannot be run here (it needs a server, several machines, hours) stands under ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
GENERATED = ("commands.md",)
PAGES = [
    REPOSITORY / "README.md",
    *sorted(page for page in (REPOSITORY / "docs").rglob("*.md") if page.name not in GENERATED),
]
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
_FENCE = re.compile(r"^```(\w*)")
_INLINE = re.compile(r"(?<!`)`(medclip [^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code.

    Attributes:
        language: after the fence; empty for an indented block.
        lines: its text.
        number: of its first line in the page.
        not_run: why its commands are not run; empty where they are.
    """

    language: str
    lines: tuple[str, ...]
    number: int
    not_run: str

    def commands(self) -> Iterator[str]:
        """Yield its medclip commands, continued lines joined, without the prompt."""
        joined = "\n".join(self.lines).replace("\\\n", " ")
        for line in joined.split("\n"):
            text = line.strip()
            if text.startswith("$ ") or (self.language != "console" and re.match(r"medclip\s", text)):
                yield text.removeprefix("$ ")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, fenced or indented."""
    language: str | None = None
    kept: list[str] = []
    not_run = ""
    for number, line in enumerate([*page.read_text(encoding="utf-8").split("\n"), ""], 1):
        fence = _FENCE.match(line)
        indented = language in (None, "") and line.startswith("    ")
        if language is None and (fence or indented):
            language, kept = (fence[1] or "text", []) if fence else ("", [line])
        elif language is not None and (fence or (language == "" and not indented)):
            yield Block(language, tuple(kept), number - len(kept), not_run)
            language = None
        elif language is not None:
            kept.append(line)
        elif line.strip():
            said = NOT_RUN.search(line)
            not_run = said[1] if said else ""


def session(page: Path) -> list[str]:
    """Return the commands of a page that a test runs, in order."""
    return [command for block in blocks(page) if block.language == "console" for command in block.commands()]


def mentioned(page: Path) -> list[str]:
    """Return every medclip command of a page: run, not run, and inside its sentences."""
    in_blocks = [command for block in blocks(page) for command in block.commands()]
    return [*in_blocks, *_INLINE.findall(page.read_text(encoding="utf-8"))]
