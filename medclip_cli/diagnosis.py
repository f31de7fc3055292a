"""What `medclip doctor` reports: what is installed, what is there, what is wrong and how to fix it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from medclip_cli import __version__
from medclip_cli.discovery import known_models
from medclip_cli.errors import MedclipError
from medclip_cli.extras import EXTRAS, install_command, missing
from medclip_cli.models import load_model
from medclip_cli.progress import counted
from medclip_cli.settings import Settings, load_settings
from medclip_cli.vector_index import generations
from medclip_cli.vector_index.server_connection import shown_url

REQUIRED = (
    "typer", "rich", "textual-image", "numpy", "pillow", "onnxruntime", "tokenizers", "qdrant-edge-py",
    "qdrant-client", "pandas", "pyarrow", "pydicom", "sacrebleu",
)  # fmt: skip
USES = {
    "train": "training",
    "meteor": "METEOR scores",
    "excel": "Excel tables",
    "dicom": "compressed DICOM",
    "tensorboard": "curves",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and how to fix it."""

    what: str
    found: str
    ok: bool = True
    mend: str | None = None


def examine() -> list[Finding]:
    """Look at everything; a broken part becomes a finding, never an error."""
    findings = [
        Finding("medclip", __version__),
        Finding("python", sys.version.split()[0]),
        *(_package(name) for name in REQUIRED),
        *(_package(name, extra) for extra, names in EXTRAS.items() for name in names),
        _device(),
    ]
    try:
        settings = load_settings()
    except MedclipError as error:
        return [*findings, Finding("settings", "unreadable", ok=False, mend=str(error))]
    findings.append(_home(settings.home))
    if settings.qdrant_url is not None:  # named only: no server is contacted
        found = shown_url(settings.qdrant_url)
        findings.append(Finding("server", found, mend="medclip collections list contacts it"))
    return [*findings, *_models(settings), *_collections(settings)]


def _package(name: str, extra: str | None = None) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        if extra is None:
            return Finding(name, "not installed", ok=False, mend=f"pip install {name}")
        return Finding(name, "not installed (optional)", mend=f"{USES[extra]}: {install_command(extra)}")


def _device() -> Finding:
    """Name the device training would use; a torch that does not import is a finding, whatever its error."""
    if missing("train"):
        return Finding("device", "CPU")
    try:
        import torch

        if torch.cuda.is_available():
            return Finding("device", torch.cuda.get_device_name())
        return Finding("device", f"CPU, {counted(torch.get_num_threads(), 'thread')}")
    except Exception as error:  # noqa: BLE001 - a broken install fails in ways of its own
        found = f"torch does not import: {type(error).__name__}"
        return Finding("device", found, False, "pip install --force-reinstall torch torchvision")


def _home(home: Path) -> Finding:
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("home", f"{home} (not writable)", False, "set MEDCLIP_HOME to a writable folder")
    free = shutil.disk_usage(nearest).free / 1e9
    mend = None if free >= 1 else "free some disk space, or set MEDCLIP_HOME to a larger disk"
    return Finding("home", f"{home} ({free:.1f} GB free)", mend is None, mend)


def _models(settings: Settings) -> list[Finding]:
    """Open every model that is known, as caption and search would."""
    return [
        _opened(f"model {path.name}", f"{path} ({'; '.join(known_from)})", path)
        for path, known_from in known_models(settings).items()
    ]


def _collections(settings: Settings) -> list[Finding]:
    """Open the model of every collection, as caption and search would."""
    findings = []
    for info in generations.list_collections(settings.home):
        found = f"{counted(info.points, 'image')}, model {info.model_name}"
        findings.append(_opened(f"collection {info.name}", found, info.model_folder, info.fingerprint))
    return findings or [Finding("collections", "none yet", mend="medclip index CORPUS --model MODEL")]


def _opened(what: str, found: str, model: Path, fingerprint: str | None = None) -> Finding:
    try:
        opened = load_model(model)
    except MedclipError as error:
        return Finding(what, found, False, str(error))
    if fingerprint in (None, opened.fingerprint):
        return Finding(what, found)
    return Finding(what, found, False, f"the model at {model} has changed: run medclip index again")
