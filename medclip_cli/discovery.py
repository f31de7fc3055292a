"""Which collections and models this machine knows of, by looking at folders alone: fast enough for Tab."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medclip_cli.settings import Settings

MODEL_MARK = "config.json"
_COLLECTION_MARK = "collection.json"


def collection_names(home: Path) -> list[str]:
    """Return the names of the collections under a home folder."""
    return sorted(_descriptions(home))


def known_models(settings: Settings, folders: Iterable[Path] = ()) -> dict[Path, list[str]]:
    """Return the model folders that somebody knows of, and who does.

    Args:
        settings: the setting `model`, the models under `home`, and those its collections were made with.
        folders: model folders, or folders of them.
    """
    found: dict[Path, list[str]] = {}
    if settings.model is not None:
        _add(found, settings.model, f"setting model ({settings.origins['model']})")
    for name, description in sorted(_descriptions(settings.home).items()):
        if path := description.get("model_path"):
            _add(found, Path(path), f"collection {name}")
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
    return (path / MODEL_MARK).is_file() and (path / "model.safetensors").is_file()


def _descriptions(home: Path) -> dict[str, dict[str, Any]]:
    """The description of each collection; of a damaged one, nothing."""
    described = {}
    for file in (home / "collections").glob(f"*/{_COLLECTION_MARK}"):
        try:
            described[file.parent.name] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            described[file.parent.name] = {}
    return {name: data if isinstance(data, dict) else {} for name, data in described.items()}
