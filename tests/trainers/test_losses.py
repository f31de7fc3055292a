"""Each loss against a slow loop that follows its paper, and its gradient against finite differences."""

import math

import pytest
import torch
from torch.nn import functional as F

from trainers import losses

B, D = 5, 4
SCALE = torch.tensor(7.0, dtype=torch.float64)
BIAS = torch.tensor(-1.5, dtype=torch.float64)


def unit_vectors(seed):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(B, D, generator=generator, dtype=torch.float64), dim=-1)


def agreement():
    matrix = torch.eye(B, dtype=torch.float64)
    matrix[0, 3] = matrix[3, 0] = 1.0
    matrix[1, 2] = matrix[2, 1] = 0.25
    return matrix


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def softmax_row(logits):
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    return [weight / sum(weights) for weight in weights]


def loop_matched(images, texts, scale, weights):
    total = 0.0
    for rows, columns in ((images, texts), (texts, images)):
        for i in range(B):
            chances = softmax_row([scale * dot(rows[i], columns[j]) for j in range(B)])
            share = sum(float(weights[i][j]) for j in range(B))
            total -= sum(float(weights[i][j]) / share * math.log(chances[j]) for j in range(B))
    return total / (2 * B)


def loop_soft(images, texts, scale):
    targets = [
        softmax_row(
            [scale * (dot(images[i], images[j]) + dot(texts[i], texts[j])) / 2 for j in range(B)]
        )
        for i in range(B)
    ]  # fmt: skip
    total = 0.0
    for i in range(B):
        by_text = softmax_row([scale * dot(texts[i], images[j]) for j in range(B)])
        by_image = softmax_row([scale * dot(images[i], texts[j]) for j in range(B)])
        total -= sum(targets[i][j] * math.log(by_text[j]) for j in range(B))
        total -= sum(targets[j][i] * math.log(by_image[j]) for j in range(B))
    return total / (2 * B)


def loop_sigmoid(images, texts, scale, bias):
    total = 0.0
    for i in range(B):
        for j in range(B):
            logit = scale * dot(images[i], texts[j]) + bias
            total += math.log(1 + math.exp(-logit if i == j else logit))
    return total / B


def loop_labelled(logits, classes, sizes):
    total = 0.0
    for field, size in enumerate(sizes):
        first = sum(sizes[:field])
        costs = [
            -math.log(softmax_row([float(x) for x in row[first : first + size]])[int(right[field])])
            for row, right in zip(logits, classes, strict=True)
            if right[field] >= 0
        ]
        total += sum(costs) / len(costs) if costs else 0.0
    return total / len(sizes)


SIZES = (3, 2, 4)
CLASSES = torch.tensor([[2, 1, -100], [0, -100, -100], [1, 0, -100], [2, 0, -100], [-100, 1, -100]])


def test_labels_cost_the_cross_entropy_of_those_that_are_known():
    logits = 3 * torch.randn(B, sum(SIZES), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    expected = loop_labelled(logits.tolist(), CLASSES.tolist(), SIZES)
    assert losses.labelled(logits, CLASSES, SIZES).item() == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda x: losses.labelled(x, CLASSES, SIZES), logits.requires_grad_())


def loop_nt_xent(first, second, scale):
    views, total = [*first, *second], 0.0
    for i in range(2 * B):
        others = [j for j in range(2 * B) if j != i]
        chances = softmax_row([scale * dot(views[i], views[j]) for j in others])
        total -= math.log(chances[others.index((i + B) % (2 * B))])
    return total / (2 * B)


def test_nt_xent_looks_for_the_other_view_among_all_others():
    first, second = unit_vectors(1), unit_vectors(2)
    found = losses.nt_xent(first, second, 7.0)
    assert found.item() == pytest.approx(loop_nt_xent(first, second, 7.0), rel=1e-10)
    assert losses.nt_xent(second, first, 7.0).item() == pytest.approx(found.item())
    assert losses.nt_xent(first, first, 100.0).item() < 1e-3 < found.item()


def test_infonce_is_the_cross_entropy_of_the_own_pair():
    images, texts = unit_vectors(1), unit_vectors(2)
    expected = loop_matched(images, texts, float(SCALE), torch.eye(B).tolist())
    assert losses.infonce(images, texts, SCALE).item() == pytest.approx(expected, rel=1e-10)


def test_matched_shares_the_target_by_agreement():
    images, texts, weights = unit_vectors(1), unit_vectors(2), agreement()
    expected = loop_matched(images, texts, float(SCALE), weights.tolist())
    assert losses.matched(images, texts, SCALE, weights).item() == pytest.approx(expected, rel=1e-10)


def test_matched_without_agreement_is_infonce():
    images, texts = unit_vectors(3), unit_vectors(4)
    alone = losses.matched(images, texts, SCALE, torch.eye(B, dtype=torch.float64))
    torch.testing.assert_close(alone, losses.infonce(images, texts, SCALE))


def test_matched_does_not_push_equal_captions_apart():
    images, caption = unit_vectors(5)[:2], unit_vectors(6)[:1]
    texts = caption.repeat(2, 1).requires_grad_()
    losses.matched(images, texts, SCALE, torch.ones(2, 2, dtype=torch.float64)).backward()
    torch.testing.assert_close(texts.grad[0], texts.grad[1])  # both move the same way
    texts = caption.repeat(2, 1).requires_grad_()
    losses.infonce(images, texts, SCALE).backward()
    towards_own = texts.grad[1] - texts.grad[0]
    assert float(towards_own @ (images[0] - images[1])) > 1  # each to its own image, away from the other


def test_soft_follows_the_similarities_inside_each_modality():
    images, texts = unit_vectors(1), unit_vectors(2)
    expected = loop_soft(images, texts, float(SCALE))
    assert losses.soft(images, texts, SCALE).item() == pytest.approx(expected, rel=1e-10)


def test_sigmoid_asks_about_every_cell():
    images, texts = unit_vectors(1), unit_vectors(2)
    expected = loop_sigmoid(images, texts, float(SCALE), float(BIAS))
    assert losses.sigmoid(images, texts, SCALE, BIAS).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lambda i, t, s, b: losses.infonce(i, t, s), id="infonce"),
        pytest.param(lambda i, t, s, b: losses.matched(i, t, s, agreement()), id="matched"),
        pytest.param(lambda i, t, s, b: losses.soft(i, t, s), id="soft"),
        pytest.param(lambda i, t, s, b: losses.sigmoid(i, t, s, b), id="sigmoid"),
        pytest.param(lambda i, t, s, b: losses.nt_xent(i, t, 7.0), id="nt_xent"),
    ],
)
def test_gradients_agree_with_finite_differences(loss):
    inputs = [part.clone().requires_grad_() for part in (unit_vectors(1), unit_vectors(2), SCALE, BIAS)]
    assert torch.autograd.gradcheck(loss, inputs)
