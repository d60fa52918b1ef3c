"""The base head: its loss against loops, its number of classes, its weights."""

import copy

import pytest
import torch
import torch.nn.functional as F

from umtfss.models.layers.base_head import BaseHead, class_loss


def head(classes: int, are_clusters: bool = False) -> BaseHead:
    torch.manual_seed(classes)
    made = BaseHead(5, 8, 0.0)
    made.tell_apart(classes, are_clusters)
    return made


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("align_corners", [True, False])
def test_loss_equals_a_loop_over_pixels(smoothing: float, align_corners: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, 3)
    classes = torch.tensor([0, 1, 2, 3, 255])[torch.randint(0, 5, (2, 6, 6))]
    large = F.interpolate(logits, (6, 6), mode="bilinear", align_corners=align_corners)
    losses = []
    for image in range(2):
        for row in range(6):
            for column in range(6):
                label = int(classes[image, row, column])
                if label != 255:
                    log = large[image, :, row, column].log_softmax(0)
                    losses.append(-(1 - smoothing) * log[label] - smoothing * log.mean())
    found = class_loss(logits, classes, align_corners, smoothing)
    torch.testing.assert_close(found, torch.stack(losses).mean())
    assert class_loss(logits, torch.full_like(classes, 255), align_corners, smoothing) == 0


@torch.no_grad()
def test_features_equal_plain_convolutions_on_the_valid_area() -> None:
    made, mid = head(3), torch.randn(1, 5, 7, 6)
    valid = torch.zeros(1, 7, 6, dtype=torch.bool)
    valid[:, :5, :4] = True
    found = made.features(mid, valid)[..., :5, :4]
    alone = F.conv2d(mid[..., :5, :4], made.project[0].weight).relu()
    torch.testing.assert_close(found, made.hidden(alone).relu(), atol=1e-5, rtol=1e-5)
    assert made(found).shape == (1, 4, 5, 4)


def test_weights_bring_their_number_of_classes_and_their_kind() -> None:
    clusters, fresh = head(6, are_clusters=True), head(0)
    fresh.load_state_dict(clusters.state_dict())
    assert fresh.classifier.out_channels == 7
    assert bool(fresh.are_clusters)
    mid, valid = torch.randn(2, 5, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    torch.testing.assert_close(
        fresh(fresh.features(mid, valid)), clusters(clusters.features(mid, valid))
    )
    twin = copy.deepcopy(head(0))  # as the moving average of weights copies
    twin.load_state_dict(clusters.state_dict())
    assert twin.classifier.out_channels == 7


def test_new_tasks_start_with_a_new_classifier_and_keep_the_features() -> None:
    made = head(6, are_clusters=True)
    before = made.hidden.weight.clone()
    made.tell_apart(3, are_clusters=False)
    assert made.classifier.out_channels == 4
    assert torch.equal(made.hidden.weight, before)
    assert not bool(made.are_clusters)
