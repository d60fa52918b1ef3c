"""Transductive inference against autograd, logistic regression and hand-made tokens."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss

from umtfss.models.layers import transduction
from umtfss.models.layers.transduction import (
    STEPS,
    TEMPERATURE,
    LinearClassifier,
    Terms,
    TransductiveTask,
    fit,
    gradient,
    initial_classifier,
    loss,
)


def drawn(seed: int = 0, shots: int = 1, separable: bool = False) -> TransductiveTask:
    """60 query and 40 support tokens of 7 channels in float64; a third is foreground."""
    random = torch.Generator().manual_seed(seed)
    query, support = (
        F.normalize(torch.randn(count, 7, generator=random, dtype=torch.float64), dim=1)
        for count in (60, 40 * shots)
    )
    label = (torch.rand(40 * shots, generator=random, dtype=torch.float64) < 1 / 3).double()
    if separable:
        axis = F.normalize(torch.ones(7, dtype=torch.float64), dim=0)
        truth = torch.arange(60) < 20
        query = F.normalize(query * 0.3 + torch.where(truth, 1.0, -1.0)[:, None] * axis, dim=1)
        support = F.normalize(support * 0.3 + (2 * label - 1)[:, None] * axis, dim=1)
    return TransductiveTask(query, support, label, shots)


def some_terms(task: TransductiveTask) -> Terms:
    return Terms(torch.tensor(0.27, dtype=torch.float64), 1.7, 0.6)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_equals_autograd(seed: int) -> None:
    task = drawn(seed)
    soft = TransductiveTask(task.query, task.support, task.label * 0.7 + 0.1, 1)
    terms = some_terms(task)
    start = initial_classifier(task)
    weight, bias = (one.clone().requires_grad_() for one in (start.weight * 3.0, start.bias + 0.4))
    loss(soft, LinearClassifier(weight, bias), terms).backward()
    found = gradient(soft, LinearClassifier(weight.detach(), bias.detach()), terms)
    for one, parameter in zip(found, (weight, bias), strict=True):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-3
        torch.testing.assert_close(one, parameter.grad, atol=1e-12, rtol=1e-10)


def test_loss_equals_numpy() -> None:
    task, terms = drawn(), some_terms(drawn())
    classifier = initial_classifier(task)
    w = classifier.weight.numpy() / np.linalg.norm(classifier.weight.numpy())
    bias = classifier.bias.item()
    part = [
        1 / (1 + np.exp(-(TEMPERATURE * tokens.numpy() @ w - bias)))
        for tokens in (task.query, task.support)
    ]
    query, support = part
    mean, pi = query.mean(), 0.27
    kl = mean * np.log(mean / pi) + (1 - mean) * np.log((1 - mean) / (1 - pi))
    entropy = -(query * np.log(query) + (1 - query) * np.log(1 - query)).mean()
    expected = log_loss(task.label.numpy(), support) + 1.7 * kl + 0.6 * entropy
    assert loss(task, classifier, terms).item() == pytest.approx(expected, rel=1e-9)


def test_start_is_the_mean_foreground_token() -> None:
    task = drawn()
    start = initial_classifier(task)
    foreground = task.support[task.label == 1].mean(0)
    torch.testing.assert_close(start.weight, foreground)
    assert start.scores(task.query).mean().abs() < 1e-12


def test_loss_falls_at_every_step_of_a_small_rate() -> None:
    task = drawn()
    terms, classifier = some_terms(task), initial_classifier(task)
    found = [loss(task, classifier, terms)]
    for _ in range(20):
        weight, bias = gradient(task, classifier, terms)
        classifier = LinearClassifier(
            classifier.weight - 1e-3 * weight, classifier.bias - 1e-3 * bias
        )
        found.append(loss(task, classifier, terms))
    assert all(after < before for before, after in pairwise(found))


def test_steps_and_the_one_estimate_of_foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    """49 steps; after the 9th the part of foreground is the query's own, and its weight rises."""
    seen: list[tuple[LinearClassifier, Terms]] = []
    whole: Callable[..., tuple[torch.Tensor, torch.Tensor]] = gradient

    def watched(task, classifier, terms):  # type: ignore[no-untyped-def]
        seen.append((classifier, terms))
        return whole(task, classifier, terms)

    monkeypatch.setattr(transduction, "gradient", watched)
    task = drawn(shots=2)
    fit(task)
    assert len(seen) == STEPS == 49
    first, later = seen[0][1], seen[9][1]
    assert [terms for _, terms in seen] == [first] * 9 + [later] * 40
    assert (first.kl, first.entropy, later.kl, later.entropy) == (0.5, 0.5, 1.5, 0.5)
    for classifier, terms in (seen[0], seen[9]):
        part = classifier.scores(task.query).sigmoid().mean()
        assert terms.foreground == part


def test_without_terms_of_the_query_it_is_logistic_regression() -> None:
    task = drawn()
    none = Terms(torch.tensor(0.5, dtype=torch.float64), 0.0, 0.0)
    weight, bias = gradient(task, initial_classifier(task), none)
    other = TransductiveTask(task.query.flip(1), task.support, task.label, 1)
    again = gradient(other, initial_classifier(task), none)
    torch.testing.assert_close((weight, bias), again)


def test_a_true_part_of_foreground_draws_the_mean_and_separable_tokens_are_found() -> None:
    task = drawn(separable=True)
    truth = torch.arange(60) < 20
    part = truth.double().mean()
    start, distances = initial_classifier(task), []
    classifier = LinearClassifier(start.weight, start.bias + 28)  # little is found
    for _ in range(200):
        distances.append((classifier.scores(task.query).sigmoid().mean() - part).abs().item())
        weight, bias = gradient(task, classifier, Terms(part, 1.0, 0.1))
        classifier = LinearClassifier(classifier.weight - 0.02 * weight, classifier.bias - 2 * bias)
    assert distances[-1] < 0.5 * distances[0]
    assert torch.equal(classifier.scores(task.query) > 0, truth)
    assert torch.equal(fit(task).scores(task.query) > 0, truth)


def test_five_equal_shots_are_one_with_a_fifth_of_the_query_s_terms() -> None:
    one = drawn()
    five = TransductiveTask(one.query, one.support.repeat(5, 1), one.label.repeat(5), 5)
    scaled = TransductiveTask(one.query, one.support, one.label, 5)  # terms of 1 / 5
    torch.testing.assert_close(fit(five).weight, fit(scaled).weight)
    torch.testing.assert_close(fit(five).bias, fit(scaled).bias)
    assert not torch.allclose(fit(five).weight, fit(one).weight)


def test_a_query_without_a_trace_of_foreground_gives_finite_gradients() -> None:
    task = drawn()
    far = LinearClassifier(-100 * task.query.mean(0), torch.tensor(200.0, dtype=torch.float64))
    nothing = Terms(torch.tensor(0.0, dtype=torch.float64), 1.0, 1.0)
    assert loss(task, far, nothing).isfinite()
    assert all(one.isfinite().all() for one in gradient(task, far, nothing))
