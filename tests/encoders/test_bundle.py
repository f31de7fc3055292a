"""The model folder: whole, or a message that names the file; files added to it."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from encoders.bundle import (
    CONFIG_FILE,
    REQUIRED_FILES,
    ModelBundle,
    ModelConfig,
    add_files,
    check_replaceable,
    write_bundle,
)
from encoders.errors import BundleError
from encoders.preprocessing import ImagePreprocessing


@pytest.fixture
def folder(saved_model, tmp_path):
    """A copy of a model folder that may be spoilt."""
    return shutil.copytree(saved_model[0].path, tmp_path / "copy")


def edit_config(folder, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_folder_comes_back_as_it_was_written(saved_model, preset, tokenizer):
    bundle = ModelBundle.open(str(saved_model[0].path))
    assert bundle.config == saved_model[0].config
    assert bundle.name == "small"
    assert bundle.config.image == preset.image_preprocessing
    assert (bundle.config.vocab_size, bundle.config.max_tokens) == (tokenizer.vocab_size, 16)
    assert bundle.config.trained_on == {"corpus": "drawn", "groups": 3}
    assert set(bundle.config.files) == {
        "model.safetensors",
        "image.onnx",
        "text.onnx",
        "tokenizer.json",
        "training.jsonl",
    }
    assert bundle.read_verified("training.jsonl") == b"{}\n"
    assert bundle.verified_path("training.jsonl").read_bytes() == b"{}\n"


def test_the_folder_may_be_moved_and_keeps_its_fingerprint(saved_model, folder):
    assert ModelBundle.open(folder).fingerprint == saved_model[0].fingerprint
    assert len(saved_model[0].fingerprint) == 16


def test_the_fingerprint_follows_what_decides_a_vector(saved_model):
    config = saved_model[0].config
    other = {
        config.fingerprint,
        replace(config, image=replace(config.image, fit="crop")).fingerprint,
        replace(config, embedding_dim=16).fingerprint,
        replace(config, max_tokens=8).fingerprint,
        replace(config, files=config.files | {"model.safetensors": config.files["text.onnx"]}).fingerprint,
    }
    assert len(other) == 5
    assert replace(config, validation={"r@1": 0.5}).fingerprint == config.fingerprint


def test_no_folder(tmp_path):
    with pytest.raises(BundleError, match="there is no model folder .*none: train one with"):
        ModelBundle.open(tmp_path / "none")


def test_a_folder_without_config(tmp_path):
    with pytest.raises(BundleError, match="is not a model folder: it has no config.json"):
        ModelBundle.open(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": "new"}'])
def test_a_config_that_is_none(folder, content):
    (folder / CONFIG_FILE).write_text(content)
    with pytest.raises(BundleError, match="config.json is not a model's configuration"):
        ModelBundle.open(folder)


def test_a_config_that_is_no_text(folder):
    (folder / CONFIG_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="config.json cannot be read"):
        ModelBundle.open(folder)


@pytest.mark.parametrize("key", ["image", "files", "embedding_dim"])
def test_a_config_without_a_key(folder, key):
    content = json.loads((folder / CONFIG_FILE).read_text())
    del content[key]
    (folder / CONFIG_FILE).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=f"config.json is incomplete .*{key}"):
        ModelBundle.open(folder)


def test_a_newer_format_asks_for_an_upgrade(folder):
    edit_config(folder, format_version=99)
    with pytest.raises(
        BundleError, match="has format 99 and this medclip reads up to 1: upgrade medclip-cli"
    ):
        ModelBundle.open(folder)


def test_unknown_keys_of_a_config_are_ignored(folder):
    edit_config(folder, colour="blue")
    assert ModelBundle.open(folder).config.embedding_dim == 8


@pytest.mark.parametrize("name", ["text.onnx", "image.onnx", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        ModelBundle.open(folder)


def test_a_file_that_config_does_not_list(folder):
    files = json.loads((folder / CONFIG_FILE).read_text())["files"]
    del files["text.onnx"]
    edit_config(folder, files=files)
    with pytest.raises(BundleError, match="config.json does not list text.onnx"):
        ModelBundle.open(folder)


def test_a_file_of_another_size_is_named(folder):
    with (folder / "text.onnx").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(BundleError, match=r"text.onnx was altered \(\d+ bytes instead of \d+\)"):
        ModelBundle.open(folder)


def test_one_altered_byte_is_found_when_the_file_is_read(folder):
    data = bytearray((folder / "image.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "image.onnx").write_bytes(bytes(data))
    bundle = ModelBundle.open(folder)
    assert bundle.read_verified("text.onnx")
    for read in (bundle.read_verified, bundle.verified_path):
        with pytest.raises(BundleError, match="image.onnx was altered: copy the model again"):
            read("image.onnx")


def test_a_file_that_vanishes_after_opening(folder):
    bundle = ModelBundle.open(folder)
    (folder / "image.onnx").unlink()
    for read in (bundle.read_verified, bundle.verified_path):
        with pytest.raises(BundleError, match="image.onnx cannot be read"):
            read("image.onnx")


def test_only_listed_files_are_read(folder):
    with pytest.raises(BundleError, match="has no file secrets.txt"):
        ModelBundle.open(folder).read_verified("secrets.txt")


@pytest.mark.parametrize("name", ["../secrets.txt", "/etc/hostname", "..", ".", "", "a\\b", "a\0b"])
def test_a_config_may_not_point_outside(folder, name):
    files = json.loads((folder / CONFIG_FILE).read_text())["files"]
    edit_config(folder, files=files | {name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(BundleError, match="lists a file whose name"):
        ModelBundle.open(folder)


def files_of(bundle):
    return {name: bundle.read_verified(name) for name in bundle.config.files}


def test_a_model_is_replaced_only_by_force(saved_model, folder):
    bundle = saved_model[0]
    with pytest.raises(
        BundleError, match="exists already: choose another folder, or replace it with --force"
    ):
        write_bundle(folder, bundle.config, files_of(bundle))
    again = write_bundle(folder, bundle.config, files_of(bundle) | {"MODEL_CARD.md": b"# card"}, force=True)
    assert again.read_verified("MODEL_CARD.md") == b"# card"
    assert [path.name for path in folder.parent.iterdir()] == ["copy"]


def test_force_does_not_replace_what_is_no_model(tmp_path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(BundleError, match="is not a model folder, and will not be replaced"):
        check_replaceable(tmp_path, force=True)
    with pytest.raises(BundleError, match="is not a model folder, and will not be replaced"):
        check_replaceable(tmp_path / "thesis.doc", force=True)


def test_an_empty_folder_and_missing_parents_are_fine(saved_model, tmp_path):
    bundle = saved_model[0]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert write_bundle(path, bundle.config, files_of(bundle)).fingerprint == bundle.fingerprint


def test_a_place_that_cannot_be_written(saved_model, tmp_path):
    bundle = saved_model[0]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match="model folder .* cannot be written"):
        write_bundle(tmp_path / "file" / "model", bundle.config, files_of(bundle))


def test_an_interruption_between_the_renames_brings_the_old_model_back(saved_model, folder, monkeypatch):
    bundle = saved_model[0]
    files = files_of(bundle)
    rename = Path.rename

    def interrupted(path, target):
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(folder, bundle.config, files, force=True)
    assert ModelBundle.open(folder).fingerprint == bundle.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == ["copy"]


def test_a_full_disk_leaves_the_old_model(saved_model, folder, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    bundle = saved_model[0]
    files = files_of(bundle)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(BundleError, match="cannot be written .No space left on device"):
        write_bundle(folder, bundle.config, files, force=True)
    monkeypatch.undo()
    assert ModelBundle.open(folder).fingerprint == bundle.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == ["copy"]


@pytest.fixture
def bundle(tmp_path):
    config = ModelConfig(
        preset="tiny",
        image_encoder="small-resnet",
        text_encoder="small-transformer",
        embedding_dim=4,
        projection="linear",
        image=ImagePreprocessing(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        max_tokens=8,
        vocab_size=10,
    )
    return write_bundle(tmp_path / "model", config, {name: name.encode() for name in REQUIRED_FILES})


def test_a_file_is_added_and_all_else_stays(bundle):
    more = add_files(bundle, {"extra.json": b"{}"})
    assert more.read_verified("extra.json") == b"{}"
    assert more.fingerprint == bundle.fingerprint
    for name in REQUIRED_FILES:
        assert more.read_verified(name) == name.encode()
    assert [path.name for path in bundle.path.parent.iterdir()] == ["model"]


def test_a_file_is_replaced_and_another_removed(bundle):
    add_files(ModelBundle.open(bundle.path), {"a.bin": b"1", "b.bin": b"2"})
    more = add_files(ModelBundle.open(bundle.path), {"a.bin": b"3"}, remove=["b.bin", "never.bin"])
    assert more.read_verified("a.bin") == b"3"
    assert more.config.files["a.bin"].sha256 == hashlib.sha256(b"3").hexdigest()
    assert not (bundle.path / "b.bin").exists()


@pytest.mark.parametrize("name", [*REQUIRED_FILES, CONFIG_FILE])
def test_what_the_encoders_need_is_not_replaced(bundle, name):
    with pytest.raises(BundleError, match="belongs to the encoders"):
        add_files(bundle, {name: b""})
    with pytest.raises(BundleError, match="belongs to the encoders"):
        add_files(bundle, {}, remove=[name])


def test_a_folder_that_cannot_be_written_stays_as_it_was(bundle, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(BundleError, match="cannot be written"):
        add_files(bundle, {"extra.json": b"{}"})
    monkeypatch.undo()
    assert ModelBundle.open(bundle.path).config == bundle.config
    assert [path.name for path in bundle.path.parent.iterdir()] == ["model"]


def test_links_are_copied_where_the_disk_has_none(bundle, monkeypatch):
    def no_links(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    assert add_files(bundle, {"extra.json": b"{}"}).read_verified("tokenizer.json") == b"tokenizer.json"
