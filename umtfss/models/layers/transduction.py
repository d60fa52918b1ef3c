"""Transductive inference: a linear classifier fitted to one episode (RePRI, arXiv:2012.06166).

The classifier has a weight w and a bias b. The score of a token f is z = tau cos(w, f) - b, and
p = sigmoid(z) its probability of foreground. Gradient descent on w and b lowers

    CE + l_KL KL(mean p || pi) + l_H H

with the cross-entropy CE of the supports' tokens, the entropy H of the query's tokens, and the
part of foreground pi that is expected in the query. The gradient is written out, because tests run
in inference mode.

Shapes: B batch, K shots, C channels, h w feature grid, Q query tokens of an episode, S support
tokens of all of its shots.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.episodes.batch import EpisodeBatch

TEMPERATURE = 20.0  # tau
RATE = 0.025  # of the gradient descent
STEPS = 49
ESTIMATED_AFTER = 9  # after this step, the query's own part of foreground replaces pi
NOTHING_FOUND = -1.0  # score of the query of an episode whose supports show no foreground
_SMALLEST = 1e-6  # least part of foreground and of background, so that logarithms are finite


@torch.no_grad()
def transductive_logits(batch: EpisodeBatch, query: Tensor, support: Tensor) -> Tensor:
    """The logits of every episode's own classifier, (B, 2, h, w) float32; 0 on padding.

    Args:
        batch: The episodes, for masks and valid areas.
        query: (B, C, h, w) features of the query.
        support: (B, K, C, h, w) features of the supports.
    """
    with torch.autocast(query.device.type, enabled=False):
        score = torch.zeros(batch.query_valid.shape, device=query.device)
        for row, valid in enumerate(batch.query_valid):
            inside = batch.support_valid[row]
            task = TransductiveTask(
                F.normalize(query[row].movedim(0, 2)[valid].float(), dim=1),
                F.normalize(support[row].movedim(1, 3)[inside].float(), dim=1),
                batch.support_mask[row][inside].float(),
                support.shape[1],
            )
            found = fit(task).scores(task.query) if task.label.any() else NOTHING_FOUND
            score[row, valid] = found
        return torch.stack([-score, score], 1) / 2


@dataclass(frozen=True)
class TransductiveTask:
    """The tokens of one episode, L2-normalised, without padding.

    Attributes:
        query: (Q, C) float.
        support: (S, C) float.
        label: (S,) float in [0, 1], foreground part of each support token.
        shots: K; the published weights of the query's terms are 1 / K.
    """

    query: Tensor
    support: Tensor
    label: Tensor
    shots: int


@dataclass(frozen=True)
class LinearClassifier:
    """The classifier of an episode.

    Attributes:
        weight: (C,) float, w.
        bias: () float, b.
    """

    weight: Tensor
    bias: Tensor

    def scores(self, tokens: Tensor) -> Tensor:
        """The score z of every token, (N,), positive on foreground.

        Args:
            tokens: (N, C), L2-normalised.
        """
        return TEMPERATURE * (tokens @ F.normalize(self.weight, dim=0)) - self.bias


@dataclass(frozen=True)
class Terms:
    """The terms of the query in the loss.

    Attributes:
        foreground: () float, pi.
        kl: l_KL.
        entropy: l_H.
    """

    foreground: Tensor
    kl: float
    entropy: float


def fit(task: TransductiveTask) -> LinearClassifier:
    """The classifier after `STEPS` steps of gradient descent.

    Args:
        task: An episode whose supports show foreground.
    """
    classifier = initial_classifier(task)
    part = classifier.scores(task.query).sigmoid().mean()
    terms = Terms(part, 1 / task.shots, 1 / task.shots)
    for step in range(1, STEPS + 1):
        weight, bias = gradient(task, classifier, terms)
        classifier = LinearClassifier(
            classifier.weight - RATE * weight, classifier.bias - RATE * bias
        )
        if step == ESTIMATED_AFTER:
            part = classifier.scores(task.query).sigmoid().mean()
            terms = Terms(part, terms.kl + 1, terms.entropy)
    return classifier


def initial_classifier(task: TransductiveTask) -> LinearClassifier:
    """The mean token of the supports' foreground, and the mean score of the query as bias."""
    weight = task.label @ task.support / task.label.sum()
    start = LinearClassifier(weight, weight.new_zeros(()))
    return LinearClassifier(weight, start.scores(task.query).mean())


def loss(task: TransductiveTask, classifier: LinearClassifier, terms: Terms) -> Tensor:
    """The loss that `fit` lowers, a scalar."""
    z = classifier.scores(task.query)
    p, mean = z.sigmoid(), _inside(z.sigmoid().mean())
    expected = _inside(terms.foreground)
    cross_entropy = F.binary_cross_entropy_with_logits(classifier.scores(task.support), task.label)
    kl = mean * (mean / expected).log() + (1 - mean) * ((1 - mean) / (1 - expected)).log()
    entropy = (F.softplus(z) - p * z).mean()
    return cross_entropy + terms.kl * kl + terms.entropy * entropy


def gradient(
    task: TransductiveTask, classifier: LinearClassifier, terms: Terms
) -> tuple[Tensor, Tensor]:
    """The gradient of `loss` in closed form: by the weight, (C,), and by the bias, a scalar."""
    norm = torch.linalg.vector_norm(classifier.weight)
    direction = classifier.weight / norm
    total, along = torch.zeros_like(direction), norm.new_zeros(())
    slope = norm.new_zeros(())
    for tokens, by_score in (
        (task.support, _support_slope(task, classifier)),
        (task.query, _query_slope(task, classifier, terms)),
    ):
        total = total + by_score @ tokens
        along = along + by_score @ (tokens @ direction)
        slope = slope + by_score.sum()
    return TEMPERATURE / norm * (total - along * direction), -slope


def _support_slope(task: TransductiveTask, classifier: LinearClassifier) -> Tensor:
    """The derivative of the loss by the score of every support token, (S,)."""
    p = classifier.scores(task.support).sigmoid()
    return (p - task.label) / len(p)


def _query_slope(task: TransductiveTask, classifier: LinearClassifier, terms: Terms) -> Tensor:
    """The derivative of the loss by the score of every query token, (Q,)."""
    z = classifier.scores(task.query)
    p = z.sigmoid()
    mean, expected = _inside(p.mean()), _inside(terms.foreground)
    by_mean = (mean / expected).log() - ((1 - mean) / (1 - expected)).log()
    return p * (1 - p) / len(p) * (terms.kl * by_mean - terms.entropy * z)


def _inside(part: Tensor) -> Tensor:
    """A part of the tokens, kept off 0 and 1."""
    return part.clamp(_SMALLEST, 1 - _SMALLEST)
