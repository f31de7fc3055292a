from __future__ import annotations

import pytest

from encoders.errors import BundleError, MedclipError
from encoders.names import plain_name


@pytest.mark.parametrize("name", ["model", "image.onnx", "Röntgen 3", "a..b", "é" * 127])
def test_a_plain_name_is_returned(name: str) -> None:
    assert plain_name(name, "file") == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", ".bashrc", "/", "/etc/passwd", "../up", "a/b", "a/", "a\\b", "C:\\x", "a\0b", "a\nb",
        "a\x7fb", "a\u202eb", "\ud800", "é" * 128, None, 3, ["a"],
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name(name: object) -> None:
    with pytest.raises(BundleError, match=r"^file ") as caught:
        plain_name(name, "file", BundleError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(MedclipError):
        plain_name(name, "file")
