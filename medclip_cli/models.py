"""Models opened for use: images and words to vectors, images to captions, and what a model says of itself.

This runs on ONNX Runtime without torch; only much work on a GPU imports it. `encoders` is imported inside
functions, so that a command pays only for what it uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medclip_cli.errors import ModelError, ScanError
from medclip_cli.extras import missing, require
from medclip_cli.parallel import ordered_map, usable_cores

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray

    from encoders.bundle import ModelBundle
    from encoders.captioner import GeneratedCaption, OnnxCaptioner
    from encoders.generation import GenerationOptions
    from encoders.preprocessing import ImagePreprocessing
    from encoders.runtime import OnnxEncoder
    from encoders.torch_runtime import TorchEncoder

    Vectors = NDArray[np.float32]
    Source = Path | BinaryIO
    ImageOrReason = tuple[Source, NDArray[np.uint8] | str]

Decoded = TypeVar("Decoded")
HUB_PREFIX = "hf:"
_DECODING_THREADS = 16
_CHUNKS_IN_BATCH = 16  # files are handed to the threads that decode them in so many parts of a batch


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of one image: a unit-length vector, or the reason there is none."""

    index: int  # among the sources
    source: Source
    vector: Vectors | None  # float32 ``[dim]``, or None
    error: str | None = None  # why there is no vector
    image: NDArray[np.uint8] | None = None  # what the image tower got, uint8 ``[side, side, 3]``


class Model:
    """A trained model opened for use: image files and words in, unit-length vectors out.

    Attributes:
        path: the model folder.
        name: the folder's own name.
        fingerprint: of its weights and preprocessing; vectors of equal fingerprints can be compared.
        dim: length of its vectors.
        batch_size: images that suit one forward pass where it runs.
        passes_at_once: forward passes that keep it busy.
        trained_on: the corpus and the run.
    """

    def __init__(self, bundle: ModelBundle, encoder: OnnxEncoder | TorchEncoder) -> None:
        """Wrap an opened model folder; use `load_model`."""
        self._encoder, self._bundle = encoder, bundle
        self.path: Path = bundle.path
        self.name: str = bundle.path.name
        self.fingerprint: str = bundle.fingerprint
        self.dim: int = bundle.config.embedding_dim
        self.batch_size: int = encoder.usual_batch
        self.passes_at_once: int = encoder.passes_at_once
        self.trained_on = bundle.config.trained_on

    def __repr__(self) -> str:
        runs = type(self._encoder).__name__.removesuffix("Encoder")
        return f"<Model {self.path}: {self.dim} dimensions, fingerprint {self.fingerprint}, {runs}>"

    @property
    def info(self) -> ModelInfo:
        """What the model folder says of itself."""
        return describe_model(self.path)

    def read_addition(self, name: str) -> str | None:
        """Return the text of a file that was added to the model folder, or None where there is none."""
        if name not in self._bundle.config.files:
            return None
        return self._bundle.read_verified(name).decode("utf-8")

    def add_files(self, files: Mapping[str, bytes], *, remove: Iterable[str] = ()) -> None:
        """Put files into the model folder; its fingerprint, and collections made with it, stay valid."""
        from encoders.bundle import add_files

        self._bundle = add_files(self._bundle, files, remove=remove)

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed captions or questions.

        Returns:
            float32 ``[n, dim]``, unit length, in the order of the texts.
        """
        return self._encoder.embed_texts(texts)

    def embed_images(
        self, sources: Iterable[Path | str | BinaryIO], batch_size: int | None = None
    ) -> Vectors:
        """Embed image files, all of which must be readable; `embed_files` skips those that are not.

        Args:
            sources: paths, or binary streams.
            batch_size: images in one forward pass; None for what suits where the model runs.

        Returns:
            float32 ``[n, dim]``, unit length, in the order of the sources.

        Raises:
            ScanError: a file cannot be read as an image; the message names it.
        """
        import numpy as np

        rows: list[Vectors] = []
        files = (Path(source) if isinstance(source, str) else source for source in sources)
        for embedded in self.embed_files(files, batch_size):
            if embedded.vector is None:
                raise ScanError(f"{embedded.source}: {embedded.error}")
            rows.append(embedded.vector)
        return np.stack(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)

    def embed_files(self, sources: Iterable[Source], batch_size: int | None = None) -> Iterator[Embedded]:
        """Embed image files in order, decoding ahead of the forward pass in threads.

        A file that cannot be read becomes an `Embedded` with its reason; the others are still embedded.
        Memory stays flat: a few batches of decoded images exist at a time.
        """
        import numpy as np

        def embed(
            batches: Sequence[list[ImageOrReason]],
        ) -> list[tuple[list[ImageOrReason], Iterator[Vectors]]]:
            (batch,) = batches
            images = [item for _, item in batch if not isinstance(item, str)]
            return [(batch, iter(self._encoder.embed_images(np.stack(images)) if images else ()))]

        index = 0
        batches = decoded_ahead(_decoder(self._encoder.image_spec), sources, batch_size or self.batch_size)
        for batch, vectors in ordered_map(
            embed, batches, self.passes_at_once, chunk=1, ahead=self.passes_at_once
        ):
            for source, item in batch:
                if isinstance(item, str):
                    yield Embedded(index, source, None, item)
                else:
                    yield Embedded(index, source, next(vectors), image=item)
                index += 1


def load_model(
    source: Path | str,
    *,
    offline: bool = False,
    home: Path | None = None,
    device: str | None = None,
    for_many: bool = False,
) -> Model:
    """Open a model: on the CPU without torch, or on a GPU.

    Args:
        source: a model folder; or ``hf:`` and a CLIP or SigLIP model of the Hugging Face hub or of a folder,
            which is converted the first time.
        offline: never reach for the hub.
        home: where converted models are kept; None for medclip's home of the settings.
        device: ``cpu``, or as torch names it; None for what suits the work.
        for_many: whether so much is to be embedded that a GPU, if there is one, makes up for the seconds that
            importing torch takes.

    Raises:
        ModelError: the model is missing, incomplete or altered, or neither CLIP nor SigLIP.
    """
    from encoders.bundle import ModelBundle

    if str(source).startswith(HUB_PREFIX):
        if home is None:
            from medclip_cli.settings import load_settings

            home = load_settings().home
        source = hub_model(str(source), home, offline=offline)
    bundle = ModelBundle.open(source)
    if device not in (None, "cpu"):
        require("train", f"device {device}")
    if device not in (None, "cpu") or (device is None and for_many and _has_gpu()):
        from encoders.torch_runtime import TorchEncoder

        return Model(bundle, TorchEncoder(bundle, device=device))
    from encoders.runtime import OnnxEncoder

    return Model(bundle, OnnxEncoder(bundle))


def hub_model(name: str, home: Path, *, offline: bool = False) -> Path:
    """Return the folder in ``home/models`` of a transformers CLIP or SigLIP model, converted the first time.

    Raises:
        ModelError: it is nowhere to be had, or neither CLIP nor SigLIP.
    """
    from encoders.names import plain_name

    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix(HUB_PREFIX)).strip("-.")
    folder = home / "models" / plain_name(plain, "model name", ModelError)
    if not folder.exists():
        require("train", f"the model {name}")
        from encoders.hf_import import convert_whole_model

        folder.parent.mkdir(parents=True, exist_ok=True)
        convert_whole_model(name, folder, offline=offline)
    return folder


def _has_gpu() -> bool:
    """Look for torch and an NVIDIA driver first: a machine without one must not pay for importing torch."""
    from shutil import which

    if missing("train"):
        return False
    if not Path("/proc/driver/nvidia/version").exists() and which("nvidia-smi") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _decoder(spec: ImagePreprocessing) -> Callable[[Source], ImageOrReason]:
    from encoders.preprocessing import load_image

    def decode(source: Source) -> ImageOrReason:
        try:
            return source, load_image(source, spec)
        except ScanError as error:
            return source, str(error)

    return decode


def decoded_ahead(
    decode: Callable[[Source], Decoded], sources: Iterable[Source], batch_size: int
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded files in order, while threads decode the next two batches.

    No more than those three batches are read before the first is ready: a program that writes names into a
    pipe may wait for answers before writing more.
    """
    chunk = max(1, batch_size // _CHUNKS_IN_BATCH)

    def decode_some(some: Sequence[Source]) -> list[Decoded]:
        return [decode(source) for source in some]

    threads = min(_DECODING_THREADS, usable_cores())
    decoded = ordered_map(decode_some, sources, threads, chunk=chunk, ahead=2 * batch_size // chunk + 1)
    while batch := list(islice(decoded, batch_size)):
        yield batch


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """What a decoder gets of one image."""

    embedded: Embedded  # its vector, or the reason there is none
    grid: Vectors | None  # float32 ``[cells, channels]``, or None


class Captioner:
    """A model folder with a decoder, opened for writing captions."""

    def __init__(self, captioner: OnnxCaptioner, spec: ImagePreprocessing) -> None:
        """Wrap an opened decoder; use `open_captioner`."""
        self._captioner, self._spec = captioner, spec
        self.retrieve: int = captioner.retrieve  # captions of neighbours it reads for each image; 0 for none
        self.max_tokens: int = captioner.config.max_tokens - 1  # of the longest caption it can write

    def encode_files(self, sources: Iterable[Source], batch_size: int = 8) -> Iterator[EncodedImage]:
        """Encode image files in order, decoding ahead of the forward pass in threads.

        A file that cannot be read comes with its reason and no grid; the others are still encoded.
        """
        import numpy as np

        from encoders.preprocessing import normalize_image

        index = 0
        for batch in decoded_ahead(_decoder(self._spec), sources, batch_size):
            pixels = [normalize_image(item, self._spec) for _, item in batch if not isinstance(item, str)]
            encoded = iter(zip(*self._captioner.encode(np.stack(pixels)), strict=True) if pixels else ())
            for source, item in batch:
                if isinstance(item, str):
                    yield EncodedImage(Embedded(index, source, None, item), None)
                else:
                    vector, grid = next(encoded)
                    yield EncodedImage(Embedded(index, source, vector, image=item), grid)
                index += 1

    def write(
        self, grids: Vectors, retrieved: Sequence[Sequence[str]] | None, options: GenerationOptions
    ) -> list[list[GeneratedCaption]]:
        """Captions for grids ``[b, cells, channels]`` and their neighbours' captions, each best first."""
        return self._captioner.write(grids, retrieved if self.retrieve else None, options)


def open_captioner(path: Path) -> Captioner:
    """Open the decoder of a model folder, without torch.

    Raises:
        ModelError: the folder is damaged, or has no decoder.
    """
    from encoders.bundle import ModelBundle
    from encoders.captioner import OnnxCaptioner

    bundle = ModelBundle.open(path)
    return Captioner(OnnxCaptioner(bundle), bundle.config.image)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model folder says of itself, read without loading a weight."""

    path: Path
    name: str  # of the folder
    fingerprint: str  # of its weights and preprocessing
    preset: str  # it was made from
    image_encoder: str  # name of the image tower
    text_encoder: str  # name of the text tower
    dim: int  # length of its vectors
    image_size: int  # side of the image tower's input, in pixels
    max_tokens: int  # longest caption it reads
    trained_on: Mapping[str, Any]  # the corpus and the run
    validation: Mapping[str, Any]  # scores on the validation split
    files: Mapping[str, int]  # size in bytes of each of its files

    @property
    def can(self) -> tuple[str, ...]:
        """What it can do besides finding neighbours: ``generate`` captions, say its ``confidence``."""
        abilities = {"generate": "decoder.json", "confidence": "captioning.json"}
        return tuple(ability for ability, file in abilities.items() if file in self.files)

    @property
    def recall_at_10(self) -> float | None:
        """Recall at 10 on the validation split, the mean of both directions."""
        scores = [self.validation.get(way) or {} for way in ("image_to_text", "text_to_image")]
        values = [score["r10"] for score in scores if "r10" in score]
        return sum(values) / len(values) if values else None


def describe_model(path: Path | str) -> ModelInfo:
    """Read what a model folder says of itself.

    Raises:
        ModelError: the folder is missing, incomplete or altered.
    """
    from encoders.bundle import ModelBundle

    bundle = ModelBundle.open(path)
    config = bundle.config
    return ModelInfo(
        path=bundle.path.absolute(),
        name=bundle.name,
        fingerprint=bundle.fingerprint,
        preset=config.preset,
        image_encoder=config.image_encoder,
        text_encoder=config.text_encoder,
        dim=config.embedding_dim,
        image_size=config.image.size,
        max_tokens=config.max_tokens,
        trained_on=config.trained_on,
        validation=config.validation,
        files={name: record.bytes for name, record in config.files.items()},
    )


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model folder that this machine knows of; `info` is None where it cannot be read."""

    path: Path
    known_from: list[str]  # the setting, the collections or the folder that name it
    info: ModelInfo | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `medclip models list --json` prints it."""
        if self.info is None:
            return {
                "name": self.path.name,
                "path": self.path,
                "known_from": self.known_from,
                "error": self.error,
            }
        return {
            "name": self.info.name,
            "path": self.info.path,
            "known_from": self.known_from,
            "fingerprint": self.info.fingerprint,
            "preset": self.info.preset,
            "dim": self.info.dim,
            "corpus": self.info.trained_on.get("corpus"),
            "pairs": self.info.trained_on.get("pairs"),
            "r10": self.info.recall_at_10,
            "can": self.info.can,
            "bytes": sum(self.info.files.values()),
        }


def list_models(folders: Iterable[Path] = ()) -> list[KnownModel]:
    """List the models of the settings, of the home folder, of its collections, and in these folders."""
    from medclip_cli.discovery import known_models
    from medclip_cli.settings import load_settings

    found = []
    for path, known_from in known_models(load_settings(), folders).items():
        try:
            found.append(KnownModel(path, known_from, describe_model(path)))
        except ModelError as error:
            found.append(KnownModel(path, known_from, error=str(error)))
    return found


def find_model(name: str) -> KnownModel:
    """Find a model by its folder, or by the name of a known one.

    Raises:
        ModelError: there is none of this name, or several; or it is damaged.
    """
    from medclip_cli.discovery import known_models
    from medclip_cli.settings import load_settings

    known = known_models(load_settings())
    path = Path(name).absolute()
    if not path.exists() and path not in known:
        named = [known_path for known_path in known if known_path.name == name]
        if len(named) > 1:
            raise ModelError(f"several models are named {name!r}: choose {' or '.join(map(str, named))}")
        if not named:
            raise ModelError(
                f"no model folder {name!r}, and no known model of that name: see medclip models list"
            )
        (path,) = named
    return KnownModel(path, known.get(path, []), describe_model(path))
