"""RePRI: a base head and transductive inference on its features."""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.transduction import transductive_logits
from umtfss.models.repri import RePRI

MakeBatch = Callable[..., EpisodeBatch]


def model() -> RePRI:
    torch.manual_seed(0)
    made = build_model("repri", ModelConfig(width=16, heads=4, head_dropout=0), [12])
    assert isinstance(made, RePRI)
    made.tell_apart(3, are_clusters=False)
    return made


def test_scores_are_transductive_on_the_features_of_the_head(make_batch: MakeBatch) -> None:
    made, batch = model().eval(), make_batch(shots=2)
    with torch.inference_mode():
        query = made.base.features(batch.query_mid, batch.query_valid)
        supports = [
            made.base.features(batch.support_mid[:, shot], batch.support_valid[:, shot])
            for shot in range(2)
        ]
        expected = transductive_logits(batch, query, torch.stack(supports, 1))
        found = made(batch)
    torch.testing.assert_close(found, repeat_edge(expected, batch.query_valid))


def test_loss_is_the_smoothed_cross_entropy_of_the_query_s_classes(make_batch: MakeBatch) -> None:
    made, batch = model().eval(), make_batch()
    outputs = made.outputs(batch)
    assert batch.query_classes is not None
    large = F.interpolate(outputs[1], (40, 40), mode="bilinear")
    expected = F.cross_entropy(large, batch.query_classes, ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(made.total_loss(outputs, batch), expected)


def test_the_episode_s_own_masks_train_nothing(make_batch: MakeBatch) -> None:
    """Training is not episodic: supports and target leave the loss as it is."""
    made, batch = model().eval(), make_batch()
    other = dataclasses.replace(
        batch,
        support_mask=batch.support_mask.flip(-1),
        support_mid=batch.support_mid * 3,
        target=torch.zeros_like(batch.query_classes),
    )
    losses = [made.total_loss(made.outputs(one), one) for one in (batch, other)]
    assert torch.equal(*losses)
