"""A WordPiece vocabulary trained on the corpus's own captions (tokenizers only, no torch).

Medical words that are common in the corpus ("glioblastoma") become one token, which a general vocabulary of
the same size would split into four.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from encoders.preprocessing import CaptionTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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
