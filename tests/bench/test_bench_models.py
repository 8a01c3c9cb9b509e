"""Times of networks add up, rounding is counted, eager maps are in PyTorch's order, and the section runs."""

import pytest
import section_models
import torch
from measuring import Settings

from catalog_tagger.models import build_model


def test_speeds_of_one_after_the_other() -> None:
    assert section_models.together([[100.0, 50.0], [100.0, 200.0]]) == pytest.approx([50.0, 40.0])


def test_rounding_is_of_all_labels_and_decisions() -> None:
    exact = torch.tensor([[0.499, 0.9], [0.2, 0.7]])
    rounded = torch.tensor([[0.501, 0.9], [0.2, 0.705]])
    largest, percentile, changed = section_models.rounding([(exact, rounded)], 2)
    assert largest.figures == pytest.approx([0.005], abs=1e-6)
    assert percentile.figures[0] <= largest.figures[0]
    assert changed.figures == [25.0]
    assert changed.target is not None
    assert not changed.target.holds(25.0)


@pytest.mark.parametrize("name", ["residual_cnn", "vgg_tagger", "voice_cnn"])
def test_eager_maps_are_contiguous_and_say_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = build_model({"name": name, "n_labels": 2}).eval()
    features = torch.rand(2, 216, 144)
    before = model(features)
    seen = []
    section_models.contiguous(model)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out)))
    torch.testing.assert_close(model(features), before)
    assert seen
    assert all(inputs.is_contiguous() and out.is_contiguous() for inputs, out in seen)


def test_each_bundle_and_all_together_have_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_models, "real_segments", lambda: section_models.segments(2))
    monkeypatch.setattr(section_models, "BATCH", 2)
    rows = section_models.run(Settings(threads=1).quick())
    speed = [row for row in rows if row.peer]
    assert {row.what.partition(", ")[0] for row in speed} == {
        "speech_music",
        "voice_gender",
        "tagger",
        "all together",
    }
    assert all(len(row.ratios) == 1 for row in speed)
    assert [row.unit for row in rows if not row.peer] == ["", "", "%"]
