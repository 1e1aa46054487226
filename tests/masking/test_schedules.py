"""Rates that change over the steps of a run: integers at every step, by other arithmetic."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking
from maskmill.schemas.rate_schedule import RateSchedule
from maskmill.schemas.run_file import MaskSection

getcontext().prec = 60
ppms = st.integers(0, 10**6)


@st.composite
def schedules(draw, curve):
    steps = sorted({0, *draw(st.sets(st.integers(1, 10**9), min_size=1, max_size=4))})
    rates = draw(st.lists(ppms, min_size=len(steps), max_size=len(steps)).filter(lambda some: len(set(some)) > 1))
    return RateSchedule(curve=curve, points=[(s, r / 10**6) for s, r in zip(steps, rates, strict=True)])


def around(schedule, step):
    """The points before and after a step; the last one twice behind it."""
    before = max(point for point in schedule.points if point[0] <= step)
    after = min((point for point in schedule.points if point[0] > step), default=before)
    return before, after


def cosine(share):
    """By the half-angle formula and 90 terms: nothing of the code under test."""
    x = share * Decimal("3.14159265358979323846264338327950288419716939937510582097494")
    term, total = Decimal(1), Decimal(1)
    for n in range(1, 90):
        term *= -x * x / ((2 * n - 1) * 2 * n)
        total += term
    return total


@given(data=st.data(), step=st.integers(0, 2 * 10**9))
def test_rates_between_points_are_those_of_exact_arithmetic(data, step):
    for curve in ("linear", "cosine", "piecewise"):
        schedule = data.draw(schedules(curve))
        (first, low), (last, high) = around(schedule, step)
        share = Fraction(step - first, last - first) if last > first else Fraction(0)
        if curve == "piecewise":
            share = Fraction(0)
        if curve == "cosine":
            share = Fraction((1 - cosine(Decimal(share.numerator) / share.denominator)) / 2)
        low, high = (Fraction(rate).limit_denominator(10**6) * 10**6 for rate in (low, high))
        exact = low + (high - low) * share
        assert abs(schedule.find_ppm(step) - exact) <= Fraction(1, 2) + Fraction(1, 10**9)
        assert Masking(rate=schedule).at(step) == Masking(rate=schedule.find_ppm(step) / 10**6)
        assert schedule.find_ppm(step) <= schedule.most_ppm == Masking(rate=schedule).rate_ppm


@given(
    curve=st.sampled_from(["linear", "cosine", "piecewise"]),
    changes=st.dictionaries(st.integers(1, 40), st.integers(0, 9), min_size=1, max_size=4),
    first=st.integers(0, 9),
    steps=st.integers(1, 50),
)
def test_the_lowest_rate_is_that_of_all_steps(curve, changes, first, steps):
    points = sorted({0: first, **changes}.items())
    assume(len({ppm for _, ppm in points}) > 1)
    schedule = RateSchedule(curve=curve, points=[(step, ppm / 10**6) for step, ppm in points])
    step, ppm = schedule.find_lowest(steps)
    assert ppm == min(map(schedule.find_ppm, range(steps)))
    assert 0 <= step < steps
    assert schedule.find_ppm(step) == ppm


def test_a_schedule_is_read_and_written_as_a_table():
    table = {"curve": "linear", "points": [[0, 0.3], [1000, 0.15]]}
    masking = Masking(rate=table)
    assert masking.model_dump(mode="json")["rate"] == table
    assert Masking.model_validate(masking.model_dump(mode="json")) == masking
    assert [masking.at(step).rate for step in (0, 500, 999, 1000, 10**9)] == [0.3, 0.225, 0.15015, 0.15, 0.15]
    assert Masking(rate=0.2).at(7) == Masking(rate=0.2)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ({"curve": "linear", "points": [[5, 0.3], [9, 0.1]]}, "begin at step 0 and ascend"),
        ({"curve": "linear", "points": [[0, 0.3], [0, 0.1]]}, "begin at step 0 and ascend"),
        ({"curve": "linear", "points": [[0, 0.3]]}, "the rate does not change: write 0.3"),
        ({"curve": "step", "points": [[0, 0.3], [1, 0.1]]}, 'expected "linear", "cosine" or "piecewise"'),
        ({"curve": "linear", "points": [[0, 0.3], [1, 1.5]]}, "at item 2 of its list, expected at most 1.0, found 1.5"),
        ({"curve": "linear", "pints": [[0, 0.3], [1, 0.5]]}, "unknown key pints"),
        ({"curve": "linear", "points": [[0, 0.3], [1, 0.1234567]]}, "write 0.123457 instead of 0.1234567"),
        (1.5, "the value of rate is wrong; expected at most 1.0; found 1.5"),
        ("much", "expected a number; found 'much'"),
    ],
)
def test_schedules_that_make_no_sense_are_refused_in_words(rate, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(").replace(".", r"\.")):
        Masking(rate=rate)


def test_stored_masks_have_one_rate():
    rate = {"curve": "linear", "points": [[0, 0.3], [1000, 0.15]]}
    assert MaskSection(rate=rate).masking().schedule is not None
    with pytest.raises(ConfigError, match="a stored mask has one rate"):
        MaskSection(rate=rate, copies=1)
