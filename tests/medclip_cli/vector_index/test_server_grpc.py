"""The server engine over gRPC: a loopback server speaks Qdrant's own messages."""

import json
import shutil
import subprocess

import grpc
import pytest
from typer.testing import CliRunner

from medclip_cli.app import app
from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index import server, server_connection, server_writer
from medclip_cli.vector_index.base import CorpusSource, Query, parse_condition
from medclip_cli.vector_index.server_connection import ServerOptions, connect

from .conftest import InMemoryServer
from .drawn import SPEC, draw_points, draw_vector
from .grpc_double import WRITES, grpc_qdrant

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]
UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
QUERIES = [
    Query(image_vector=draw_vector(1), top=8),
    Query(image_vector=draw_vector(2), exact=True, min_score=0.1),
    Query(text_vector=draw_vector(3), words="cyst of the liver", mode="hybrid", weights=(1.0, 2.0)),
    Query(text_vector=draw_vector(3), words="cyst of the liver", mode="hybrid", fusion="dbsf"),
    Query(words="fracture", mode="words", exclude_groups=frozenset({"patient1"})),
    Query(image_vector=draw_vector(4), where=(parse_condition("modality=CT"), parse_condition("age>=20"))),
    Query(image_vector=draw_vector(4), where=(parse_condition("view!=*"), parse_condition("sex!=F"))),
    Query(image_vector=draw_vector(5), diversity=0.5),
]


def writer_of(connection, **options):
    return server_writer.create_writer(connection, "scans", SPEC, **options)


def write(url, points, **options):
    with writer_of(connect(ServerOptions(url, **options))) as writer:
        writer.add_corpus("drawn", CorpusSource("/data/drawn", "/scans", ("train",)))
        writer.upsert(points)
        return writer.commit()


def ask(url, queries, **options):
    with server.open_collection(connect(ServerOptions(url, **options)), "scans") as index:
        return index.query(queries)


def seen(answers):
    return [[(hit.id, hit.fields, pytest.approx(hit.score, abs=1e-3)) for hit in hits] for hits in answers]


def test_a_whole_life_of_a_collection(home):
    memory = InMemoryServer(home)
    memory.write(draw_points(40))
    with memory.open() as index:
        expected = index.query(QUERIES)
    with grpc_qdrant() as double:
        first = write(double.url, draw_points(30))
        second = write(double.url, draw_points(10, start=30))
        assert (first.points, second.points, second.generation) == (30, 40, 2)
        assert second.fields["modality"] == {"CT": 14, "MR": 13, "XR": 13}
        assert [[(n.id, n.fields, n.score) for n in hits] for hits in ask(double.url, QUERIES)] == seen(
            expected
        )
        connection = connect(ServerOptions(double.url))
        assert connection.client._client._prefer_grpc
        (listed,) = server.list_collections(connection)
        assert listed.corpora == {"drawn": CorpusSource("/data/drawn", "/scans", ("train",))}
        with server.open_collection(connection, "scans") as index:
            stored = {point.payload["id"]: point for point in index.points(vectors=True)}
        for point in draw_points(40):
            assert stored[point.record.id].image_vector == pytest.approx(point.image_vector, abs=1e-5)
        connection = connect(ServerOptions(double.url))
        server_writer.drop_collection(connection, "scans")
        assert server.list_collections(connection) == []


@pytest.mark.parametrize("fault", [UNAVAILABLE, EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_passing_faults_in_the_middle_of_a_run(monkeypatch, fault):
    monkeypatch.setattr(server_writer, "BATCH_BYTES", 20_000)
    with grpc_qdrant() as double:
        for call in ("Create", "Upsert", "CreateFieldIndex", "UpdateAliases", "QueryBatch", "Get"):
            double.faults[call].extend([fault, fault])
        assert write(double.url, draw_points(60)).points == 60
        assert len(ask(double.url, QUERIES)) == len(QUERIES)
        assert not any(double.faults.values())


def test_a_server_that_dies_for_good_leaves_the_live_collection_and_the_next_run_goes_on(monkeypatch):
    monkeypatch.setattr(server_writer, "BATCH_BYTES", 20_000)
    with grpc_qdrant() as double:
        write(double.url, draw_points(10))
        with writer_of(connect(ServerOptions(double.url, tries=2))) as writer:
            writer.upsert(draw_points(20, start=10))
            writer._building.land()
            double.faults["Upsert"].extend([UNAVAILABLE] * 100)
            with pytest.raises(CollectionError, match=r"no Qdrant server answers at .* \(2 tries\)"):
                writer.upsert(draw_points(90, start=30))
                writer.commit()
        double.faults.clear()
        assert len(ask(double.url, [Query(image_vector=draw_vector(25), top=60)])[0]) == 10
        with writer_of(connect(ServerOptions(double.url))) as writer:
            assert writer.resumed
            known = writer.digests("drawn")
            assert len(known) >= 30
            writer.upsert([point for point in draw_points(120) if point.point_id not in known])
            assert writer.commit().points == 120


def test_a_read_only_key_is_enough_to_ask_and_for_nothing_else():
    keys = {"key": "whole", "read_only_key": "reading"}
    with grpc_qdrant(**keys) as double:
        write(double.url, draw_points(5), api_key="whole")
        double.calls.clear()
        assert ask(double.url, QUERIES, api_key="reading")
        connection = connect(ServerOptions(double.url, api_key="reading"))
        assert [info.points for info in server.list_collections(connection)] == [5]
        assert not set(double.calls) & WRITES
        assert {given["api-key"] for given in double.metadata} == {"whole", "reading"}
        with pytest.raises(CollectionError, match="refuses the API key: set MEDCLIP_QDRANT_API_KEY"):
            write(double.url, draw_points(6), api_key="reading")
        with pytest.raises(CollectionError, match="refuses the API key"):
            ask(double.url, QUERIES, api_key="guessed")


def test_the_commands_that_ask_send_nothing_that_writes(monkeypatch):
    monkeypatch.setenv("MEDCLIP_QDRANT_API_KEY", "reading")
    with grpc_qdrant(key="whole", read_only_key="reading") as double:
        write(double.url, draw_points(20), api_key="whole")
        double.calls.clear()
        for command in (
            ["search", "fracture", "--mode", "words", "--collection", "scans"],
            ["collections", "list"],
            ["collections", "show", "scans"],
        ):
            result = CliRunner().invoke(app, [*command, "--url", double.url, "--json"])
            assert result.exit_code == 0, result.stderr
            assert json.loads(result.stdout)
        assert "QueryBatch" in double.calls
        assert not set(double.calls) & WRITES


def test_a_read_only_key_is_enough_to_caption_search_and_evaluate(monkeypatch, demo):
    with grpc_qdrant(key="whole", read_only_key="reading") as double:
        there = ["--url", double.url, "--collection", "scans"]

        def run(key, *arguments):
            monkeypatch.setenv("MEDCLIP_QDRANT_API_KEY", key)
            result = CliRunner().invoke(app, [*map(str, arguments), *there, "--json"])
            assert result.exit_code == 0, result.stderr
            return json.loads(result.stdout)

        indexed = run("whole", "index", demo.corpus, "--model", demo.model)
        double.calls.clear()
        captioned = run("reading", "caption", demo.scan)
        agreed = run("reading", "caption", demo.scan, "--method", "consensus")
        found = run("reading", "search", "axial CT of the torso", "--mode", "hybrid", "--top", 3)
        judged = run("reading", "evaluate", demo.corpus, "--split", "test", "--resamples", 20)
        assert not set(double.calls) & WRITES
    assert captioned["neighbours"]
    assert captioned["caption"] == captioned["neighbours"][0]["caption"]
    assert agreed["method"] == "consensus"
    assert len(found) == 3
    assert judged["n"] > 0
    assert indexed["points"] == indexed["added"] > 0


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    extension = ["-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", *request.split(), *extension, "-keyout", key, "-out", chain]
    subprocess.run(command, check=True, capture_output=True)
    return key, chain


def test_tls_by_a_certificate_of_ones_own(certificate, monkeypatch):
    key, chain = certificate
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    with grpc_qdrant(credentials, key="whole") as double:
        assert write(double.url, draw_points(5), api_key="whole").points == 5
        assert len(ask(double.url, QUERIES, api_key="whole")) == len(QUERIES)


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(certificate, monkeypatch):
    key, chain = certificate
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr(server_connection, "GRPC_PATIENCE_SECONDS", 0.3)
    with grpc_qdrant(credentials) as double:
        with pytest.raises(CollectionError, match="no Qdrant server answers at https"):
            ask(double.url, QUERIES, tries=1)
        assert double.calls == []


def test_certificates_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE=.*none.pem cannot be read"):
        connect(ServerOptions("https://localhost:1"))
