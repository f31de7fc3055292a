"""Opens what an answer needs: the collection of the settings, and the model that made it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import CollectionError
from medclip_cli.progress import log
from medclip_cli.records import Neighbour

if TYPE_CHECKING:
    from medclip_cli.models import Model
    from medclip_cli.settings import Settings
    from medclip_cli.vector_index.base import CollectionInfo, VectorIndex


def open_collection(settings: Settings) -> VectorIndex:
    """Open the collection of the settings; where none of them names one, the only one there is."""
    from medclip_cli.vector_index.store import Store

    store, name = Store.of(settings), settings.collection
    if settings.origins["collection"] == "default":
        existing = store.list_collections()
        if len(existing) == 1:
            name = existing[0].name
    index = store.open(name)
    log.debug("collection %s: %s images in %s", index.info.name, index.info.points, store.shown)
    return index


def open_matching_model(info: CollectionInfo, model_path: Path | None) -> Model:
    """Open the model that made the collection, or the one named, if it is the same.

    Raises:
        CollectionError: the model named, or the one now at the collection's model path, is another one (its
            vectors would be compared with noise), or none is there any more.
        ModelError: the model folder is damaged, or the one named is not there.
    """
    from medclip_cli.models import load_model

    own = info.model_folder
    if model_path is None and not own.exists():
        raise CollectionError(
            f"collection {info.name!r} was made with model {info.model_name!r} ({info.fingerprint}), "
            f"which is no longer at {own}: say where it is with --model"
        )
    model = load_model(model_path or own)
    if model_path is None and model.fingerprint != info.fingerprint:
        raise CollectionError(
            f"collection {info.name!r} was made with model {info.model_name!r} ({info.fingerprint}), but "
            f"{info.model_path} is another one now ({model.fingerprint}): name a copy of the old one with "
            "--model, or index with --rebuild"
        )
    info.check_model(model.fingerprint, model.name)
    log.debug("model %s (%s) at %s", model.name, model.fingerprint, model.path)
    return model


def with_paths(neighbours: Iterable[Neighbour], info: CollectionInfo) -> list[Neighbour]:
    """Return neighbours that know where their images are on this machine."""
    roots = {name: Path(source.image_root) for name, source in info.corpora.items()}
    return [
        replace(one, path=str(roots[one.corpus] / one.image)) if one.corpus in roots else one
        for one in neighbours
    ]
