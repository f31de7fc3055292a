"""What the fault tests run in processes of their own; imports little, as each process imports it anew."""

import resource
import time

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import edge_building
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer

from .drawn import SPEC, draw_points, draw_vector


def index_with_small_files(home):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    with create_writer(home, "scans", SPEC) as writer:
        try:
            writer.upsert(draw_points(3_000))
            writer.commit()
        except CollectionError as error:
            assert "no space for collection 'scans'" in str(error), error
            assert "MB are needed" in str(error), error
        else:
            raise AssertionError("the limit was not felt")


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


def index_slowly(home, count, ready):
    """Index `count` points in small steps with a checkpoint after each, and announce the first."""
    edge_building.CHECKPOINT_POINTS = 40
    with create_writer(home, "scans", SPEC) as writer:
        known = writer.digests("drawn")
        missing = [point for point in draw_points(count) if point.point_id not in known]
        ready.set()
        for start in range(0, len(missing), 10):
            writer.upsert(missing[start : start + 10])
        writer.commit()


def upsert_and_hang(home, points, ready):
    writer = create_writer(home, "scans", SPEC)
    writer.upsert(points)
    ready.set()
    time.sleep(600)
