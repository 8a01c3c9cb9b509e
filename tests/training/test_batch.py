"""What is done to a whole batch: stripes and blends."""

from __future__ import annotations

import pytest
import torch

from catalog_tagger.training.batch import Batch, mask_stripes, mixup
from catalog_tagger.training.losses import LOSSES


def test_stripes_blank_no_more_than_asked() -> None:
    features = torch.ones(50, 216, 144)
    masked = mask_stripes(features, torch.Generator().manual_seed(0), frames=24, bins=16)
    frames = (masked == 0).all(dim=2).sum(dim=1)
    bins = (masked == 0).all(dim=1).sum(dim=1)
    assert int(frames.max()) <= 25
    assert int(bins.max()) <= 17
    assert int(frames.max()) > 10
    assert bool((features == 1).all())


def test_stripes_are_the_same_in_all_maps() -> None:
    features = torch.ones(8, 3, 40, 30)
    masked = mask_stripes(features, torch.Generator().manual_seed(0), frames=9, bins=9)
    assert bool((masked == masked[:, :1]).all())
    assert bool((masked == 0).any())


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_cost_of_a_blend_is_the_blend_of_costs(name: str, alpha: float) -> None:
    loss, generator = LOSSES[name], torch.Generator().manual_seed(4)
    labels = torch.eye(3)[torch.arange(12) % 3]
    weight = torch.ones(12, 3)
    if name == "multi_label":
        weight[::2, 1] = 0.0
    # Features that name their example tell what was blended with what, and by how much.
    mixed = mixup(Batch(torch.eye(12)[:, None], labels, weight), generator, alpha=alpha)
    share = mixed.features[:, 0]
    torch.testing.assert_close(share.sum(dim=1), torch.ones(12))
    assert int((share > 0).sum(dim=1).max()) == 2
    logits = torch.randn(12, 3, generator=generator)
    total = 0.0
    for example in range(12):
        for partner in range(12):
            alone = float(loss.cost(logits[[example]], labels[[partner]], weight[[partner]]))
            mass = float(weight[partner].sum() if name == "multi_label" else weight[partner].mean())
            total += float(share[example, partner]) * alone * max(mass, 1.0)
    mass = float(mixed.weight.sum() if name == "multi_label" else mixed.weight.mean(dim=1).sum())
    assert float(loss.cost(logits, mixed.target, mixed.weight)) == pytest.approx(total / mass, rel=1e-5)


def test_a_blend_of_unknowns_stays_unknown() -> None:
    mixed = mixup(Batch(torch.ones(4, 2, 2), torch.ones(4, 1), torch.zeros(4, 1)), torch.Generator(), alpha=0.3)
    assert mixed.weight.tolist() == [[0.0]] * 4
    assert mixed.target.tolist() == [[0.0]] * 4
