"""umtfss.training.collapse."""

import pytest

from umtfss.training.collapse import TaskIoU


def follow(ious):
    """The steps at which a training of these IoUs gives notice, and whether it collapsed."""
    task_iou = TaskIoU(len(ious))
    notices = [step for step, iou in enumerate(ious) if task_iou.add(step, iou)]
    return notices, task_iou.collapsed


def test_the_first_tenth_may_be_low():
    assert follow(10 * [0.0] + 90 * [0.3]) == ([], False)


def test_a_training_that_has_not_started_says_so_once():
    assert follow(100 * [0.04]) == ([19], True)


def test_a_training_that_starts_late_is_noticed_but_did_not_collapse():
    assert follow(45 * [0.0] + 55 * [0.4]) == ([19], False)
    assert follow(61 * [0.0] + 39 * [0.4]) == ([19], True)


def test_a_training_that_loses_what_it_had_says_so():
    assert follow(50 * [0.5] + 50 * [0.0]) == ([59], True)
    assert follow(99 * [0.5] + [0.0]) == ([], False)  # one step of ten


def test_what_counts_is_the_mean_of_a_tenth():
    assert follow(50 * [0.12, 0.0]) == ([], False)
    assert follow(50 * [0.08, 0.0]) == ([19], True)


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 11, 25, 99])
def test_short_trainings_have_tenths_too(steps):
    assert follow(steps * [1.0]) == ([], False)
    assert follow(steps * [0.0])[1] == (steps > 1)


def test_it_goes_on_from_what_was_saved():
    whole = TaskIoU(20)
    for step in range(3):
        whole.add(step, 0.0)
    resumed = TaskIoU(20, list(whole.sums), list(whole.counts))
    assert resumed.add(3, 0.0)
