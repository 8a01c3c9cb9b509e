"""What examples of validation weigh: both answers the same, sources by the root of their examples."""

from __future__ import annotations

import numpy as np
import pytest

from catalog_tagger.training.balance import balanced


def test_both_answers_have_half_of_the_mass_however_rare_one_is() -> None:
    truth = np.array([[1.0]] * 2 + [[0.0]] * 98)
    weight = balanced(truth, np.ones((100, 1), bool), np.array(["a"] * 100))
    assert weight[:2].sum() == pytest.approx(50.0)
    assert weight.sum() == pytest.approx(100.0)


def test_a_source_weighs_by_the_root_of_its_examples() -> None:
    sources = np.array(["large"] * 16 + ["small"] * 4)
    weight = balanced(np.ones((20, 1)), np.ones((20, 1), bool), sources)
    assert weight[:16].sum() == pytest.approx(2 * weight[16:].sum())


def test_what_is_not_known_weighs_nothing_and_changes_nothing() -> None:
    truth, known = (
        np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        np.array([[True, False], [True, True], [False, True]]),
    )
    weight = balanced(truth, known, np.array(["a", "b", "c"]))
    assert (weight > 0).tolist() == known.tolist()
    assert weight[0, 0] == weight[1, 0] == pytest.approx(1.5)
