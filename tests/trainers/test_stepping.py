"""Chunks, accumulated batches and processes give the gradients of one plain batch."""

import os
import socket
from contextlib import closing

import pytest
import torch
import torch.multiprocessing as spawning
from torch import nn

from encoders.errors import DeviceMemoryError, DivergedError
from encoders.text import SmallTransformer
from tests.trainers.drawn import (
    TINY,
    Recorder,
    draw_pairs,
    small_model,
    small_options,
    small_tokenizer,
    unmixed_model,
)
from trainers.augmentation import Augmentation
from trainers.contrastive_task import ContrastiveTask
from trainers.criterion import Criterion, criterion_for
from trainers.data import Batch, BatchSource, ImageCache, PairSplits, TokenCache
from trainers.device import Placement
from trainers.listeners import SilentListener
from trainers.pair_encoder import PairEncoder
from trainers.processes import Processes, joined_processes
from trainers.stepping import Stepper, mixes_images
from trainers.training_run import TrainingRun

CPU = Placement(torch.device("cpu"), bf16=False)
OBJECTIVES = [
    *({"loss": loss} for loss in ("infonce", "matched", "soft", "sigmoid")),
    {"loss": "matched", "label_weight": 0.5},
    {"loss": "infonce", "label_weight": 0.5, "view_weight": 2.0},
]


def stepper_for(pairs, model, processes=None, placement=CPU, **given):
    options = small_options(**({"augmentation": Augmentation(), "label_agreement": 0.5} | given))
    criterion = criterion_for(pairs, options)
    model = model.to(placement.device)
    encoder = PairEncoder(model, options.loss, placement, classes=sum(criterion.label_sizes)).train()
    if encoder.label_head is not None:  # it starts at zero, where its gradient by the image is zero too
        torch.manual_seed(1)
        nn.init.normal_(encoder.label_head.weight)
    return Stepper(encoder, TINY.image_preprocessing, criterion, options, processes or Processes()), encoder


def batches_of(pairs, tokenizer, processes=None, batch_size=12, accumulate=1, views=1):
    cache = ImageCache([p.image for p in pairs], TINY.image_preprocessing, on_skip=lambda *_: None)
    source = BatchSource(
        cache,
        TokenCache(pairs, tokenizer),
        count=len(pairs),
        batch_size=batch_size,
        accumulate=accumulate,
        seed=0,
        views=views,
        processes=processes,
    )
    batches = next(source.epoch(0))
    source.close()
    return batches


def gradients(encoder):
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def fresh_model(tokenizer, build=unmixed_model):
    torch.manual_seed(0)
    return build(tokenizer.vocab_size)


@pytest.fixture
def pairs(tmp_path):
    return draw_pairs(tmp_path / "train", 12)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_plain_step_is_plain_backpropagation(pairs, objective):
    tokenizer = small_tokenizer(pairs)
    stepper, encoder = stepper_for(pairs, fresh_model(tokenizer), clip_norm=1e9, **objective)
    (batch,) = batches_of(pairs, tokenizer, views=stepper._options.views)
    reported = stepper.step([batch], 0, 0.0)
    by_stages = gradients(encoder)
    encoder.zero_grad()
    criterion = criterion_for(pairs, stepper._options)
    plain = criterion(stepper._embed(batch, (0, 0, 0, 0)), criterion.targets(batch.rows, CPU.device))
    plain.backward()
    assert reported == pytest.approx(plain.item(), rel=1e-6)
    for name, gradient in gradients(encoder).items():
        torch.testing.assert_close(by_stages[name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    assert "model.logit_scale" in by_stages
    assert ("label_head.weight" in by_stages) == ("label_weight" in objective)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("chunk", [1, 5])
def test_cached_gradients_equal_the_whole_batch(pairs, objective, chunk):
    tokenizer = small_tokenizer(pairs)
    found = []
    for size in (None, chunk):
        stepper, encoder = stepper_for(
            pairs, fresh_model(tokenizer), cache_chunk=size, clip_norm=1e9, **objective
        )
        value = stepper.step(batches_of(pairs, tokenizer, views=stepper._options.views), 0, 0.0)
        found.append((value, gradients(encoder)))
    (whole, expected), (cached, by_chunks) = found
    assert cached == pytest.approx(whole, abs=1e-5)
    assert by_chunks.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (by_chunks[name] - gradient).abs().max() < 1e-5, name


def test_cached_gradients_draw_the_same_dropout_twice(pairs):
    """Both passes over a chunk must see the same model, or the gradients belong to no loss at all."""
    tokenizer = small_tokenizer(pairs)
    torch.manual_seed(0)
    model = unmixed_model(tokenizer.vocab_size)
    model.text_tower = SmallTransformer(
        vocab_size=tokenizer.vocab_size, max_tokens=16, width=16, layers=1, heads=2, dropout=0.5
    )
    stepper, encoder = stepper_for(pairs, model, cache_chunk=6, clip_norm=1e9)
    seen = []
    encoder.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[1].detach()))
    stepper.step(batches_of(pairs, tokenizer), 3, 0.0)
    first_pass, second_pass = torch.cat(seen[:2]), torch.cat(seen[2:])
    assert torch.equal(first_pass, second_pass)
    assert not torch.equal(first_pass[:6], first_pass[6:])


def test_caching_leaves_running_statistics_as_one_pass_would(pairs):
    tokenizer = small_tokenizer(pairs)
    (batch,) = batches_of(pairs, tokenizer)
    stepper, encoder = stepper_for(pairs, fresh_model(tokenizer, small_model), cache_chunk=6)
    assert mixes_images(encoder)
    stepper.step([batch], 0, 0.0)
    twice = {name: value.clone() for name, value in encoder.named_buffers() if "running" in name}
    _, plain = stepper_for(pairs, fresh_model(tokenizer, small_model))
    options = small_options(augmentation=Augmentation())
    other = Stepper(plain, TINY.image_preprocessing, Criterion("infonce"), options, Processes())
    with torch.no_grad():
        for number, chunk in enumerate(batch.chunks(6)):
            other._embed(chunk, (0, 0, number, 0))
    for name, value in plain.named_buffers():
        if "running" in name:
            torch.testing.assert_close(twice[name], value, msg=name)


def test_accumulated_batches_give_the_mean_of_their_gradients(pairs):
    tokenizer = small_tokenizer(pairs)
    batches = batches_of(pairs, tokenizer, batch_size=6, accumulate=2)
    assert [len(batch) for batch in batches] == [6, 6]
    stepper, encoder = stepper_for(pairs, fresh_model(tokenizer), clip_norm=1e9)
    value = stepper.step(batches, 0, 0.0)
    together, alone, values = gradients(encoder), [], []
    for batch in batches:
        values.append(stepper.step([batch], 0, 0.0))
        alone.append(gradients(encoder))
    assert value == pytest.approx(sum(values) / 2)
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, (alone[0][name] + alone[1][name]) / 2, msg=name)


def test_gradients_are_clipped_and_the_scale_stays_below_its_limit(pairs):
    tokenizer = small_tokenizer(pairs)
    stepper, encoder = stepper_for(
        pairs, fresh_model(tokenizer), clip_norm=0.01, max_logit_scale=2.0, learning_rate=1e-3
    )
    stepper.step(batches_of(pairs, tokenizer), 0, 1.0)
    length = torch.stack([gradient.norm() for gradient in gradients(encoder).values()]).norm()
    assert length.item() == pytest.approx(0.01, rel=1e-3)
    assert encoder.model.logit_scale.exp().item() == pytest.approx(2.0)


def test_a_diverged_step_leaves_the_weights_alone(pairs):
    tokenizer = small_tokenizer(pairs)
    stepper, encoder = stepper_for(pairs, fresh_model(tokenizer))
    with torch.no_grad():
        encoder.model.image_head.weight[0, 0] = float("inf")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(DivergedError, match="the loss is no longer a number"):
        stepper.step(batches_of(pairs, tokenizer), 0, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(("chunk", "advice"), [(None, "a cache chunk of 6"), (4, "a cache chunk of 2")])
def test_out_of_memory_names_the_flags(pairs, chunk, advice):
    class Hungry(nn.Module):
        architecture, feature_dim = {}, 16

        def forward(self, pixels):
            raise torch.OutOfMemoryError("CUDA out of memory")

    tokenizer = small_tokenizer(pairs)
    model = fresh_model(tokenizer)
    model.image_tower = Hungry()
    stepper, _ = stepper_for(pairs, model, cache_chunk=chunk)
    with pytest.raises(DeviceMemoryError, match=f"{advice} to keep the batch, or a smaller batch size"):
        stepper.step(batches_of(pairs, tokenizer), 0, 1.0)


def test_chunks_cover_the_batch():
    batch = Batch(
        torch.arange(5).numpy(), torch.rand(5, 3), (torch.rand(5, 6),), (torch.rand(5, 2), torch.rand(5, 2))
    )
    assert [len(chunk) for chunk in batch.chunks(2)] == [2, 2, 1]
    assert torch.equal(torch.cat([chunk.draws[0] for chunk in batch.chunks(2)]), batch.draws[0])
    assert torch.equal(torch.cat([chunk.texts[1] for chunk in batch.chunks(2)]), batch.texts[1])
    assert batch.chunks(None) == batch.chunks(9) == [batch]


SHARED_CASES = (
    {"loss": "matched"},
    {"loss": "sigmoid", "cache_chunk": 2, "accumulate": 2},
    {"loss": "soft", "cache_chunk": 4, "label_weight": 0.5, "view_weight": 2.0},
)


def _whole_run(folder, processes):
    """Two epochs with an image missing: losses, recall, weights and skips, everywhere the same."""
    train, listener = draw_pairs(folder / "all", 24), Recorder()
    pairs = PairSplits(train, draw_pairs(folder / "val", 8, seed=1))
    pairs.train[5].image.unlink()
    tokenizer = small_tokenizer(pairs.train)
    options = small_options(
        batch_size=12,
        learning_rate=1e-3,
        loss="infonce",
        label_weight=0.5,
        image_epochs=1,
        augmentation=Augmentation(),
        ema=0.9,
        schedule="plateau",
    )
    model = fresh_model(tokenizer)
    listener_here = listener if processes.is_first else SilentListener()
    task = ContrastiveTask(model, tokenizer, pairs, options, CPU, listener_here, processes)
    with closing(task):
        run = TrainingRun(task, CPU, folder / "work", "", listener=listener_here, processes=processes)
        assert run.fit() is False
        assert run.task.skipped == 1
        assert (folder / "work" / "training.jsonl").exists() == processes.is_first
        assert len(listener.epochs) == (2 if processes.is_first else 0)
        gradients = {"recall": torch.tensor(run.task.best_recall().mean_recall)}
        return [report.loss for report in listener.epochs], gradients, run.task.best_model().state_dict()


def _two_steps(rank, world, port, folder, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    pairs, found = draw_pairs(folder / f"rank{rank}", 12), []
    tokenizer = small_tokenizer(pairs)
    with joined_processes(torch.device("cpu")) as processes:
        for case in SHARED_CASES:
            stepper, encoder = stepper_for(pairs, fresh_model(tokenizer), processes, **case)
            parts = case.get("accumulate", 1)
            batches = batches_of(pairs, tokenizer, processes, 12 // parts, parts, stepper._options.views)
            values = [stepper.step(batches, step, 1.0) for step in range(2)]
            found.append((values, gradients(encoder), encoder.state_dict()))
        found.append(_whole_run(folder / f"rank{rank}", processes))
        assert processes.collect(processes.rank) == list(range(world))
        assert processes.from_first(processes.rank) == 0
        assert processes.largest([float(rank), 0.5], torch.device("cpu")) == [world - 1, 0.5]
        rows, own = processes.gather(torch.full((rank + 1, 2), float(rank)))
        assert rows[:, 0].tolist() == [0.0, 1.0, 1.0][: world * (world + 1) // 2]
        assert (rows[own] == rank).all()
        if processes.is_first:
            torch.save(found, results)


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # put back afterwards what the first run sets
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _two_steps(0, 1, port, tmp_path, tmp_path / "one.pt")
    spawning.spawn(_two_steps, (2, port, tmp_path, tmp_path / "two.pt"), nprocs=2)
    for alone, together in zip(torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt"), strict=True):
        assert together[0] == pytest.approx(alone[0], abs=1e-5)
        for expected, found in zip(alone[1:], together[1:], strict=True):
            for name, value in expected.items():
                assert (found[name] - value).abs().max() < 1e-5, name


def test_alone_every_exchange_is_a_no_op():
    alone = Processes()
    values = torch.rand(3, 2, requires_grad=True)
    gathered, own = alone.gather(values)
    assert torch.equal(gathered, values.detach())
    assert not gathered.requires_grad
    assert own == slice(0, 3)
    assert alone.largest([1.0, 2.0], torch.device("cpu")) == [1.0, 2.0]
    assert alone.collect("x") == ["x"]
    assert alone.from_first("x") == "x"
