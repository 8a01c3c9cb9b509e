"""Decoded recordings in one memory-mapped file, so that training never waits for a decoder.

A cache is a folder `<root>/<key>/` where `key` is a hash of what was decoded (paths, sizes, times
of modification, and whether a degraded copy was asked for):

- `pcm.i16`       all clips one after the other, int16 mono 16 kHz, little endian;
- `degraded.i16`  the same clips after a codec drawn per clip by a hash of its path (same lengths);
- `levels.i8`     RMS of each 10 ms of `pcm` in dB below full scale, -100 for digital silence;
- `index.json`    the length of each clip in samples, in the order of the clips.

A folder that exists was written whole, also where several trainings build the same one (`folders`);
one whose files are not as long as its index says is refused. Clips that are missing or cannot be
decoded end the build, after all were tried, with one error that names them; nothing is left behind.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from catalog_tagger.audio import SAMPLE_RATE_HZ, read_pcm
from catalog_tagger.errors import CatalogTaggerError, UsageError, named
from catalog_tagger.training.codec import LOSSY_CODECS, round_trip
from catalog_tagger.training.folders import INDEX, mapped, read_index, written_whole
from catalog_tagger.training.manifest import Clip

LEVEL_HOP_SAMPLES: Final = SAMPLE_RATE_HZ // 100
SILENCE_DB: Final = -100.0
_NAMED: Final = 10
Int16Array = npt.NDArray[np.int16]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PcmCache:
    """Clips by position; the arrays are views of memory-mapped files."""

    pcm: Int16Array
    degraded: Int16Array | None
    levels: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int64]
    level_offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def samples(self, clip: int, *, degraded: bool = False) -> Int16Array:
        """Samples of a clip, int16 [shape=(n,)]."""
        data = self.degraded if degraded and self.degraded is not None else self.pcm
        return data[self.offsets[clip] : self.offsets[clip + 1]]

    def level_db(self, clip: int) -> npt.NDArray[np.int8]:
        """Level per 10 ms in dB below full scale, int8 [shape=(ceil(n / 160),)]."""
        return self.levels[self.level_offsets[clip] : self.level_offsets[clip + 1]]


def frame_levels_db(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """RMS of each 10 ms in dB below full scale, float32 [shape=(ceil(n / 160),)]."""
    frames = -(-samples.size // LEVEL_HOP_SAMPLES)
    padded = np.zeros(frames * LEVEL_HOP_SAMPLES, np.float32)
    padded[: samples.size] = samples
    power = np.square(padded.reshape(frames, LEVEL_HOP_SAMPLES)).mean(axis=1)
    answer: npt.NDArray[np.float32] = np.maximum(10.0 * np.log10(power + 1e-12), SILENCE_DB).astype(np.float32)
    return answer


def open_cache(clips: Sequence[Clip], root: Path, *, degraded: bool, progress: Progress | None = None) -> PcmCache:
    """Open the cache of `clips` under `root`; build it first where it does not exist.

    Parameters
    ----------
    degraded
        Also keep a copy of each clip that went through a lossy codec.
    progress
        Called with (clips done, clips in all) while it is built.

    Raises
    ------
    UsageError
        A clip is missing or cannot be decoded, or the cache cannot be written or was damaged.
    """
    folder = root / _key(clips, degraded)
    if not folder.exists():
        try:
            with written_whole(folder) as unfinished:
                _build(clips, unfinished, degraded=degraded, progress=progress)
        except OSError as error:  # of writing: a clip that cannot be read is another error
            raise UsageError(
                f"{root}: decoded clips cannot be kept here: {error.strerror}; make room, or give another --cache"
            ) from error
    lengths = np.array(read_index(folder)["samples"], np.int64)
    if len(lengths) != len(clips):
        raise UsageError(f"{folder}: holds {len(lengths)} clips, not {len(clips)}; delete it")
    frames = -(-lengths // LEVEL_HOP_SAMPLES)
    samples = int(lengths.sum())
    return PcmCache(
        pcm=mapped(folder / "pcm.i16", np.int16, samples),
        degraded=mapped(folder / "degraded.i16", np.int16, samples) if degraded else None,
        levels=mapped(folder / "levels.i8", np.int8, int(frames.sum())),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        level_offsets=np.concatenate([[0], np.cumsum(frames)]),
    )


def with_lengths(clips: Sequence[Clip], cache: PcmCache) -> tuple[Clip, ...]:
    """The clips of a cache; those of which the manifest tells no duration get that of their samples."""
    found = np.diff(cache.offsets) / SAMPLE_RATE_HZ
    return tuple(
        clip if clip.duration_s else replace(clip, duration_s=round(float(seconds), 3))
        for clip, seconds in zip(clips, found, strict=True)
    )


def _key(clips: Sequence[Clip], degraded: bool) -> str:
    digest = hashlib.sha256(b"degraded" if degraded else b"plain")
    missing = []
    for clip in clips:
        try:
            found = clip.path.stat()
        except OSError as error:
            missing.append(f"{clip.path}: {error.strerror}")
            continue
        # one file has one name: a manifest is named now from here, now from there
        digest.update(f"{clip.path.resolve()}\t{found.st_size}\t{found.st_mtime_ns}\n".encode())
    if missing:
        raise _unusable(missing, clips, "cannot be opened", "correct their paths in the manifest")
    return digest.hexdigest()[:16]


def _unusable(found: list[str], clips: Sequence[Clip], what: str, remedy: str) -> UsageError:
    lines = named(found, most=_NAMED, between="\n  ", last="\n  and ")
    return UsageError(
        f"{len(found)} of the {len(clips)} clips {what}; {remedy}, or remove their rows from it:\n  {lines}"
    )


def _build(clips: Sequence[Clip], folder: Path, *, degraded: bool, progress: Progress | None) -> None:
    lengths = []
    with (
        (folder / "pcm.i16").open("wb") as pcm_file,
        (folder / "degraded.i16").open("wb") as degraded_file,
        (folder / "levels.i8").open("wb") as level_file,
    ):
        broken = []
        for position, decoded in enumerate(_decoded(clips, degraded=degraded)):
            if isinstance(decoded, str):
                broken.append(decoded)
                continue
            pcm, copy = decoded
            lengths.append(int(pcm.size))
            pcm_file.write(pcm.tobytes())
            levels = frame_levels_db(pcm.astype(np.float32) / 32768.0)
            level_file.write(np.rint(levels).astype(np.int8).tobytes())
            degraded_file.write(copy.tobytes())
            if progress is not None:
                progress(position + 1, len(clips))
    if broken:
        raise _unusable(broken, clips, "cannot be decoded", "mend the files that the manifest names")
    if not degraded:
        (folder / "degraded.i16").unlink()
    (folder / INDEX).write_text(json.dumps({"samples": lengths}))


def _decoded(clips: Sequence[Clip], *, degraded: bool) -> Iterator[tuple[Int16Array, Int16Array] | str]:
    """Samples of each clip and its degraded copy (empty unless asked for), in order, by a thread per core.

    A clip that cannot be decoded gives a line that says why instead.

    Threads serve: decoders and encoders run without the interpreter's lock.
    """
    threads = os.cpu_count() or 1

    def one(clip: Clip) -> tuple[Int16Array, Int16Array] | str:
        try:
            pcm = read_pcm(clip.path)
        except (CatalogTaggerError, OSError) as error:
            return f"{clip.path}: {error}"
        return pcm, _degrade(pcm, clip) if degraded else pcm[:0]

    pending: deque[Future[tuple[Int16Array, Int16Array] | str]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for clip in clips:
            pending.append(pool.submit(one, clip))
            if len(pending) > 4 * threads:  # no more than these in memory
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _degrade(pcm: Int16Array, clip: Clip) -> Int16Array:
    # By content of the manifest alone, so that a rebuilt cache is the same cache.
    digest = hashlib.sha256(clip.key.encode() + clip.path.name.encode()).digest()
    codec = LOSSY_CODECS[int.from_bytes(digest[:4], "big") % len(LOSSY_CODECS)]
    return round_trip(pcm, codec, sample_rate_hz=SAMPLE_RATE_HZ)
