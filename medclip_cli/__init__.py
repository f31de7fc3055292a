"""medclip: search and caption your own medical images.

    collection = medclip.open_collection("medpix")
    for answer in collection.caption(["scan.png"]):
        print(answer.caption, answer.confidence)

docs/python.md shows every name. Each is imported when it is first used; `import medclip_cli` imports none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medclip_cli import errors
    from medclip_cli.collection import Answers, Collection, Hits, open_collection
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.models import Model
    from medclip_cli.training import train_decoder, train_encoders

__version__ = "0.1.0"
__all__ = [
    "Answers",
    "Collection",
    "Corpus",
    "Hits",
    "Model",
    "errors",
    "open_collection",
    "train_decoder",
    "train_encoders",
]
_MODULES = {
    "collection": ("Answers", "Collection", "Hits", "open_collection"),
    "corpora.corpus_folder": ("Corpus",),
    "models": ("Model",),
    "training": ("train_decoder", "train_encoders"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("medclip_cli.errors")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"medclip_cli.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
