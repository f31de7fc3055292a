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


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def edge(home):
    return Edge(home)


ENGINES = {"edge": Edge}


@pytest.fixture(params=ENGINES)
def engine(request, home):
    return ENGINES[request.param](home)


@pytest.fixture(params=ENGINES, scope="module")
def shared_engine(request, tmp_path_factory):
    """An engine for tests that only read: building a collection takes longer than asking it."""
    return ENGINES[request.param](tmp_path_factory.mktemp("shared"))
