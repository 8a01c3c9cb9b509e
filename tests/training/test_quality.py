"""The shipped bundle on recordings of collections it was not trained on.

A fixed sample of the `test` rows; the floors lie a little under what the bundle's card states for
all of them. Skipped where the recordings are absent.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from catalog_tagger.audio import read_pcm
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.training import sounds
from catalog_tagger.training.bank import Recording, gate_level_db
from catalog_tagger.training.cache import frame_levels_db
from catalog_tagger.training.config import ClipConfig
from catalog_tagger.training.evaluate import report, score
from catalog_tagger.training.manifest import read_manifest

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("CATALOG_TAGGER_DATA", REPOSITORY.parent / "shared" / "data"))
PER_SOURCE_AND_ROLE = 8


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "manifest.csv").exists(), reason=f"no labelled recordings in {DATA}")
def test_right_on_unheard_collections() -> None:
    bundle = load_bundle("speech_music")
    taken: dict[tuple[str, str], int] = {}
    clips = []
    for clip in sorted(read_manifest(DATA / "manifest.csv"), key=lambda one: one.path.name):
        place = (clip.source, clip.role)
        if clip.split == "test" and clip.role in {"speech", "music", "noise"}:
            taken[place] = taken.get(place, 0) + 1
            if taken[place] <= PER_SOURCE_AND_ROLE and clip.duration_s <= 60:
                clips.append(clip)
    recordings = []
    for clip in clips:
        pcm = read_pcm(clip.path)
        levels = frame_levels_db(pcm.astype(np.float32) / 32768)
        gate = gate_level_db(levels, below_loud_db=32.0 if clip.role == "speech" else 45.0)
        recordings.append(Recording(pcm, pcm, gate, clip.source, clip.key))

    def probabilities(waveforms: torch.Tensor) -> torch.Tensor:
        return bundle.probabilities(bundle.frontend(waveforms))

    figures = report(score(clips, recordings, probabilities, ClipConfig()))
    assert figures["clips"]["two_class"]["of"] > 120
    assert figures["clips"]["two_class"]["share"] >= 0.97
    assert figures["segments"]["two_class"]["share"] >= 0.97
    assert figures["clips"]["presence"]["share"] >= 0.9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["tone", "sweep", "line_signal", "noise", "clicks", "hum", "near_silence"])
def test_machine_sounds_are_not_speech(name: str, seed: int) -> None:
    bundle = load_bundle("speech_music")
    sound = getattr(sounds, name)(80_000, np.random.default_rng(1000 + seed))
    with torch.inference_mode():
        features = bundle.frontend(torch.from_numpy(sound)[None])
    assert float(bundle.probabilities(features)[0, 0]) < 0.5
