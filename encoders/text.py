"""Text towers: token ids to feature vectors, and a vocabulary learned from the corpus's own captions (torch).

Legend of the shapes: b batch, s tokens, w width of a token, f features, n heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.errors import PresetError
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import SMALL_TRANSFORMER, Pooling

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward (arXiv 2002.04745)."""

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """``[b, s, w] -> [b, s, w]``.

        ``visible`` is bool ``[b, 1, 1, s]``, False for padding; or float, added to the attention.
        """
        x = x + self._drop(self.proj(self._attention(self.norm1(x), visible)))
        return x + self._drop(self.fc2(F.gelu(self.fc1(self.norm2(x)))))

    def _attention(self, x: Tensor, visible: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        # [b, s, 3 w] -> three of [b, n, s, w / n]
        query, key, value = (
            part.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(batch, tokens, width)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class SmallTransformer(nn.Module):
    """A transformer encoder of a few layers, for the captions of one corpus."""

    def __init__(
        self,
        *,
        vocab_size: int,
        max_tokens: int,
        width: int = 192,
        layers: int = 4,
        heads: int = 6,
        dropout: float = 0.1,
    ) -> None:
        """Make the tower; ``width`` must be a multiple of ``heads``."""
        super().__init__()
        self.architecture: dict[str, Any] = {
            "kind": SMALL_TRANSFORMER,
            "vocab_size": vocab_size,
            "max_tokens": max_tokens,
            "width": width,
            "layers": layers,
            "heads": heads,
            "dropout": dropout,
        }
        self.feature_dim = width
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Parameter(torch.empty(max_tokens, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s], [b, s] -> [b, f]``: the mean over the tokens that are not padding."""
        x = self.tokens(ids) + self.positions[: ids.shape[1]]  # [b, s, w]
        visible = mask.to(torch.bool)[:, None, None, :]
        for block in self.blocks:
            x = block(x, visible)
        return mean_of_tokens(self.norm(x), mask)


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Average the token states that the mask keeps: ``[b, s, w], [b, s] -> [b, w]``."""
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


class TransformersTower(nn.Module):
    """Any text encoder of the transformers library, pooled to one vector a caption.

    Pooled is the ``mean`` over the caption's tokens, or the first (``cls``) token.
    """

    def __init__(self, model: nn.Module, *, pooling: Pooling = "mean") -> None:
        """Wrap a model that returns ``last_hidden_state`` for ``input_ids`` and ``attention_mask``."""
        super().__init__()
        self.model = model
        self.pooling = pooling
        config: Any = model.config
        self.feature_dim = int(config.hidden_size)
        self.architecture: dict[str, Any] = {
            "kind": "transformers",
            "pooling": pooling,
            "config": config.to_diff_dict() | {"model_type": config.model_type},
        }

    @property
    def vocab_size(self) -> int:
        """Token ids the tower knows."""
        return int(self.model.get_input_embeddings().num_embeddings)  # type: ignore[operator]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s], [b, s] -> [b, f]``."""
        states: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        return mean_of_tokens(states, mask)


def transformers_tower(config: dict[str, Any], *, pooling: Pooling = "mean") -> TransformersTower:
    """Build a transformers text encoder with random weights from its configuration.

    Raises:
        PresetError: this version of transformers does not know the model type.
    """
    from transformers import AutoConfig

    arguments = {key: value for key, value in config.items() if key != "model_type"}
    model_type = str(config.get("model_type"))
    try:
        full_config = AutoConfig.for_model(model_type, **arguments)
        model = text_model_class(full_config).from_config(full_config)
    except (KeyError, ValueError) as error:
        raise PresetError(f"transformers knows no text encoder of type '{model_type}': upgrade it") from error
    return TransformersTower(encoder_of(model), pooling=pooling)


def text_model_class(config: Any) -> Any:  # noqa: ANN401 (transformers is untyped)
    """The auto class that makes a text encoder of this configuration."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoModel, AutoModelForTextEncoding

    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def encoder_of(model: Any) -> nn.Module:  # noqa: ANN401 (transformers is untyped)
    """Keep the part of a transformers model that reads text, without the pooler no loss would reach."""
    encoder = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder  # type: ignore[no-any-return]


PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_SPECIAL = (PAD, UNKNOWN, START, END)


def train_wordpiece(captions: Iterable[str], vocab_size: int, max_tokens: int) -> CaptionTokenizer:
    """Train a lower-cased WordPiece tokenizer (arXiv 1609.08144, section 4.1).

    The same captions, in any order, give the same tokenizer, byte for byte.

    Args:
        captions: the training captions.
        vocab_size: at most this many tokens, the four special ones and the single letters included.
        max_tokens: rows of ids are cut at this length, ``[CLS]`` and ``[SEP]`` included.
    """
    from tokenizers import processors

    tokenizer = _bare_tokenizer(_learn_vocabulary(captions, vocab_size))
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (START, END)],
    )
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)
    return CaptionTokenizer(tokenizer)


def _bare_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _learn_vocabulary(captions: Iterable[str], vocab_size: int) -> dict[str, int]:
    from tokenizers import trainers

    learner = _bare_tokenizer({UNKNOWN: 0})
    normalised = [learner.normalizer.normalize_str(caption) for caption in captions]
    letters = sorted(set("".join(normalised)) - {" "})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        # The library numbers the inner letters ("##a") in the order of a hash map and breaks ties between
        # merges by these numbers. Naming them as special tokens fixes the numbers, and with them the result.
        special_tokens=[*_SPECIAL, *(f"##{letter}" for letter in letters)],
        show_progress=False,
    )
    learner.train_from_iterator(normalised, trainer)
    return dict(learner.get_vocab())
