"""What the fault tests run in processes of their own; imports little, as each process imports it anew."""

import contextlib
import multiprocessing
import resource
import time

import pytest

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import edge_writer
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer

from .drawn import SPEC, draw_points, draw_vector

PATIENCE = 600  # seconds that no machine needs, however busy
NO_ROOM = r"no space for collection 'scans': about [\d,]+ MB are needed in .* and [\d,]+ MB are free"
# Forked off a server that has imported everything and started nothing.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def index_with_small_files(home):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    with create_writer(home, "scans", SPEC) as writer:
        with pytest.raises(CollectionError, match=NO_ROOM):
            writer.upsert(draw_points(3_000))
            writer.commit()


def index_while_the_disk_fills(home, filler):
    """Something else takes the last of the place while the run is at it."""
    with create_writer(home, "scans", SPEC) as writer:
        writer.reserve(600)
        writer.upsert(draw_points(300))
        fill(filler)
        with pytest.raises(CollectionError, match=NO_ROOM):
            writer.upsert(draw_points(300, start=300))
        with pytest.raises(CollectionError, match=NO_ROOM):
            writer.commit()


def fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass


def ask_until(home, began, stop, failures):
    """Open the collection anew for every question, as a shell loop of captions would."""
    try:
        while not (stop.is_set() and began.is_set()):
            with open_collection(home, "scans") as index:
                (found,) = index.query([Query(image_vector=draw_vector(3), top=1)])
                assert found[0].id == "drawn/00003"
                assert index.info.points in (10, 40, 70)
            began.set()
    except BaseException as error:
        failures.put(f"{type(error).__name__}: {error}")
        raise


def index_slowly(home, count, ready, hang=False):
    """Index `count` points in small steps with a checkpoint every fourth, and announce the first.

    With `hang` it stops before the commit, to be killed there for sure.
    """
    edge_writer.CHECKPOINT_POINTS = 40
    with create_writer(home, "scans", SPEC) as writer:
        known = writer.digests("drawn")
        missing = [point for point in draw_points(count) if point.point_id not in known]
        ready.set()
        for start in range(0, len(missing), 10):
            writer.upsert(missing[start : start + 10])
        if hang:
            time.sleep(PATIENCE)
        writer.commit()


def upsert_and_hang(home, points, ready):
    writer = create_writer(home, "scans", SPEC)
    writer.upsert(points)
    ready.set()
    time.sleep(PATIENCE)
