import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer

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


ENGINES = {"edge": Edge}


@pytest.fixture(params=ENGINES)
def engine(request, home):
    return ENGINES[request.param](home)


@pytest.fixture(params=ENGINES, scope="module")
def shared_engine(request, fast_folder):
    """An engine for tests that only read: building a collection takes longer than asking it."""
    return ENGINES[request.param](Path(tempfile.mkdtemp(dir=fast_folder)))
