from itertools import product

import numpy as np
import pytest

from encoders.errors import OptionsError
from encoders.generation import END_ID, START_ID, GenerationOptions, Step, generate

WORDS = (3, 4, 5)
VOCABULARY = 6


class Chain:
    """A decoder whose next token depends on the last one and on the image: small enough to try everything."""

    def __init__(self, images, seed=0):
        self.logits = np.random.default_rng(seed).normal(0, 1.5, (images, VOCABULARY, VOCABULARY))
        self.calls = 0

    def begin(self):
        images = np.arange(len(self.logits))
        first = self._step(np.full(len(images), START_ID), images, images)
        return first, (images,)

    def _step(self, tokens, images, counted):
        attention = np.eye(4, dtype=np.float32)[tokens % 4]
        return Step(self.logits[images, tokens].astype(np.float32), attention, (counted + 1,))

    def step(self, tokens, memory, state):
        self.calls += 1
        (images,), (counted,) = memory, state
        assert len(images) == len(counted) == len(tokens)
        return self._step(tokens, images, counted)

    def captions(self, options):
        first, memory = self.begin()
        return generate(first, memory, self.step, options)

    def log_probability(self, image, tokens):
        """Of a whole caption, with its end."""
        total, last = 0.0, START_ID
        for place, token in enumerate((*tokens, END_ID)):
            logits = self.logits[image, last].astype(np.float32).astype(np.float64).copy()
            logits[[0, START_ID]] = -np.inf
            if place == 0:
                logits[END_ID] = -np.inf
            total += logits[token] - np.log(np.exp(logits[np.isfinite(logits)]).sum())
            last = token
        return total


def every_caption(longest):
    for length in range(1, longest + 1):
        yield from product(WORDS, repeat=length)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
def test_a_beam_as_wide_as_everything_finds_the_best_caption_there_is(penalty):
    chain, longest = Chain(3), 4
    options = GenerationOptions(beam=81, length_penalty=penalty, max_tokens=longest + 1, no_repeat=0)
    for image, found in enumerate(chain.captions(options)):
        ended = [
            (chain.log_probability(image, tokens) / (len(tokens) + 1) ** penalty, tokens)
            for tokens in every_caption(longest)
        ]
        score, tokens = max(ended)
        if len(found[0].tokens) <= longest:
            assert found[0].tokens == tokens
            assert found[0].score == pytest.approx(score)


def test_one_beam_takes_the_best_token_each_time():
    chain = Chain(4, seed=1)
    for image, (found,) in enumerate(chain.captions(GenerationOptions(beam=1, max_tokens=8, no_repeat=0))):
        tokens, last = [], START_ID
        while len(tokens) < 8:
            logits = chain.logits[image, last].copy()
            logits[[0, START_ID] + ([END_ID] if not tokens else [])] = -np.inf
            last = int(logits.argmax())
            if last == END_ID:
                break
            tokens.append(last)
        assert list(found.tokens) == tokens


@pytest.mark.parametrize(
    "options",
    [GenerationOptions(beam=3), GenerationOptions(temperature=1.0, captions=2, seed=4)],
    ids=["beam", "sample"],
)
def test_a_batch_writes_what_single_images_write(options):
    chain = Chain(5, seed=2)
    together = chain.captions(options)
    for image in range(5):
        alone = Chain(5, seed=2)
        alone.logits = chain.logits[image : image + 1]
        (found,) = alone.captions(options)
        assert [one.tokens for one in found] == [one.tokens for one in together[image]]


def test_scores_are_log_probabilities_by_length():
    chain = Chain(2, seed=3)
    for image, found in enumerate(chain.captions(GenerationOptions(beam=3, length_penalty=0.7, captions=3))):
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        for one in found:
            expected = chain.log_probability(image, one.tokens)
            assert one.log_probability == pytest.approx(expected, rel=1e-5)
            assert one.score == pytest.approx(expected / (len(one.tokens) + 1) ** 0.7, rel=1e-5)


def test_attention_is_that_of_the_token_before():
    chain = Chain(1, seed=5)
    ((found,),) = chain.captions(GenerationOptions(beam=2))
    before = (START_ID, *found.tokens[:-1])
    assert found.attention.argmax(axis=1).tolist() == [token % 4 for token in before]


def stubborn():
    """Says the same word for ever."""
    chain = Chain(1)
    chain.logits[:] = 0.0
    chain.logits[:, :, 3] = 9.0
    chain.logits[:, :, END_ID] = -9.0
    return chain


def test_no_run_of_tokens_comes_twice():
    ((found,),) = stubborn().captions(GenerationOptions(beam=2, no_repeat=3, max_tokens=20))
    runs = [found.tokens[i : i + 3] for i in range(len(found.tokens) - 2)]
    assert len(runs) == len(set(runs))
    assert len(found.tokens) > 4


def test_repeats_come_when_they_are_allowed():
    ((found,),) = stubborn().captions(GenerationOptions(beam=2, no_repeat=0, max_tokens=6))
    assert found.tokens == (3,) * 6


def test_the_same_seed_draws_the_same_captions_and_another_one_others():
    options = [GenerationOptions(temperature=1.2, seed=seed, captions=4) for seed in (0, 0, 1)]
    drawn = [[one.tokens for one in Chain(1).captions(each)[0]] for each in options]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 1


def test_a_nucleus_of_nearly_nothing_is_greedy():
    greedy = Chain(3).captions(GenerationOptions(beam=1))
    nucleus = Chain(3).captions(GenerationOptions(top_p=1e-6))
    assert [one[0].tokens for one in nucleus] == [one[0].tokens for one in greedy]


def test_draws_follow_the_probabilities():
    chain = Chain(1, seed=7)
    logits = chain.logits[0, START_ID, list(WORDS)]
    expected = np.exp(logits) / np.exp(logits).sum()
    found = chain.captions(GenerationOptions(temperature=1.0, captions=2000, max_tokens=1))[0]
    counts = np.bincount([one.tokens[0] for one in found], minlength=VOCABULARY)[list(WORDS)]
    np.testing.assert_allclose(counts / 2000, expected, atol=0.04)


def test_the_decoder_rests_when_every_caption_has_ended():
    chain = Chain(2)
    chain.logits[:] = 0.0
    chain.logits[:, :, END_ID] = 30.0
    found = chain.captions(GenerationOptions(beam=2, max_tokens=50))
    assert all(len(one[0].tokens) == 1 for one in found)
    assert chain.calls <= 2


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"beam": 0}, "beam"),
        ({"length_penalty": -1.0}, "length_penalty"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"no_repeat": -1}, "no_repeat"),
        ({"captions": 0}, "captions"),
        ({"captions": 4, "beam": 3}, "captions"),
    ],
)
def test_impossible_options_name_their_flag(given, flag):
    with pytest.raises(OptionsError, match=flag):
        GenerationOptions(**given)
