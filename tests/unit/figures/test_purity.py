"""Purity against a count by hand."""

import json

import numpy as np
import pytest

from umtfss.common.errors import DataError
from umtfss.figures.purity import cluster_purity


class Maps:
    """Label maps, or masks, by id."""

    clusters = 3

    def __init__(self, **maps):
        self.maps = {name.replace("_", "/"): np.array(m, np.uint8) for name, m in maps.items()}

    def label_map(self, image_id):
        return self.maps[image_id]

    mask = label_map


def test_by_hand():
    store = Maps(a_1=[[0, 0, 0, 0, 255], [1, 1, 1, 1, 1]], b_1=[[0, 1]])
    masks = Maps(a_1=[[5, 5, 7, 255, 9], [0, 0, 0, 7, 5]], b_1=[[7, 7]])
    report = cluster_purity(store, masks, ["a/1", "b/1"])
    first, second, third = report["clusters"]
    # cluster 0: a/5 twice, a/7 and b/7 once each; cluster 1: background 3, a/7, a/5, b/7
    assert first == {
        "cluster": 0,
        "pixels": 4,
        "majority": "a/5",
        "purity": 2 / 4,
        "background": 0,
    }
    assert second["majority"] == "a/0"
    assert second["purity"] == second["background"] == 3 / 6
    assert third == {
        "cluster": 2,
        "pixels": 0,
        "majority": None,
        "purity": None,
        "background": None,
    }
    assert report["images"] == 2
    assert report["pixels"] == 10
    assert report["purity"] == 5 / 10
    assert report["mean_purity"] == 0.5
    assert report["object_purity"] == (2 + 1) / (4 + 3)
    assert json.loads(json.dumps(report)) == report


def test_clusters_that_equal_the_labels_are_pure():
    labels = np.random.default_rng(0).integers(0, 3, (20, 20))
    report = cluster_purity(Maps(a_1=labels), Maps(a_1=labels), ["a/1"])
    assert report["purity"] == report["mean_purity"] == report["object_purity"] == 1


@pytest.mark.parametrize("ids", [["a/1"], []])
def test_nothing_to_count(ids):
    with pytest.raises(DataError, match="no labelled pixel"):
        cluster_purity(Maps(a_1=[[255, 0]]), Maps(a_1=[[3, 255]]), ids)
