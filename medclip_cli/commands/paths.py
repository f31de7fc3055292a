"""`medclip paths`: where collections, models, caches and settings are stored."""

from __future__ import annotations

from medclip_cli.commands import options as opt
from medclip_cli.terminal import json_output, tables

EXAMPLE = "Example: medclip paths --json | jq -r .home.path"


def paths(as_json: opt.JsonOutput = False) -> None:
    """Say where medclip keeps collections, models and caches, and which settings files it reads."""
    from medclip_cli.settings import load_settings, stored_paths

    found = stored_paths(load_settings())
    if as_json:
        json_output.write(found)
        return
    rows: list[tuple[tables.Cell, ...]] = [
        (name.replace("_", " "), "yes" if one["exists"] else "no", str(one["path"]))
        for name, one in found.items()
    ]
    tables.show("Paths", ("what", "exists", "path"), rows)
