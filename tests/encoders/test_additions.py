import hashlib

import pytest

from encoders.bundle import CONFIG_FILE, REQUIRED_FILES, ModelBundle, ModelConfig, add_files, write_bundle
from encoders.errors import BundleError
from encoders.preprocessing import ImagePreprocessing


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
