"""Networks of the shipped bundles on a CPU: as PyTorch makes them, and as the product runs them.

"Eager float32" is the architecture that `build_model` makes with the bundle's weights, layer by layer in
`torch.inference_mode`, filters and maps contiguous as a new network's are; "channels last" is the same with the
layout that the package's architectures choose. Ours is `catalog_tagger.models.fused.fused` in the arithmetic that
`best_dtype` finds here. Batches of 32 segments' CQT-grams on one core, what a tagging actor has on a machine of two;
all networks take turns. "All together" is a segment through each network: in each round the sum of their times.

What the rounding does is said of probabilities, as tables carry them, on segments that `material.real_segments`
finds and on noise and glides: by how much p of every segment and label changes, and the share of decisions
(p of at least 0.5) that are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from material import SEGMENT_S, real_segments, segments
from measuring import Contender, Settings, on_cores, take_turns
from results import Row, Target
from safetensors.torch import load_file
from torch import Tensor, nn

from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import SHIPPED, WEIGHTS_FILE, Bundle, load_bundle, shipped_bundles
from catalog_tagger.models.fused import best_dtype, fused

BATCH: Final = 32
_EAGER: Final = "eager float32"
_LAST: Final = "channels last float32"


def run(settings: Settings) -> list[Row]:
    """Rows of speed for each network and for all, then rows of rounding."""
    bundles = [load_bundle(name) for name in shipped_bundles()]
    dtype = best_dtype()
    waveforms = torch.from_numpy(np.concatenate([real_segments(), segments(24)]))
    with on_cores(settings.threads):
        features = [_features(bundle, waveforms) for bundle in bundles]
    networks = [_networks(bundle, dtype) for bundle in bundles]
    with on_cores(1):
        contenders = [
            {name: _contender(bundle, name, network, heard[:BATCH]) for name, network in found.items()}
            for bundle, found, heard in zip(bundles, networks, features, strict=True)
        ]
        take_turns([one for found in contenders for one in found.values()], settings)
    ours = f"fused {_name(dtype)}"
    rows: list[Row] = []
    for bundle, found in zip(bundles, contenders, strict=True):
        speeds = {name: one.speeds for name, one in found.items()}
        rows += _rows(bundle.name, speeds, ours, None)
    totals = {name: together([found[name].speeds for found in contenders]) for name in contenders[0]}
    rows += _rows("all together", totals, ours, Target(2.5))
    with on_cores(settings.threads):
        pairs = [
            (probabilities(bundle, found[_EAGER], heard), probabilities(bundle, found[ours], heard))
            for bundle, found, heard in zip(bundles, networks, features, strict=True)
        ]
    return rows + rounding(pairs, len(waveforms))


def together(speeds: Sequence[Sequence[float]]) -> list[float]:
    """Speed, in each round, of doing one thing after the other."""
    return [1.0 / sum(1.0 / speed for speed in round_) for round_ in zip(*speeds, strict=True)]


def contiguous(model: nn.Module) -> nn.Module:
    """Filters and maps of a network in the order that PyTorch gives new ones; changes the network."""
    for weight in model.parameters():
        weight.data = weight.data.contiguous(memory_format=torch.contiguous_format)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 1:  # one channel alone is both orders at once
            layer.register_forward_pre_hook(_in_order)
    return model


def _in_order(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    maps = inputs[0]
    return (maps.reshape(len(maps), -1).view(maps.shape),)


def rounding(pairs: Sequence[tuple[Tensor, Tensor]], n_segments: int) -> list[Row]:
    """How far probabilities lie apart, over pairs of exact and rounded ones."""
    moved = torch.cat([(exact - rounded).abs().flatten() for exact, rounded in pairs])
    decided = torch.cat([((exact >= 0.5) != (rounded >= 0.5)).flatten() for exact, rounded in pairs])
    percentile = float(np.quantile(moved.numpy(), 0.999))
    of = f"of {n_segments:,} segments"
    return [
        Row("models", f"largest change of p {of}", [float(moved.max())], unit="", target=Target(0.01, "at most")),
        Row("models", f"99.9th percentile of changes of p {of}", [percentile], unit=""),
        Row(
            "models",
            f"decisions changed {of}",
            [100.0 * float(decided.float().mean())],
            unit="%",
            target=Target(0.1, "at most"),
        ),
    ]


def _networks(bundle: Bundle, dtype: torch.dtype) -> dict[str, nn.Module]:
    def built() -> nn.Module:
        model = build_model(bundle.architecture_spec)
        model.load_state_dict(load_file(SHIPPED / bundle.name / WEIGHTS_FILE))
        return model.eval()

    return {
        _EAGER: contiguous(built()),
        _LAST: built(),
        f"fused {_name(dtype)}": fused(built(), dtype=dtype),
    }


def _contender(bundle: Bundle, name: str, network: nn.Module, features: Tensor) -> Contender:
    return Contender(f"{bundle.name}, {name}", len(features) * SEGMENT_S, lambda: network(features))


def _rows(what: str, speeds: dict[str, list[float]], ours: str, target: Target | None) -> list[Row]:
    peers: list[tuple[str, Any]] = [(_EAGER, target), (_LAST, None)]
    return [
        Row("models", f"{what}, {ours}", speeds[ours], peer=peer, peer_figures=speeds[peer], target=judged)
        for peer, judged in peers
    ]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@torch.inference_mode()
def _features(bundle: Bundle, waveforms: Tensor) -> Tensor:
    frontend = build_frontend(bundle.frontend_spec)
    return torch.cat([frontend(part) for part in waveforms.split(BATCH)])


@torch.inference_mode()
def probabilities(bundle: Bundle, network: nn.Module, features: Tensor) -> Tensor:
    """What a network says of features, calibrated."""
    return torch.cat([bundle.calibration.probabilities(network(part)) for part in features.split(BATCH)])
