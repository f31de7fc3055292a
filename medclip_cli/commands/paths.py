"""`medclip paths`: where collections, models, caches and settings are stored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.commands import options as opt
from medclip_cli.terminal import json_output, tables

if TYPE_CHECKING:
    from medclip_cli.settings import Settings

EXAMPLE = "Example: medclip paths --json | jq -r .home.path"


def paths(as_json: opt.JsonOutput = False) -> None:
    """Say where medclip keeps collections, models and caches, and which settings files it reads."""
    from medclip_cli.settings import load_settings

    found = stored_paths(load_settings())
    if as_json:
        json_output.write(found)
        return
    rows: list[tuple[tables.Cell, ...]] = [
        (name.replace("_", " "), "yes" if one["exists"] else "no", str(one["path"]))
        for name, one in found.items()
    ]
    tables.show("Paths", ("what", "exists", "path"), rows)


def stored_paths(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return every path by name, with whether it exists and what it holds."""
    from medclip_cli.settings import settings_files

    user_file, project_file = settings_files()
    home = settings.home
    named = {
        "home": (home, "everything below"),
        "collections": (home / "collections", "what medclip index makes"),
        "models": (home / "models", "converted models of the Hugging Face hub"),
        "corpora": (home / "corpora", "corpora that medclip index made of folders"),
        "hub_cache": (_hub_cache(), "downloads of the Hugging Face hub"),
        "user_settings": (user_file, "your settings"),
        "project_settings": (project_file, "settings of the working folder; they win"),
    }
    return {
        name: {"path": path.absolute(), "exists": path.exists(), "holds": holds}
        for name, (path, holds) in named.items()
    }


def _hub_cache() -> Path:
    """Where the Hugging Face libraries keep downloads, by their own rules."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{general}/huggingface").expanduser() / "hub"
