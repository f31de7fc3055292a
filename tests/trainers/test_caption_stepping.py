"""A decoder step over several processes is that of one with the whole batch."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as spawning

from encoders.bundle import ModelBundle
from encoders.errors import DeviceMemoryError
from encoders.generation import PAD_ID
from tests.trainers.drawn_captions import Watcher, share_right, small_options
from trainers.caption_data import CaptionBatch
from trainers.caption_evaluation import build_decoder
from trainers.caption_task import CaptioningTask, CaptionStepper, prepare
from trainers.data import PairSplits
from trainers.device import choose_placement
from trainers.listeners import SilentListener
from trainers.processes import Processes, joined_processes
from trainers.training_run import TrainingRun

# 25 captions in batches of 8: the last batch is one caption, and one of two processes has no share of it.
KINDS = ({"decoder": "lstm"}, {"retrieve": 2, "retrieved_tokens": 8})


def _some_steps(rank, world, port, splits, model, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    torch.set_num_threads(1)
    bundle, placement, found = ModelBundle.open(model), choose_placement("cpu", "fp32"), []
    with joined_processes(torch.device("cpu")) as processes:
        for kind in KINDS:
            options = small_options(**kind)
            prepared = prepare(splits, bundle, options, share_right, placement, Watcher(), processes)
            torch.manual_seed(0)
            decoder = build_decoder(options, prepared.codec.vocab_size, prepared.grid)
            stepper = CaptionStepper(decoder, options, placement, processes)
            batches = list(prepared.batches.epoch(0))
            losses = [stepper.step(batch, step, 1.0) for step, batch in enumerate(batches)]
            gradients = {name: value.grad.clone() for name, value in decoder.named_parameters()}
            found.append((losses, gradients, decoder.state_dict()))
        watcher = Watcher()
        task = CaptioningTask(prepared, options, placement, processes)
        listener_here = watcher if processes.is_first else SilentListener()
        run = TrainingRun(task, placement, folder / "work", "", listener=listener_here, processes=processes)
        assert run.fit() is False
        assert len(watcher.epochs) == (2 if processes.is_first else 0)
        assert run.task.best.scores["cider"] >= 0  # of the first process, known to all
        found.append((run.progress.losses, {}, run.task.module.state_dict()))
        if processes.is_first:
            torch.save(found, folder / "found.pt")


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, monkeypatch, drawn_splits, drawn_model):
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # put back afterwards what the first run sets
    splits = PairSplits(drawn_splits.train[:25], drawn_splits.validation)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _some_steps(0, 1, port, splits, drawn_model.path, tmp_path / "one")
    spawning.spawn(_some_steps, (2, port, splits, drawn_model.path, tmp_path / "two"), nprocs=2)
    one, two = (torch.load(tmp_path / name / "found.pt") for name in ("one", "two"))
    for alone, together in zip(one, two, strict=True):
        assert together[0] == pytest.approx(alone[0], abs=1e-5)
        for expected, found in zip(alone[1:], together[1:], strict=True):
            for name, value in expected.items():
                assert (found[name] - value).abs().max() < 1e-5, name


def decoder_and_stepper(**given):
    options = small_options(**given)
    torch.manual_seed(0)
    decoder = build_decoder(options, 300, (4, 6))
    return decoder, CaptionStepper(decoder, options, choose_placement("cpu", "fp32"), Processes())


def test_padding_teaches_nothing():
    ids = torch.tensor([[1, 10, 11, 2], [1, 12, 2, PAD_ID]])
    grids = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))
    longer = torch.cat([ids, torch.full((2, 3), PAD_ID)], dim=1)
    found = []
    for tokens in (ids, longer):
        decoder, stepper = decoder_and_stepper()
        loss = stepper.step(CaptionBatch(tokens, grids, None), 0, 0.0)
        found.append((loss, decoder.tokens.weight.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1])


def test_the_loss_is_the_mean_over_words_with_smoothed_targets():
    decoder, stepper = decoder_and_stepper(label_smoothing=0.1)
    ids = torch.tensor([[1, 10, 2], [1, 11, 12]])
    grids = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))
    logs = decoder(ids[:, :-1], grids).log_softmax(dim=-1)
    by_hand = [
        -0.9 * logs[row, place, ids[row, place + 1]] - 0.1 * logs[row, place].mean()
        for row in range(2)
        for place in range(2)
    ]
    loss = stepper.step(CaptionBatch(ids, grids, None), 0, 0.0)
    assert loss == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)


def test_out_of_memory_names_the_flag(monkeypatch):
    _, stepper = decoder_and_stepper()

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainers.caption_task.F.cross_entropy", full)
    batch = CaptionBatch(torch.tensor([[1, 5, 2]]), torch.zeros(1, 4, 6), None)
    with pytest.raises(DeviceMemoryError, match="for 1 captions at once: use a smaller batch size"):
        stepper.step(batch, 0, 1.0)
