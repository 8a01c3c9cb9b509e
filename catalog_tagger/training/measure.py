"""The figures of a trained network on the rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import Bundle
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.cache import open_cache
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.definitions import Definitions
from catalog_tagger.training.evaluate import Scorer, report, score
from catalog_tagger.training.manifest import Clip, read_manifest, split_name
from catalog_tagger.training.prepare import Progress, recording_of

ALL: Final = "all"


def select(manifest: Path, *, split: str) -> list[Clip]:
    """The rows of one split, or of every one for the split `all`.

    Raises
    ------
    UsageError
        The manifest is not usable or has no such rows.
    """
    clips = read_manifest(manifest)
    found = [clip for clip in clips if split == ALL or clip.split == split_name(split)]
    if not found:
        names = ", ".join(sorted({clip.split for clip in clips}))
        raise UsageError(f"{manifest}: no row has the split {split!r}; there are {names}; or use {ALL!r}")
    return found


def decode(clips: Sequence[Clip], cache_dir: Path, *, progress: Progress) -> list[Recording]:
    """Decode the clips, or find them under `cache_dir`."""
    cache = open_cache(clips, cache_dir, degraded=False, progress=lambda done, of: progress("decoding", done, of))
    return [recording_of(clip, cache, index, group=clip.key) for index, clip in enumerate(clips)]


def measure(
    clips: Sequence[Clip], scorer: Scorer, config: ClipConfig, cache_dir: Path, *, progress: Progress
) -> dict[str, Any]:
    """Decode the clips (kept under `cache_dir`), run `scorer` over them and report as `evaluate` does."""
    return report(score(clips, decode(clips, cache_dir, progress=progress), scorer, config))


def scorer_of(bundle: Bundle, definitions: Definitions) -> Scorer:
    """From waveforms to the bundle's probabilities, in the order of the definitions' labels."""
    columns = [bundle.labels.index(label) for label in definitions.labels]

    def heard(waveforms: torch.Tensor) -> torch.Tensor:
        return bundle.probabilities(bundle.frontend(waveforms))[:, columns]

    return heard
