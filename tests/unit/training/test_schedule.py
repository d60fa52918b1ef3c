"""umtfss.training.schedule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umtfss.common.errors import TrainingError
from umtfss.experiment.training import TrainingConfig
from umtfss.training.schedule import main_rate, total_steps, warmup_steps


def test_steps_are_given_or_counted_in_epochs():
    assert total_steps(TrainingConfig(steps=7), images_per_epoch=100) == 7
    # 10 images in batches of 4 are 3 steps, the last of them short of images in this epoch
    assert total_steps(TrainingConfig(epochs=5, batch_size=4), images_per_epoch=10) == 15


def test_the_warm_up_is_the_first_epoch():
    assert warmup_steps(TrainingConfig(epochs=5, batch_size=4), images_per_epoch=10) == 3
    assert warmup_steps(TrainingConfig(steps=4, batch_size=4), images_per_epoch=1000) == 2
    assert warmup_steps(TrainingConfig(steps=1), images_per_epoch=1000) == 0
    assert warmup_steps(TrainingConfig(steps=9, warmup_steps=0), images_per_epoch=1000) == 0


def test_a_warm_up_without_end_is_refused():
    with pytest.raises(TrainingError, match=r"below the \d steps"):
        main_rate(0, TrainingConfig(epochs=1, warmup_steps=9), images_per_epoch=10)


def test_the_rate_follows_the_formula():
    settings = TrainingConfig(
        steps=100, sgd_lr=2e-3, lr_multiplier=15, poly_power=0.9, warmup_steps=10
    )
    rate = lambda step: main_rate(step, settings, images_per_epoch=1)  # noqa: E731
    assert rate(0) == pytest.approx(0.03 * 1 / 10)
    assert rate(4) == pytest.approx(0.03 * 0.96**0.9 * 5 / 10)
    assert rate(9) == pytest.approx(0.03 * 0.91**0.9)
    assert rate(50) == pytest.approx(0.03 * 0.5**0.9)
    assert rate(99) == pytest.approx(0.03 * 0.01**0.9)


def test_a_cosine_falls_from_the_full_rate_to_nearly_zero():
    settings = TrainingConfig(
        steps=100, optimiser="adamw", adamw_lr=5e-4, decay="cosine", warmup_steps=0
    )
    rate = lambda step: main_rate(step, settings, images_per_epoch=1)  # noqa: E731
    assert rate(0) == pytest.approx(5e-4)
    assert rate(25) == pytest.approx(5e-4 * (1 + 2**-0.5) / 2)
    assert rate(50) == pytest.approx(2.5e-4)
    assert 0 < rate(99) < 1e-6


def test_a_constant_rate_is_reached_by_the_warm_up():
    settings = TrainingConfig(
        steps=10, optimiser="adam", adamw_lr=1e-4, decay="constant", warmup_steps=2
    )
    rates = [main_rate(step, settings, images_per_epoch=1) for step in range(10)]
    assert rates == pytest.approx([0.5e-4] + 9 * [1e-4])


@given(
    st.integers(2, 500),
    st.integers(1, 3000),
    st.floats(0, 2),
    st.sampled_from(["poly", "cosine", "constant"]),
)
def test_the_rate_rises_to_its_peak_then_falls_and_stays_positive(steps, images, power, decay):
    settings = TrainingConfig(steps=steps, poly_power=power, decay=decay)
    rates = [main_rate(step, settings, images) for step in range(steps)]
    full = settings.sgd_lr * settings.lr_multiplier
    assert min(rates) > 0
    assert max(rates) <= full * (1 + 1e-12)
    warmup = warmup_steps(settings, images)
    assert all(b <= a for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
