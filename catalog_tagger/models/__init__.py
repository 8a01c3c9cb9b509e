"""Architectures by name, and the bundles that carry them trained.

An architecture maps a batch of features, (batch, frames, bins) as a front end gives them, to
logits (batch, n_labels). `build_model` makes one from the JSON a bundle holds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from catalog_tagger.errors import UsageError
from catalog_tagger.models.ensemble import ResidualEnsemble
from catalog_tagger.models.panns import Cnn14
from catalog_tagger.models.paper_cnn import PaperCNN
from catalog_tagger.models.residual_cnn import ResidualCNN
from catalog_tagger.models.vgg import VGGTagger
from catalog_tagger.models.vggish import VGGish
from catalog_tagger.models.voice_cnn import VoiceCNN
from catalog_tagger.models.voice_patches import VoicePatches

ARCHITECTURES: Final[dict[str, type[nn.Module]]] = {
    "residual_cnn": ResidualCNN,
    "residual_ensemble": ResidualEnsemble,
    "paper_cnn": PaperCNN,
    "voice_cnn": VoiceCNN,
    "voice_patches": VoicePatches,
    "vgg_tagger": VGGTagger,
    "panns_cnn14_16k": Cnn14,
    "vggish": VGGish,
}


def build_model(spec: Mapping[str, Any]) -> nn.Module:
    """Make an untrained network from ``{"name": ..., **parameters}``.

    Raises
    ------
    UsageError
        The name or a parameter is unknown, or a parameter has a value the network refuses.
    """
    parameters = {key: value for key, value in spec.items() if key != "name"}
    name = spec.get("name")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise UsageError(f"unknown architecture {name!r}; known are {', '.join(sorted(ARCHITECTURES))}")
    architecture = ARCHITECTURES[name]
    known = list(inspect.signature(architecture).parameters)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise UsageError(f"architecture {name!r} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    try:
        return architecture(**parameters)
    except (TypeError, ValueError) as error:
        raise UsageError(f"architecture {name!r}: {error}") from error
