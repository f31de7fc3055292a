"""medclip: search and caption your own medical images.

    collection = medclip.open_collection("medpix")
    for answer in collection.caption(["scan.png"]):
        print(answer.caption, answer.confidence)

docs/python.md shows every name. Each is imported when it is first used; `import medclip_cli` imports none.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from medclip_cli import errors
    from medclip_cli.cleaning.corpus_builder import clean
    from medclip_cli.collection import Answers, Collection, Hits, open_collection
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.evaluation.run import evaluate
    from medclip_cli.models import Model, load_model
    from medclip_cli.scoring.score import score
    from medclip_cli.training import train_decoder, train_encoders
    from medclip_cli.vector_index.indexer import index

__version__ = "0.1.0"
__all__ = [
    "Answers",
    "Collection",
    "Corpus",
    "Hits",
    "Model",
    "clean",
    "errors",
    "evaluate",
    "index",
    "load_model",
    "open_collection",
    "score",
    "train_decoder",
    "train_encoders",
]
_MODULES = {
    "collection": ("Answers", "Collection", "Hits", "open_collection"),
    "cleaning.corpus_builder": ("clean",),
    "corpora.corpus_folder": ("Corpus",),
    "evaluation.run": ("evaluate",),
    "models": ("Model", "load_model"),
    "scoring.score": ("score",),
    "training": ("train_decoder", "train_encoders"),
    "vector_index.indexer": ("index",),
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
