"""The same work as a pipeline that Ray Data's documentation leads to: read_audio, map, map_batches.

    python tests/bench/plain_ray_data.py FOLDER OUT BUNDLE...

Each row is a track. `read_audio` decodes it whole with soundfile, a task mixes it to mono and resamples it to 16 kHz
with torchaudio, an actor of a pool computes CQT-grams of its segments (with nnAudio where it is installed, else with
this package's transform) and runs the bundles' networks eagerly in float32; the mean probabilities of each track are
written as Parquet. Half of the cores have an actor, the others read. Prints the seconds of audio and of the pipeline
without Ray's start, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 16000
_SEGMENT: Final = 80000
_BATCH: Final = 32


def to_mono_16k(row: dict[str, Any]) -> dict[str, Any]:
    """One track as the networks hear it."""
    import torch
    from torchaudio.functional import resample

    mono = torch.from_numpy(row["amplitude"].mean(axis=0))
    return {"waveform": resample(mono, int(row["sample_rate"]), SAMPLE_RATE_HZ).numpy()}


class Networks:
    """The transform and the networks of an actor."""

    def __init__(self, bundles: Sequence[str]) -> None:
        import torch
        from plain_networks import eager_networks, transform

        torch.set_num_threads(1)
        self.transform = transform()
        self.networks = eager_networks(bundles)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        import torch

        means, seconds = [], []
        with torch.inference_mode():
            for waveform in batch["waveform"]:
                padded = np.pad(waveform, (0, -len(waveform) % _SEGMENT)).reshape(-1, _SEGMENT)
                heard = []
                for part in torch.from_numpy(padded.astype(np.float32)).split(_BATCH):
                    grams = self.transform(part)
                    heard.append(torch.cat([torch.sigmoid(network(grams)) for network in self.networks], dim=1))
                means.append(torch.cat(heard).mean(dim=0).numpy())
                seconds.append(len(waveform) / SAMPLE_RATE_HZ)
        return {"probabilities": np.stack(means), "audio_s": np.array(seconds)}


def main() -> None:
    folder, out, *bundles = sys.argv[1:]
    import ray

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    begun = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        heard = (
            ray.data.read_audio(folder)
            .map(to_mono_16k)
            .map_batches(
                Networks,
                batch_size=4,
                compute=ray.data.ActorPoolStrategy(size=max(1, (os.cpu_count() or 1) // 2)),
                fn_constructor_kwargs={"bundles": bundles},
            )
        )
        heard.write_parquet(out)
        audio_s = ray.data.read_parquet(out).sum("audio_s")
    print(json.dumps({"audio_s": audio_s, "pipeline_s": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
