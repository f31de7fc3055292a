"""The recurrent caption decoder (torch).

Legend of the shapes: b batch, g cells of the grid, c channels of a cell, w width, s tokens, v vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.caption_codec import START_ID
from encoders.decoder_output import DecoderOutput


class LstmDecoder(nn.Module):
    """Show, attend and tell (arXiv 1502.03044): an LSTM with soft attention over the grid, section 4.2.

    Notable choices: the gate of section 4.2.1 on the context; the output layer shares the token embeddings.
    """

    MEMORY = ("keys", "cells")
    STATE = ("hidden", "carry")

    def __init__(
        self, *, vocab_size: int, grid_cells: int, grid_dim: int, width: int = 256, dropout: float = 0.3
    ) -> None:
        """Make a decoder of one layer."""
        super().__init__()
        self.architecture: dict[str, Any] = {
            "kind": "lstm",
            "vocab_size": vocab_size,
            "grid_cells": grid_cells,
            "grid_dim": grid_dim,
            "width": width,
            "dropout": dropout,
        }
        self.retrieve = self.retrieved_tokens = 0
        self.see = nn.Sequential(nn.Linear(grid_dim, width), nn.LayerNorm(width))
        self.place = nn.Parameter(torch.zeros(grid_cells, width))
        self.key = nn.Linear(width, width)
        self.ask = nn.Linear(width, width)
        self.weigh = nn.Linear(width, 1)
        self.first_hidden, self.first_carry = nn.Linear(width, width), nn.Linear(width, width)
        self.tokens = nn.Embedding(vocab_size, width)
        self.gate = nn.Linear(width, width)
        self.cell = nn.LSTMCell(2 * width, width)
        self.merge = nn.Linear(3 * width, width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.drop = nn.Dropout(dropout)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)

    def begin(
        self, grid: Tensor, retrieved: Tensor | None = None
    ) -> tuple[DecoderOutput, tuple[Tensor, ...]]:
        """Look at the grid ``[b, g, c]`` and read the start token.

        Returns:
            What it says, and the memory: keys and cells, both ``[b, g, w]``.
        """
        memory, state = self._open(grid)
        start = torch.full_like(grid[:, 0, 0], START_ID, dtype=torch.int64)
        return self.step(start, memory, state), memory

    def step(self, token: Tensor, memory: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> DecoderOutput:
        """Read one more token ``[b]``."""
        output, attention, state = self._advance(self.drop(self.tokens(token)), memory, state)
        return DecoderOutput(self._logits(output), attention, state)

    def forward(self, ids: Tensor, grid: Tensor, retrieved: Tensor | None = None) -> Tensor:
        """``[b, s]`` that begin with the start token, and the grid -> logits ``[b, s, v]`` of the next."""
        memory, state = self._open(grid)
        outputs = []
        for embedded in self.drop(self.tokens(ids)).unbind(dim=1):
            output, _, state = self._advance(embedded, memory, state)
            outputs.append(output)
        return self._logits(torch.stack(outputs, dim=1))

    def _open(self, grid: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        cells = self.see(grid) + self.place
        mean = cells.mean(dim=1)
        state = (torch.tanh(self.first_hidden(mean)), torch.tanh(self.first_carry(mean)))
        return (self.key(cells), cells), state

    def _advance(
        self, embedded: Tensor, memory: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        keys, cells = memory
        hidden, carry = state
        fit = self.weigh(torch.tanh(keys + self.ask(hidden).unsqueeze(1))).squeeze(-1)  # [b, g]
        attention = fit.softmax(dim=-1)
        context = torch.sigmoid(self.gate(hidden)) * (attention.unsqueeze(1) @ cells).squeeze(1)  # [b, w]
        hidden, carry = self.cell(torch.cat([embedded, context], dim=-1), (hidden, carry))
        output = torch.tanh(self.merge(torch.cat([self.drop(hidden), context, embedded], dim=-1)))
        return output, attention, (hidden, carry)

    def _logits(self, output: Tensor) -> Tensor:
        return F.linear(self.drop(output), self.tokens.weight, self.bias)
