"""A small catalogue made on the spot: songs, audiobooks, podcasts, noise, rubbish, and wrong labels.

`make_demo_catalogue` writes into a folder

    manifest.csv    track_id, uri (relative to the manifest), title, artist, content_type: what a catalogue
                    believes, three tracks of it wrong
    truth.csv       what is really there, a row per track: content_type as the tagger should hear it
                    (empty for files that hold no audio), label_is_wrong, codec, sample_rate_hz,
                    channels, duration_s, and the song inside a podcast with its times
    audio/          the files, every codec of `encode.CODECS` among them

Songs are composed by `music`, speech comes from the recordings in ``voices/``. The same seed gives
the same bytes; making it again leaves the files as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from catalog_tagger.audio import SAMPLE_RATE_HZ, pcm_to_float, read_pcm
from catalog_tagger.demo.encode import SUFFIXES, write_audio
from catalog_tagger.demo.music import STYLES, Stereo, compose
from catalog_tagger.demo.render_voices import VOICES_DIR

_SONG_RATE_HZ: Final = 44100
_GAP_S: Final = 0.6
_BED_GAIN: Final = 0.14  # music under speech, about 14 dB below it


@dataclass(frozen=True)
class DemoCatalogue:
    """Where a demo catalogue lies and what it counts."""

    root: Path
    manifest: Path
    truth: Path
    n_tracks: int
    """Rows of the manifest, broken files included."""
    n_broken: int
    wrong_labels: tuple[str, ...]
    """`track_id` of the tracks whose label in the manifest is wrong."""
    duration_s: float
    """Audio in all tracks that hold any."""


@dataclass(frozen=True)
class _Part:
    """A stretch of a track: a song (by its place in `STYLES`), spoken passages, rain or silence."""

    song: int | None = None
    voices: tuple[str, ...] = ()
    bed: int | None = None
    """Song to play softly under the voices."""
    rain: bool = False
    length_s: float = 0.0
    """Of rain, silence or an excerpt of the song; 0 plays the whole song."""


@dataclass(frozen=True)
class _Recipe:
    title: str
    artist: str
    label: str
    """content_type in the manifest, right or wrong."""
    content_type: str
    """What the tagger should hear: music, speech, mixed or other."""
    codec: str
    rate_hz: int
    channels: int
    parts: tuple[_Part, ...]
    bit_rate_bps: int | None = None
    label_is_wrong: bool = False


def _songs() -> list[_Recipe]:
    artists = ("The Gull Street Band", "Ida Marlow", "Paper Boats", "Orrin Vale")
    files = (
        ("mp3", 44100, 2, 192000), ("aac", 44100, 2, 128000), ("flac", 44100, 2, None), ("alac", 44100, 2, None),
        ("opus", 48000, 2, 96000), ("wav", 22050, 1, None), ("mp3", 48000, 2, 128000), ("vorbis", 44100, 2, None),
        ("wma", 44100, 2, 128000), ("aiff", 32000, 1, None), ("mp3", 32000, 1, 64000), ("aac", 48000, 1, 64000),
    )  # fmt: skip
    wrong = {1: "audiobook", 10: "podcast"}
    return [
        _Recipe(
            style.title, artists[number % 4], wrong.get(number, "music"), "music", codec, rate_hz, channels,
            (_Part(song=number),), bit_rate_bps, number in wrong,
        )
        for number, (style, (codec, rate_hz, channels, bit_rate_bps)) in enumerate(zip(STYLES, files, strict=True))
    ]  # fmt: skip


def _spoken() -> list[_Recipe]:
    def book(
        title: str, author: str, codec: str, rate_hz: int, *voices: str, channels: int = 1, wrong: str = ""
    ) -> _Recipe:
        bit_rate_bps = 48000 if codec in {"mp3", "aac", "opus"} else None
        parts = (_Part(voices=voices),)
        label = wrong or "audiobook"
        return _Recipe(title, author, label, "speech", codec, rate_hz, channels, parts, bit_rate_bps, bool(wrong))

    def podcast(title: str, content_type: str, codec: str, rate_hz: int, *parts: _Part) -> _Recipe:
        return _Recipe(title, "Second Hand Sounds", "podcast", content_type, codec, rate_hz, 2, parts, 96000)

    talk, reply = _Part(voices=("host",)), _Part(voices=("guest",))
    return [
        book("The Lamp on the Rock", "E. Harrow", "mp3", 22050, "lighthouse", "orchard"),
        book("A Single White Blossom", "Nell Aster", "aac", 24000, "orchard", wrong="music"),
        book("Der Mann am Fenster", "J. Kessel", "opus", 16000, "bahnhof"),
        book("Trois citrons", "A. Morel", "flac", 16000, "marche"),
        book("Las luces del puerto", "R. Salinas", "wav", 8000, "puerto"),
        book("La frase", "G. Conti", "mp3", 44100, "biblioteca", channels=2),
        podcast("Old Machines, part one", "mixed", "mp3", 44100, talk, _Part(song=0, length_s=20.0), reply),
        podcast("Old Machines, part two", "mixed", "aac", 48000, _Part(voices=("guest", "host"), bed=9)),
        podcast("A Night in a Windmill", "mixed", "opus", 48000, _Part(song=7, length_s=18.0), talk, reply),
    ]


def _others() -> list[_Recipe]:
    return [
        _Recipe("Rain on a Tin Roof", "Field Notes", "sound effect", "other", "flac", 32000, 2,
                (_Part(rain=True, length_s=20.0),)),
        _Recipe("Untitled (test pressing)", "", "music", "other", "wav", 44100, 1, (_Part(length_s=15.0),), None, True),
    ]  # fmt: skip


def make_demo_catalogue(out: Path, *, seed: int = 0) -> DemoCatalogue:
    """Write the catalogue into the folder `out`, which is made when it is missing.

    Parameters
    ----------
    out
        Folder of ``manifest.csv``, ``truth.csv`` and ``audio/``.
    seed
        Other seeds play the songs differently; the list of tracks stays.
    """
    audio = out / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    manifest: list[dict[str, object]] = []
    truth: list[dict[str, object]] = []
    for recipe in (*_songs(), *_spoken(), *_others()):
        track_id = f"DEMO{len(manifest) + 1:04d}"
        path = audio / f"{track_id}{SUFFIXES[recipe.codec]}"
        samples, inside = _render(recipe, seed)
        write_audio(path, samples, sample_rate_hz=recipe.rate_hz, codec=recipe.codec, bit_rate_bps=recipe.bit_rate_bps)
        manifest.append(_row(track_id, path, recipe.title, recipe.artist, recipe.label))
        truth.append(
            {
                "track_id": track_id,
                "content_type": recipe.content_type,
                "label_is_wrong": str(recipe.label_is_wrong).lower(),
                "codec": recipe.codec,
                "sample_rate_hz": recipe.rate_hz,
                "channels": recipe.channels,
                "duration_s": round(samples.shape[1] / recipe.rate_hz, 3),
                **inside,
            }
        )
    duration_s = sum(float(str(row["duration_s"])) for row in truth)
    for title, path in _write_broken(audio, first_number=len(manifest) + 1):
        manifest.append(_row(path.stem, path, title, "Paper Boats", "music"))
        truth.append({"track_id": path.stem, "label_is_wrong": "false"})
    _write_csv(out / "manifest.csv", manifest, columns=tuple(manifest[0]))
    _write_csv(out / "truth.csv", truth, columns=(*truth[0], "song_track_id", "song_start_s", "song_end_s"))
    return DemoCatalogue(
        root=out,
        manifest=out / "manifest.csv",
        truth=out / "truth.csv",
        n_tracks=len(manifest),
        n_broken=sum("content_type" not in row for row in truth),
        wrong_labels=tuple(str(row["track_id"]) for row in truth if row["label_is_wrong"] == "true"),
        duration_s=duration_s,
    )


def _row(track_id: str, path: Path, title: str, artist: str, label: str) -> dict[str, object]:
    uri = f"{path.parent.name}/{path.name}"
    return {"track_id": track_id, "uri": uri, "title": title, "artist": artist, "content_type": label}


def _render(recipe: _Recipe, seed: int) -> tuple[Stereo, dict[str, object]]:
    """Samples of shape (channels, samples) at the track's rate, and the song inside for the truth."""
    rate_hz = recipe.rate_hz
    pieces: list[Stereo] = []
    inside: dict[str, object] = {}
    at = 0
    for part in recipe.parts:
        if pieces:
            pieces.append(np.zeros((2, int(_GAP_S * rate_hz)), dtype=np.float32))
            at += pieces[-1].shape[1]
        pieces.append(_render_part(part, rate_hz, seed))
        if part.song is not None and len(recipe.parts) > 1:
            end = at + pieces[-1].shape[1]
            inside = {
                "song_track_id": f"DEMO{part.song + 1:04d}",
                "song_start_s": round(at / rate_hz, 3),
                "song_end_s": round(end / rate_hz, 3),
            }
        at += pieces[-1].shape[1]
    samples = np.concatenate(pieces, axis=1)
    return samples if recipe.channels == 2 else samples.mean(axis=0, keepdims=True), inside


def _render_part(part: _Part, rate_hz: int, seed: int) -> Stereo:
    if part.song is not None:
        song = _song(part.song, seed)
        return _resample(song[:, : int(part.length_s * _SONG_RATE_HZ) or song.shape[1]], _SONG_RATE_HZ, rate_hz)
    if part.voices:
        gap = np.zeros(int(_GAP_S * SAMPLE_RATE_HZ), dtype=np.float32)
        spoken = np.concatenate([sound for name in part.voices for sound in (_voice(name), gap)])
        speech = np.repeat(_resample(spoken[None], SAMPLE_RATE_HZ, rate_hz), 2, axis=0)
        if part.bed is not None:
            bed = _resample(_song(part.bed, seed), _SONG_RATE_HZ, rate_hz)
            speech += _BED_GAIN * np.tile(bed, -(-speech.shape[1] // bed.shape[1]))[:, : speech.shape[1]]
        return speech
    n = int(part.length_s * rate_hz)
    return _rain(n, rate_hz, seed) if part.rain else np.zeros((2, n), dtype=np.float32)


@lru_cache(maxsize=len(STYLES))
def _song(number: int, seed: int) -> Stereo:
    """The recording of a song, which its own track and the podcasts that play it share."""
    return compose(STYLES[number], seed=seed, length_s=22.0 + 1.7 * number, rate_hz=_SONG_RATE_HZ)


@lru_cache(maxsize=16)
def _voice(name: str) -> Stereo:
    """A spoken passage at 16 kHz, shape (samples,), brought to -20 dB of full scale."""
    speech = pcm_to_float(read_pcm(VOICES_DIR / f"{name}.opus"))
    return np.asarray(speech * (0.1 / np.sqrt(np.mean(speech**2))), dtype=np.float32)


def _rain(n: int, rate_hz: int, seed: int) -> Stereo:
    """Broad noise, louder and softer with the wind, and drops."""
    rng = np.random.default_rng([seed, n])
    gusts = np.interp(np.arange(n) / rate_hz, np.arange(0, n / rate_hz + 2), rng.uniform(0.5, 1.0, n // rate_hz + 2))
    drops = (rng.random((2, n)) < 60 / rate_hz) * rng.exponential(4.0, (2, n))
    splash = np.exp(-np.arange(int(0.004 * rate_hz)) / (0.001 * rate_hz))
    wet = np.stack([np.convolve(side, splash, mode="same") for side in drops])
    return np.asarray(0.05 * (rng.standard_normal((2, n)) * gusts + wet), dtype=np.float32)


def _resample(samples: Stereo, from_hz: int, to_hz: int) -> Stereo:
    """Change the rate of whole recordings by their spectrum; the ends are silent, so wrapping is no harm."""
    if from_hz == to_hz:
        return samples
    n = samples.shape[1]
    seconds = -(-n // from_hz)  # whole seconds are whole samples at both rates, and lengths an FFT likes
    size, wanted = seconds * from_hz, seconds * to_hz
    spectrum = np.fft.rfft(samples, size)
    if wanted > size:
        spectrum = np.pad(spectrum, ((0, 0), (0, wanted // 2 + 1 - spectrum.shape[1])))
    else:
        spectrum = spectrum[:, : wanted // 2 + 1]
    out = np.fft.irfft(spectrum, wanted)[:, : n * to_hz // from_hz] * (to_hz / from_hz)
    return np.asarray(out, dtype=np.float32)


def _write_broken(audio: Path, *, first_number: int) -> list[tuple[str, Path]]:
    """(title, path) of the files that are no audio: a web server's apology, and an upload that broke off."""
    page, torn = audio / f"DEMO{first_number:04d}.mp3", audio / f"DEMO{first_number + 1:04d}.m4a"
    whole = (audio / f"DEMO0002{SUFFIXES['aac']}").read_bytes()
    contents = (
        (page, b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>No such object</body></html>\n"),
        (torn, whole[: len(whole) // 3]),
    )
    for path, content in contents:
        if not (path.is_file() and path.read_bytes() == content):
            path.write_bytes(content)
    return [("Saltwater", page), ("Second Floor, No Lift", torn)]


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]], *, columns: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
