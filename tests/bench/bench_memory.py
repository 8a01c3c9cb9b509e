"""Memory of a whole local job over very long files.

    python tests/bench/bench_memory.py --hours 10

Makes an MP3 (128 kb/s) and a WAV (22.05 kHz, stereo, 16 bit; sparse on the disk) of that length, tags both
with the bundle that ships, and prints the peak of the proportional memory (PSS: shared pages count once)
of all processes of the job together, of each kind of process, and each kind's largest resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from audio_files import glide, write
from processes import command_line, descendants

KINDS = {"decoder": "ray::_decode_task", "actor": "ray::MapWorker", "ray": "ray"}
MB = 2**20


def make_mp3(path: Path, *, hours: float) -> None:
    minute = write(path.with_name("minute.mp3"), glide(60.0, rate_hz=44100), rate_hz=44100, codec="mp3")
    data = minute.read_bytes()
    minute.unlink()
    with path.open("wb") as file:
        for _ in range(round(hours * 60)):
            file.write(data)


def make_wav(path: Path, *, hours: float) -> None:
    """Silence that takes no room on the disk."""
    rate_hz, frame = 22050, 4
    size = round(hours * 3600) * rate_hz * frame
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 2, rate_hz, rate_hz * frame, frame, 16))
        file.write(b"data" + struct.pack("<I", size))
        file.truncate(44 + size)


def memory(pid: int, name: str, field: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--source", help="tag this instead, such as an s3:// prefix")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "audio"
        folder.mkdir()
        if not arguments.source:
            make_mp3(folder / "long.mp3", hours=arguments.hours)
            make_wav(folder / "long.wav", hours=arguments.hours)
        program = [sys.executable, "-c", "from catalog_tagger.cli.main import main; main()"]
        command = [*program, "tag", arguments.source or str(folder), "-w", f"{temporary}/w", "--json"]
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        peak, peaks, resident = 0, defaultdict(int), defaultdict(int)
        while job.poll() is None:
            now: dict[str, int] = defaultdict(int)
            for pid in [job.pid, *descendants(job.pid)]:
                line = "driver" if pid == job.pid else command_line(pid)
                kind = next((kind for kind, text in KINDS.items() if text in line), "driver")
                now[kind] += memory(pid, "smaps_rollup", "Pss")
                resident[kind] = max(resident[kind], memory(pid, "status", "VmHWM"))
            peak = max(peak, sum(now.values()))
            for kind, size in now.items():
                peaks[kind] = max(peaks[kind], size)
            time.sleep(0.25)
        out = json.loads(job.communicate()[0])
    print(f"{out['tracks']} tracks, {out['audio_s'] / 3600:.1f} h of audio in {out['wall_s']:.0f} s")
    print(f"peak of the whole job: {peak / MB:,.0f} MB")
    for kind in peaks:
        print(f"  {kind}: {peaks[kind] / MB:,.0f} MB together, largest process {resident[kind] / MB:,.0f} MB resident")
    if arguments.json:
        figures = {"peak": peak, "together": dict(peaks), "largest": dict(resident), "audio_s": out["audio_s"]}
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
