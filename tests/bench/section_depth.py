"""What hearing less of a track gains, and what it changes: `--depth auto` and `skim` against `scan` on music alone.

The catalogue is music in MP3s of 240 s at 128 kb/s, each under as many names as the hours need. Where
``CATALOG_TAGGER_DATA`` names the labelled clips, a track is clips of one recording, or of one source where a recording
has too few, one after the other until it is full, of every `_STEP`th recording; so there are voices and other things
among them that a few segments do not settle. Else it is the demo's music, all of which is clear.

In each round all depths tag it with all bundles, in turn; "while tagging" is without Ray's start and end. What a depth
changes is counted over the different tracks: those whose content type is not the scan's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from material import FILE_RATE_HZ, Samples, music
from measuring import Settings
from results import Row, Target
from section_end_to_end import tag

from catalog_tagger.demo import write_audio
from catalog_tagger.models.bundle import shipped_bundles
from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query

_DEPTHS: Final = ("scan", "auto", "skim")
_STEP: Final = 2
_SQL: Final = "SELECT track_id, content_type, scanned_s, duration_s FROM tracks ORDER BY track_id"


def run(settings: Settings) -> list[Row]:
    """Rows of throughput, of what was heard, and of what came out otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), settings)


def measure(folder: Path, settings: Settings) -> list[Row]:
    """The rows, with all files below a folder."""
    catalogue = folder / "catalogue"
    distinct = make_catalogue(catalogue, settings)
    rates: dict[str, list[float]] = defaultdict(list)
    heard: dict[str, list[float]] = defaultdict(list)
    types: dict[str, dict[str, str]] = {}
    for number in range(settings.rounds):
        for depth in _DEPTHS:
            warehouse = folder / f"{depth}{number}"
            job = tag(catalogue, warehouse, shipped_bundles(), depth=depth)
            rates[depth].append(job.audio_s / job.tagging_s)
            rows = query(Store(str(warehouse)), _SQL).to_pylist()
            heard[depth].append(sum(row["scanned_s"] for row in rows) / sum(row["duration_s"] for row in rows))
            types[depth] = {row["track_id"]: row["content_type"] for row in rows}
            shutil.rmtree(warehouse)
    of_music = f"{settings.hours:.3g} h of music, {distinct} tracks and copies"
    found = [Row("depth", f"{of_music}, scan, while tagging", rates["scan"])]
    for depth, target in (("auto", Target(5.0)), ("skim", None)):
        found.append(Row("depth", f"the same, {depth}", rates[depth], "x", "scan", rates["scan"], target))
        found.append(Row("depth", f"share of the audio that {depth} hears", heard[depth], ""))
        changed = sum(types[depth][track] != kind for track, kind in types["scan"].items()) / len(types["scan"])
        most = Target(0.3, "at most") if depth == "auto" else None
        found.append(Row("depth", f"content types that {depth} changes", [100 * changed], "%", target=most))
    return found


def make_catalogue(folder: Path, settings: Settings) -> int:
    """Encode the different tracks once and copy them under other names; returns how many are different."""
    folder.mkdir()
    count = max(1, round(settings.hours * 3600 / settings.track_s))
    paths = []
    for samples in _different(min(count, settings.distinct * 6), settings.track_s):
        paths.append(folder / f"{len(paths):05d}.mp3")
        write_audio(paths[-1], samples, sample_rate_hz=FILE_RATE_HZ, codec="mp3", bit_rate_bps=128_000)
    for number in range(len(paths), count):
        shutil.copyfile(paths[number % len(paths)], folder / f"{number:05d}.mp3")
    return len(paths)


def _different(count: int, length_s: float) -> Iterator[Samples]:
    """At most so many different tracks, each of shape (2, samples)."""
    named = os.environ.get("CATALOG_TAGGER_DATA")
    if named:
        return _joined(Path(named), count, length_s)
    return (music(number, length_s=length_s) for number in range(count))


def _joined(folder: Path, count: int, length_s: float) -> Iterator[Samples]:
    """Tracks out of the clips of labelled recordings of music."""
    import pandas as pd
    import torch
    from torchaudio.functional import resample

    from catalog_tagger.audio import SAMPLE_RATE_HZ, pcm_to_float, read_pcm

    manifest = pd.read_csv(folder / "manifest.csv")
    clips = manifest[manifest["role"] == "music"]
    wanted = round(length_s * SAMPLE_RATE_HZ)
    for (source, _), own in list(clips.groupby(["source", "original_path"]))[::_STEP][:count]:
        others = clips[(clips["source"] == source) & ~clips["path"].isin(own["path"])]
        parts: list[Samples] = []
        for path in [*own["path"], *others["path"]]:
            parts.append(pcm_to_float(read_pcm(folder / path)))
            if sum(map(len, parts)) >= wanted:
                break
        mono = resample(torch.from_numpy(np.resize(np.concatenate(parts), wanted)), SAMPLE_RATE_HZ, FILE_RATE_HZ)
        yield np.stack([mono.numpy()] * 2)
