"""One optimiser step: gradients of one or more batches, in chunks if need be, over all processes.

The loss of a batch needs all its vectors at once, but not all its activations. So it is differentiated in two
stages (gradient caching, https://arxiv.org/abs/2101.06983): by the vectors, which are small and can be
gathered from everywhere, and from there through the towers, chunk by chunk. With one process and one chunk
this is plain backpropagation; otherwise it gives the same gradients, as long as no layer mixes the images of
a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from encoders.errors import DeviceMemoryError, DivergedError
from encoders.preprocessing import ImagePreprocessing
from trainers.augmentation import NO_AUGMENTATION, to_pixels
from trainers.criterion import Criterion, EmbeddingPair
from trainers.data import Batch
from trainers.optimisation import build_adamw, parameter_groups, set_rates
from trainers.options import ContrastiveOptions
from trainers.pair_encoder import PairEncoder
from trainers.processes import Processes
from trainers.randomness import seed_torch


class Stepper:
    """Takes optimiser steps on a pair encoder."""

    def __init__(
        self,
        encoder: PairEncoder,
        spec: ImagePreprocessing,
        criterion: Criterion,
        options: ContrastiveOptions,
        processes: Processes,
    ) -> None:
        """With several processes, tie the copies of the encoder together.

        ``criterion`` may be exchanged between two steps.
        """
        self._encoder, self._spec, self.criterion = encoder, spec, criterion
        self._options, self._processes = options, processes
        self._distributed: nn.Module = DistributedDataParallel(encoder) if processes.world > 1 else encoder

    @cached_property
    def optimiser(self) -> torch.optim.AdamW:
        """Built when it is first needed: torch loads its compiler for it, as slowly as it loads itself."""
        return build_adamw(parameter_groups(self._encoder, self._options))

    def step(self, batches: Sequence[Batch], step: int, rate_factor: float) -> float:
        """Take one step on the mean loss of some batches.

        Args:
            batches: this process's shares; each is contrasted with the other processes' shares of the same
                batch, but not with the other batches.
            step: its number, which seeds dropout.
            rate_factor: of the peak learning rates.

        Returns:
            The loss before the step.

        Raises:
            DivergedError: the loss or its gradient is no longer a number; the weights were not touched.
            DeviceMemoryError: the GPU's memory is too small for the batch.
        """
        set_rates(self.optimiser, rate_factor)
        self.optimiser.zero_grad(set_to_none=True)
        try:
            losses = [
                self._add_gradients(batch, (step, number), 1 / len(batches), batch is batches[-1])
                for number, batch in enumerate(batches)
            ]
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(self._why_out_of_memory(batches)) from error
        loss = torch.stack(losses).mean()
        length = nn.utils.clip_grad_norm_(self._encoder.parameters(), self._options.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            raise DivergedError("the loss is no longer a number")
        self.optimiser.step()
        self._encoder.clamp_scale(self._options.max_logit_scale)
        return float(loss)

    def _add_gradients(self, batch: Batch, number: tuple[int, int], weight: float, is_last: bool) -> Tensor:
        """Add the gradient of a batch's loss, times its weight; the loss over all processes.

        Args:
            batch: this process's share.
            number: of the step and of the batch in it.
            weight: of the batch in the step.
            is_last: whether the processes exchange their gradients after it.
        """
        chunks = batch.chunks(self._options.cache_chunk)
        seeds = [(*number, chunk, self._processes.rank) for chunk in range(len(chunks))]
        whole = None
        if len(chunks) == 1:
            vectors = whole = self._embed(chunks[0], seeds[0], through=self._model_for(is_last))
        else:
            with torch.no_grad(), _untouched_statistics(self._encoder):
                parts = [self._embed(chunk, seed) for chunk, seed in zip(chunks, seeds, strict=True)]
            rows = (torch.cat(column) for column in list(zip(*parts, strict=True))[:-1])
            vectors = EmbeddingPair._make((*rows, parts[0].scale_and_bias))
        loss, gradients = self._loss_gradients(batch, vectors, weight)
        first = 0
        for chunk, seed in zip(chunks, seeds, strict=True):
            own = slice(first, first + len(chunk))
            first, ends = own.stop, seed is seeds[-1]
            outputs = whole or self._embed(chunk, seed, through=self._model_for(is_last and ends))
            # The scale and bias are the same in every chunk: their gradient is passed back once.
            own_gradients = [*(part[own] for part in gradients[:-1]), gradients.scale_and_bias * float(ends)]
            pairs = [
                (out, part) for out, part in zip(outputs, own_gradients, strict=True) if out.requires_grad
            ]
            torch.autograd.backward([out for out, _ in pairs], [part for _, part in pairs])
        return loss

    @contextmanager
    def _model_for(self, synchronise: bool) -> Iterator[nn.Module]:
        """The encoder as gradients go through it: over all processes, which exchange them now or later."""
        later = not synchronise and isinstance(self._distributed, DistributedDataParallel)
        with self._distributed.no_sync() if later else nullcontext():  # type: ignore[operator]  # of DDP
            yield self._distributed

    def _embed(
        self,
        chunk: Batch,
        seed: tuple[int, ...],
        *,
        through: AbstractContextManager[nn.Module] | None = None,
    ) -> EmbeddingPair:
        device = self._encoder.placement.device
        images = chunk.images.to(device, non_blocking=True)
        if images.dtype == torch.uint8:
            strength = NO_AUGMENTATION if self._encoder.image_is_frozen else self._options.augmentation
            images = torch.cat([to_pixels(images, self._spec, draws, strength) for draws in chunk.draws])
        texts = [part.to(device, non_blocking=True) for part in chunk.texts]
        seed_torch(self._options.seed, "dropout", *seed)
        with through or nullcontext(self._encoder) as model:
            outputs: EmbeddingPair = model(images, *texts)
        return outputs

    def _loss_gradients(
        self, batch: Batch, vectors: EmbeddingPair, weight: float
    ) -> tuple[Tensor, EmbeddingPair]:
        """The loss of the batch over all processes, and its gradient by this process's own vectors."""
        gathered = [self._processes.gather(part) for part in vectors[:-1]]
        leaves = EmbeddingPair._make(
            (
                *(part.detach().requires_grad_() for part, _ in gathered),
                vectors.scale_and_bias.detach().requires_grad_(),
            )
        )
        device, rows = self._encoder.placement.device, batch.rows
        if self._processes.world > 1:  # alone, a question to the GPU would wait for all its work
            rows = self._processes.gather(torch.from_numpy(rows).to(device))[0].cpu().numpy()
        loss = self.criterion(leaves, self.criterion.targets(rows, device))
        found = torch.autograd.grad(loss * weight, leaves, allow_unused=True, materialize_grads=True)
        # DistributedDataParallel takes the mean of the processes; each holds only its share of the sum.
        world = self._processes.world
        own = (part[rows_here] * world for part, (_, rows_here) in zip(found[:-1], gathered, strict=True))
        return loss.detach(), EmbeddingPair._make((*own, found[-1]))

    def _why_out_of_memory(self, batches: Sequence[Batch]) -> str:
        pairs = max(len(batch) for batch in batches)
        chunk = min(self._options.cache_chunk or pairs, pairs)
        return (
            f"the GPU's memory is too small for {chunk} pairs at once: use a cache chunk of "
            f"{max(1, chunk // 2)} to keep the batch, or a smaller batch size"
        )


@contextmanager
def _untouched_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms use the batch's statistics without adding them to the running ones."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def mixes_images(module: nn.Module) -> bool:
    """Whether the module has batch norms that train, so that chunks do not add up exactly to the batch."""
    return any(isinstance(part, _BatchNorm) and part.training for part in module.modules())
