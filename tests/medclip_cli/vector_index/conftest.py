import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from medclip_cli.vector_index import server, server_connection, server_writer
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer
from medclip_cli.vector_index.server_connection import Server, ServerOptions, connect

from .drawn import SPEC


@dataclass
class Edge:
    """The embedded engine, as the contract tests drive it."""

    home: Path
    name: str = "scans"

    def writer(self, spec=SPEC, **options):
        return create_writer(self.home, self.name, spec, **options)

    def write(self, points, corpus="drawn", source=None, **options):
        with self.writer(**options) as writer:
            if source:
                writer.add_corpus(corpus, source)
            writer.upsert(points)
            return writer.commit()

    def open(self, **options):
        return open_collection(self.home, self.name, **options)


MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def fast_folder(tmp_path_factory):
    """A folder in memory where there is one: on a busy disk these tests would mostly wait for syncs."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < 1 << 30:
        yield tmp_path_factory.mktemp("homes")
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="medclip-tests-") as folder:
        yield Path(folder)


@pytest.fixture
def home(fast_folder):
    return Path(tempfile.mkdtemp(dir=fast_folder))


@pytest.fixture
def edge(home):
    return Edge(home)


class Shared(Server):
    """A server whose client outlives each use of it, as a real server does."""

    def close(self):
        pass


@dataclass
class InMemoryServer:
    """The server engine on qdrant-client's own in-memory Qdrant; it searches exactly, whatever it is told."""

    home: Path
    name: str = "scans"
    server: Server = field(init=False)

    def __post_init__(self):
        self.server = Shared(QdrantClient(":memory:"), "memory")

    def writer(self, spec=SPEC, **options):
        return server_writer.create_writer(self.server, self.name, spec, **options)

    write = Edge.write

    def open(self):
        return server.open_collection(self.server, self.name)


@dataclass
class RealServer(InMemoryServer):
    """A Qdrant server of one's own, at ``MEDCLIP_TEST_QDRANT_URL``."""

    def __post_init__(self):
        options = ServerOptions(os.environ["MEDCLIP_TEST_QDRANT_URL"], os.environ.get("QDRANT_API_KEY"))
        self.server = Shared(connect(options).client, options.url)
        self.name = f"medclip-test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def memory(home):
    return InMemoryServer(home)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(server_connection, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(server_connection, "LONGEST_PAUSE_SECONDS", 0.01)


ENGINES = {"edge": Edge, "server": InMemoryServer, "real": RealServer}
PARAMS = ["edge", "server", pytest.param("real", marks=pytest.mark.qdrant)]


def started(request, home):
    engine = ENGINES[request.param](home)
    yield engine
    if request.param == "real":
        server_writer.drop_collection(engine.server, engine.name)


@pytest.fixture(params=PARAMS)
def engine(request, home):
    yield from started(request, home)


@pytest.fixture(params=PARAMS, scope="module")
def shared_engine(request, fast_folder):
    """An engine for tests that only read: building a collection takes longer than asking it."""
    yield from started(request, Path(tempfile.mkdtemp(dir=fast_folder)))
