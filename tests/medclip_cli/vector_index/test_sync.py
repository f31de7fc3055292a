"""Records are embedded and stored in order, whether or not one waits for the other."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medclip_cli.vector_index.sync import Failure, Task, embed_into

from .drawn import DIM, draw_record, draw_vector

COUNT = 600
BAD = {3, 300, 599}


@dataclass
class Fake:
    """Knows the vector of every image by its number, and that of every caption by its length."""

    passes_at_once: int
    embedded_at_once: int = 0

    def embed_files(self, sources, batch_size):
        for source in sources:
            number = int(source.stem)
            bad = number in BAD
            yield SimpleNamespace(
                vector=None if bad else draw_vector(number), error="too dark" if bad else None, image=None
            )

    def embed_texts(self, texts):
        self.embedded_at_once = max(self.embedded_at_once, len(texts))
        return np.array([draw_vector(len(text)) for text in texts], np.float32).reshape(-1, DIM)


class Shelf:
    """A writer that remembers what it was given."""

    def __init__(self):
        self.points = []

    def upsert(self, points):
        self.points += points


def tasks():
    for number in range(COUNT):
        yield Task(draw_record(number), Path(f"{number}.png"), f"{number:016x}")


@pytest.mark.parametrize("passes", [1, 2])
def test_every_readable_record_is_stored_once_and_in_order(passes):
    shelf, done = Shelf(), []

    def on_done(failure):
        done.append(failure)
        stored = len(shelf.points) + len([one for one in done if one])
        assert stored >= len(done)  # nothing is called done before it is stored

    failures = embed_into(shelf, "drawn", tasks(), Fake(passes), on_done=on_done)
    assert failures == [Failure(f"drawn/{n:05d}", f"{n}.png", "too dark") for n in sorted(BAD)]
    assert [one for one in done if one] == failures
    assert len(done) == COUNT
    good = [number for number in range(COUNT) if number not in BAD]
    assert [point.record.id for point in shelf.points] == [f"drawn/{number:05d}" for number in good]
    for number, point in zip(good, shelf.points, strict=True):
        assert np.array_equal(point.image_vector, draw_vector(number))
        assert np.array_equal(point.caption_vector, draw_vector(len(point.record.caption)))
        assert (point.corpus, point.digest) == ("drawn", f"{number:016x}")


@pytest.mark.parametrize("passes", [1, 2])
def test_equal_captions_are_embedded_once(passes):
    shelf, fake = Shelf(), Fake(passes)
    same = [Task(draw_record(n, caption="chest"), Path(f"{n}.png"), "0" * 16) for n in range(10, 20)]
    embed_into(shelf, "drawn", same, fake)
    assert (len(shelf.points), fake.embedded_at_once) == (10, 1)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_full_disk_ends_the_run(passes):
    class Full(Shelf):
        def upsert(self, points):
            super().upsert(points)
            raise OSError(28, "No space left on device")

    shelf = Full()
    with pytest.raises(OSError, match="No space left"):
        embed_into(shelf, "drawn", tasks(), Fake(passes))
    assert 0 < len(shelf.points) < COUNT / 2
