"""Writes docs/commands.md from the commands themselves, so that it cannot say anything else.

python -m docs.tools.command_reference [--check]
"""

from __future__ import annotations

import enum
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from medclip_cli.app import COMMANDS, app

PAGE = Path(__file__).resolve().parents[1] / "commands.md"
SCHEMAS = PAGE.parent / "schemas"
HEADER = """# Commands

Written by `make docs` from the commands themselves; do not edit. `medclip COMMAND --help` says the same in
the terminal.
"""
KINDS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}
# A default that is worked out is told in the help.
SAID_DEFAULT = re.compile(r"\s*\\\[default: (.*)\]$")
# Options that every command has; said once.
EVERYWHERE = ("--help", "--quiet", "--verbose", "--debug")


def main() -> int:
    """Write the page, or with `--check` say whether it is what would be written."""
    text = reference()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/commands.md is not what the commands say: run make docs", file=sys.stderr)
    return 1


def reference() -> str:
    """Return the whole page."""
    root = typer.main.get_command(app)
    sections = [HEADER, _contents(), _for_everyone(root)]
    for name in COMMANDS:
        for path, command in _walk((name,), root.commands[name]):  # type: ignore[attr-defined]
            sections.append(_section(path, command))
    return "\n".join(sections)


def _walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, subcommand in subcommands.items():
        yield from _walk((*path, name), subcommand)


def _contents() -> str:
    panels = dict.fromkeys(entry.panel for entry in COMMANDS.values())
    lines = []
    for panel in panels:
        names = [name for name, entry in COMMANDS.items() if entry.panel == panel]
        lines.append(f"* {panel}: " + ", ".join(f"[`{name}`](#{_anchor(name)})" for name in names))
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    path, _ = next(_walk((name,), command))
    return "medclip-" + "-".join(path)


def _for_everyone(root: Any) -> str:  # noqa: ANN401
    """Document the options of `medclip` itself, and those that every command has."""
    some_command = root.commands["doctor"]
    options = [*root.params, *(one for one in some_command.params if set(one.opts) & set(EVERYWHERE))]
    rows = [f"| {_flags(one)} | {_plain(one.help)} |" for one in options if _is_shown(one)]
    title = "## Everywhere\n\n| option | what |\n|---|---|\n"
    return title + "\n".join([*rows, "| `-h`, `--help` | Show the help of a command. |"]) + "\n"


def _section(path: tuple[str, ...], command: Any) -> str:  # noqa: ANN401
    parts = [f"## medclip {' '.join(path)}\n", f"{_paragraphs(command.help)}\n"]
    if command.epilog:
        parts.append(f"{_example(command.epilog)}\n")
    if (schema := SCHEMAS / f"{'-'.join(path)}.schema.json").is_file():
        described = json.loads(schema.read_text(encoding="utf-8"))["description"]
        parts.append(f"With `--json`: {described} ([schema](schemas/{schema.name}))\n")
    parts += _tables(command)
    return "\n".join(parts)


def _tables(command: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield a table of the arguments, and one of the options under each heading."""
    arguments = [one for one in command.params if one.param_type_name == "argument" and _is_shown(one)]
    if arguments:
        rows = [f"| `{_metavar(one)}` | {_plain(one.help)} |" for one in arguments]
        yield "| argument | what |\n|---|---|\n" + "\n".join(rows) + "\n"
    options = [one for one in command.params if one.param_type_name == "option" and _is_shown(one)]
    panels: dict[str, list[str]] = {}
    for option in options:
        if not set(option.opts) & set(EVERYWHERE):
            said = _plain(SAID_DEFAULT.sub("", option.help or ""))
            row = f"| {_flags(option)} | {_default(option)} | {said} |"
            panels.setdefault(option.rich_help_panel or "Options", []).append(row)
    for panel, rows in panels.items():
        yield f"| {panel} | default | what |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _is_shown(parameter: Any) -> bool:  # noqa: ANN401
    return not getattr(parameter, "hidden", False)


def _metavar(argument: Any) -> str:  # noqa: ANN401
    name = str(argument.metavar or argument.name.upper()).removesuffix("...")
    return f"{name}..." if argument.nargs == -1 else name


def _flags(option: Any) -> str:  # noqa: ANN401
    flags = sorted([*option.opts, *option.secondary_opts], key=lambda flag: flag.startswith("--"))
    shown = ", ".join(flags)
    if option.is_flag or option.count:
        return f"`{shown}`"
    return f"`{shown} {option.metavar or _values(option.type_descriptor.annotation)}`"


def _values(annotation: Any) -> str:  # noqa: ANN401
    """Return what an option takes, in a word, or the words to choose from."""
    if get_origin(annotation) is Literal:
        return _choice(get_args(annotation))
    if get_args(annotation):
        return _values(get_args(annotation)[0])
    if issubclass(annotation, enum.Enum):
        return _choice([one.value for one in annotation])
    return KINDS.get(annotation, "TEXT")


def _choice(values: Iterable[object]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _default(option: Any) -> str:  # noqa: ANN401
    value = option.default
    if isinstance(value, enum.Enum):
        value = value.value
    if said := SAID_DEFAULT.search(option.help or ""):
        return said[1]
    if value is None or value is False or callable(value) or value in ((), [], ""):
        return "required" if option.required else ""
    return "on" if value is True else f"`{value}`"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace(r"\[", "[").replace("|", r"\|").replace("<", "&lt;")


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(_plain(part) for part in re.split(r"\n\s*\n", (text or "").replace("\b", "")))


def _example(epilog: str) -> str:
    """Return an epilog with its commands in code."""
    label, _, text = " ".join(epilog.split()).partition(": ")
    return f"{label}: " + ", or: ".join(f"`{command}`" for command in text.split(", or: "))


if __name__ == "__main__":
    sys.exit(main())
