"""Transform and networks as the peers of the whole job use them: layer by layer, in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from safetensors.torch import load_file
from torch import Tensor, nn

from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import SHIPPED, WEIGHTS_FILE, load_bundle


def eager_networks(bundles: Sequence[str]) -> list[nn.Module]:
    """The networks of shipped bundles, as PyTorch makes them."""
    found = []
    for name in bundles:
        model = build_model(load_bundle(name).architecture_spec)
        model.load_state_dict(load_file(SHIPPED / name / WEIGHTS_FILE))
        found.append(model.eval())
    return found


def transform() -> Callable[[Tensor], Tensor]:
    """CQT-grams (batch, frames, bins) of waveforms, by nnAudio, or by this package where that is not installed."""
    try:
        with contextlib.redirect_stdout(None):
            from nnAudio.features import CQT1992v2
    except ImportError:
        from catalog_tagger.frontends.cqt import CQT

        return CQT()
    layer = CQT1992v2(
        sr=16000, hop_length=371, fmin=80.0, n_bins=144, bins_per_octave=24, pad_mode="constant", verbose=False
    )
    return lambda waveform: layer(waveform).mul_(1e4).add_(1.0).log2_().transpose(1, 2)
