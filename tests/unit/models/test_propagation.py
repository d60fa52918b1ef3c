"""Label propagation against a dense computation in numpy, and what it is for."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import sparse

from umtfss.clustering.pool_graph import PoolGraph
from umtfss.config import ModelConfig, PropagationConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.propagation import LabelPropagation


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def make_graph(seed=0, count=40, channels=10):
    random = np.random.default_rng(seed)
    segments = unit(random.standard_normal((count, channels))).astype(np.float32)
    weights = random.random((count, count)) * (random.random((count, count)) < 0.2)
    weights = np.maximum(weights, weights.T)
    scale = np.maximum(weights.sum(1), 1e-3) ** -0.5
    links = sparse.csr_matrix((scale[:, None] * weights * scale).astype(np.float32))
    return PoolGraph(segments, links)


def make_model(graph, **keys):
    model = LabelPropagation(ModelConfig(width=16, heads=4)).eval()
    model.load_pool(graph, PropagationConfig(**keys))
    return model


@pytest.mark.parametrize("shots", [1, 3])
def test_agrees_with_a_dense_computation(make_batch, shots):
    """With one group of either kind, a source is the mean of the support's tokens of that kind."""
    graph, batch = make_graph(), make_batch(shots=shots)
    settings = PropagationConfig(groups=1, neighbours=5, alpha=0.6, steps=4, temperature=0.3)
    logits = make_model(graph, groups=1, neighbours=5, alpha=0.6, steps=4, temperature=0.3)(batch)
    segments, links = graph.segments.astype(float), graph.links.toarray().astype(float)

    def nearest(vector):
        cosine = segments @ vector
        chosen = np.argsort(-cosine)[:5]
        weights = np.zeros(len(segments))
        weights[chosen] = np.exp((cosine[chosen] - 1) / 0.3)
        return weights

    for row in range(len(batch)):
        valid = batch.support_valid[row].numpy()
        foreground = valid & (batch.support_mask[row].numpy() > 0.5)
        tokens = unit(np.moveaxis(batch.support_high[row].numpy().astype(float), 1, -1)[valid])
        inside = foreground[valid]
        arrived = []
        for chosen in (inside, ~inside):
            source = nearest(unit(tokens[chosen].mean(0)))
            spread = source
            for _ in range(settings.steps):
                spread = settings.alpha * links @ spread + source
            arrived.append(spread)
        for place in np.argwhere(batch.query_valid[row].numpy()):
            weights = nearest(unit(batch.query_high[row][:, place[0], place[1]].numpy()))
            odds = np.log((weights @ arrived[0] + 1e-9) / (weights @ arrived[1] + 1e-9))
            found = logits[row, :, place[0], place[1]].numpy()
            np.testing.assert_allclose(found[1] - found[0], odds - 1, atol=2e-3)


def test_a_label_goes_where_the_support_does_not_reach():
    """The query is unlike the support; a chain of pool segments leads from one to the other."""
    angles = np.linspace(0, np.pi / 2, 7)  # of a class that changes its look
    chain = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    other = np.array([[0, 0.3, 1], [0.1, 0.35, 1], [0.1, 0.25, 1]])  # nearer to the query
    segments = unit(np.concatenate([chain, other])).astype(np.float32)
    weights = np.exp((segments @ segments.T - 1) / 0.02) - np.eye(len(segments))
    scale = weights.sum(1) ** -0.5
    graph = PoolGraph(segments, sparse.csr_matrix(scale[:, None] * weights * scale, dtype="f4"))

    support = torch.zeros(1, 1, 3, 2, 2)
    support[0, 0, 0, :, 0] = 1  # foreground, the chain's start
    support[0, 0, 1:, :, 1] = torch.tensor([0.3, 1.0])[:, None]
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    query = torch.tensor([[0.05, 1.0, 0.1], [0.0, 0.3, 1.0]]).T.reshape(1, 3, 1, 2)
    valid = torch.ones(1, 1, 2, dtype=torch.bool)
    batch = EpisodeBatch(
        query, query, valid, support, support, mask >= 0, mask, torch.zeros(1, dtype=torch.int64)
    )
    keys = {"neighbours": 3, "groups": 1, "temperature": 0.05, "threshold": 0}
    spread = make_model(graph, alpha=0.9, steps=60, **keys)(batch)[0, 1, 0]
    assert spread[0] > 0 > spread[1]
    direct = make_model(graph, alpha=0, steps=1, **keys)(batch)[0, 1, 0]
    assert direct[0] == 0  # neither arrives


def test_the_threshold_shifts_the_odds(make_batch):
    graph, batch = make_graph(), make_batch()
    low, high = (make_model(graph, threshold=value)(batch) for value in (0.0, 2.0))
    torch.testing.assert_close(low[:, 1] - high[:, 1], torch.ones_like(low[:, 1]))


def test_autocast_changes_nothing(make_batch):
    model, batch = make_model(make_graph()), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(batch)
    torch.testing.assert_close(found, model(batch), rtol=0, atol=0)


def test_without_a_pool_nothing_is_predicted(make_batch):
    with pytest.raises(RuntimeError, match="load_pool"):
        LabelPropagation(ModelConfig())(make_batch())


def test_the_graph_moves_with_the_model(make_batch):
    model, batch = make_model(make_graph()), make_batch()
    expected = model(batch)
    moved = model.to("cpu")(dataclasses.replace(batch))
    torch.testing.assert_close(moved, expected)
    assert list(model.state_dict()) == []
