"""What Tab completes: names of collections, models and data sets.

Completion runs on every Tab: these functions import nothing heavy, and find nothing rather than fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from medclip_cli.errors import MedclipError


def collections(incomplete: str) -> list[str]:
    """Complete the name of a collection on this machine."""
    from medclip_cli.discovery import collection_names
    from medclip_cli.settings import load_settings

    with suppress(MedclipError, OSError):
        return _starting(incomplete, collection_names(load_settings().home))
    return []


def model_folders(incomplete: str) -> list[str]:
    """Complete a model folder: those that are known, and those in the working folder or right below it.

    Nothing fits a path that was begun by hand: then the shell completes it, as any path.
    """
    from medclip_cli.discovery import known_models
    from medclip_cli.settings import load_settings

    with suppress(MedclipError, OSError):
        here = Path()
        below = sorted(path for path in here.iterdir() if path.is_dir() and not path.name.startswith("."))
        return _starting(incomplete, map(_as_typed, known_models(load_settings(), [here, *below])))
    return []


def datasets(incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of a data set; its title is shown beside it."""
    from medclip_cli.corpora.registry import known_layouts

    with suppress(MedclipError):
        return [(one.name, one.title) for one in known_layouts() if one.name.startswith(incomplete)]
    return []


def _starting(beginning: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(beginning)]


def _as_typed(path: Path) -> str:
    """A path as one would type it: relative if it is below the working folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative
