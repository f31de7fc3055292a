"""The settings: where medclip keeps its data, and the defaults of options.

Order, the first that is set wins: flag, ``MEDCLIP_*`` variable, ``./medclip.toml``,
``$XDG_CONFIG_HOME/medclip/config.toml``, default. ``./medclip.toml`` may have come with a downloaded data
set: it never decides where data goes, which model is opened or whether the network is reached.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medclip_cli.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_COLLECTION = "default"
PROJECT_SETTINGS = ("collection", "lock_timeout_seconds", "offline")  # of medclip.toml; offline only as true
OTHER_VARIABLES = frozenset(("MEDCLIP_QDRANT_API_KEY",))  # read where it is used, and never shown
_PREFIX = "MEDCLIP_"
_NEARLY = 0.85  # COLECTION and COLLECTION are alike by 0.95


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force.

    Attributes:
        home: the folder of collections and caches.
        collection: name of the collection used when none is named.
        model: model folder used when none is named.
        lock_timeout_seconds: how long a reader waits for a collection that another process holds.
        qdrant_url: the Qdrant server that has the collections; None keeps them under `home`.
        offline: never use the network.
        origins: where each value came from, by setting name.
    """

    home: Path
    collection: str
    model: Path | None
    lock_timeout_seconds: float
    qdrant_url: str | None
    offline: bool
    origins: Mapping[str, str]


def _folder(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a path in quotes")
    return Path(value).expanduser()


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a name in quotes")
    return value


def _seconds(value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError("a number of seconds") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError("a number of seconds, 0 or more")
    return seconds


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _SWITCH:
        return _SWITCH[value.strip().lower()]
    raise ValueError("true or false")


_SWITCH = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
_READERS: dict[str, Callable[[object], Any]] = {
    "home": _folder,
    "collection": _name,
    "model": _folder,
    "lock_timeout_seconds": _seconds,
    "qdrant_url": _name,
    "offline": _switch,
}


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read the settings from the flags, the environment and the two settings files.

    Args:
        flags: values that go before all others, by setting; None where there is none.
        environ: the environment; the process's own by default.
        folder: where ``medclip.toml`` is looked for; the working folder by default.

    Raises:
        SettingsError: a file that is no TOML, an unknown key, or a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    user_file, project_file = settings_files(environ, folder)
    values: dict[str, Any] = {
        "home": _xdg(environ, "XDG_DATA_HOME", ".local/share") / "medclip",
        "collection": DEFAULT_COLLECTION,
        "model": None,
        "lock_timeout_seconds": 10.0,
        "qdrant_url": None,
        "offline": False,
    }
    origins = dict.fromkeys(values, "default")
    for layer, origin in (
        (_read_file(user_file), str(user_file)),
        (_read_project_file(project_file, user_file), str(project_file)),
        (_read_environment(environ), "environment"),
        ({key: value for key, value in (flags or {}).items() if value is not None}, "flag"),
    ):
        for key, value in layer.items():
            values[key] = _read_value(key, value, origin)
            origins[key] = f"{_PREFIX}{key.upper()}" if origin == "environment" else origin
    return Settings(**values, origins=origins)


def settings_files(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> tuple[Path, Path]:
    """Return the paths of the user's and the project's settings file, whether they exist or not."""
    environ = os.environ if environ is None else environ
    user_file = _xdg(environ, "XDG_CONFIG_HOME", ".config") / "medclip" / "config.toml"
    return user_file, (folder or Path()) / "medclip.toml"


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG specification says to ignore a value that is not absolute.
    value = environ.get(variable, "")
    if value.startswith("/"):
        return Path(value)
    return Path(environ.get("HOME") or Path.home()) / fallback


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read the variables; one that is nearly a setting's is an error, since it was meant to be one."""
    for name in environ:
        key = name.removeprefix(_PREFIX).lower()
        if not name.startswith(_PREFIX) or key in _READERS or name in OTHER_VARIABLES:
            continue
        if near := get_close_matches(key, _READERS, n=1, cutoff=_NEARLY):
            raise SettingsError(f"unknown variable {name}: did you mean {_PREFIX}{near[0].upper()}?")
    found = {key: environ.get(f"{_PREFIX}{key.upper()}", "") for key in _READERS}
    return {key: value for key, value in found.items() if value}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML ({error}): fix it or move it away") from error
    for key in table:
        if key not in _READERS:
            near = get_close_matches(key, _READERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known settings: {', '.join(_READERS)}"
            raise SettingsError(f"{path} has an unknown setting {key!r}: {hint}")
    return table


def _read_project_file(path: Path, user_file: Path) -> dict[str, Any]:
    """Read the file of the working folder, which whoever made a data set may have put there."""
    table = _read_file(path)
    for key in table:
        if key not in PROJECT_SETTINGS:
            raise SettingsError(
                f"{path} sets {key}, which a file in the working folder may not: move it to {user_file}, "
                f"or set {_PREFIX}{key.upper()}"
            )
    if "offline" in table and not _read_value("offline", table["offline"], str(path)):
        raise SettingsError(f"{path} sets offline = false: a file in the working folder may only set true")
    return table


def _read_value(key: str, value: object, origin: str) -> object:
    try:
        return _READERS[key](value)
    except ValueError as error:
        raise SettingsError(f"{key} from {origin} must be {error}, not {value!r}") from None


def stored_paths(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return every path by name, with whether it exists and what it holds."""
    user_file, project_file = settings_files()
    home = settings.home
    # The Hugging Face libraries' own rules.
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub_home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    hub_cache = Path(os.environ.get("HF_HUB_CACHE") or f"{hub_home}/hub").expanduser()
    named = {
        "home": (home, "everything below"),
        "collections": (home / "collections", "what medclip index makes"),
        "models": (home / "models", "converted models of the Hugging Face hub"),
        "corpora": (home / "corpora", "corpora that medclip index made of folders"),
        "hub_cache": (hub_cache, "downloads of the Hugging Face hub"),
        "user_settings": (user_file, "your settings"),
        "project_settings": (project_file, "settings of the working folder; they win"),
    }
    return {
        name: {"path": path.absolute(), "exists": path.exists(), "holds": holds}
        for name, (path, holds) in named.items()
    }
