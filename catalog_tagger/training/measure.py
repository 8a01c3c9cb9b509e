"""The figures of a trained network on the rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog_tagger.errors import UsageError
from catalog_tagger.training.cache import open_cache
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.evaluate import Scorer, report, score
from catalog_tagger.training.manifest import Clip, read_manifest
from catalog_tagger.training.prepare import Progress, recording_of


def select(manifest: Path, *, split: str) -> list[Clip]:
    """The rows of one split.

    Raises
    ------
    UsageError
        The manifest is not usable or has no such rows.
    """
    clips = read_manifest(manifest)
    found = [clip for clip in clips if clip.split == split]
    if not found:
        names = ", ".join(sorted({clip.split for clip in clips}))
        raise UsageError(f"{manifest}: no row has the split {split!r}; there are {names}")
    return found


def measure(
    clips: Sequence[Clip], scorer: Scorer, config: ClipConfig, cache_dir: Path, *, progress: Progress
) -> dict[str, Any]:
    """Decode the clips (kept under `cache_dir`), run `scorer` over them and report as `evaluate` does."""
    cache = open_cache(clips, cache_dir, degraded=False, progress=lambda done, of: progress("decoding", done, of))
    recordings = [recording_of(clip, cache, index, group=clip.key) for index, clip in enumerate(clips)]
    return report(score(clips, recordings, scorer, config))
