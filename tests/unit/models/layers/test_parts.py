"""Parts of a class against scikit-learn and hand-made blobs."""

import numpy as np
import torch
from sklearn.cluster import KMeans

from umtfss.models.layers.parts import ROUNDS, _farthest, parts


def test_separated_blobs_give_their_means() -> None:
    random = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.0, 0], [50, 0], [0, 50], [50, 50], [100, 100]])
    tokens = (places[:, None] + torch.randn(5, 9, 2, generator=random)).flatten(0, 1)
    found = parts(tokens[torch.randperm(45, generator=random)], 5)
    expected = tokens.view(5, 9, 2).mean(1)
    order = [int(torch.cdist(expected[i][None], found).argmin()) for i in range(5)]
    assert sorted(order) == list(range(5))
    torch.testing.assert_close(found[order], expected)


def test_equals_scikit_learn_from_the_same_centres() -> None:
    tokens = torch.randn(80, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    start = _farthest(tokens, 5)
    fitted = KMeans(5, init=start.numpy(), n_init=1, max_iter=ROUNDS, tol=0, algorithm="lloyd")
    label = fitted.fit_predict(tokens.numpy())
    expected = np.stack([tokens.numpy()[label == group].mean(0) for group in range(5)])
    np.testing.assert_allclose(parts(tokens, 5), expected, atol=1e-9)


def test_first_centres_are_the_farthest_tokens() -> None:
    tokens = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    found = _farthest(tokens, 4)
    chosen = [int((tokens - tokens.mean(0)).norm(dim=1).argmin())]
    for _ in range(3):
        nearest = [min((token - tokens[one]).norm() for one in chosen) for token in tokens]
        chosen.append(int(torch.stack(nearest).argmax()))
    assert torch.equal(found, tokens[chosen])


def test_fewer_tokens_than_parts_are_the_parts_and_repeated_tokens_change_nothing() -> None:
    tokens = torch.randn(3, 4)
    found = parts(tokens, 5)
    assert found.shape == (3, 4)
    assert {tuple(one) for one in found.tolist()} == {tuple(one) for one in tokens.tolist()}
    many = torch.randn(20, 4)
    torch.testing.assert_close(parts(many.repeat(5, 1), 5), parts(many, 5))
    torch.testing.assert_close(parts(tokens.repeat(5, 1), 5), found)
    assert parts(tokens[:0], 5).shape == (0, 4)


def test_gradients_pass_through_the_means() -> None:
    tokens = torch.randn(12, 4, requires_grad=True)
    parts(tokens, 3).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.ne(0).all()
