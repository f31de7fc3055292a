"""What the embedded engine makes of damaged files, descriptions and newer formats: one clear line."""

import json
import os

import pytest

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import generations
from medclip_cli.vector_index.base import Query

from .drawn import draw_points, draw_vector, folder_of

MEND = "medclip index --rebuild, or bring back a copy with medclip collections import"


class TestDamage:
    MEND = "medclip index --rebuild, or bring back a copy with medclip collections import"

    @pytest.fixture
    def files(self, edge, home):
        edge.write(draw_points(5))
        generation = folder_of(home) / "generations/000001"
        return {path.name: path for path in generation.rglob("*") if path.is_file()}

    def refused(self, edge, reason):
        with pytest.raises(CollectionError, match=f"'scans' is damaged.*{reason}.*{self.MEND}"):
            edge.open()

    def test_short_file(self, edge, files):
        os.truncate(files["chunk_0.mmap"], 100)
        self.refused(edge, "chunk_0.mmap has 100 bytes instead of")

    def test_missing_file(self, edge, files):
        files["chunk_0.mmap"].unlink()
        self.refused(edge, "chunk_0.mmap is missing")

    def test_missing_list_of_files(self, edge, files):
        files["files.json"].unlink()
        self.refused(edge, "files.json is missing")

    @pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}'])
    def test_unreadable_list_of_files(self, edge, files, text):
        files["files.json"].write_text(text)
        self.refused(edge, "files.json cannot be read")

    def test_what_only_the_engine_notices(self, edge, files):
        files["segment.json"].write_text("rubbish")
        self.refused(edge, "segment")

    def test_altered_contents(self, edge, files, home):
        path = files["mutable_id_tracker.mappings"]
        content = bytearray(path.read_bytes())
        content[0] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match="mutable_id_tracker.mappings is altered"):
            generations.check_files(folder_of(home) / "generations/000001", contents=True)

    def test_missing_generation(self, edge, home):
        edge.write(draw_points(5))
        (folder_of(home) / "generations/000001").rename(folder_of(home) / "generations/elsewhere")
        self.refused(edge, "000001 is missing")

    @pytest.mark.parametrize("text", ["{", "[1]", '{"format_version": 1}', "\0"])
    def test_description(self, edge, home, text):
        edge.write(draw_points(5))
        (folder_of(home) / "collection.json").write_text(text)
        self.refused(edge, "collection.json")
        with pytest.raises(CollectionError, match="is damaged"):
            edge.writer()

    def test_is_cured_by_a_rebuild(self, edge, home):
        edge.write(draw_points(5))
        (folder_of(home) / "collection.json").write_text("{")
        assert edge.write(draw_points(7), rebuild=True).points == 7
        with edge.open() as index:
            assert len(index.query([Query(image_vector=draw_vector(1), top=9)])[0]) == 7

    def test_newer_format(self, edge, home):
        edge.write(draw_points(5))
        path = folder_of(home) / "collection.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
        with pytest.raises(
            CollectionError, match="'scans' has format 99, newer than format 1.*update medclip"
        ):
            edge.open()

    def test_a_closed_collection_does_not_answer(self, edge):
        edge.write(draw_points(5))
        index = edge.open()
        index.close()
        index.close()
        with pytest.raises(CollectionError, match="'scans' is closed"):
            index.query([Query(image_vector=draw_vector(1))])
