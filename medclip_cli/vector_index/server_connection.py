"""The way to a Qdrant server: one client, patience with passing faults, and errors a person can act on."""

from __future__ import annotations

import logging
import os
import random
import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index.base import Closing

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
REST_PORT = 6333  # a Qdrant server speaks gRPC on the port after it
GRPC_PATIENCE_SECONDS = 1.0
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_GRPC = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"})
_REFUSED_STATUS = frozenset({401, 403})
_REFUSED_GRPC = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_Result = TypeVar("_Result")


class NotThereError(Exception):
    """The server has no such collection."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to reach a Qdrant server; a `UsageError` where the address is not one."""

    url: str  # such as http://localhost:6333; https for TLS
    api_key: str | None = None  # sent with every request; a read-only key is enough to ask
    timeout_seconds: int = 30  # for one request
    tries: int = 6  # how often a request is sent before a passing fault counts as a lasting one

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"{shown_url(self.url)!r} is not the address of a server: write it as http://localhost:6333"
            )


class Server(Closing):
    """A Qdrant server, as both the reader and the writer talk to it."""

    def __init__(self, client: QdrantClient, url: str, *, tries: int = 6) -> None:
        """Talk through this client, see `connect`; the URL is shown in messages."""
        self.client, self.url, self._tries = client, url, max(1, tries)

    def call(self, request: Callable[..., _Result], *arguments: object) -> _Result:
        """Send a request, again after a pause if the fault may pass; every request here may be repeated.

        Raises:
            NotThereError: it names a collection that the server does not have.
            CollectionError: the server cannot be reached, refuses, or keeps failing.
        """
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, self._tries + 1):
            try:
                return request(self.client, *arguments)
            except Exception as error:
                fault = _classify(error)
                if fault.not_there:
                    raise NotThereError from error
                if not fault.passing or attempt == self._tries:
                    tries = f" ({attempt} tries)" if attempt > 1 else ""
                    raise CollectionError(fault.message.format(url=self.url) + tries) from error
                time.sleep(fault.retry_after or pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        raise AssertionError("unreachable: the last try returns or raises")

    def close(self) -> None:
        self.client.close()


def shown_url(url: str) -> str:
    """Return an address without the password and the query that it may hold."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}:***@{host}" if ":" in user else f"{user}{at}{host}"
    return parts._replace(netloc=netloc, query="***" if parts.query else "").geturl()


def connect(options: ServerOptions) -> Server:
    """Open a connection; nothing is asked yet but whether the port after the URL's speaks gRPC.

    gRPC carries vectors as bytes rather than as text, which is several times faster for an index run.
    """
    from qdrant_client import QdrantClient

    parts = urlsplit(options.url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else REST_PORT)
    roots = _own_roots() if tls else None
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # "Api key is used with an insecure connection": on loopback that is how it is meant.
        warnings.simplefilter("ignore", UserWarning)
        client = QdrantClient(
            url=options.url,
            port=port,
            grpc_port=port + 1,
            prefer_grpc=_speaks_grpc(str(parts.hostname), port + 1, tls, roots),
            grpc_options={"root_certificates": roots} if roots else None,
            api_key=options.api_key,
            timeout=options.timeout_seconds,
            check_compatibility=False,
        )
    return Server(client, shown_url(options.url), tries=options.tries)


def _own_roots() -> bytes | None:
    """Return the certificates of ``SSL_CERT_FILE``: httpx trusts them unasked, gRPC has to be told."""
    path = os.environ.get("SSL_CERT_FILE")
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise UsageError(f"SSL_CERT_FILE={path} cannot be read ({error.strerror})") from error


def _speaks_grpc(host: str, port: int, tls: bool, roots: bytes | None) -> bool:
    """Shake hands: another program may listen there, or one that has no TLS."""
    try:
        socket.create_connection((host, port), timeout=0.3).close()
    except OSError:
        return False
    import grpc  # type: ignore[import-untyped]

    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    channel = (
        grpc.secure_channel(target, grpc.ssl_channel_credentials(root_certificates=roots))
        if tls
        else grpc.insecure_channel(target)
    )
    try:
        grpc.channel_ready_future(channel).result(timeout=GRPC_PATIENCE_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True


@dataclass(frozen=True, slots=True)
class _Fault:
    message: str
    passing: bool = False
    not_there: bool = False
    retry_after: float = 0.0


_UNREACHABLE = "no Qdrant server answers at {url}: start one with docker compose up -d, or check the URL"
_NOT_THERE = "no such collection at {url}"
_REFUSED = "the server at {url} refuses the API key: set MEDCLIP_QDRANT_API_KEY to one that may do this"


def _classify(error: Exception) -> _Fault:
    """Say what a fault means; every kind of error that qdrant-client raises ends up here."""
    from grpc import RpcError
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    if isinstance(error, ResourceExhaustedResponse):
        wait = min(float(error.retry_after_s), LONGEST_PAUSE_SECONDS)
        return _Fault("the server at {url} is overloaded: try again later", passing=True, retry_after=wait)
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or 0
        if status in _REFUSED_STATUS:
            return _Fault(_REFUSED)
        if status == 404:
            return _Fault(_NOT_THERE, not_there=True)
        answer = f"{status} {error.reason_phrase}".strip()
        return _Fault(
            f"the server at {{url}} answers {answer}: see its log", passing=status in _PASSING_STATUS
        )
    if isinstance(error, RpcError):
        return _grpc_fault(getattr(getattr(error, "code", lambda: None)(), "name", "UNKNOWN"))
    if isinstance(error, (ResponseHandlingException, JSONDecodeError)):
        return _transport_fault(getattr(error, "source", error))
    # qdrant-client's local mode, which the tests run on, says it in words.
    if isinstance(error, ValueError) and "not found" in str(error):
        return _Fault(_NOT_THERE, not_there=True)
    raise error


def _transport_fault(source: Exception) -> _Fault:
    from httpx import ConnectError, TimeoutException, TransportError

    if isinstance(source, TimeoutException):
        return _Fault("the server at {url} does not answer in time: try again, or later", passing=True)
    if isinstance(source, ConnectError):
        return _Fault(_UNREACHABLE, passing=True)
    if isinstance(source, TransportError):
        return _Fault("the server at {url} broke the connection: try again, or see its log", passing=True)
    return _Fault("what answers at {url} is not a Qdrant server: check the URL")


def _grpc_fault(name: str) -> _Fault:
    if name in _REFUSED_GRPC:
        return _Fault(_REFUSED)
    if name == "NOT_FOUND":
        return _Fault(_NOT_THERE, not_there=True)
    if name == "UNAVAILABLE":
        return _Fault(_UNREACHABLE, passing=True)
    return _Fault(f"the server at {{url}} answers {name}: see its log", passing=name in _PASSING_GRPC)
