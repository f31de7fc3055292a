"""What the fuzz test found once, under names that say what it was."""

import json
import os

import pytest
from PIL import Image

from encoders.runtime import open_session
from medclip_cli.cleaning.images import examine_images
from medclip_cli.corpora.corpus_folder import stream_table, write_table
from medclip_cli.corpora.tables import read_lines
from medclip_cli.errors import CollectionError, CorpusError, UsageError
from medclip_cli.records import CaptionedImage
from medclip_cli.terminal import console, json_output
from medclip_cli.vector_index.base import CollectionInfo, info_to_json
from medclip_cli.vector_index.generations import read_manifest
from medclip_cli.vector_index.queries import Query, parse_condition

LONE = "\udcff"


def test_images_none_of_which_can_be_read(tmp_path):
    (tmp_path / "text.png").write_bytes(b"no image")
    (reason,) = examine_images([tmp_path / "text.png"])
    assert reason.code == "unreadable_image"


def test_a_pipe_among_the_images_of_a_data_set(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    Image.linear_gradient("L").save(tmp_path / "scan.png")
    pipe, scan = examine_images([tmp_path / "pipe.png", tmp_path / "scan.png"])
    assert pipe.code == "unreadable_image"
    assert scan.sha256, "the next image is looked at all the same"


def test_a_damaged_graph_prints_nothing_where_data_goes(tmp_path, capfd):
    path = tmp_path / "text.onnx"
    path.write_bytes(b"\x08\x08\x12\x04\xe9\xe9\xe9\xe9" * 20)
    with pytest.raises(Exception, match="."):
        open_session(path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "query",
    [
        lambda: Query(words=LONE, mode="words"),
        lambda: Query(words="x", exclude_groups=frozenset({LONE})),
        lambda: Query(words="x", where=(parse_condition(f"modality={LONE}"),)),
    ],
)
def test_words_that_are_no_utf_8(query):
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        query()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generation", "7"),
        ("points", None),
        ("model_path", 5),
        ("fields", {"modality": {"CT": "many"}}),
        ("average_words", "long"),
        ("corpora", {"a": {"path": 1, "image_root": "x", "splits": []}}),
    ],
)
def test_a_manifest_that_says_text_for_a_number(tmp_path, key, value):
    whole = info_to_json(CollectionInfo("c", "edge", 1, 2, "f", "m", "p"))
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "collection.json").write_text(json.dumps(whole))
    assert read_manifest(folder).points == 1
    (folder / "collection.json").write_text(json.dumps(whole | {key: value}))
    with pytest.raises(CollectionError, match="is damaged"):
        read_manifest(folder)


def test_a_corpus_table_with_text_that_is_no_utf_8(tmp_path):
    caption = "Qq" * 40
    given = {"id": "1", "image": "a.png", "group": "1", "split": "train", "modality": "CT"}
    record = CaptionedImage(**given, caption=caption, captions=(caption,), source="s", licence="l")
    path = tmp_path / "corpus.parquet"
    write_table(path, [record])
    data = path.read_bytes()
    assert b"Qq" in data
    path.write_bytes(data.replace(b"Qq", b"\xff\xff"))
    with pytest.raises(CorpusError, match="cannot be read as a corpus table"):
        list(stream_table(path))


def test_a_line_feed_in_a_name_makes_no_second_message(capsys):
    console.warn("a\nmedclip: all is well.png: no such file")
    assert capsys.readouterr().err == "medclip: a\\nmedclip: all is well.png: no such file\n"


def test_json_holds_no_control_character_a_terminal_obeys(capsys):
    json_output.write_line({"caption": "\x9b31m\x7f\u2028"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"caption": "\x9b31m\x7f\u2028"}
    assert said == '{"caption": "\\u009b31m\\u007f\\u2028"}\n'


def test_a_table_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "captions.csv")
    with pytest.raises(CorpusError, match="is a pipe or a device"):
        read_lines(tmp_path / "captions.csv")
