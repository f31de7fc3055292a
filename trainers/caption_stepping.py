"""One optimiser step of a decoder, over all processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from encoders.caption_codec import PAD_ID
from encoders.decoder import Decoder
from encoders.errors import DeviceMemoryError, DivergedError
from trainers.caption_data import CaptionBatch
from trainers.captioning_options import CaptioningOptions
from trainers.device import Placement
from trainers.optimisers import build_adamw, set_rates
from trainers.processes import Processes
from trainers.randomness import seed_torch


class CaptionStepper:
    """Teaches a decoder the next word, given the true ones before it (teacher forcing)."""

    def __init__(
        self, decoder: Decoder, options: CaptioningOptions, placement: Placement, processes: Processes
    ) -> None:
        """Build the optimiser and, with several processes, tie the copies of the decoder together."""
        self._decoder, self._options = decoder, options
        self._placement, self._processes = placement, processes
        parameters, rate = list(decoder.parameters()), options.learning_rate
        # Biases and norms are vectors: pulling them to zero helps nothing.
        decaying = [parameter for parameter in parameters if parameter.ndim >= 2]  # noqa: PLR2004
        plain = [parameter for parameter in parameters if parameter.ndim < 2]  # noqa: PLR2004
        self.optimiser = build_adamw(
            {"params": part, "lr": rate, "peak": rate, "weight_decay": decay}
            for part, decay in ((decaying, options.weight_decay), (plain, 0.0))
        )
        self._tied: nn.Module = DistributedDataParallel(decoder) if processes.world > 1 else decoder

    def take(self, batch: CaptionBatch, step: int, rate_factor: float) -> float:
        """Take one step on the mean loss of a batch's words, whichever process has them.

        Args:
            batch: this process's share.
            step: its number, from which dropout is drawn.
            rate_factor: what the peak learning rate is multiplied with.

        Returns:
            The loss of the whole batch before the step, in nats a token, smoothing included.

        Raises:
            DivergedError: the loss or its gradient is no longer a number; the weights were not touched.
            DeviceMemoryError: the GPU's memory is too small for the batch.
        """
        set_rates(self.optimiser, rate_factor)
        self.optimiser.zero_grad(set_to_none=True)
        seed_torch(self._options.seed, "dropout", step, self._processes.rank)
        try:
            loss = self._add_gradients(batch)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"the GPU's memory is too small for {len(batch)} captions at once: use a smaller --batch-size"
            ) from error
        length = nn.utils.clip_grad_norm_(self._decoder.parameters(), self._options.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            raise DivergedError(
                f"the loss is no longer a number at step {step + 1}: try a lower --learning-rate"
            )
        self.optimiser.step()
        return float(loss)

    def _add_gradients(self, batch: CaptionBatch) -> Tensor:
        device = self._placement.device
        ids, grids = batch.ids.to(device, non_blocking=True), batch.grids.to(device, non_blocking=True)
        retrieved = None if batch.retrieved is None else batch.retrieved.to(device, non_blocking=True)
        with self._placement.autocast():
            logits = self._tied(ids[:, :-1], grids, retrieved)
        total, words = _loss(logits, ids[:, 1:], self._options.label_smoothing)
        # Shares hold different numbers of words: divided by those of all, they add up to the batch's mean.
        told = self._processes.gather(torch.stack([total.detach(), words]).unsqueeze(0))[0].sum(dim=0)
        mean = total / told[1]
        # DistributedDataParallel takes the mean of the processes; each holds only its share of the sum.
        (mean * self._processes.world).backward()  # type: ignore[no-untyped-call]
        return told[0] / told[1]


def _loss(logits: Tensor, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy over the words, padding left out, and how many words they are.

    Args:
        logits: ``[b, s, v]``.
        wanted: ``[b, s]``.
        smoothing: share of each target that is spread over the vocabulary.
    """
    known = wanted != PAD_ID
    total = F.cross_entropy(logits[known].float(), wanted[known], label_smoothing=smoothing, reduction="sum")
    return total, known.sum().to(total.dtype)
