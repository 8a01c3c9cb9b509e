"""Speed of the constant-Q front end against its peers: one run, the same cores, the same signals.

    python tests/bench/bench_cqt.py [--threads N] [--rounds N] [--json FILE] [--device cpu|cuda|all]

Every contender turns the same 5 s segments into log2(1 + 10^4 s), 144 bins, hop 371. Rounds go
through all contenders in turn, so that a busy moment of the machine hits all alike; a figure is the
median over rounds of seconds of audio per second of work, its spread the lowest and the highest.
The last column is the largest difference to librosa (sparsity=0, in double precision) relative to
what a tone of the segment's peak amplitude gives in the bin, so that speed is not bought with errors.

A contender that is not installed or that fails gives a row with the reason. Our rows need torch
and numpy alone: on a machine with nothing else, ``PYTHONPATH=. python tests/bench/bench_cqt.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.frontends.cqt import CQT

SAMPLE_RATE_HZ, SEGMENT_S, HOP, N_BINS = 16000, 5.0, 371, 144
PARAMETERS: dict[str, Any] = {"hop_length": HOP, "fmin": 80.0, "n_bins": N_BINS, "bins_per_octave": 24}
BASELINE = "nnAudio CQT1992v2"

Grams = npt.NDArray[np.float32]


@dataclass
class Contender:
    """One way to compute CQT-grams at one batch size on one device."""

    name: str
    device: str
    batch: int
    run: Callable[[], Any] | None = None
    """Computes one batch and gives it as (batch, frames, bins)."""
    reason: str = ""
    """Why there is no `run`."""
    realtime: list[float] = field(default_factory=list)
    error: float | None = None


def signals(count: int) -> npt.NDArray[np.float32]:
    """Segments of noise, glides and tones, shape (count, 80000); speed does not depend on what they hold."""
    rng = np.random.default_rng(0)
    t = np.arange(int(SEGMENT_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    out = 0.1 * rng.standard_normal((count, len(t)))
    start_hz, end_hz, tone_hz = rng.uniform(80.0, 5000.0, (3, count, 1))
    out += 0.3 * np.sin(2 * np.pi * (start_hz + (end_hz - start_hz) * t / 2 / SEGMENT_S) * t)
    out += 0.2 * np.sin(2 * np.pi * tone_hz * t)
    return out.astype(np.float32)


def contenders(device: str, batches: list[int], segments: npt.NDArray[np.float32]) -> list[Contender]:
    """All rows of the table for one device."""
    found: list[Contender] = []
    if device == "cpu":
        found += [_librosa(segments[:4], sparsity) for sparsity in (0.01, 0.0)]
    for batch in batches:
        waveform = torch.from_numpy(np.resize(segments, (batch, segments.shape[1]))).to(device)
        found += [_nnaudio(name, waveform) for name in ("CQT1992v2", "CQT2010v2")]
        for dtype in (torch.float32, torch.bfloat16):
            found.append(_ours(waveform, dtype))
    return found


def _ours(waveform: torch.Tensor, dtype: torch.dtype) -> Contender:
    cqt = CQT(dtype=dtype).to(waveform.device)
    name = f"catalog_tagger CQT {str(dtype).removeprefix('torch.')}"
    return Contender(name, waveform.device.type, len(waveform), lambda: cqt(waveform))


def _librosa(segments: npt.NDArray[np.float32], sparsity: float) -> Contender:
    row = Contender(f"librosa.cqt sparsity={sparsity:g}", "cpu", 1)
    try:
        import librosa
    except ImportError as error:
        row.reason = f"not installed: {error}"
        return row

    def run() -> Grams:
        values = [librosa.cqt(y, sr=SAMPLE_RATE_HZ, sparsity=sparsity, **PARAMETERS) for y in segments]
        return np.log2(1.0 + 1e4 * np.abs(np.stack(values))).transpose(0, 2, 1)

    row.batch, row.run = len(segments), run
    return row


def _nnaudio(kind: str, waveform: torch.Tensor) -> Contender:
    row = Contender(f"nnAudio {kind}", waveform.device.type, len(waveform))
    try:
        with contextlib.redirect_stdout(None):
            from nnAudio import features
    except ImportError as error:
        row.reason = f"not installed: {error}"
        return row
    try:
        layer = getattr(features, kind)(
            sr=SAMPLE_RATE_HZ, output_format="Magnitude", pad_mode="constant", verbose=False, **PARAMETERS
        ).to(waveform.device)
        with torch.inference_mode():
            layer(waveform[:1])
    except Exception as error:  # noqa: BLE001  whatever a peer dies of is its row's reason
        row.reason = f"fails with hop {HOP}: {type(error).__name__}: {' '.join(str(error).split())[:90]}"
        return row

    def run() -> torch.Tensor:
        return layer(waveform).mul_(1e4).add_(1.0).log2_().transpose(1, 2)

    row.run = run
    return row


def measure(rows: list[Contender], rounds: int, min_round_s: float) -> None:
    """Fill `realtime` of every contender, round by round."""
    live = [row for row in rows if row.run]
    with torch.inference_mode():
        repeats = {}
        for row in live:  # the first call pays for allocation, plans and caches
            _timed(row, 1)
            repeats[id(row)] = max(1, round(min_round_s / _timed(row, 1)))
        for number in range(rounds):
            for row in live:
                seconds = _timed(row, repeats[id(row)]) / repeats[id(row)]
                row.realtime.append(row.batch * SEGMENT_S / seconds)
            print(f"round {number + 1} of {rounds}", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _timed(row: Contender, repeats: int) -> float:
    assert row.run is not None
    if row.device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        row.run()
    if row.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def check(rows: list[Contender], segments: npt.NDArray[np.float32]) -> None:
    """Fill `error` of every contender where librosa is there to compare with."""
    try:
        import librosa
    except ImportError:
        return
    count = 4
    exact = [
        np.abs(librosa.cqt(y, sr=SAMPLE_RATE_HZ, sparsity=0, dtype=np.complex128, **PARAMETERS)).T
        for y in segments[:count].astype(np.float64)
    ]
    alpha = (2.0 ** (2.0 / 24) - 1.0) / (2.0 ** (2.0 / 24) + 1.0)
    scale = 0.5 * np.sqrt(SAMPLE_RATE_HZ / (alpha * 80.0 * 2.0 ** (np.arange(N_BINS) / 24)))
    with torch.inference_mode():
        for row in rows:
            if row.run:
                values = row.run()
                values = values.float().cpu().numpy() if isinstance(values, torch.Tensor) else values
                values = (2.0 ** values.astype(np.float64) - 1.0) / 1e4
                pairs = zip(values[:count], exact, segments[:count], strict=False)
                row.error = max(float((np.abs(a - b) / scale).max() / np.abs(y).max()) for a, b, y in pairs)


def table(rows: list[Contender]) -> str:
    """The result as text."""
    best = {
        device: max((statistics.median(r.realtime) for r in rows if _is_baseline(r, device)), default=None)
        for device in {row.device for row in rows}
    }
    head = ("contender", "device", "batch", "x real time", "lowest - highest", "x nnAudio", "error")
    lines = [head]
    for row in rows:
        if not row.realtime:
            lines.append((row.name, row.device, str(row.batch), row.reason, "", "", ""))
            continue
        median, base = statistics.median(row.realtime), best[row.device]
        spread = f"{min(row.realtime):,.0f} - {max(row.realtime):,.0f}"
        ratio = f"{median / base:.2f}" if base else "-"
        error = "-" if row.error is None else f"{row.error:.0e}"
        lines.append((row.name, row.device, str(row.batch), f"{median:,.0f}", spread, ratio, error))
    widths = [max(len(line[i]) for line in lines if i != 3 or line[4]) for i in range(len(head))]
    texts = []
    for line in lines:
        left = "  ".join(line[i].ljust(widths[i]) for i in range(2)) + "  " + line[2].rjust(widths[2])
        rest = "  ".join(line[i].rjust(widths[i]) for i in range(3, len(head))) if line[4] else line[3]
        texts.append(f"{left}  {rest}")
    return "\n".join(texts)


def _is_baseline(row: Contender, device: str) -> bool:
    return row.name == BASELINE and row.device == device and bool(row.realtime)


def environment(threads: int) -> dict[str, Any]:
    """Where the figures were taken."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _pin(threads: int) -> None:
    """Keep every thread, those of librosa's BLAS too, on the first `threads` cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        for task in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description="Speed of the constant-Q front end against its peers.")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--min-round-s", type=float, default=0.3, help="shortest time of a measurement")
    parser.add_argument("--device", choices=("cpu", "cuda", "all"), default="all")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    _pin(arguments.threads)

    where = environment(arguments.threads)
    print("  ".join(f"{key}: {value}" for key, value in where.items()))
    segments = signals(32)
    rows: list[Contender] = []
    for device, batches in (("cpu", [1, 8, 32]), ("cuda", [1, 32, 256, 1024])):
        if arguments.device not in {device, "all"}:
            continue
        if device == "cuda" and not torch.cuda.is_available():
            rows.append(Contender("catalog_tagger CQT", "cuda", 0, reason="no CUDA device here"))
            continue
        found = contenders(device, batches, segments)
        measure(found, arguments.rounds, arguments.min_round_s)
        check(found, segments)
        rows += found
    print(table(rows))
    if arguments.json:
        figures = [
            {key: value for key, value in asdict(row).items() if key != "run"}
            | {"median_realtime": statistics.median(row.realtime) if row.realtime else None}
            for row in rows
        ]
        arguments.json.write_text(json.dumps({"environment": where, "rows": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
