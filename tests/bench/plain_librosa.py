"""The same work in one process: librosa.load, librosa.cqt of each segment, the networks.

    python tests/bench/plain_librosa.py BUNDLE,... FILE...

Prints the seconds of audio and of the work without imports, as JSON. The networks are the bundles', eager in float32.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Final

import numpy as np

_RATE_HZ: Final = 16000
_SEGMENT: Final = 80000


def main() -> None:
    bundles, *files = sys.argv[1:]
    import librosa
    import torch
    from plain_networks import eager_networks

    networks = eager_networks(bundles.split(","))
    librosa.cqt(np.zeros(_SEGMENT, np.float32), sr=_RATE_HZ, hop_length=371, fmin=80.0, n_bins=144, bins_per_octave=24)
    begun, audio_s = time.perf_counter(), 0.0
    with torch.inference_mode():
        for file in files:
            waveform, _ = librosa.load(file, sr=_RATE_HZ)
            audio_s += len(waveform) / _RATE_HZ
            segments = np.pad(waveform, (0, -len(waveform) % _SEGMENT)).reshape(-1, _SEGMENT)
            grams = [
                librosa.cqt(y, sr=_RATE_HZ, hop_length=371, fmin=80.0, n_bins=144, bins_per_octave=24) for y in segments
            ]
            features = torch.from_numpy(np.log2(1.0 + 1e4 * np.abs(np.stack(grams)))).float().transpose(1, 2)
            for part in features.split(32):
                for network in networks:
                    network(part)
    print(json.dumps({"audio_s": audio_s, "work_s": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
