"""What a decoder's process holds: as real Ray workers, seen from outside."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_files import glide, write

from catalog_tagger.audio import StreamInfo
from catalog_tagger.errors import AudioError
from catalog_tagger.tagging.encoded import Encoded

MIB = 2**20
LIMIT_BYTES = 384 * MIB


def test_a_decoder_imports_no_more_than_it_needs() -> None:
    heavy = "{'torch', 'pyarrow', 'pandas', 'fsspec', 's3fs', 'duckdb', 'pydantic', 'ray.data'}"
    code = f"import sys, catalog_tagger.tagging.decoding; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def sparse_wav(path: Path, *, hours: int) -> Path:
    """Silence at 44.1 kHz in stereo that takes no room on the disk; beyond 4 GiB the sizes are 64 bits long."""
    size = hours * 3600 * 44100 * 4
    with path.open("wb") as file:
        file.write(b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, size + 72, size, size // 4, 0))
        file.write(b"fmt " + struct.pack("<IHHIIHH", 16, 1, 2, 44100, 176400, 4, 16) + b"data\xff\xff\xff\xff")
        file.truncate(file.tell() + size)
    return path


def resident(pid: int) -> dict[str, int]:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {parts[0].rstrip(":"): int(parts[1]) * 1024 for parts in lines if parts[-1] == "kB"}


def follow(path: Path) -> tuple[list[Any], dict[str, int]]:
    """Decode in a worker; its items without the samples, and the most that it held at any of them."""
    import ray

    from catalog_tagger.tagging.decoding import Started, decode_task

    items: list[Any] = []
    peak: dict[str, int] = {}
    pid = 0
    for reference in decode_task.remote(
        Encoded(path=str(path)), max_duration_s=24 * 3600.0, memory_bytes=LIMIT_BYTES, look=None
    ):
        item = ray.get(reference)
        if isinstance(item, Started):
            pid = item.pid
        items.append(len(item) if isinstance(item, np.ndarray) else item)
        del item
        for name, size in resident(pid).items():
            peak[name] = max(peak.get(name, 0), size)
    return items, peak


@pytest.mark.xdist_group("ray")
def test_hours_of_audio_pass_through_a_decoder_in_bounded_memory(local_ray: None, tmp_path: Path) -> None:
    (_, info, *blocks, end), peak = follow(sparse_wav(tmp_path / "a.wav", hours=2))
    assert isinstance(info, StreamInfo)
    assert end is None
    assert sum(blocks) == 7200 * 16000
    assert peak["RssAnon"] < 200 * MIB
    assert peak["VmRSS"] < 400 * MIB


@pytest.mark.xdist_group("ray")
def test_a_file_that_asks_for_too_much_is_refused_in_a_worker_that_lives_on(local_ray: None, tmp_path: Path) -> None:
    good = write(tmp_path / "good.m4a", glide(2.0, rate_hz=44100), rate_hz=44100, codec="alac")
    data = bytearray(good.read_bytes())
    at = data.index(b"stsz")
    data[at + 12 : at + 16] = struct.pack(">I", 60_000_000)
    (tmp_path / "asking.m4a").write_bytes(data)
    (started, end), peak = follow(tmp_path / "asking.m4a")
    assert isinstance(end, AudioError)
    assert end.code == "out_of_memory"
    assert "384 MiB" in str(end)
    assert peak["RssAnon"] < 200 * MIB
    (again, _, n_samples, end), _ = follow(good)
    assert again.pid == started.pid, "the worker goes on"
    assert end is None
    assert n_samples == 2 * 16000
