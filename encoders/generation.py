"""Writes captions token by token: beam search, greedy search and nucleus sampling (NumPy only, no torch).

The search knows nothing of the decoder but a function that takes one token further, so the same code drives
ONNX Runtime in `caption` and torch during training.

Legend of the shapes: r rows (hypotheses), v vocabulary, g positions of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.errors import OptionsError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Tensors = tuple[NDArray[np.generic], ...]

NEVER = np.float32(-np.inf)
# The first tokens of every decoder's vocabulary.
PAD_ID, START_ID, END_ID = range(3)


@dataclass(frozen=True, slots=True)
class Step:
    """The output of a decoder after one more token."""

    logits: Floats  # of the next token, ``[r, v]``
    attention: Floats  # on the memory, ``[r, g]``, rows sum to 1
    state: Tensors  # what the next step needs; the first axis of each array is r


# The last tokens [r], the memory and the state of these rows -> the next step.
StepFunction = Callable[[Ints, Tensors, Tensors], Step]

_LEAST = {
    **dict.fromkeys(("beam", "max_tokens", "captions"), 1),
    **dict.fromkeys(("length_penalty", "temperature", "seed", "no_repeat"), 0),
}


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How captions are searched for; a value that no search can have is an OptionsError naming the field."""

    beam: int = 3  # hypotheses kept at each step; 1 is greedy search
    # Log probabilities are divided by length to this power (Wu et al., arXiv 1609.08144, section 7, in its
    # simpler form); 0 favours short captions.
    length_penalty: float = 1.0
    temperature: float = 0.0  # above 0 samples instead of searching; 1 is the decoder's own distribution
    # Sample from the most probable tokens that hold this much of the probability (Holtzman et al., arXiv
    # 1904.09751).
    top_p: float = 1.0
    seed: int = 0  # of the samples
    max_tokens: int = 96  # longest caption
    no_repeat: int = 4  # no run of this many tokens comes twice; 0 allows all
    captions: int = 1  # how many to return for each image, best first; beam search returns at most ``beam``

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            _check(value >= least, name, value, f"{least} or more")
        _check(0 < self.top_p <= 1, "top_p", self.top_p, "more than 0 and at most 1")
        if not self.samples:
            _check(self.captions <= self.beam, "captions", self.captions, f"at most the beam ({self.beam})")

    @property
    def samples(self) -> bool:
        """Whether captions are drawn instead of searched for."""
        return self.temperature > 0 or self.top_p < 1


def _check(holds: bool, name: str, value: float, wanted: str) -> None:
    if not holds:
        raise OptionsError(f"{name} is {value:g}: give {wanted}")


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One generated caption."""

    tokens: tuple[int, ...]  # without start and end
    log_probability: float  # of all its tokens, the end included
    score: float  # the log probability by length, what hypotheses are ranked by
    attention: Floats  # on the memory before each token, ``[tokens, g]``


def generate(
    first: Step, memory: Tensors, step: StepFunction, options: GenerationOptions
) -> list[list[Hypothesis]]:
    """Write captions for a batch of images; of each some, best first.

    Args:
        first: the output after the start token, a row for each image.
        memory: encoded images, a row for each.
        step: takes rows one token further.
        options: of the search.
    """
    if options.samples:
        return _sample(first, memory, step, options)
    return _search(first, memory, step, options)


class _Rows:
    """Hypotheses that are still being written, as rows of one batch."""

    def __init__(self, first: Step, memory: Tensors, copies: int) -> None:
        count = len(first.logits)
        self.image = np.repeat(np.arange(count), copies)
        self.tokens: Ints = np.zeros((len(self.image), 0), dtype=np.int64)
        self.attention: Floats = np.zeros((len(self.image), 0, first.attention.shape[1]), dtype=np.float32)
        self.log_probability = np.zeros(len(self.image), dtype=np.float64)
        self._memory = tuple(array[self.image] for array in memory)
        self._step = Step(
            first.logits[self.image],
            first.attention[self.image],
            tuple(array[self.image] for array in first.state),
        )

    def __len__(self) -> int:
        return len(self.image)

    def next_log_probabilities(self, options: GenerationOptions) -> NDArray[np.float64]:
        """Of each token after each row, ``[r, v]``; what may not come is minus infinity."""
        logits = self._step.logits.astype(np.float64)
        logits[:, [PAD_ID, START_ID]] = NEVER
        if self.tokens.shape[1] == 0:
            logits[:, END_ID] = NEVER  # an empty caption is no answer
        if options.samples and options.temperature not in (0, 1):
            logits /= options.temperature
        shifted = logits - logits.max(axis=1, keepdims=True)
        logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        _ban_repeats(logs, self.tokens, options.no_repeat)
        return logs

    def finished(self, row: int, log_probability: float, penalty: float) -> Hypothesis:
        """The caption of a row that ends here."""
        tokens = tuple(int(token) for token in self.tokens[row])
        score = log_probability / (len(tokens) + 1) ** penalty
        return Hypothesis(tokens, float(log_probability), float(score), self.attention[row].copy())

    def keep(self, rows: Ints, tokens: Ints, log_probability: NDArray[np.float64]) -> None:
        """Go on with these rows, each one token longer; a row may be kept several times."""
        attention = self._step.attention[rows]
        self.attention = np.concatenate([self.attention[rows], attention[:, None]], axis=1)
        self.tokens = np.concatenate([self.tokens[rows], tokens[:, None]], axis=1)
        self.log_probability = log_probability
        state = self._step.state
        if not np.array_equal(rows, np.arange(len(self))):
            state = tuple(array[rows] for array in state)
            if not np.array_equal(self.image[rows], self.image):
                self._memory = tuple(array[rows] for array in self._memory)
        self.image = self.image[rows]
        self._step = Step(self._step.logits, self._step.attention, state)

    def advance(self, step: StepFunction) -> None:
        """Ask the decoder what comes after the last tokens."""
        self._step = step(np.ascontiguousarray(self.tokens[:, -1]), self._memory, self._step.state)


def _ban_repeats(logs: NDArray[np.float64], tokens: Ints, size: int) -> None:
    """Rule out each token that would complete a run of ``size`` tokens which the row already has."""
    length = tokens.shape[1]
    if size == 0 or length < size:
        return
    starts = length - size + 1  # where a run of that size may begin
    same = np.ones((len(tokens), starts), dtype=bool)
    for offset in range(size - 1):
        last = tokens[:, length - size + 1 + offset]
        same &= tokens[:, offset : offset + starts] == last[:, None]
    rows, begin = np.nonzero(same)
    logs[rows, tokens[rows, begin + size - 1]] = NEVER  # the end token is never among them


def _search(
    first: Step, memory: Tensors, step: StepFunction, options: GenerationOptions
) -> list[list[Hypothesis]]:
    """Beam search; with one beam it is greedy search."""
    images, beam = len(first.logits), options.beam
    rows = _Rows(first, memory, beam)
    # All beams of an image begin alike: let one of them branch.
    rows.log_probability[np.arange(len(rows)) % beam != 0] = NEVER
    done: list[list[Hypothesis]] = [[] for _ in range(images)]
    for length in range(1, options.max_tokens + 1):
        totals = rows.log_probability[:, None] + rows.next_log_probabilities(options)
        kept = [
            chosen
            for image, choices in _best_choices(totals, rows, beam)
            for chosen in _branch(rows, done[image], choices, length, options)
        ]
        if not kept:
            break
        parents, tokens, logs = zip(*kept, strict=True)
        rows.keep(np.array(parents), np.array(tokens), np.array(logs))
        if length < options.max_tokens:
            rows.advance(step)
    else:
        for row in range(len(rows)):  # cut off at the longest length
            if np.isfinite(rows.log_probability[row]):
                cut = rows.finished(row, rows.log_probability[row], options.length_penalty)
                done[rows.image[row]].append(cut)
    return [_ranked(found)[: options.captions] for found in done]


Choice = tuple[int, int, float]


def _best_choices(totals: NDArray[np.float64], rows: _Rows, beam: int) -> Iterator[tuple[int, list[Choice]]]:
    """For each image still written: the best (row, token, log probability), twice as many as beams."""
    vocabulary = totals.shape[1]
    starts = np.flatnonzero(np.r_[True, rows.image[1:] != rows.image[:-1]])
    for start, end in zip(starts, np.r_[starts[1:], len(rows)], strict=True):
        flat = totals[start:end].ravel()
        count = min(2 * beam, len(flat))
        best = np.argpartition(-flat, count - 1)[:count]
        best = best[np.lexsort((best, -flat[best]))]
        choices = [
            (int(start + cell // vocabulary), int(cell % vocabulary), float(flat[cell]))
            for cell in best
            if flat[cell] > NEVER
        ]
        yield int(rows.image[start]), choices


def _branch(
    rows: _Rows, done: list[Hypothesis], choices: list[Choice], length: int, options: GenerationOptions
) -> list[Choice]:
    """Finish the hypotheses that end here and return those to go on with; none when the image is done."""
    going: list[Choice] = []
    for rank, (row, token, log_probability) in enumerate(choices):
        if token == END_ID:
            if rank < options.beam:
                done.append(rows.finished(row, log_probability, options.length_penalty))
        elif len(going) < options.beam:
            going.append((row, token, log_probability))
    if len(done) >= options.beam and going:
        # As if the best of what goes on ended with the next token, for certain. The usual rule, no bound:
        # a longer caption divides by more. By the bound, nearly every search would run to its full length.
        hope = max(log for _, _, log in going) / (length + 1) ** options.length_penalty
        if hope <= _ranked(done)[options.beam - 1].score:
            return []
    return going


def _ranked(found: list[Hypothesis]) -> list[Hypothesis]:
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def _sample(
    first: Step, memory: Tensors, step: StepFunction, options: GenerationOptions
) -> list[list[Hypothesis]]:
    """Draw captions; each has random numbers of its own, so a batch gives what single images give."""
    images, copies = len(first.logits), options.captions
    rows = _Rows(first, memory, copies)
    rngs = [np.random.default_rng((options.seed, copy)) for _ in range(images) for copy in range(copies)]
    rng_of = np.arange(len(rows))
    done: list[list[Hypothesis]] = [[] for _ in range(images)]
    for length in range(1, options.max_tokens + 1):
        logs = rows.next_log_probabilities(options)
        going: list[Choice] = []
        for row in range(len(rows)):
            token = _draw(logs[row], options.top_p, rngs[rng_of[row]])
            total = float(rows.log_probability[row] + logs[row, token])
            if token == END_ID:
                done[rows.image[row]].append(rows.finished(row, total, options.length_penalty))
            else:
                going.append((row, token, total))
        if not going:
            break
        parents, tokens, totals = (np.array(part) for part in zip(*going, strict=True))
        rows.keep(parents, tokens, totals)
        rng_of = rng_of[parents]
        if length < options.max_tokens:
            rows.advance(step)
    else:
        for row in range(len(rows)):
            cut = rows.finished(row, rows.log_probability[row], options.length_penalty)
            done[rows.image[row]].append(cut)
    return [_ranked(found) for found in done]


def _draw(logs: NDArray[np.float64], top_p: float, rng: np.random.Generator) -> int:
    """Draw a token from the nucleus: the fewest tokens that hold ``top_p`` of the probability."""
    order = np.argsort(-logs, kind="stable")
    probability = np.exp(logs[order])
    total = probability.sum()  # under 1 where tokens are ruled out
    nucleus = int(np.searchsorted(np.cumsum(probability), top_p * total)) + 1
    reached = np.cumsum(probability[:nucleus])
    drawn = int(np.searchsorted(reached, rng.random() * reached[-1], side="right"))
    return int(order[min(drawn, nucleus - 1)])
