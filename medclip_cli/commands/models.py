"""`medclip models`: which models this machine knows of, what they learned from and what they can do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medclip_cli.commands import options as opt
from medclip_cli.commands.completion import model_folders
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.models import ModelInfo

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Models: list those that are known, show one.",
    epilog="Example: medclip models list",
)


@app.command("list", epilog="Example: medclip models list work --json | jq -r '.[].path'")
def list_(
    folders: Annotated[
        list[Path] | None, opt.argument("FOLDER...", "Look here too: model folders, or folders of them.")
    ] = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """List the models: of the settings, of the home folder, those that collections were made with.

    R@10 is the recall at 10 that training measured on its validation split, the mean of both directions; it
    compares models of one corpus only.
    """
    from medclip_cli.models import list_models

    found = [model.to_dict() for model in list_models(folders or ())]
    if as_json:
        json_output.write(found)
        return
    keys = ("name", "preset", "corpus", "pairs", "r10")
    rows: list[tuple[tables.Cell, ...]] = [
        (*(one[key] for key in keys), ", ".join(one["can"]), str(one["path"]))
        for one in found
        if "error" not in one
    ]
    if rows:
        tables.show("Models", ("name", "preset", "corpus", "pairs", "R@10", "can also", "path"), rows)
    for one in found:
        if "error" in one:
            console.warn(f"{one['error']} (known from {', '.join(one['known_from'])})")
    if not found:
        console.note(
            "No models are known: train one with medclip train encoders, or name folders to look in."
        )


@app.command(epilog="Example: medclip models show work/model")
def show(
    model: Annotated[
        str,
        opt.argument("MODEL", "A model folder, or the name of a known model.", autocompletion=model_folders),
    ],
    as_json: opt.JsonOutput = False,
) -> None:
    """Show one model: its towers, what it learned from, how it was evaluated, its files."""
    from medclip_cli.models import find_model

    known = find_model(model)
    facts = known.info
    assert facts is not None  # else `find_model` had raised
    if as_json:
        json_output.write({**asdict(facts), "can": facts.can, "known_from": known.known_from})
    else:
        _show(facts, known.known_from)


def _show(facts: ModelInfo, known_from: list[str]) -> None:
    rows: list[tuple[tables.Cell, ...]] = [
        ("path", str(facts.path)),
        ("known from", "; ".join(known_from) or None),
        ("fingerprint", facts.fingerprint),
        ("preset", facts.preset),
        ("image tower", f"{facts.image_encoder}, {facts.image_size} x {facts.image_size} pixels"),
        ("text tower", f"{facts.text_encoder}, up to {facts.max_tokens} tokens"),
        ("vectors", f"{facts.dim} numbers"),
        ("can also", ", ".join(facts.can) or None),
        ("size", f"{sum(facts.files.values()) / 1e6:,.1f} MB in {len(facts.files)} files"),
    ]
    tables.show(facts.name, ("what", "value"), rows)
    tables.gap()
    tables.show("Trained on", ("what", "value"), list(_flat(facts.trained_on)))
    if facts.validation:
        tables.gap()
        tables.show("Validation", ("what", "value"), list(_flat(facts.validation)))


def _flat(scores: Any, prefix: str = "") -> list[tuple[str, tables.Cell]]:  # noqa: ANN401
    rows: list[tuple[str, tables.Cell]] = []
    for name, value in scores.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name} ")
        else:
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            cell = shown if isinstance(shown, (str, int, float, type(None))) else str(shown)
            rows.append((f"{prefix}{name}".replace("_", " "), cell))
    return rows
