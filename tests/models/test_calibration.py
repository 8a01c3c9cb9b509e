"""Calibration recovers what distorted the logits."""

from __future__ import annotations

import pytest
import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.models.calibration import Calibration, fit_calibration


def test_recovers_scale_and_offset() -> None:
    torch.manual_seed(0)
    honest = torch.randn(20_000, 2) * 2
    targets = torch.bernoulli(torch.sigmoid(honest))
    scale, offset = torch.tensor([0.5, 2.0]), torch.tensor([0.3, -0.4])
    fitted = fit_calibration((honest - offset) / scale, targets, torch.ones_like(targets))
    assert fitted.scale == pytest.approx(scale.tolist(), rel=0.05)
    assert fitted.offset == pytest.approx(offset.tolist(), abs=0.08)


def test_weight_zero_leaves_an_example_out() -> None:
    torch.manual_seed(1)
    logits = torch.randn(4000, 1)
    targets = torch.bernoulli(torch.sigmoid(logits))
    wrong = torch.cat([targets, 1 - targets])
    weights = torch.cat([torch.ones(4000, 1), torch.zeros(4000, 1)])
    with_rubbish = fit_calibration(torch.cat([logits, logits]), wrong, weights)
    without = fit_calibration(logits, targets, torch.ones(4000, 1))
    assert with_rubbish.scale == pytest.approx(without.scale, rel=1e-3)


def test_json_round_trip_and_refusals() -> None:
    one = Calibration(scale=(0.7, 1.2), offset=(0.0, -1.0))
    assert Calibration.from_json(one.to_json()) == one
    with pytest.raises(UsageError, match="unknown calibration"):
        Calibration.from_json({"kind": "magic"})
    with pytest.raises(UsageError, match="positive"):
        Calibration(scale=(0.0,), offset=(0.0,))
    with pytest.raises(UsageError, match="1 scales, 2 offsets"):
        Calibration(scale=(1.0,), offset=(0.0, 1.0))
