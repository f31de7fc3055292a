"""The model folder: what is in it, and whether it is still what was written (no torch).

``config.json`` lists every other file with its size and SHA-256. Opening checks that the files are there and
have their sizes, which costs nothing; a file's content is checked when it is read, so asking a question
verifies exactly the files the answer depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from encoders.errors import BundleError
from encoders.names import plain_name
from encoders.preprocessing import ImagePreprocessing
from encoders.presets import FORMER_PRESETS

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
IMAGE_GRAPH_FILE = "image.onnx"
TEXT_GRAPH_FILE = "text.onnx"
TOKENIZER_FILE = "tokenizer.json"
_PIECE_BYTES = 1 << 20
_ANEW = "copy the model again, or train it anew"
REQUIRED_FILES = (WEIGHTS_FILE, IMAGE_GRAPH_FILE, TEXT_GRAPH_FILE, TOKENIZER_FILE)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file of the model folder must be."""

    sha256: str  # 64 hex digits
    bytes: int


def known_fields(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a JSON object that are fields of a dataclass."""
    return {item.name: content[item.name] for item in fields(kind) if item.name in content}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything about a model that is not a weight."""

    preset: str  # the preset it was made from, or the name of the whole model it was taken from
    image_encoder: str  # name of the image tower
    text_encoder: str  # name of the text tower
    embedding_dim: int  # length of its unit vectors
    projection: str  # kind of the projection heads
    image: ImagePreprocessing  # how image files become pixels
    max_tokens: int  # longest caption it reads
    vocab_size: int  # token ids its text tower knows
    # How to build the torch modules again; see ``DualEncoder.architecture``.
    architecture: dict[str, Any] = field(default_factory=dict)
    # The corpus and the run: name, number of pairs and groups, caption style ...
    trained_on: dict[str, Any] = field(default_factory=dict)
    # Scores on the validation split, with the size of the pool.
    validation: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)  # every other file of the folder by its name
    format_version: int = FORMAT_VERSION  # of the folder's layout

    def to_json(self) -> str:
        """The content of ``config.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read the content of ``config.json``; unknown keys are ignored.

        Raises:
            BundleError: it is not JSON, lacks a key, or comes from a newer medclip.
        """
        try:
            content = json.loads(text)
            version = int(content["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{CONFIG_FILE} is not a model's configuration") from error
        if version > FORMAT_VERSION:
            raise BundleError(
                f"the model has format {version} and this medclip reads up to {FORMAT_VERSION}: "
                "upgrade medclip-cli"
            )
        try:
            image = known_fields(ImagePreprocessing, content["image"])
            image |= {name: tuple(content["image"][name]) for name in ("mean", "std")}
            known = known_fields(cls, content)
            known["preset"] = FORMER_PRESETS.get(content["preset"], content["preset"])
            known["image"] = ImagePreprocessing(**image)
            known["files"] = {name: FileRecord(**record) for name, record in content["files"].items()}
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                f"{CONFIG_FILE} is incomplete ({error}): make or copy the model again"
            ) from error

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when a vector of this model could differ."""
        decisive = {
            "weights": self.files[WEIGHTS_FILE].sha256,
            "tokenizer": self.files[TOKENIZER_FILE].sha256,
            "image": asdict(self.image),
            "embedding_dim": self.embedding_dim,
            "max_tokens": self.max_tokens,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model folder that was there, whole, when it was opened."""

    path: Path
    config: ModelConfig

    @classmethod
    def open(cls, path: Path | str) -> ModelBundle:
        """Open a model folder: existence and sizes are checked now, contents when they are read.

        Raises:
            BundleError: the folder, or a file in it, is missing, has another size, or is of a newer format.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleError(f"there is no model folder {folder}: train one with 'medclip train encoders'")
        try:
            config = ModelConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BundleError(f"{folder} is not a model folder: it has no {CONFIG_FILE}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"model {folder}: {CONFIG_FILE} cannot be read ({error})") from error
        except BundleError as error:
            raise BundleError(f"model {folder}: {error}") from error
        missing = [name for name in REQUIRED_FILES if name not in config.files]
        if missing:
            raise BundleError(
                f"model {folder}: {CONFIG_FILE} does not list {missing[0]}: make or copy the model again"
            )
        for name, record in config.files.items():
            plain_name(name, f"model {folder}: {CONFIG_FILE} lists a file whose name", BundleError)
            try:
                size = (folder / name).stat().st_size
            except OSError:
                raise BundleError(f"model {folder}: {name} is missing: {_ANEW}") from None
            if size != record.bytes:
                raise BundleError(
                    f"model {folder}: {name} was altered ({size} bytes instead of {record.bytes}): {_ANEW}"
                )
        return cls(path=folder, config=config)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when a vector of this model could differ."""
        return self.config.fingerprint

    @property
    def name(self) -> str:
        """The folder's own name, for people."""
        return self.path.resolve().name

    def verified_path(self, name: str) -> Path:
        """The path of one listed file, after checking its content piece by piece.

        For large files: a reader that maps or parses the file itself needs no copy of it in memory.

        Raises:
            BundleError: the file is not listed, cannot be read, or its content is not what was written.
        """
        path = self.path / name
        with self._verifying(name) as digest, path.open("rb", buffering=0) as stream:
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
        return path

    def read_verified(self, name: str) -> bytes:
        """Read one listed file whole.

        Raises:
            BundleError: as `verified_path`.
        """
        with self._verifying(name) as digest:
            data = (self.path / name).read_bytes()
            digest.update(data)
        return data

    @contextmanager
    def _verifying(self, name: str) -> Iterator[hashlib._Hash]:
        """Give a digest to feed the file's content to; it is compared at the end."""
        if name not in self.config.files:
            raise BundleError(f"model {self.path} has no file {name}")
        digest = hashlib.sha256()
        try:
            yield digest
        except OSError as error:
            raise BundleError(f"model {self.path}: {name} cannot be read ({error.strerror})") from error
        if digest.hexdigest() != self.config.files[name].sha256:
            raise BundleError(f"model {self.path}: {name} was altered: {_ANEW}")


def check_replaceable(path: Path, *, force: bool) -> None:
    """Make sure that a model folder may be written here: nothing exists, or a model and ``force`` is given.

    Raises:
        BundleError: something else exists there, or ``force`` is missing.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise BundleError(f"{path} exists already: choose another folder, or replace it with --force")
    if not (path / CONFIG_FILE).is_file():
        raise BundleError(f"{path} is not a model folder, and will not be replaced: choose another folder")


def write_bundle(
    path: Path, config: ModelConfig, files: Mapping[str, bytes], *, force: bool = False
) -> ModelBundle:
    """Write a whole model folder beside its place, then rename it there.

    Raises:
        BundleError: the folder may not be replaced, or cannot be written.
    """
    check_replaceable(path, force=force)
    return _swap_in(path, config, {name: _record_of(data) for name, data in files.items()}, files)


def add_files(bundle: ModelBundle, files: Mapping[str, bytes], *, remove: Iterable[str] = ()) -> ModelBundle:
    """Put files into a model folder (a decoder, a calibration), replacing those of the same name.

    The encoder files stay what they are, and so does the fingerprint: collections made with it still fit.
    Files to ``remove`` that are not listed are ignored.

    Raises:
        BundleError: a file the encoders need would be replaced, or the folder cannot be written.
    """
    gone = set(remove) - set(files)
    if taken := (set(files) | gone) & {*REQUIRED_FILES, CONFIG_FILE}:
        raise BundleError(f"{min(taken)} belongs to the encoders: train them anew to replace it")
    records = {name: record for name, record in bundle.config.files.items() if name not in gone}
    records |= {name: _record_of(data) for name, data in files.items()}
    return _swap_in(bundle.path, bundle.config, records, files)


def _record_of(data: bytes) -> FileRecord:
    return FileRecord(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def _swap_in(
    path: Path, config: ModelConfig, records: dict[str, FileRecord], files: Mapping[str, bytes]
) -> ModelBundle:
    """Make a model folder beside its place, then rename it there: a reader finds the old one or the new one.

    Listed files that are not among ``files`` come from the folder that is replaced, as hard links where the
    disk can.
    """
    target = path.resolve()
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        old, new = staging / "old", staging / "new"
        new.mkdir()
        for name in records:
            if name in files:
                (new / name).write_bytes(files[name])
                continue
            try:
                os.link(target / name, new / name)
            except OSError:
                shutil.copy2(target / name, new / name)
        (new / CONFIG_FILE).write_text(replace(config, files=records).to_json(), encoding="utf-8")
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        raise BundleError(f"model folder {path} cannot be written ({error.strerror})") from error
    finally:
        if staging is not None:
            # Interrupted between the two renames, the old model returns.
            if not target.exists() and (staging / "old").exists():
                (staging / "old").rename(target)
            shutil.rmtree(staging, ignore_errors=True)
    return ModelBundle.open(path)
