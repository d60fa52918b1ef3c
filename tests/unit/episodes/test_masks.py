"""Masks and class maps of images, against loops over pixels."""

import numpy as np

from umtfss.episodes.masks import ClassMaps, ClassMasks, GroundTruthMasks, PseudoMasks

LABELS = np.random.default_rng(0).choice([0, 1, 4, 9, 13, 255], (6, 8)).astype(np.uint8)


class Labels:
    """One label map, as a data set and as a store of clusters."""

    def image(self, qualified: str) -> np.ndarray:
        raise NotImplementedError  # masks read no image

    def mask(self, qualified: str) -> np.ndarray:
        return LABELS

    def label_map(self, image_id: str) -> np.ndarray:
        return LABELS


def test_class_maps_number_the_classes_of_the_tasks() -> None:
    """255 is ignored among labels, and no region among clusters; cluster 0 is a cluster."""
    cases: list[tuple[ClassMasks, tuple[int, ...], dict[int, int]]] = [
        (GroundTruthMasks(Labels()), (4, 13), {4: 1, 13: 2, 255: 255}),
        (PseudoMasks(Labels()), (0, 4, 13), {0: 1, 4: 2, 13: 3}),
    ]
    for masks, classes, numbers in cases:
        maps = ClassMaps(masks, classes)
        found = maps.of("a/0")
        assert found.dtype == np.uint8
        for row in range(6):
            for column in range(8):
                assert found[row, column] == numbers.get(int(LABELS[row, column]), 0)
        for class_id in classes:
            own = masks.mask("a/0", class_id) == 1
            assert np.array_equal(found == maps.index(class_id), own)


def test_the_most_classes_do_not_meet_the_code_of_ignored_pixels() -> None:
    found = ClassMaps(PseudoMasks(Labels()), tuple(range(254))).of("a/0")
    assert np.array_equal(found == 255, np.zeros_like(LABELS, bool))
    assert np.array_equal(found[LABELS != 255], LABELS[LABELS != 255] + 1)
