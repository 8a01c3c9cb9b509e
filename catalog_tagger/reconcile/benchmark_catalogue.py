"""A catalogue whose truth is known, for the benchmark: what its files say, and copies of some of its tracks.

A catalogue is a folder of

    manifest.csv       track_id, uri, content_type, voice_gender: what is believed, errors included
    truth.csv          track_id, content_type, voice_gender, label_error, playable
    songs_truth.csv    track_id, song_track_id, start_s, end_s, talk_over: its songs inside its shows
    audio/             the tracks

Copies are made of music and of audiobooks whose labels are right: decoded to mono 16 kHz, silence before, another
level, another codec. They join the manifest and the truth as tracks with ids of their own.

Failure rule: a file or a column that is missing, and a value that is none, is one `UsageError` that names it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from catalog_tagger.audio import SAMPLE_RATE_HZ, pcm_to_float, read_pcm
from catalog_tagger.demo.encode import SUFFIXES, write_audio
from catalog_tagger.errors import AudioError, StorageError, UsageError, reason_of

_COLUMNS: Final = {
    "manifest.csv": ("track_id", "uri", "content_type", "voice_gender"),
    "truth.csv": ("track_id", "content_type", "voice_gender", "label_error", "playable"),
    "songs_truth.csv": ("track_id", "song_track_id", "start_s", "end_s", "talk_over"),
}
_MUSIC: Final = "music"
_SPOKEN: Final = "audiobook"
#: codec and bit rate, level and seconds of silence before, in turn; the lists are of lengths without a common divisor
_CODECS: Final = (("mp3", 64000), ("opus", 48000), ("aac", 64000), ("flac", None))
_GAINS: Final = (0.5, 0.8, 0.3)
_SILENCES_S: Final = (1.0, 1.37, 2.0, 1.61, 1.83)

_Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Played:
    """A song that a track plays."""

    track_id: str
    song_track_id: str
    start_s: float
    end_s: float
    talk_over: bool = False


@dataclass(frozen=True)
class Truth:
    """What a track really is, and what the manifest says of it."""

    content_type: str
    gender: str
    """f or m; empty where nobody knows or nobody speaks."""
    said_gender: str
    label_error: bool
    playable: bool

    @property
    def gender_error(self) -> bool:
        """Whether the manifest names the other gender."""
        return bool(self.gender and self.said_gender) and self.gender != self.said_gender


@dataclass(frozen=True)
class Copy:
    """A track that is the same recording as another."""

    track_id: str
    original: str
    kind: str
    """music or audiobook."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A catalogue with its truth."""

    manifest: Path
    rows: tuple[dict[str, str], ...]
    """Of the manifest."""
    truth: Mapping[str, Truth]
    songs: tuple[Played, ...]
    copies: tuple[Copy, ...] = ()


def read_catalogue(folder: Path) -> Catalogue:
    """Read what the files of a catalogue say.

    Raises
    ------
    UsageError
        There is no such folder, one of its files or columns is missing, a value is not what it should be, or
        manifest and truth list other tracks.
    """
    if not folder.is_dir():
        files = ", ".join(_COLUMNS)
        raise UsageError(f"{folder}: no such folder; name one with {files} and the audio that the manifest lists")
    manifest, said_truth, said_songs = (_read(folder / name, columns) for name, columns in _COLUMNS.items())
    said = {row["track_id"]: row for row in manifest}
    place = folder / "truth.csv"
    truth = {row["track_id"]: _truth(_Line(place, n, row), said) for n, row in enumerate(said_truth, start=1)}
    untold = next((track_id for track_id in said if track_id not in truth), None)
    if untold is not None:
        raise UsageError(f"{place}: no row for track {untold!r} of manifest.csv; give every track its truth")
    place = folder / "songs_truth.csv"
    songs = tuple(_played(_Line(place, n, row), said) for n, row in enumerate(said_songs, start=1))
    return Catalogue(manifest=folder / "manifest.csv", rows=tuple(manifest), truth=truth, songs=songs)


def with_copies(catalogue: Catalogue, folder: Path, count: int) -> Catalogue:
    """The catalogue with copies of some of its tracks, half of them music.

    Parameters
    ----------
    folder
        For the copies and a manifest with all tracks; made when it is missing. The same copies are left alone.
    count
        Most copies; fewer where too few tracks can be copied.

    Raises
    ------
    UsageError
        A track that should play cannot be read.
    StorageError
        The folder cannot be written.
    """
    music = _spread(_right(catalogue, _MUSIC), (count + 1) // 2)
    originals = [*music, *_spread(_right(catalogue, _SPOKEN), count - len(music))]
    rows = [{**row, "uri": _placed(row["uri"], catalogue.manifest.parent)} for row in catalogue.rows]
    copies, truth = [], dict(catalogue.truth)
    try:
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(originals):
            copied = f"{row['track_id']}-copy"
            path = _copied(Path(_placed(row["uri"], catalogue.manifest.parent)), folder / "audio" / copied, number)
            rows.append({**row, "track_id": copied, "uri": str(path)})
            truth[copied] = truth[row["track_id"]]
            copies.append(Copy(copied, row["track_id"], row["content_type"]))
        manifest = folder / "manifest.csv"
        with manifest.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else list(_COLUMNS["manifest.csv"]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: cannot write the copies: {reason_of(error)}") from error
    return replace(catalogue, manifest=manifest, rows=tuple(rows), truth=truth, copies=tuple(copies))


def gender_of(value: str) -> str:
    """F or m, however it is written; empty where it is neither."""
    return {"f": "f", "female": "f", "m": "m", "male": "m"}.get(value.strip().lower(), "")


def _right(catalogue: Catalogue, kind: str) -> _Rows:
    """Tracks of a kind that play and whose labels are right."""

    def is_right(truth: Truth) -> bool:
        return truth.playable and truth.content_type == kind and not (truth.label_error or truth.gender_error)

    return [row for row in catalogue.rows if is_right(catalogue.truth[row["track_id"]])]


def _spread(rows: _Rows, count: int) -> _Rows:
    """So many of them, from everywhere in the list."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _placed(uri: str, folder: Path) -> str:
    return uri if "://" in uri else os.path.abspath(folder / uri)  # noqa: PTH100 - links stay as they are


def _copied(original: Path, path: Path, number: int) -> Path:
    """Write a copy; returns its file."""
    codecs = [one for one in _CODECS if SUFFIXES[one[0]] != original.suffix.lower()]
    codec, bit_rate_bps = codecs[number % len(codecs)]
    try:
        samples = pcm_to_float(read_pcm(original))
    except (OSError, AudioError) as error:
        raise UsageError(
            f"{original}: cannot be copied ({reason_of(error)}); restore it, correct truth.csv, or use --copies 0"
        ) from error
    silence = np.zeros(int(_SILENCES_S[number % len(_SILENCES_S)] * SAMPLE_RATE_HZ), np.float32)
    louder = np.concatenate([silence, samples * np.float32(_GAINS[number % len(_GAINS)])])
    return write_audio(
        path.with_name(path.name + SUFFIXES[codec]),
        louder,
        sample_rate_hz=SAMPLE_RATE_HZ,
        codec=codec,
        bit_rate_bps=bit_rate_bps,
    )


def _read(place: Path, columns: Sequence[str]) -> _Rows:
    try:
        with place.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            has = list(reader.fieldnames or ())
            rows = list(reader)
    except FileNotFoundError:
        raise UsageError(f"{place}: no such file; a catalogue has {', '.join(_COLUMNS)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{place}: cannot be read: {reason_of(error)}; expected a CSV in UTF-8") from error
    missing = next((column for column in columns if column not in has), None)
    if missing is not None:
        raise UsageError(
            f"{place}: column {missing!r} is missing; it needs {', '.join(columns)} "
            f"and has {', '.join(has) or 'no columns'}"
        )
    long = next((number for number, row in enumerate(rows, start=1) if None in row), None)
    if long is not None:
        raise UsageError(f"{place}: row {long} has more values than there are columns; quote values with commas")
    return rows


@dataclass(frozen=True)
class _Line:
    """A row of a file, which says what is wrong with it."""

    place: Path
    number: int
    row: Mapping[str, str]

    def listed(self, column: str, said: Mapping[str, Any]) -> str:
        """A track of the manifest."""
        if self.row[column] not in said:
            raise self.error(f"{column} {self.row[column]!r} is not in manifest.csv; correct one of the two")
        return self.row[column]

    def seconds(self, column: str) -> float:
        try:
            return float(self.row[column])
        except ValueError:
            raise self.error(f"{column} {self.row[column]!r}; expected seconds") from None

    def flag(self, column: str) -> bool:
        flags = {"0": False, "1": True}
        text = self.row[column].strip()
        if text not in flags:
            raise self.error(f"{column} {self.row[column]!r}; expected 0 or 1")
        return flags[text]

    def error(self, told: str) -> UsageError:
        return UsageError(f"{self.place}: row {self.number}: {told}")


def _truth(line: _Line, said: Mapping[str, Mapping[str, str]]) -> Truth:
    track_id = line.listed("track_id", said)
    return Truth(
        content_type=line.row["content_type"],
        gender=gender_of(line.row["voice_gender"]),
        said_gender=gender_of(said[track_id]["voice_gender"]),
        label_error=line.flag("label_error"),
        playable=line.flag("playable"),
    )


def _played(line: _Line, said: Mapping[str, Any]) -> Played:
    track_id, song = (line.listed(column, said) for column in ("track_id", "song_track_id"))
    start_s, end_s = (line.seconds(column) for column in ("start_s", "end_s"))
    if not start_s < end_s:
        raise line.error(f"end_s {end_s} is not after start_s {start_s}; correct one of the two")
    return Played(track_id, song, start_s, end_s, line.flag("talk_over"))
