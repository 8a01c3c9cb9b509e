"""Shapes and refusals of the networks."""

from __future__ import annotations

import pytest
import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.models import build_model
from catalog_tagger.models.ensemble import ResidualEnsemble
from catalog_tagger.models.paper_cnn import PaperCNN
from catalog_tagger.models.residual_cnn import ResidualCNN


def test_paper_network_has_the_shapes_of_experiment_7() -> None:
    model = PaperCNN()
    x = torch.rand(2, 1, 216, 144)
    shapes = []
    for layer in model.convolutions:
        x = layer(x)
        if not isinstance(layer, torch.nn.ReLU):
            shapes.append(tuple(x.shape[2:]))
    assert shapes == [
        (207, 73),  # 10 frames (0.23 s) x 72 bins (3 octaves), no padding
        (207, 24),  # frequency only
        (186, 24),  # 22 frames: 0.5 s
        (46, 24),  # time only
        (42, 20),  # square
        (42, 10),  # frequency
        (38, 6),  # square
        (9, 6),  # time
    ]
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model.modules()) == 2
    assert model(torch.rand(2, 216, 144)).shape == (2, 2)


@pytest.mark.parametrize("parameters", [{"pools": (3, 4)}, {"pools": (3, 80, 2, 4)}, {"maps": (1,)}])
def test_paper_network_refuses_what_leaves_nothing(parameters: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="paper_cnn"):
        build_model({"name": "paper_cnn", **parameters})


@pytest.mark.parametrize("n_labels", [1, 2, 7])
def test_default_network_answers_one_logit_per_label(n_labels: int) -> None:
    model = build_model({"name": "residual_cnn", "n_labels": n_labels}).eval()
    assert model(torch.rand(3, 216, 144) * 12).shape == (3, n_labels)


def test_default_network_is_small() -> None:
    model = build_model({"name": "residual_cnn", "n_labels": 2})
    assert sum(one.numel() for one in model.parameters()) < 650_000


def test_default_network_ignores_the_level_of_what_is_loud_enough() -> None:
    torch.manual_seed(0)
    model = ResidualCNN(n_labels=2, channels=(4, 8), hidden=8).eval()
    features = torch.rand(2, 216, 144) * 4 + 4
    torch.testing.assert_close(model(features), model(features + 3.0), atol=1e-4, rtol=1e-4)


def test_silence_gives_finite_logits() -> None:
    model = ResidualCNN(n_labels=2, channels=(4, 8), hidden=8).eval()
    assert bool(torch.isfinite(model(torch.zeros(1, 216, 144))).all())


def test_an_ensemble_answers_with_the_mean_and_learns_one_by_one() -> None:
    torch.manual_seed(0)
    model = ResidualEnsemble(n_labels=2, members=3, channels=(4, 8), hidden=8, dropout=0.0)
    features = torch.rand(4, 216, 144) * 12
    assert model(features).shape == (12, 2)
    model.eval()
    one_by_one = torch.stack([member(features) for member in model.members])
    assert float(one_by_one.detach().std(dim=0).min()) > 0
    torch.testing.assert_close(model(features), one_by_one.mean(dim=0))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "nothing"}, "unknown architecture 'nothing'"),
        ({}, "unknown architecture None"),
        ({"name": "residual_cnn", "n_labels": 2, "depth": 3}, "no parameter depth"),
        ({"name": "residual_cnn"}, "n_labels"),
        ({"name": "residual_cnn", "n_labels": 0}, "n_labels 0"),
        ({"name": "residual_ensemble", "n_labels": 2, "members": 0}, "members 0"),
    ],
)
def test_bad_specification_is_one_clear_error(spec: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_model(spec)
