"""Order, captions, images: each pair once an epoch, unreadable images left out and named."""

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.text import train_wordpiece
from tests.trainers.drawn import TINY, draw_pairs
from trainers.criterion import SoftTargets
from trainers.data import BatchSource, ImageCache, TokenCache, TrainingPair, epoch_order, steps_per_epoch
from trainers.processes import Processes

SPEC = TINY.image_preprocessing


def cache_of(pairs, skips, **options):
    return ImageCache(
        [pair.image for pair in pairs], SPEC, on_skip=lambda *what: skips.append(what), **options
    )


@pytest.mark.parametrize(("count", "size", "batches"), [(10, 4, 2), (11, 4, 3), (3, 8, 1), (128, 128, 1)])
def test_batches_of_nearly_the_same_size(count, size, batches):
    order = epoch_order(count, size, seed=0, epoch=0)
    assert len(order) == steps_per_epoch(count, size) == batches
    assert sorted(np.concatenate(order)) == list(range(count))
    assert max(map(len, order)) - min(map(len, order)) <= 1


def test_every_epoch_has_its_own_order_and_the_same_seed_the_same():
    first, again = (np.concatenate(epoch_order(50, 8, seed=3, epoch=0)) for _ in range(2))
    other = np.concatenate(epoch_order(50, 8, seed=3, epoch=1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_images_are_decoded_once(tmp_path):
    pairs = draw_pairs(tmp_path, 4)
    cache = cache_of(pairs, [])
    rows = np.arange(4)
    before = cache.images(cache.readable(rows))
    for pair in pairs:
        pair.image.unlink()
    assert cache.readable(rows).tolist() == rows.tolist()
    assert torch.equal(cache.images(rows), before)
    assert before.shape == (4, 32, 32, 3)
    cache.close()


def test_a_large_cache_lies_in_a_file(tmp_path):
    pairs = draw_pairs(tmp_path, 3)
    small, large = cache_of(pairs, []), cache_of(pairs, [], in_memory_bytes=10)
    rows = np.array([2, 0])
    assert isinstance(large._pixels, np.memmap)
    assert torch.equal(small.images(small.readable(rows)), large.images(large.readable(rows)))
    small.close()
    large.close()


def test_unreadable_images_are_named_once_and_never_replaced(tmp_path):
    pairs, skips = draw_pairs(tmp_path, 6), []
    pairs[1].image.unlink()
    pairs[4].image.write_bytes(b"not a scan")
    cache = cache_of(pairs, skips)
    tokenizer = train_wordpiece([pair.text for pair in pairs], 200, 16)
    source = BatchSource(cache, TokenCache(pairs, tokenizer), count=6, batch_size=3, seed=0)
    for epoch in range(2):
        seen = np.concatenate([batch.rows for (batch,) in source.epoch(epoch)])
        assert sorted(seen) == [0, 2, 3, 5]
    source.close()
    assert sorted(skips) == [
        (1, "there is no such file"),
        (4, "not an image: PNG, JPEG, TIFF, WebP, BMP, GIF, PGM and DICOM are read"),
    ]
    assert cache.skipped == 2


def test_an_epoch_can_go_on_from_any_batch(tmp_path):
    pairs = draw_pairs(tmp_path, 9)
    tokenizer = train_wordpiece([pair.text for pair in pairs], 200, 16)
    source = BatchSource(cache_of(pairs, []), TokenCache(pairs, tokenizer), count=9, batch_size=3, seed=1)
    whole, rest = ([batch for (batch,) in source.epoch(2, first_step=first)] for first in (0, 2))
    source.close()
    assert len(whole) == 3
    assert [batch.rows.tolist() for batch in rest] == [batch.rows.tolist() for batch in whole[2:]]
    assert torch.equal(rest[0].images, whole[2].images)
    assert torch.equal(rest[0].draws[0], whole[2].draws[0])
    assert torch.equal(rest[0].texts[0], whole[2].texts[0])


@pytest.mark.parametrize("broken", [(), (1, 4)])
def test_processes_and_accumulation_share_out_the_same_step(tmp_path, broken):
    pairs = draw_pairs(tmp_path, 16)
    for row in broken:
        pairs[row].image.unlink()
    tokens = TokenCache(pairs, train_wordpiece([pair.text for pair in pairs], 200, 16))

    def step_of(rank, world):
        source = BatchSource(
            cache_of(pairs, []),
            tokens,
            count=16,
            batch_size=8,
            accumulate=2,
            seed=1,
            processes=Processes(rank, world),
        )
        batches = next(source.epoch(0))
        source.close()
        return batches

    whole, shares = step_of(0, 1), [step_of(rank, 2) for rank in range(2)]
    assert len(whole) == 2
    for place, batch in enumerate(whole):
        joined = [share[place] for share in shares]
        assert np.concatenate([part.rows for part in joined]).tolist() == batch.rows.tolist()
        assert torch.equal(torch.cat([part.images for part in joined]), batch.images)
        assert torch.equal(torch.cat([part.draws[0] for part in joined]), batch.draws[0])
    assert sorted(np.concatenate([batch.rows for batch in whole])) == sorted(set(range(16)) - set(broken))


def test_one_of_several_captions_is_drawn():
    pairs = [TrainingPair("a", Path("a"), "axial view", other_texts=("coronal view", "sagittal view"))]
    tokenizer = train_wordpiece(["axial coronal sagittal view"], 100, 8)
    tokens = TokenCache(pairs, tokenizer)
    picks = (0.0, 0.3, 0.4, 0.7, 0.999)
    drawn = [tokens.texts(np.array([0]), np.array([pick]))[0][0].tolist() for pick in picks]
    assert drawn[0] == drawn[1] == tokens.texts(np.array([0]))[0][0].tolist()
    assert drawn[3] == drawn[4]
    assert len({tuple(ids) for ids in drawn}) == 3


def test_rows_are_cut_to_the_longest_caption_of_the_batch():
    pairs = [TrainingPair("a", Path("a"), "scan"), TrainingPair("b", Path("b"), "scan " * 6)]
    tokens = TokenCache(pairs, train_wordpiece(["scan"], 50, 16))
    assert tokens.texts(np.array([0]))[0].shape == (1, 3)
    ids, mask = tokens.texts(np.array([0, 1]))
    assert ids.shape == (2, 8)
    assert mask.sum(dim=1).tolist() == [3, 8]


def test_agreement_of_captions_groups_and_labels():
    pairs = [
        TrainingPair("a", Path("a"), "x", "case 1", ("CT", "Axial")),
        TrainingPair("b", Path("b"), "x", "case 2", ("MR", "Coronal")),
        TrainingPair("c", Path("c"), "y", "case 1", ("MR", "Axial")),
        TrainingPair("d", Path("d"), "z", "", ("CT", "Axial")),
        TrainingPair("e", Path("e"), "w", "", ()),
    ]
    rows = np.arange(5)
    alone = SoftTargets(pairs).matrix(rows)
    same = {(0, 1), (1, 0), (0, 2), (2, 0)} | {(i, i) for i in range(5)}
    assert {(int(i), int(j)) for i, j in alone.nonzero()} == same
    shared = SoftTargets(pairs, label_weight=0.5).matrix(rows)
    # CT and MR are had by 2 of 5 pairs, Axial by 3, Coronal by 1; there are 4 captions to tell apart.
    known = {"CT": log(5 / 2), "MR": log(5 / 2), "Axial": log(5 / 3), "Coronal": log(5)}
    says = {row: min(1.0, sum(known[name] for name in pairs[row].labels) / log(4)) for row in (0, 1, 2, 3)}
    assert shared[0, 3] == pytest.approx(0.5 * says[0] * says[3])  # all labels equal
    assert shared[2, 3] == pytest.approx(0.5 / 9 * says[2] * says[3])  # one of three
    assert says[1] == 1.0
    assert shared[3, 4] == 0.0
    assert torch.equal(shared, shared.T)
    assert torch.equal(SoftTargets(pairs, 0.5).matrix(np.array([3, 0])), shared[[3, 0]][:, [3, 0]])


def test_labels_that_say_little_are_hardly_a_match():
    modality_alone = [TrainingPair(str(row), Path("a"), f"finding {row}", "", ("CT",)) for row in range(50)]
    assert SoftTargets(modality_alone, 1.0).matrix(np.arange(50)).fill_diagonal_(0).max() == 0.0
    telling = [
        TrainingPair(str(row), Path("a"), f"finding {row}", "", (f"disease {row // 2}",)) for row in range(50)
    ]
    assert SoftTargets(telling, 1.0).matrix(np.arange(50))[0, 1] > 0.6
