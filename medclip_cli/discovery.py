"""Which collections and models this machine knows of, by looking at folders alone: fast enough for Tab."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medclip_cli.settings import Settings


def collection_names(home: Path) -> list[str]:
    """Return the names of the collections under a home folder, damaged ones included."""
    return sorted(file.parent.name for file in _manifests(home))


def known_models(settings: Settings, folders: Iterable[Path] = ()) -> dict[Path, list[str]]:
    """Return the known model folders, and what names each.

    Args:
        settings: the setting `model`, the models under `home`, and those its collections were made with.
        folders: model folders, or folders of them.
    """
    found: dict[Path, list[str]] = {}
    if settings.model is not None:
        _add(found, settings.model, f"setting model ({settings.origins['model']})")
    for file in sorted(_manifests(settings.home)):
        if model := _model_path(file):
            _add(found, Path(model), f"collection {file.parent.name}")
    for path in models_in(settings.home / "models"):
        _add(found, path, "home")
    for folder in folders:
        for path in models_in(folder):
            _add(found, path, f"folder {folder}")
    return found


def models_in(folder: Path) -> list[Path]:
    """Return the folder itself if it is a model, else the models right below it."""
    if _is_model(folder):
        return [folder]
    try:
        return sorted(path for path in folder.iterdir() if _is_model(path))
    except OSError:
        return []


def _add(found: dict[Path, list[str]], path: Path, who: str) -> None:
    found.setdefault(path.expanduser().absolute(), []).append(who)


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def _manifests(home: Path) -> Iterator[Path]:
    return (home / "collections").glob("*/collection.json")


def _model_path(manifest: Path) -> str | None:
    """The model path of a collection; None for a damaged manifest."""
    try:
        described = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    path = described.get("model_path") if isinstance(described, dict) else None
    return path if isinstance(path, str) and "\0" not in path else None
