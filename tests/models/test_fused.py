"""Fused networks against the networks they stand for."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import some_sounds
from torch import Tensor, nn

from catalog_tagger.audio import cut_segments, pcm_to_float, read_pcm
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import Bundle, load_bundle, shipped_bundles
from catalog_tagger.models.fused import FusedStages, best_dtype, can_fuse, fused

pytestmark = pytest.mark.skipif(not can_fuse(), reason="this build of torch has no oneDNN")
FRAMES, BINS = 216, 144
SMALL: dict[str, dict[str, Any]] = {
    "residual_cnn": {"channels": [4, 8, 8]},
    "residual_cnn in bands": {"channels": [4, 8], "bands": 3},
    "residual_ensemble": {"channels": [4, 8], "members": 3},
    "voice_cnn": {"channels": [4, 8, 8]},
    "vgg_tagger": {"channels": [4, 8, 8], "hidden": 16},
    "vgg_tagger with an LSTM": {"channels": [4, 8], "hidden": 16, "head": "lstm"},
    "paper_cnn": {},
}


def met_sound(model: nn.Module) -> nn.Module:
    """Running means and variances as no network begins with, so that leaving them out shows."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for name, values in (("running_mean", torch.randn), ("running_var", torch.rand), ("weight", torch.rand)):
                getattr(module, name).data = values(module.num_features) + (name != "running_mean")
    return model.eval()


def features(count: int = 5) -> Tensor:
    return torch.rand(count, FRAMES, BINS) * 12


@pytest.mark.parametrize("kind", SMALL)
def test_in_float32_the_answers_are_those_of_the_network(kind: str) -> None:
    torch.manual_seed(0)
    model = met_sound(build_model({"name": kind.partition(" ")[0], "n_labels": 3, **SMALL[kind]}))
    listening, x = fused(model, dtype=torch.float32), features()
    with torch.inference_mode():
        torch.testing.assert_close(listening(x), model(x), rtol=1e-4, atol=1e-4)
        if hasattr(model, "embedding_size"):
            assert listening.embedding_size == model.embedding_size
            for mine, other in zip(listening.embed(x), model.embed(x), strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", shipped_bundles())
def test_of_what_ships_every_convolution_is_fused_and_the_bundle_stays_as_it_is(name: str) -> None:
    bundle = load_bundle(name)
    before = {key: value.clone() for key, value in bundle.model.state_dict().items()}
    listening = fused(bundle.model)
    assert any(isinstance(module, FusedStages) for module in listening.modules())
    assert not any(isinstance(module, nn.Conv2d) for module in listening.modules())
    assert all(torch.equal(value, before[key]) for key, value in bundle.model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 7, 8, 16, 17, 33])
def test_what_a_segment_is_heard_as_does_not_depend_on_its_batch(count: int, dtype: torch.dtype) -> None:
    bundle = load_bundle("tagger")
    listening, x = fused(bundle.model, dtype=dtype), features(count)
    with torch.inference_mode():
        together = listening(x)
        alone = torch.cat([listening(x[i : i + 1]) for i in range(count)])
    assert together.shape == (count, len(bundle.labels))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", shipped_bundles())
def test_in_bfloat16_probabilities_hardly_move(name: str) -> None:
    bundle = load_bundle(name)
    torch.manual_seed(0)
    sounds = some_sounds()
    exact, rounded = _both(bundle, sounds)
    assert np.abs(exact - rounded).max() < 0.05


def test_a_residual_layer_adds_its_input() -> None:
    torch.manual_seed(0)
    model = met_sound(build_model({"name": "residual_cnn", "n_labels": 1, "channels": [4, 8]}))
    residual = model.stages[2]
    for parameter in residual.body.parameters():
        parameter.data.zero_()  # nothing but what goes in is left
    with torch.inference_mode():
        x = features(2)
        torch.testing.assert_close(fused(model, dtype=torch.float32)(x), model(x), rtol=1e-4, atol=1e-4)


def test_layers_that_are_not_known_stay_what_they_are() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU())
            self.wrapped = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.wrapped(self.layers(x[:, None])).mean(dim=(2, 3))
            return out

    model = Odd()
    listening = fused(model)
    assert not any(isinstance(module, FusedStages) for module in listening.modules())
    with torch.inference_mode():
        x = features(3)
        torch.testing.assert_close(listening(x), model.eval()(x))


def test_a_normalisation_without_statistics_is_refused() -> None:
    class Unfit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU())

    with pytest.raises(ValueError, match="without running statistics"):
        fused(Unfit())


@pytest.mark.data
@pytest.mark.skipif(best_dtype() == torch.float32, reason="this CPU does not multiply bfloat16")
def test_on_the_test_split_decisions_stay_and_probabilities_move_by_a_hundredth(data_folder: Path) -> None:
    with (data_folder / "manifest.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file) if row["split"] == "test"][::4]
    segments = np.concatenate([cut_segments(read_pcm(data_folder / path)) for path in paths])
    sounds = torch.from_numpy(pcm_to_float(segments))
    changed = moved = told = 0
    for name in shipped_bundles():
        exact, rounded = _both(load_bundle(name), sounds)
        changed += int(((exact >= 0.5) != (rounded >= 0.5)).sum())
        moved += int((np.abs(exact - rounded) > 0.01).sum())
        told += exact.size
    assert changed <= told * 1e-3
    assert moved <= told * 1e-3


@torch.inference_mode()
def _both(bundle: Bundle, sounds: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities by the network itself, and by the fused one in bfloat16."""
    listening = fused(bundle.model, dtype=torch.bfloat16)
    exact, rounded = [], []
    for part in torch.split(sounds, 32):
        grams = bundle.frontend(part)
        exact.append(bundle.calibration.probabilities(bundle.model(grams)).numpy())
        rounded.append(bundle.calibration.probabilities(listening(grams)).numpy())
    return np.concatenate(exact), np.concatenate(rounded)
