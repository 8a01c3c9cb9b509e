"""Finding songs among many: size of the index, time to build and to search it, what is found as it grows.

    python tests/bench/bench_songs.py DATA/manifest.csv --songs 100000

Shows are made of labelled recordings (roles music and speech) as an editor would: somebody speaks, and excerpts of 8
to 28 s of songs are played, in the clear or 3 to 15 dB below the voice, some of songs that are not in the index.
The index holds 150 whole songs and as many made ones as asked for, of four minutes: stretches of other recordings'
peaks, transposed by 6 to 24 bins, slowed or hastened by up to a third, a tenth of the peaks left out. So they
resemble music as far as landmarks can tell, and none is a recording that is played in a show.

Searched are the stretches in which music is played and 10 s to each side, as after tagging. Figures are of one
core, but for the wall time of building, which has as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import csv
import pickle
import random
import shutil
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from catalog_tagger.audio import SAMPLE_RATE_HZ, cut_segments, pcm_to_float, read_pcm
from catalog_tagger.fingerprints.chance import least_score
from catalog_tagger.fingerprints.landmarks import BINS, HOP_S, SONG_FAN, Peaks, landmarks_of, peaks_of
from catalog_tagger.fingerprints.matching import Match, find_songs, settled
from catalog_tagger.fingerprints.peaks import FRONTEND, SHOW_PEAKS, SONG_PEAKS, pick_peaks
from catalog_tagger.frontends import build_frontend
from catalog_tagger.songs.segments import SKETCHES, IndexedSong, SegmentInfo, read_segment, write_segment
from catalog_tagger.storage import Store

Samples = npt.NDArray[np.float32]
PLAYED = 150
SONG_S = 240.0
SONGS_OF_A_SEGMENT = 1300
BESIDE_S = 10.0


@dataclass(frozen=True)
class Truth:
    song: int
    """-1 of a song that is not in the index."""
    start_s: float
    end_s: float
    over: bool


@dataclass(frozen=True)
class Show:
    peaks: Peaks
    truth: list[Truth]

    @property
    def stretches(self) -> list[tuple[float, float]]:
        merged: list[tuple[float, float]] = []
        for one in self.truth:
            begin, end = one.start_s - BESIDE_S, one.end_s + BESIDE_S
            if merged and begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], end
            else:
                merged.append((begin, end))
        return merged


def codes_of(samples: Samples, most: int) -> npt.NDArray[np.int16]:
    segments = cut_segments(np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16))
    transform = build_frontend(FRONTEND).eval()
    grams = (transform(torch.from_numpy(pcm_to_float(segments[i : i + 32]))) for i in range(0, len(segments), 32))
    with torch.inference_mode():
        return np.concatenate([pick_peaks(gram, most=most).numpy() for gram in grams])


def levelled(x: Samples, db: float) -> Samples:
    """An RMS of so many dB over the louder half of its frames of 50 ms."""
    frames = x[: len(x) // 800 * 800].reshape(-1, 800)
    loud = np.sort(np.sqrt(np.mean(frames**2, axis=1) + 1e-12))[len(frames) // 2 :].mean()
    return x * np.float32(10 ** (db / 20) / max(1e-4, float(loud)))


class Material:
    """Recordings of a manifest's training split."""

    def __init__(self, manifest: Path, *, most: int, rng: random.Random) -> None:
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
        self.folder = manifest.parent
        music = [row for row in rows if row["role"] == "music" and float(row["duration_s"]) >= 20]
        self.music = rng.sample(music, min(most, len(music)))
        voices: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in rows:
            if row["role"] == "speech" and float(row["duration_s"]) >= 1:
                voices[f"{row['source']}:{row['speaker_or_artist']}"].append(row)
        self.voices = [some for some in voices.values() if sum(float(row["duration_s"]) for row in some) >= 10]

    def read(self, row: dict[str, str]) -> Samples:
        return np.asarray(pcm_to_float(read_pcm(self.folder / row["path"])), np.float32)

    def speech(self, rng: random.Random, seconds: float) -> Samples:
        clips = rng.choice(self.voices)[:]
        rng.shuffle(clips)
        parts, total = [], 0
        while total < seconds * SAMPLE_RATE_HZ:
            for row in clips:
                gap = np.zeros(int(SAMPLE_RATE_HZ * rng.uniform(0.15, 0.7)), np.float32)
                parts += [levelled(self.read(row), -22), gap]
                total += len(parts[-2]) + len(gap)
                if total >= seconds * SAMPLE_RATE_HZ:
                    break
        return np.concatenate(parts)[: int(seconds * SAMPLE_RATE_HZ)]

    def show(
        self, rng: random.Random, songs: list[Samples], unknown: list[dict[str, str]]
    ) -> tuple[Samples, list[Truth]]:
        spoken = self.speech(rng, 240)
        mixed, truth, at = spoken.copy(), [], 10.0
        for _ in range(rng.choice((1, 2, 3))):
            song = rng.randrange(len(songs)) if rng.random() < 0.75 else -1
            source = songs[song] if song >= 0 else self.read(rng.choice(unknown))
            length = min(rng.uniform(8, 28), len(source) / SAMPLE_RATE_HZ - 1)
            start, over = at + rng.uniform(3, 20), rng.random() < 0.5
            if start + length > 235:
                break
            first = int(rng.uniform(0, len(source) / SAMPLE_RATE_HZ - length) * SAMPLE_RATE_HZ)
            part = levelled(source[first : first + int(length * SAMPLE_RATE_HZ)], -20 - over * rng.uniform(3, 15))
            ends = np.minimum(np.arange(len(part)), np.arange(len(part))[::-1])
            place = slice(int(start * SAMPLE_RATE_HZ), int(start * SAMPLE_RATE_HZ) + len(part))
            mixed[place] = mixed[place] * over + part * np.minimum(1, ends / (0.5 * SAMPLE_RATE_HZ))
            truth.append(Truth(song, start, start + length, over))
            at = start + length
        return mixed, truth


def made_song(rng: np.random.Generator, recordings: list[Peaks]) -> Peaks:
    frames, bins, at = [], [], 0.0
    while at < SONG_S / HOP_S:
        peaks = recordings[rng.integers(len(recordings))]
        rate, shift = np.exp(rng.uniform(-0.3, 0.3)), rng.integers(6, 25) * rng.choice([-1, 1])
        frame, bin_ = peaks.frame * rate, peaks.bin + shift
        length = min(float(frame[-1]), rng.uniform(600, 2400))
        first = rng.uniform(0, float(frame[-1]) - length + 1)
        kept = (
            (frame >= first) & (frame < first + length) & (rng.random(len(frame)) < 0.9) & (bin_ >= 0) & (bin_ < BINS)
        )
        frames.append(frame[kept] - first + at)
        bins.append(bin_[kept])
        at += length
    frame, bin_ = np.rint(np.concatenate(frames)), np.concatenate(bins)
    order = np.lexsort((bin_, frame))
    return Peaks(frame[order].astype(np.float64), bin_[order])


def indexed(name: str, peaks: Peaks) -> IndexedSong:
    """With its peaks as whole hops of one long segment per 216 frames, as near as the format has them."""
    segment = (peaks.frame // (5 / HOP_S)).astype(np.int64)
    inside = np.clip(np.rint(peaks.frame - segment * (5 / HOP_S)), 0, 215).astype(np.int64)
    codes = np.unique(segment << 15 | inside * BINS + peaks.bin).astype(np.int32)
    return IndexedSong(name, "bench", float(peaks.frame[-1]) * HOP_S, codes)


def put(folder: str, number: int, songs: list[IndexedSong]) -> tuple[SegmentInfo, float]:
    """Index some songs as a segment; also the seconds of one core."""
    began = time.process_time()
    landmarks = [landmarks_of(song.peaks, fan=SONG_FAN) for song in songs]
    info = write_segment(
        Store(folder),
        f"{number:04d}",
        songs=songs,
        landmarks=landmarks,
        sketches=SKETCHES.empty_table(),
        sources=["bench"],
    )
    return info, time.process_time() - began


def put_made(folder: str, number: int, count: int) -> tuple[SegmentInfo, float]:
    recordings = pickle.loads(Path(folder, "recordings.pickle").read_bytes())
    rng = np.random.default_rng(number)
    return put(folder, number, [indexed(f"{number}-{i}", made_song(rng, recordings)) for i in range(count)])


def search(folder: str, name: str, shows: list[Show], songs_s: float) -> tuple[list[list[Match]], float]:
    """Matches of each show in a segment, and the seconds of one core that each took."""
    segment = read_segment(Store(folder), name)
    began = time.process_time()
    found = []
    for show in shows:
        searched_s = sum(end - begin for begin, end in show.stretches)
        least = least_score(searched_s=searched_s, songs_s=songs_s)
        found.append(find_songs(segment.index, show.peaks, least_score=least, stretches=show.stretches))
    return found, (time.process_time() - began) / len(shows)


def report(shows: list[Show], found: list[list[tuple[str, Match]]], songs_s: float) -> str:
    counts, errors, false = {False: [0, 0], True: [0, 0]}, [], 0
    for show, matches in zip(shows, found, strict=True):
        searched_s = sum(end - begin for begin, end in show.stretches)
        least = least_score(searched_s=searched_s, songs_s=songs_s)
        names = {id(match): name for name, match in matches}
        kept = settled([match for _, match in matches if match.score >= least])
        right = set()
        for one in show.truth:
            if one.song < 0:
                continue
            counts[one.over][1] += 1
            for match in kept:
                shared = min(match.end_s, one.end_s) - max(match.start_s, one.start_s)
                if names[id(match)] == "0000" and match.song == one.song and shared > 0.5 * (one.end_s - one.start_s):
                    counts[one.over][0] += 1
                    errors += [abs(match.start_s - one.start_s), abs(match.end_s - one.end_s)]
                    right.add(id(match))
                    break
        false += sum(id(match) not in right for match in kept)
    clear, over = counts[False], counts[True]
    median, within = (np.median(errors), np.mean(np.array(errors) < 1)) if errors else (np.nan, np.nan)
    found_line = f"{clear[0]}/{clear[1]} clear, {over[0]}/{over[1]} under speech, {false} others"
    return f"{found_line}; ends {median:.2f} s, {within:.0%} in 1 s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--songs", type=int, default=5000)
    parser.add_argument("--shows", type=int, default=16)
    parser.add_argument("--recordings", type=int, default=1000, help="most recordings of music that all is made of")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(options.seed)
    material = Material(options.manifest, most=options.recordings, rng=rng)
    rows, count = material.music, min(PLAYED, len(material.music) // 3)
    played = [levelled(material.read(row), rng.uniform(-24, -12)) for row in rows[:count]]
    paths = {row["original_path"] for row in rows[:count]}
    others = [row for row in rows[count:] if row["original_path"] not in paths]
    unknown, rest = others[: len(others) // 3], others[len(others) // 3 :]
    unheard = {row["original_path"] for row in unknown}
    made_of = [row for row in rest if row["original_path"] not in unheard]
    drawn = [material.show(rng, played, unknown) for _ in range(options.shows)]
    shows = [Show(peaks_of(codes_of(mixed, SHOW_PEAKS)), truth) for mixed, truth in drawn]
    folder = tempfile.mkdtemp(prefix="bench-songs-")
    try:
        recordings = [peaks_of(codes_of(material.read(row), SONG_PEAKS)) for row in made_of]
        Path(folder, "recordings.pickle").write_bytes(pickle.dumps([one for one in recordings if len(one) > 100]))
        real = [indexed(f"played{i}", peaks_of(codes_of(x, SONG_PEAKS))) for i, x in enumerate(played)]
        sizes = [min(SONGS_OF_A_SEGMENT, options.songs - at) for at in range(0, options.songs, SONGS_OF_A_SEGMENT)]
        began = time.monotonic()
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            numbers = range(1, len(sizes) + 1)
            built = [put(folder, 0, real), *pool.map(put_made, [folder] * len(sizes), numbers, sizes)]
        infos = [info for info, _ in built]
        songs_s, postings = sum(info.songs_s for info in infos), sum(info.postings for info in infos)
        rate = songs_s / sum(cpu for _, cpu in built)
        kilobytes = sum(info.size_bytes for info in infos) / songs_s * SONG_S / 1e3
        print(f"{sum(info.songs for info in infos):,} songs, {songs_s / 3600:,.0f} h:", end=" ")
        print(f"{postings / songs_s:.1f} postings a second, {kilobytes:.1f} kB for four minutes;", end=" ")
        print(f"indexing {rate:,.0f} x real time on one core", end=" ")
        print(f"(made and built in {time.monotonic() - began:,.0f} s)", flush=True)
        music_s = np.mean([sum(end - begin for begin, end in show.stretches) for show in shows])
        print(f"{len(shows)} shows of 240 s, of which {music_s:.0f} s are searched")
        found: list[list[tuple[str, Match]]] = [[] for _ in shows]
        cpu, sofar, steps = 0.0, 0.0, {1, 2, 4, 8, 16, 32, 64, len(infos)}
        for number, info in enumerate(infos, start=1):
            matches, seconds = search(folder, info.name, shows, songs_s if number > 1 else infos[0].songs_s)
            cpu, sofar = cpu + seconds, sofar + info.songs_s
            for mine, more in zip(found, matches, strict=True):
                mine += [(info.name, match) for match in more]
            if number in steps:
                print(
                    f"  {sum(one.songs for one in infos[:number]):>7,} songs: {cpu:7.2f} s a show, "
                    f"{240 / cpu:6.0f} x real time; {report(shows, found, sofar)}",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
