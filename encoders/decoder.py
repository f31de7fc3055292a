"""Caption decoders: from the feature map of an image tower to tokens (torch).

Both decoders do the same three things. `begin` reads the memory and the start token, `step` takes one token
further with its state, and `forward` does a whole caption at once for training. Memory and state are tuples
of tensors whose first axis is the batch, so that a beam search can reorder them without knowing their kind.

Legend of the shapes: b batch, g cells of the grid, c channels of a cell, d embedding dimension, w width,
n heads, s tokens, v vocabulary, k retrieved captions, r tokens of each, m = g + k r positions of the memory,
t tokens so far, l layers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.dual import DualEncoder
from encoders.errors import PresetError
from encoders.generation import PAD_ID, START_ID
from encoders.text import TransformerBlock

NO_MATCH = (
    -1e9
)  # added to the attention of positions that are padding; finite, so no row is all minus infinity


class DecoderOutput(NamedTuple):
    """After one more token: logits ``[b, v]``, attention over the grid ``[b, g]``, and the state."""

    logits: Tensor
    attention: Tensor
    state: tuple[Tensor, ...]


class LstmDecoder(nn.Module):
    """Show, attend and tell (arXiv 1502.03044): an LSTM with soft attention over the grid, section 4.2.

    Notable choices: the gate of section 4.2.1 on the context; the output layer shares the token embeddings.
    """

    MEMORY = ("keys", "cells")
    STATE = ("hidden", "carry")

    def __init__(
        self, *, vocab_size: int, grid_cells: int, grid_dim: int, width: int = 256, dropout: float = 0.3
    ) -> None:
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
        self.image_proj = nn.Sequential(nn.Linear(grid_dim, width), nn.LayerNorm(width))
        self.pos_embed = nn.Parameter(torch.zeros(grid_cells, width))
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        self.first_hidden, self.first_carry = nn.Linear(width, width), nn.Linear(width, width)
        self.tokens = nn.Embedding(vocab_size, width)
        self.gate = nn.Linear(width, width)
        self.cell = nn.LSTMCell(2 * width, width)
        self.output = nn.Linear(3 * width, width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.drop = nn.Dropout(dropout)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)

    def begin(
        self, grid: Tensor, retrieved: Tensor | None = None
    ) -> tuple[DecoderOutput, tuple[Tensor, ...]]:
        """Look at the grid ``[b, g, c]`` and read the start token.

        Returns:
            The first output, and the memory: keys and cells, both ``[b, g, w]``.
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
        cells = self.image_proj(grid) + self.pos_embed
        mean = cells.mean(dim=1)
        state = (torch.tanh(self.first_hidden(mean)), torch.tanh(self.first_carry(mean)))
        return (self.key(cells), cells), state

    def _advance(
        self, embedded: Tensor, memory: tuple[Tensor, ...], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        keys, cells = memory
        hidden, carry = state
        scores = self.score(torch.tanh(keys + self.query(hidden).unsqueeze(1))).squeeze(-1)  # [b, g]
        attention = scores.softmax(dim=-1)
        context = torch.sigmoid(self.gate(hidden)) * (attention.unsqueeze(1) @ cells).squeeze(1)  # [b, w]
        hidden, carry = self.cell(torch.cat([embedded, context], dim=-1), (hidden, carry))
        output = torch.tanh(self.output(torch.cat([self.drop(hidden), context, embedded], dim=-1)))
        return output, attention, (hidden, carry)

    def _logits(self, output: Tensor) -> Tensor:
        return F.linear(self.drop(output), self.tokens.weight, self.bias)


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward (arXiv 1706.03762, arXiv 2002.04745)."""

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.self_proj = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.cross_proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def crossed(self, memory: Tensor) -> Tensor:
        """Keys and values of the memory: ``[b, m, w] -> [b, 2, n, m, w / n]``."""
        return torch.stack([self._heads(part) for part in self.key_value(memory).chunk(2, dim=-1)], dim=1)

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
        query, key, value = (self._heads(part) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        if past is None:
            tokens = x.shape[1]
            future = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
            hidden = torch.zeros_like(future, dtype=x.dtype).masked_fill(future, NO_MATCH)
            mixed, _ = _attention(query, key, value, hidden)
        else:
            key, value = torch.cat([past[:, 0], key], dim=2), torch.cat([past[:, 1], value], dim=2)
            mixed, _ = _attention(query, key, value, None)
        x = x + self.drop(self.self_proj(mixed))
        query = self._heads(self.query(self.norm2(x)))
        mixed, weights = _attention(query, crossed[:, 0], crossed[:, 1], bias[:, None, None, :])
        x = x + self.drop(self.cross_proj(mixed))
        x = x + self.drop(self.fc2(F.gelu(self.fc1(self.norm3(x)))))
        return x, torch.stack([key, value], dim=1), weights.mean(dim=1)

    def _heads(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """``[b, n, s, d]`` over ``[b, n, m, d]`` -> ``[b, s, n d]`` and the weights ``[b, n, s, m]``."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    weights = (scores if bias is None else scores + bias).softmax(dim=-1)
    return (weights @ value).transpose(1, 2).flatten(2), weights


class TransformerDecoder(nn.Module):
    """A transformer over the grid and, with `retrieve`, over the captions of the nearest known images.

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
        self.image_proj = nn.Sequential(nn.Linear(grid_dim, width), nn.LayerNorm(width))
        self.pos_embed = nn.Parameter(torch.zeros(grid_cells, width))
        self.tokens = nn.Embedding(vocab_size, width)
        self.scale = math.sqrt(width)
        self.positions = nn.Embedding(max_tokens, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        if retrieve:
            self.rank_embed = nn.Parameter(torch.zeros(retrieve, 1, width))
            self.word_pos_embed = nn.Parameter(torch.zeros(retrieved_tokens, width))
            self.retrieved_block = TransformerBlock(width, heads, dropout=dropout)
            self.retrieved_norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        nn.init.normal_(self.positions.weight, std=0.02)

    def begin(
        self, grid: Tensor, retrieved: Tensor | None = None
    ) -> tuple[DecoderOutput, tuple[Tensor, ...]]:
        """Look at the grid ``[b, g, c]``, read the captions ``[b, k, r]`` and the start token.

        Returns:
            The first output, and the memory: keys and values ``[b, l, 2, n, m, w / n]``, bias ``[b, m]``.
        """
        memory, bias = self._memory(grid, retrieved)
        crossed = torch.stack([block.crossed(memory) for block in self._layers()], dim=1)
        start = torch.full_like(grid[:, :1, 0], START_ID, dtype=torch.int64)  # [b, 1]
        position = torch.zeros_like(start)
        return self._next(start, position, crossed, bias, None), (crossed, bias)

    def step(self, token: Tensor, memory: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> DecoderOutput:
        """Read one more token ``[b]``."""
        (crossed, bias), (past, position) = memory, state
        return self._next(token.unsqueeze(1), position.unsqueeze(1), crossed, bias, past)

    def forward(self, ids: Tensor, grid: Tensor, retrieved: Tensor | None = None) -> Tensor:
        """``[b, s]`` that begin with the start token -> logits ``[b, s, v]`` of what follows."""
        memory, bias = self._memory(grid, retrieved)
        position = torch.arange(ids.shape[1], device=ids.device)
        x = self.drop(self.tokens(ids) * self.scale + self.positions(position))
        for block in self._layers():
            x, _, _ = block(x, block.crossed(memory), bias, None)
        return F.linear(self.norm(x), self.tokens.weight)

    def _next(
        self, token: Tensor, position: Tensor, crossed: Tensor, bias: Tensor, past: Tensor | None
    ) -> DecoderOutput:
        x = self.drop(self.tokens(token) * self.scale + self.positions(position))
        present = []
        attention = bias
        for layer, block in enumerate(self._layers()):
            before = None if past is None else past[:, layer]
            x, now, attention = block(x, crossed[:, layer], bias, before)
            present.append(now)
        logits = F.linear(self.norm(x[:, -1]), self.tokens.weight)
        on_grid = attention[:, -1, : self.grid_cells]
        on_grid = on_grid / on_grid.sum(dim=-1, keepdim=True).clamp(min=1e-9)
        return DecoderOutput(logits, on_grid, (torch.stack(present, dim=1), position[:, -1] + 1))

    def _memory(self, grid: Tensor, retrieved: Tensor | None) -> tuple[Tensor, Tensor]:
        cells = self.drop(self.image_proj(grid) + self.pos_embed)  # [b, g, w]
        visible = torch.zeros_like(cells[:, :, 0])
        if not self.retrieve or retrieved is None:
            return cells, visible
        embedded = self.tokens(retrieved) * self.scale + self.word_pos_embed + self.rank_embed  # [b, k, r, w]
        known = (retrieved != PAD_ID).flatten(1)  # [b, k r]
        hidden = torch.zeros_like(known, dtype=cells.dtype).masked_fill(~known, NO_MATCH)
        words = self.retrieved_block(self.drop(embedded.flatten(1, 2)), hidden[:, None, None, :])
        return torch.cat([cells, self.retrieved_norm(words)], dim=1), torch.cat([visible, hidden], dim=1)

    def _layers(self) -> list[DecoderBlock]:
        return list(self.blocks)  # type: ignore[arg-type]  # a ModuleList of these


Decoder = LstmDecoder | TransformerDecoder


def encode_grid(model: DualEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels -> vectors ``[b, d]`` of ``embed_images`` and the grid ``[b, g, c]``.

    Raises:
        PresetError: the image tower has no feature map.
    """
    tower: Any = model.image_tower
    if not hasattr(tower, "features_and_map"):
        raise PresetError("this model's image tower has no feature map, which decoders need")
    features, feature_map = tower.features_and_map(pixels)
    return model.project_images(features), feature_map.flatten(2).transpose(1, 2)


def build_decoder(architecture: dict[str, Any]) -> Decoder:
    """Build the decoder that an ``architecture`` describes, with random weights.

    Raises:
        PresetError: this version knows no such decoder.
    """
    arguments = {key: value for key, value in architecture.items() if key != "kind"}
    match architecture.get("kind"):
        case "lstm":
            return LstmDecoder(**arguments)
        case "transformer":
            return TransformerDecoder(**arguments)
        case kind:
            raise PresetError(f"unknown kind of decoder '{kind}': use lstm or transformer")
