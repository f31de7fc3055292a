"""The server engine: aliases, interrupted runs, several machines, what is asked of a server."""

from dataclasses import replace

import httpx
import pytest
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.models import CollectionStatus

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import server, server_writer
from medclip_cli.vector_index.base import CorpusSource, Query
from medclip_cli.vector_index.server import ServerLayout

from .drawn import SPEC, draw_points, draw_vector

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]


def test_only_the_alias_moves(memory):
    memory.write(draw_points(3))
    assert server.aliases(memory.server) == {"scans": "scans--000001"}
    memory.write(draw_points(3, start=3))
    assert server.aliases(memory.server) == {"scans": "scans--000002"}
    names = [one.name for one in memory.server.client.get_collections().collections]
    assert names == ["scans--000002"]


def test_a_reader_moves_on_to_the_next_generation(memory):
    memory.write(draw_points(3))
    with memory.open() as index:
        memory.write(draw_points(3, start=3))
        (found,) = index.query([Query(image_vector=draw_vector(1), top=60)])
        assert len(found) == index.info.points == 6


def test_a_reader_does_not_follow_to_another_model(memory):
    memory.write(draw_points(3))
    with memory.open() as index:
        memory.write(draw_points(3), spec=replace(SPEC, fingerprint="fedcba9876543210"), rebuild=True)
        with pytest.raises(CollectionError, match="fedcba9876543210"):
            index.query([Query(image_vector=draw_vector(1))])


def test_a_dropped_collection_is_gone(memory):
    memory.write(draw_points(3))
    with memory.open() as index:
        server_writer.drop_collection(memory.server, "scans")
        with pytest.raises(CollectionError, match="'scans' is gone from memory"):
            index.query([Query(image_vector=draw_vector(1))])
    assert memory.server.client.get_collections().collections == []
    with pytest.raises(CollectionError, match="no collection 'scans' at memory"):
        memory.open()


def test_collections_of_others_are_left_alone(memory):
    client = memory.server.client
    client.create_collection("theirs", vectors_config={})
    client.create_collection("scans--1x", vectors_config={})
    memory.write(draw_points(3))
    memory.write(draw_points(4))
    with pytest.raises(CollectionError, match="'theirs' at memory was not made by medclip"):
        server.open_collection(memory.server, "theirs")
    assert [info.name for info in server.list_collections(memory.server)] == ["scans"]
    assert {one.name for one in client.get_collections().collections} >= {"theirs", "scans--1x"}


def test_an_interrupted_run_goes_on(memory):
    memory.write(draw_points(5))
    with memory.writer() as writer:
        writer.upsert(draw_points(5, start=5))
        writer._building.land()
    with memory.open() as index:
        assert index.info.points == 5
    with memory.writer() as writer:
        assert writer.resumed
        assert len(writer.digests("drawn")) == 10
        writer.upsert(draw_points(2, start=10))
        assert writer.commit().points == 12


def test_a_copy_that_was_cut_off_is_begun_again(memory, monkeypatch):
    memory.write(draw_points(5))
    monkeypatch.setattr(server_writer.BuildingCollection, "copy_from", _cut_off)
    with memory.writer() as writer, pytest.raises(KeyboardInterrupt):
        writer.upsert(draw_points(1, start=5))
    monkeypatch.undo()
    with memory.writer() as writer:
        assert not writer.resumed
        writer.upsert(draw_points(1, start=5))
        assert writer.commit().points == 6


def _cut_off(*_):
    raise KeyboardInterrupt


def test_a_run_without_changes_builds_nothing(memory):
    memory.write(draw_points(5))
    with memory.writer() as writer:
        writer.add_corpus("drawn", CorpusSource("/moved", "/moved/images"))
        writer.commit()
    assert server.aliases(memory.server) == {"scans": "scans--000001"}
    with memory.open() as index:
        assert index.info.corpora["drawn"].path == "/moved"


def test_points_travel_in_batches_of_bounded_bytes(memory, monkeypatch):
    monkeypatch.setattr(server_writer, "BATCH_BYTES", 20_000)
    sizes = []
    upsert = memory.server.client.upsert
    monkeypatch.setattr(
        memory.server.client,
        "upsert",
        lambda name, batch, wait: sizes.append(len(batch)) or upsert(name, batch, wait=wait),
    )
    points = draw_points(100)
    long = replace(points[50], record=replace(points[50].record, caption="a very long report " * 2_000))
    assert memory.write([*points[:50], long, *points[51:]]).points == 100
    assert sum(sizes) == 100
    assert 1 in sizes, "a point larger than a batch travels alone"
    assert 10 < max(sizes) < 20_000 / (2 * 8 * 12 + 400)


def test_a_batch_that_cannot_be_stored_ends_the_run(memory, monkeypatch):
    memory.write(draw_points(5))

    def refuse(*_, **__):
        raise UnexpectedResponse(507, "Insufficient Storage", b"", httpx.Headers())

    monkeypatch.setattr(memory.server.client, "upsert", refuse)
    with (
        memory.writer(rebuild=True) as writer,
        pytest.raises(CollectionError, match="answers 507 Insufficient Storage"),
    ):
        writer.upsert(draw_points(5))
        writer.commit()
    with memory.open() as index:
        assert index.info.points == 5


def test_machines_share_the_work_and_the_last_puts_it_in_place(memory):
    memory.write(draw_points(3))
    first = memory.writer(part=(1, 2))
    second = memory.writer(part=(2, 2))
    first.upsert(draw_points(4, start=10))
    second.upsert(draw_points(4, start=20))
    first.commit()
    assert first.live.points == 3
    assert server.aliases(memory.server) == {"scans": "scans--000001"}
    assert second.commit().points == 11
    assert server.aliases(memory.server) == {"scans": "scans--000002"}


def test_a_machine_that_was_cut_off_goes_on_with_its_part(memory):
    first = memory.writer(part=(1, 2))
    first.upsert(draw_points(4))
    first._building.land()
    again, other = memory.writer(part=(1, 2)), memory.writer(part=(2, 2))
    assert again.resumed
    assert len(again.digests("drawn")) == 4
    again.upsert(draw_points(2, start=4))
    other.upsert(draw_points(4, start=20))
    again.commit()
    assert server.aliases(memory.server) == {}
    assert other.commit().points == 10
    with memory.open() as index:
        assert index.info.points == 10


def test_a_machine_waits_for_the_one_that_was_first(memory, monkeypatch):
    monkeypatch.setattr(server_writer, "_OTHERS_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(server_writer, "_OTHERS_TRIES", 3)
    late = memory.writer(part=(2, 2))
    memory.server.client.create_collection("scans--000001", vectors_config={})
    with pytest.raises(CollectionError, match="was begun by another run and not made ready"):
        late.upsert(draw_points(1))


def test_a_create_whose_answer_was_lost_is_taken_as_done(memory, monkeypatch):
    create = memory.server.client.create_collection

    def create_and_drop_the_line(name, **settings):
        create(name, **settings)
        raise ResponseHandlingException(httpx.ReadError("cut off"))

    monkeypatch.setattr(memory.server.client, "create_collection", create_and_drop_the_line)
    assert memory.write(draw_points(3)).points == 3


def test_a_create_that_fails_for_good_is_told(memory, monkeypatch):
    def refuse(*_, **__):
        raise UnexpectedResponse(403, "Forbidden", b"", httpx.Headers())

    monkeypatch.setattr(memory.server.client, "create_collection", refuse)
    with pytest.raises(CollectionError, match="refuses the API key"):
        memory.write(draw_points(3))


def test_the_graph_is_waited_for(memory, monkeypatch):
    monkeypatch.setattr(server_writer, "_POLL_SECONDS", 0.001)
    statuses = iter([CollectionStatus.YELLOW, CollectionStatus.GREEN, CollectionStatus.RED])
    said = []
    with memory.writer() as writer:
        writer.upsert(draw_points(2))
        writer._building.land()
        _answer_with(memory, monkeypatch, statuses)
        writer._building.wait_until_indexed(said.append)
        with pytest.raises(CollectionError, match="failed to index 'scans--000001': see its log"):
            writer._building.wait_until_indexed(said.append)
    assert said == ["the server indexes 2 points"]


def test_the_graph_need_not_be_waited_for(memory, monkeypatch):
    with memory.writer(layout=ServerLayout(wait=False)) as writer:
        writer.upsert(draw_points(2))
        monkeypatch.setattr(writer._building, "wait_until_indexed", _cut_off)
        assert writer.commit().points == 2


def _answer_with(memory, monkeypatch, statuses):
    get = memory.server.client.get_collection
    monkeypatch.setattr(
        memory.server.client,
        "get_collection",
        lambda name: get(name).model_copy(update={"status": next(statuses)}),
    )


def test_layouts_of_a_new_collection():
    spread = server.collection_settings(8, ServerLayout(shards=6, replicas=2))
    assert (spread["shard_number"], spread["replication_factor"], spread["quantization_config"]) == (
        6,
        2,
        None,
    )
    byte = server.collection_settings(8, ServerLayout(quantize="int8", on_disk=True))
    assert byte["quantization_config"].scalar.always_ram is True
    assert byte["vectors_config"]["image"].on_disk is True
    bit = server.collection_settings(8, ServerLayout(quantize="binary"))
    assert bit["quantization_config"].binary is not None
    assert bit["vectors_config"]["image"].on_disk is None


def test_damage_is_what_the_server_says(memory, monkeypatch):
    memory.write(draw_points(2))
    with memory.open() as index:
        assert index.find_damage() is None
        _answer_with(memory, monkeypatch, iter([CollectionStatus.RED]))
        assert index.find_damage() == "the server calls it damaged"
