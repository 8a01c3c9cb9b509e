"""The networks that judge voices: the shapes that are published, and what must not matter to them."""

from __future__ import annotations

import pytest
import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.frontends.stft import THREE_RESOLUTIONS
from catalog_tagger.models import build_model
from catalog_tagger.models.voice_cnn import VoiceCNN
from catalog_tagger.models.voice_patches import VoicePatches


@pytest.fixture
def patches() -> VoicePatches:
    torch.manual_seed(0)
    return VoicePatches().eval()


@pytest.fixture
def network() -> VoiceCNN:
    torch.manual_seed(0)
    model = VoiceCNN(n_labels=2, channels=(4, 6, 8), hidden=12)
    for _ in range(30):  # its normalisation needs to have met some sound
        model(8 * torch.rand(4, 60, 144) * torch.rand(4, 60, 1))
    return model.eval()


def test_the_papers_network_takes_its_front_end() -> None:
    features = build_frontend(THREE_RESOLUTIONS)(torch.zeros(2, 8_000))
    assert tuple(features.shape[1:]) == (3, 51, 369)
    assert VoicePatches(n_labels=2)(features).shape == (2, 2)


def test_a_patch_has_the_shapes_of_experiment_1(patches: VoicePatches) -> None:
    x = torch.rand(1, 3, 15, 369)
    frames, bins = [], []
    for layer in patches.convolutions:
        x = layer(x)
        frames.append(x.shape[2])
        bins.append(x.shape[3])
    assert len([layer for layer in patches.convolutions if isinstance(layer, torch.nn.MaxPool2d)]) == 2
    assert frames == [12, 12, 6, 4, 4, 2]
    assert bins == [55, 55, 55, 21, 21, 21]  # pooled along time alone


def test_a_segment_is_the_mean_of_its_sounding_patches(patches: VoicePatches) -> None:
    torch.manual_seed(1)
    one, other = (3 + torch.rand(1, 3, 15, 369) for _ in range(2))
    alone = [patches(one), patches(other)]
    assert torch.allclose(patches(torch.cat([one, other], dim=2)), sum(alone) / 2, atol=1e-5)
    quiet = torch.rand(1, 3, 45, 369)  # more than `gate_bits` below
    assert torch.allclose(patches(torch.cat([one, quiet], dim=2)), alone[0], atol=1e-5)


@pytest.mark.parametrize("frames", [13, 87, 216])
def test_any_length_makes_an_answer(network: VoiceCNN, frames: int) -> None:
    assert network(torch.rand(3, frames, 144)).shape == (3, 2)


def test_level_does_not_matter(network: VoiceCNN) -> None:
    features = 4 + 3 * torch.rand(2, 60, 144)
    assert torch.allclose(network(features), network(features + 2.5), atol=1e-4)


def test_place_along_frequency_matters(network: VoiceCNN) -> None:
    features = torch.zeros(1, 60, 144)
    features[:, :, 40:44] = 8.0
    moved = features.roll(24, dims=2)
    assert not torch.allclose(network(features), network(moved), atol=1e-3)


def test_quiet_frames_weigh_nothing_in_the_mean(network: VoiceCNN) -> None:
    sound = 6.0 + torch.rand(1, 120, 144)
    with torch.no_grad():
        network.output.weight[:, 12:] = 0.0  # the part of the maximum

    def change() -> float:
        """Of the answer, where 40 quiet frames behind the sound become 240."""
        few, many = (network(torch.cat([sound, torch.zeros(1, count, 144)], dim=1)) for count in (40, 240))
        return (few - many).abs().max().item()

    weighted = change()
    network.quiet_bits = 1e6
    assert weighted < 0.1 * change()


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "voice_cnn", "n_labels": 0},
        {"name": "voice_cnn", "n_labels": 2, "channels": [8]},
        {"name": "voice_patches", "maps": [4]},
        {"name": "voice_patches", "filters": [[20, 41], [3, 21]]},
    ],
)
def test_what_makes_no_network_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=str(spec["name"])):
        build_model(spec)
