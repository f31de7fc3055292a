"""The transformer caption decoder, which may also read the captions of known images (torch).

Legend of the shapes: b batch, g cells of the grid, c channels of a cell, w width, n heads, s tokens,
v vocabulary, k retrieved captions, r tokens of each, m = g + k r places of the memory, t tokens so far,
l layers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.caption_codec import PAD_ID, START_ID
from encoders.decoder_output import DecoderOutput
from encoders.text import TransformerBlock

NO_MATCH = -1e9  # added to the attention of places that are padding; finite, so no row is all minus infinity


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward (arXiv 1706.03762, arXiv 2002.04745)."""

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        """Make a block of ``heads`` attention heads."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.merge1 = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.remember = nn.Linear(width, 2 * width)
        self.merge2 = nn.Linear(width, width)
        self.expand = nn.Linear(width, 4 * width)
        self.shrink = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def crossed(self, memory: Tensor) -> Tensor:
        """Keys and values of the memory: ``[b, m, w] -> [b, 2, n, m, w / n]``."""
        return torch.stack([self._heads(part) for part in self.remember(memory).chunk(2, dim=-1)], dim=1)

    def forward(
        self, x: Tensor, crossed: Tensor, bias: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take tokens through the block.

        Args:
            x: ``[b, s, w]``; with a past, s is 1.
            crossed: keys and values of the memory ``[b, 2, n, m, w / n]``.
            bias: added to the attention on the memory ``[b, m]``.
            past: keys and values of the tokens before ``[b, 2, n, t, w / n]``.

        Returns:
            ``[b, s, w]``, the keys and values with these tokens, and the attention on the memory
            ``[b, s, m]``, mean over the heads.
        """
        query, key, value = (self._heads(part) for part in self.attend(self.norm1(x)).chunk(3, dim=-1))
        if past is None:
            tokens = x.shape[1]
            unseen = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
            hidden = torch.zeros_like(unseen, dtype=x.dtype).masked_fill(unseen, NO_MATCH)
            mixed, _ = _attention(query, key, value, hidden)
        else:
            key, value = torch.cat([past[:, 0], key], dim=2), torch.cat([past[:, 1], value], dim=2)
            mixed, _ = _attention(query, key, value, None)
        x = x + self.drop(self.merge1(mixed))
        query = self._heads(self.query(self.norm2(x)))
        mixed, weights = _attention(query, crossed[:, 0], crossed[:, 1], bias[:, None, None, :])
        x = x + self.drop(self.merge2(mixed))
        x = x + self.drop(self.shrink(F.gelu(self.expand(self.norm3(x)))))
        return x, torch.stack([key, value], dim=1), weights.mean(dim=1)

    def _heads(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """``[b, n, s, d]`` over ``[b, n, m, d]`` -> ``[b, s, n d]`` and the weights ``[b, n, s, m]``."""
    fit = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    weights = (fit if bias is None else fit + bias).softmax(dim=-1)
    return (weights @ value).transpose(1, 2).flatten(2), weights


class TransformerDecoder(nn.Module):
    """A transformer that looks at the grid and, if asked, at the captions of the nearest known images.

    Notable choices: retrieved captions are read by one self-attention layer with the decoder's own token
    embeddings, which makes copying a word of theirs easy; the output layer shares these embeddings too.
    """

    MEMORY = ("crossed", "bias")
    STATE = ("past", "position")

    def __init__(  # noqa: PLR0913 - plain numbers, each by name
        self,
        *,
        vocab_size: int,
        grid_cells: int,
        grid_dim: int,
        max_tokens: int,
        retrieve: int = 0,
        retrieved_tokens: int = 48,
        width: int = 192,
        layers: int = 3,
        heads: int = 6,
        dropout: float = 0.2,
    ) -> None:
        """Make a decoder; ``width`` must be a multiple of ``heads``."""
        super().__init__()
        self.architecture: dict[str, Any] = {
            "kind": "transformer",
            "vocab_size": vocab_size,
            "grid_cells": grid_cells,
            "grid_dim": grid_dim,
            "max_tokens": max_tokens,
            "retrieve": retrieve,
            "retrieved_tokens": retrieved_tokens,
            "width": width,
            "layers": layers,
            "heads": heads,
            "dropout": dropout,
        }
        self.grid_cells, self.retrieve, self.retrieved_tokens = grid_cells, retrieve, retrieved_tokens
        self.see = nn.Sequential(nn.Linear(grid_dim, width), nn.LayerNorm(width))
        self.place = nn.Parameter(torch.zeros(grid_cells, width))
        self.tokens = nn.Embedding(vocab_size, width)
        self.scale = math.sqrt(width)
        self.positions = nn.Embedding(max_tokens, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        if retrieve:
            self.ranks = nn.Parameter(torch.zeros(retrieve, 1, width))
            self.word_places = nn.Parameter(torch.zeros(retrieved_tokens, width))
            self.read = TransformerBlock(width, heads, dropout=dropout)
            self.read_norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=0.02)

    def begin(
        self, grid: Tensor, retrieved: Tensor | None = None
    ) -> tuple[DecoderOutput, tuple[Tensor, ...]]:
        """Look at the grid ``[b, g, c]``, read the captions ``[b, k, r]`` and the start token.

        Returns:
            What it says, and the memory: keys and values ``[b, l, 2, n, m, w / n]``, bias ``[b, m]``.
        """
        memory, bias = self._memory(grid, retrieved)
        crossed = torch.stack([block.crossed(memory) for block in self._layers()], dim=1)
        start = torch.full_like(grid[:, :1, 0], START_ID, dtype=torch.int64)  # [b, 1]
        position = torch.zeros_like(start)
        return self._tell(start, position, crossed, bias, None), (crossed, bias)

    def step(self, token: Tensor, memory: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> DecoderOutput:
        """Read one more token ``[b]``."""
        (crossed, bias), (past, position) = memory, state
        return self._tell(token.unsqueeze(1), position.unsqueeze(1), crossed, bias, past)

    def forward(self, ids: Tensor, grid: Tensor, retrieved: Tensor | None = None) -> Tensor:
        """``[b, s]`` that begin with the start token -> logits ``[b, s, v]`` of what follows."""
        memory, bias = self._memory(grid, retrieved)
        position = torch.arange(ids.shape[1], device=ids.device)
        x = self.drop(self.tokens(ids) * self.scale + self.positions(position))
        for block in self._layers():
            x, _, _ = block(x, block.crossed(memory), bias, None)
        return F.linear(self.norm(x), self.tokens.weight)

    def _tell(
        self, token: Tensor, position: Tensor, crossed: Tensor, bias: Tensor, past: Tensor | None
    ) -> DecoderOutput:
        x = self.drop(self.tokens(token) * self.scale + self.positions(position))
        remembered = []
        attention = bias
        for place, block in enumerate(self._layers()):
            before = None if past is None else past[:, place]
            x, now, attention = block(x, crossed[:, place], bias, before)
            remembered.append(now)
        logits = F.linear(self.norm(x[:, -1]), self.tokens.weight)
        looked = attention[:, -1, : self.grid_cells]
        looked = looked / looked.sum(dim=-1, keepdim=True).clamp(min=1e-9)
        return DecoderOutput(logits, looked, (torch.stack(remembered, dim=1), position[:, -1] + 1))

    def _memory(self, grid: Tensor, retrieved: Tensor | None) -> tuple[Tensor, Tensor]:
        cells = self.drop(self.see(grid) + self.place)  # [b, g, w]
        seen = torch.zeros_like(cells[:, :, 0])
        if not self.retrieve or retrieved is None:
            return cells, seen
        embedded = self.tokens(retrieved) * self.scale + self.word_places + self.ranks  # [b, k, r, w]
        known = (retrieved != PAD_ID).flatten(1)  # [b, k r]
        hidden = torch.zeros_like(known, dtype=cells.dtype).masked_fill(~known, NO_MATCH)
        words = self.read(self.drop(embedded.flatten(1, 2)), hidden[:, None, None, :])
        return torch.cat([cells, self.read_norm(words)], dim=1), torch.cat([seen, hidden], dim=1)

    def _layers(self) -> list[DecoderBlock]:
        return list(self.blocks)  # type: ignore[arg-type]  # a ModuleList of these
