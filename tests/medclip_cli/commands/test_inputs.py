import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from medclip_cli.commands.inputs import expand_images, stdin_image
from medclip_cli.errors import MedclipError, UsageError


@pytest.fixture
def pipe(monkeypatch):
    def pipe(data, terminal=False):
        stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal)
        monkeypatch.setattr(sys, "stdin", stdin)

    return pipe


def names(*arguments, **options):
    return [str(path) for path in expand_images(list(arguments), **options)]


def test_files_come_in_the_order_they_were_named():
    assert names("b.png", "a.png") == ["b.png", "a.png"]


def test_a_folder_stands_for_its_images(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.jpg", "notes.txt", "c.dcm"):
        (tmp_path / name).touch()
    assert names(str(tmp_path)) == [str(tmp_path / name) for name in ("b.PNG", "c.dcm", "deep/a.jpg")]


def test_a_pattern_the_shell_left_alone_is_expanded(tmp_path):
    for name in ("1.png", "2.png", "[3].png"):
        (tmp_path / name).touch()
    assert names(f"{tmp_path}/?.png") == [str(tmp_path / "1.png"), str(tmp_path / "2.png")]
    assert names(f"{tmp_path}/[3].png") == [str(tmp_path / "[3].png")], "a file of that very name comes first"


def test_lists_on_stdin_by_line_and_by_nul(pipe):
    pipe(b"a.png\r\n\nb c.png\n")
    assert names("-") == ["a.png", "b c.png"]
    pipe(b"a\nb.png\0c.png\0d.png")
    assert names("-", nul_separated=True) == ["a\nb.png", "c.png", "d.png"]
    pipe(b"a.png\0")
    assert names(nul_separated=True) == ["a.png"], "-0 alone reads stdin, as xargs -0 does"


def test_a_file_name_need_not_be_utf8(pipe):
    pipe(b"scan\xff.png\n")
    (name,) = names("-")
    assert os.fsencode(name) == b"scan\xff.png"


def test_a_list_from_a_file(tmp_path, pipe):
    listing = tmp_path / "list"
    listing.write_text("a.png\nb.png", encoding="utf-8")
    assert names("first.png", files_from=str(listing)) == ["first.png", "a.png", "b.png"]
    pipe(b"c.png")
    assert names(files_from="-") == ["c.png"]


def test_paths_are_read_lazily(pipe):
    pipe(b"a.png\nb.png\n")
    paths = expand_images(["-"])
    assert next(paths) == Path("a.png")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {}, UsageError, "no image is named"),
        (("{folder}",), {}, MedclipError, "holds no images"),
        (("{folder}/*.png",), {}, MedclipError, "matches no file"),
        ((), {"files_from": "{folder}/none"}, MedclipError, "cannot read the list .*none: No such file"),
    ],
)
def test_nothing_to_do_is_said_in_one_line(tmp_path, arguments, options, error, message):
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    options = {name: value.format(folder=tmp_path) for name, value in options.items()}
    with pytest.raises(error, match=message):
        names(*arguments, **options)


def test_a_terminal_is_not_read(pipe):
    pipe(b"", terminal=True)
    with pytest.raises(UsageError, match="nothing is piped"):
        names("-")


def test_an_image_on_stdin(pipe):
    pipe(b"bytes")
    image = stdin_image()
    assert image.read() == b"bytes"
