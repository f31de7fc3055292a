"""`medclip config`: which settings are in force, and where each came from."""

from __future__ import annotations

import typer

from medclip_cli.commands import options as opt
from medclip_cli.terminal import json_output, tables

EXAMPLE = "Example: medclip config show --json | jq -r .home.value"

app = typer.Typer(no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show the settings.

    The first that is set wins: a flag, a MEDCLIP_* variable, ./medclip.toml,
    $XDG_CONFIG_HOME/medclip/config.toml, the default.
    """


@app.command(epilog=EXAMPLE)
def show(as_json: opt.JsonOutput = False) -> None:
    """Show every setting with its value and where the value came from."""
    from medclip_cli.settings import load_settings

    settings = load_settings()
    values = {name: getattr(settings, name) for name in settings.origins}
    if as_json:
        json_output.write(
            {name: {"value": value, "origin": settings.origins[name]} for name, value in values.items()}
        )
        return
    tables.show(
        "Settings",
        ("setting", "value", "from"),
        [(name, _as_written(value), settings.origins[name]) for name, value in values.items()],
    )


def _as_written(value: object) -> str | None:
    """Return a value as one writes it in a settings file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return None if value is None else str(value)
