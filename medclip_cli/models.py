"""Models opened for asking: images and words to vectors, images to captions, and what a model says of itself.

`encoders` is imported inside functions, so that a command pays only for what it uses. Asking runs on ONNX
Runtime and never imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medclip_cli.errors import ScanError
from medclip_cli.extras import missing, require
from medclip_cli.parallel import ordered_map, usable_cores

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray

    from encoders.bundle import ModelBundle
    from encoders.captioner import GeneratedCaption as GeneratedCaption
    from encoders.captioner import OnnxCaptioner
    from encoders.generation import GenerationOptions as GenerationOptions
    from encoders.preprocessing import ImagePreprocessing
    from encoders.runtime import OnnxEncoder
    from encoders.torch_runtime import TorchEncoder

    Vectors = NDArray[np.float32]
    Source = Path | BinaryIO
    SquareOrReason = tuple[Source, NDArray[np.uint8] | str]

Decoded = TypeVar("Decoded")
HUB_PREFIX = "hf:"
_DECODING_THREADS = 16
_CHUNKS_IN_BATCH = 16  # files are handed to the threads that decode them in so many parts of a batch


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of one image: a unit-length vector, or the reason there is none.

    Attributes:
        index: its place among the sources.
        source: the file itself.
        vector: float32 ``[dim]``, or None.
        error: why there is no vector.
        image: what the image tower got of it, uint8 ``[side, side, 3]``.
    """

    index: int
    source: Source
    vector: Vectors | None
    error: str | None = None
    image: NDArray[np.uint8] | None = None


class Model:
    """A trained model opened for asking: files and words in, unit-length vectors out."""

    def __init__(self, bundle: ModelBundle, encoder: OnnxEncoder | TorchEncoder) -> None:
        """Wrap an opened model folder; use `open_model`."""
        self._encoder, self._bundle = encoder, bundle
        self.path: Path = bundle.path
        self.name: str = bundle.path.name
        self.fingerprint: str = bundle.fingerprint
        self.dim: int = bundle.config.embedding_dim
        self.batch_size: int = encoder.usual_batch
        self.passes_at_once: int = encoder.passes_at_once
        self.trained_on = bundle.config.trained_on

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
        """Embed captions or questions as unit-length rows ``[n, dim]``."""
        return self._encoder.embed_texts(texts)

    def embed_files(self, sources: Iterable[Source], batch_size: int | None = None) -> Iterator[Embedded]:
        """Embed image files in order, decoding ahead of the forward pass in threads.

        A file that cannot be read becomes an `Embedded` with its reason; the others go on. Memory stays flat:
        a few batches of squares exist at a time.

        Args:
            sources: the files.
            batch_size: images in one forward pass; None for what suits where the model runs.
        """
        import numpy as np

        from encoders.preprocessing import load_image

        def decode(source: Source) -> SquareOrReason:
            try:
                return source, load_image(source, self._encoder.image_spec)
            except ScanError as error:
                return source, str(error)

        def embed(
            batches: Sequence[list[SquareOrReason]],
        ) -> list[tuple[list[SquareOrReason], Iterator[Vectors]]]:
            (batch,) = batches
            squares = [item for _, item in batch if not isinstance(item, str)]
            return [(batch, iter(self._encoder.embed_images(np.stack(squares)) if squares else ()))]

        index = 0
        batches = decoded_ahead(decode, sources, batch_size or self.batch_size)
        for batch, vectors in ordered_map(
            embed, batches, self.passes_at_once, chunk=1, ahead=self.passes_at_once
        ):
            for source, item in batch:
                if isinstance(item, str):
                    yield Embedded(index, source, None, item)
                else:
                    yield Embedded(index, source, next(vectors), image=item)
                index += 1


def open_model(path: Path, *, for_many: bool = False) -> Model:
    """Open a model folder: for a few questions without torch, for many images on a GPU where there is one.

    Args:
        path: the model folder.
        for_many: whether so much is to be embedded that a GPU makes up for the seconds torch takes to import.

    Raises:
        ModelError: the folder is missing, incomplete or altered.
    """
    from encoders.bundle import ModelBundle

    bundle = ModelBundle.open(path)
    if for_many and _has_gpu():
        from encoders.torch_runtime import TorchEncoder

        return Model(bundle, TorchEncoder.open(bundle))
    from encoders.runtime import OnnxEncoder

    return Model(bundle, OnnxEncoder.open(bundle))


def hub_model(name: str, home: Path, *, offline: bool = False) -> Path:
    """Return the model folder of a whole transformers CLIP or SigLIP model, converted the first time.

    Args:
        name: ``hf:`` and a hub name or a folder.
        home: medclip's home; the model folder is kept in ``models`` there.
        offline: never reach for the hub.

    Raises:
        ModelError: it is nowhere to be had, or neither CLIP nor SigLIP.
    """
    folder = home / "models" / re.sub(r"[^A-Za-z0-9._-]+", "-", name.removeprefix(HUB_PREFIX)).strip("-")
    if not folder.exists():
        require("train", f"the model {name}")
        from encoders.hf_import import convert_whole_model

        folder.parent.mkdir(parents=True, exist_ok=True)
        convert_whole_model(name, folder, offline=offline)
    return folder


def _has_gpu() -> bool:
    """Look for torch and an NVIDIA driver first: a machine without them must not pay for importing torch."""
    from shutil import which

    if missing("train"):
        return False
    if not Path("/proc/driver/nvidia/version").exists() and which("nvidia-smi") is None:
        return False
    import torch

    return torch.cuda.is_available()


def grey_thumbnails(paths: Sequence[Path], side: int) -> NDArray[np.uint8]:
    """Shrink images to grey squares, for comparing them without any model.

    Args:
        paths: image files; one that cannot be read becomes all zero.
        side: width and height of a thumbnail.

    Returns:
        uint8 ``[n, side, side]``.
    """
    import numpy as np

    from encoders.images import read_image

    def shrink(path: Path) -> NDArray[np.uint8]:
        try:
            return np.asarray(read_image(path).convert("L").resize((side, side)), dtype=np.uint8)
        except ScanError:
            return np.zeros((side, side), dtype=np.uint8)

    with ThreadPoolExecutor(min(_DECODING_THREADS, usable_cores())) as pool:
        return np.stack(list(pool.map(shrink, paths)))


def decoded_ahead(
    decode: Callable[[Source], Decoded], sources: Iterable[Source], batch_size: int
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded files in order, while threads decode the next two batches.

    No more than those three batches are asked for before the first is there: whoever writes names into a pipe
    may wait for its answers before writing more.
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
    """What a decoder saw of one image.

    Attributes:
        embedded: its vector, or the reason there is none.
        grid: float32 ``[cells, channels]``, or None.
    """

    embedded: Embedded
    grid: Vectors | None


class Captioner:
    """A model folder with a decoder, opened for writing captions."""

    def __init__(self, captioner: OnnxCaptioner, spec: ImagePreprocessing) -> None:
        """Wrap an opened decoder; use `open_captioner`."""
        self._captioner, self._spec = captioner, spec
        self.retrieve: int = captioner.retrieve
        self.max_tokens: int = captioner.config.max_tokens - 1

    def encode_files(self, sources: Iterable[Source], batch_size: int = 8) -> Iterator[EncodedImage]:
        """See image files in order, decoding ahead of the forward pass in threads.

        A file that cannot be read comes with its reason and no grid; the others go on.
        """
        import numpy as np

        from encoders.preprocessing import load_image, normalize_image

        def decode(source: Source) -> tuple[Source, NDArray[np.uint8] | str]:
            try:
                return source, load_image(source, self._spec)
            except ScanError as error:
                return source, str(error)

        index = 0
        for batch in decoded_ahead(decode, sources, batch_size):
            pixels = [normalize_image(item, self._spec) for _, item in batch if not isinstance(item, str)]
            seen = iter(zip(*self._captioner.encode(np.stack(pixels)), strict=True) if pixels else ())
            for source, item in batch:
                if isinstance(item, str):
                    yield EncodedImage(Embedded(index, source, None, item), None)
                else:
                    vector, grid = next(seen)
                    yield EncodedImage(Embedded(index, source, vector, image=item), grid)
                index += 1

    def write(
        self, grids: Vectors, retrieved: Sequence[Sequence[str]] | None, options: GenerationOptions
    ) -> list[list[GeneratedCaption]]:
        """Write captions of images that were looked at.

        Args:
            grids: ``[b, cells, channels]``.
            retrieved: captions of each image's neighbours, nearest first.
            options: how they are searched for.

        Returns:
            For each image its captions, best first.
        """
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


def has_decoder(path: Path) -> bool:
    """Whether a model folder can write captions.

    Raises:
        ModelError: the folder is damaged.
    """
    from encoders.bundle import ModelBundle
    from encoders.captioner import DECODER_FILE

    return DECODER_FILE in ModelBundle.open(path).config.files


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says of itself, read without loading a weight.

    Attributes:
        path: the folder.
        name: the folder's own name.
        fingerprint: of its weights and preprocessing.
        preset: it was made from.
        image_encoder: name of the image tower.
        text_encoder: name of the text tower.
        dim: length of its vectors.
        image_size: side of the square that its image tower sees, in pixels.
        max_tokens: longest caption it reads.
        trained_on: the corpus and the run.
        validation: scores on the validation split.
        files: size in bytes of each of its files.
    """

    path: Path
    name: str
    fingerprint: str
    preset: str
    image_encoder: str
    text_encoder: str
    dim: int
    image_size: int
    max_tokens: int
    trained_on: Mapping[str, Any]
    validation: Mapping[str, Any]
    files: Mapping[str, int]

    @property
    def can(self) -> tuple[str, ...]:
        """What it can do besides finding look-alikes: ``generate`` captions, say its ``confidence``."""
        abilities = {"generate": "decoder.json", "confidence": "captioning.json"}
        return tuple(ability for ability, file in abilities.items() if file in self.files)


def describe_model(path: Path) -> ModelFacts:
    """Read what a model folder says of itself.

    Raises:
        ModelError: the folder is missing, incomplete or altered.
    """
    from encoders.bundle import ModelBundle

    bundle = ModelBundle.open(path)
    config = bundle.config
    return ModelFacts(
        path=path.absolute(),
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
