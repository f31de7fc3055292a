"""The one short question, asked of a server of our own."""

import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from encoders import weights


class Refusing(BaseHTTPRequestHandler):
    def do_HEAD(self):  # noqa: N802
        self.send_response(403 if self.path == "/forbidden" else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_answer_counts(server):
    assert weights.reachable(f"{server}/")
    assert weights.reachable(f"{server}/forbidden")


def test_nobody_there(server):
    # Port 9 (discard) of this machine: nothing listens.
    assert not weights.reachable("http://127.0.0.1:9/")
    assert not weights.reachable("http://no-such-host.invalid/")


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (urllib.error.URLError(ssl.SSLError("self-signed")), True),
        (urllib.error.URLError(OSError("no route")), False),
        (TimeoutError(), False),
    ],
)
def test_certificates_and_time_outs(monkeypatch, error, answer):
    def fail(request, timeout):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert weights.reachable("https://hub.example") is answer
