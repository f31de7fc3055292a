"""Faults on the way to a server: those that pass are waited for, those that last are one line."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep

import grpc
import httpx
import pytest
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index import server, server_connection
from medclip_cli.vector_index.server_connection import NotThereError, ServerOptions, connect

NO_ALIASES = {"result": {"aliases": []}, "status": "ok", "time": 0.0}


@contextmanager
def loopback(*script):
    """A server that follows a script, an entry a request, the last one over and over.

    An entry is a status, a body, ``"reset"`` for a connection that is dropped, or ``"hang"``.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            entry = script[min(len(asked), len(script)) - 1]
            if entry == "reset":
                self.connection.close()
                return
            if entry == "hang":
                sleep(1.5)
                return
            status, body = (entry, {}) if isinstance(entry, int) else (200, entry)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "7")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}", asked
        finally:
            listener.shutdown()
            thread.join()


def ask(url, **options):
    connection = connect(ServerOptions(url, **options))
    try:
        return server.aliases(connection)
    finally:
        connection.close()


@pytest.mark.parametrize("fault", [503, 500, 502, 504, 429, 408, "reset"], ids=lambda fault: f"after {fault}")
def test_a_passing_fault_is_waited_for(fault):
    with loopback(fault, fault, NO_ALIASES) as (url, asked):
        assert ask(url) == {}
    assert len(asked) == 3


def test_a_server_that_hangs_is_asked_again():
    with loopback("hang", NO_ALIASES) as (url, asked):
        assert ask(url, timeout_seconds=1) == {}
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("fault", "tries", "message"),
    [
        (503, 3, r"answers 503 Service Unavailable: see its log \(3 tries\)"),
        (429, 2, r"is overloaded: try again later \(2 tries\)"),
        ("reset", 2, r"broke the connection: try again, or see its log \(2 tries\)"),
        (401, 1, "refuses the API key: set MEDCLIP_QDRANT_API_KEY"),
        (403, 1, "refuses the API key"),
        (400, 1, "answers 400 Bad Request: see its log"),
        (b"<html>hello</html>", 1, "is not a Qdrant server: check the URL"),
        ({"result": 3}, 1, "is not a Qdrant server: check the URL"),
    ],
)
def test_a_lasting_fault_is_one_line(fault, tries, message):
    with loopback(fault) as (url, asked), pytest.raises(CollectionError, match=message) as caught:
        ask(url, tries=tries)
    assert len(asked) == tries
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there():
    with loopback(200) as (url, _):
        pass
    with pytest.raises(CollectionError, match="no Qdrant server answers at .*docker compose up -d, or check"):
        ask(url, tries=2)


def test_a_server_that_never_answers_in_time():
    with loopback("hang") as (url, _), pytest.raises(CollectionError, match="does not answer in time"):
        ask(url, tries=1, timeout_seconds=1)


def test_the_key_is_sent():
    with loopback(NO_ALIASES) as (url, asked):
        ask(url, api_key="secret")
    assert asked[0]["api-key"] == "secret"


def test_a_missing_collection_names_what_to_do():
    with loopback(404) as (url, _), pytest.raises(CollectionError, match=f"no collection 'scans' at {url}"):
        server.open_collection(connect(ServerOptions(url)), "scans")


@pytest.mark.parametrize("url", ["localhost:6333", "ftp://host", "http://", ""])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="is not the address of a server"):
        ServerOptions(url)


class GrpcError(grpc.RpcError):
    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (GrpcError(grpc.StatusCode.UNAVAILABLE), CollectionError, "no Qdrant server answers"),
        (GrpcError(grpc.StatusCode.UNAUTHENTICATED), CollectionError, "refuses the API key"),
        (GrpcError(grpc.StatusCode.PERMISSION_DENIED), CollectionError, "refuses the API key"),
        (GrpcError(grpc.StatusCode.DEADLINE_EXCEEDED), CollectionError, "answers DEADLINE_EXCEEDED"),
        (GrpcError(grpc.StatusCode.INVALID_ARGUMENT), CollectionError, "answers INVALID_ARGUMENT"),
        (GrpcError(grpc.StatusCode.NOT_FOUND), NotThereError, "^$"),
        (KeyError("a mistake of our own"), KeyError, "a mistake of our own"),  # which is not hidden
    ],
)
def test_faults_of_grpc_are_one_line(fault, error, message):
    def fail(_):
        raise fault

    with pytest.raises(error, match=message):
        server_connection.Server(None, "http://host", tries=2).call(fail)


def test_every_exception_of_the_client_is_mapped():
    known = {
        UnexpectedResponse: UnexpectedResponse(500, "", b"", httpx.Headers()),
        ResponseHandlingException: ResponseHandlingException(httpx.ReadError("cut off")),
        ResourceExhaustedResponse: ResourceExhaustedResponse("busy", 1),
    }
    raised = {*ApiException.__subclasses__(), *QdrantException.__subclasses__()}
    assert raised == known.keys(), "qdrant-client has a new exception: map it"
    for error in known.values():
        assert server_connection._classify(error).message
