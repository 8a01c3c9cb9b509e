"""Running the job in tests, and looking at what it left."""

import csv
import io
import os
import signal
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog_tagger.storage import Store
from catalog_tagger.tables.views import query
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.job import RunResult, run_tag_job

#: what a track's audio decides, whatever way it came
VERDICT = (
    "status, error_code, codec, sample_rate_hz, channels, duration_s, scanned_s, "
    "speech_fraction, music_fraction, content_type, content_confidence, bundles"
)
#: all columns but times
LASTING = f"track_id, run_id, uri, audio_etag, size_bytes, error_message, {VERDICT}"

#: what the untrained bundle's scores may differ by when segments are batched otherwise: float32 sums change
#: their order, and its calibration is steep; the confidence moves by steps of a 64th
SCORE_TOLERANCE = 1e-3
CONFIDENCE_TOLERANCE = 0.02


def run(
    source: Path | str, warehouse: Path | str, bundles: str | tuple[str, ...], *, run_id: str = "r", **values: Any
) -> RunResult:
    """Run the job with untrained bundles, whose steep calibration would show what bfloat16 rounds."""
    values = {"precision": "float32", **values}
    progress = values.pop("on_progress", None)
    config = make_config(source=str(source), warehouse=str(warehouse), bundles=bundles, run_id=run_id, **values)
    return run_tag_job(config, on_progress=progress)


def rows(warehouse: Path | str, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(Store(warehouse), sql).to_pylist()
    return found


def by_track(warehouse: Path | str, columns: str) -> dict[str, dict[str, Any]]:
    return {row["track_id"]: row for row in rows(warehouse, f"SELECT track_id, {columns} FROM tracks")}


def assert_same(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    """Rows by track are equal, but for what the order of sums decides."""
    assert set(found) == set(expected)
    for track_id, row in found.items():
        mine, other = dict(row), dict(expected[track_id])
        one, another = mine.pop("content_confidence"), other.pop("content_confidence")
        assert mine == other
        assert one == another or abs(one - another) < CONFIDENCE_TOLERANCE


def scores(warehouse: Path | str, track_id: str | None = None) -> npt.NDArray[np.float64]:
    """Shape (segments, 4): start_s, end_s, p_speech, p_music, in the order of tracks and time."""
    where = "" if track_id is None else f"WHERE track_id = '{track_id}'"
    found = rows(
        warehouse, f"SELECT start_s, end_s, p_speech, p_music FROM segments {where} ORDER BY track_id, start_s"
    )
    return np.array([list(row.values()) for row in found], dtype=np.float64).reshape(-1, 4)


def put_tars(catalogue: Path, folder: Path) -> None:
    """The catalogue's files as members of two tars, as WebDataset writes them: with siblings."""
    folder.mkdir()
    names = sorted(path.relative_to(catalogue) for path in catalogue.rglob("*") if path.is_file())
    for i in range(2):
        with tarfile.open(folder / f"part-{i}.tar", "w") as archive:
            for name in names[i::2]:
                archive.add(catalogue / name, arcname=str(name))
                note = tarfile.TarInfo(f"{name}.json")
                note.size = 2
                archive.addfile(note, io.BytesIO(b"{}"))


def put_manifest(path: Path, uris: dict[str, str]) -> Path:
    """A CSV manifest of track_id -> uri."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("track_id", "uri"), *uris.items()])
    return path


def processes(matches: Callable[[Path], bool]) -> list[int]:
    """Ids of the processes whose folder in /proc fulfils a condition."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and matches(folder):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found


def holds_open(path: Path) -> Callable[[Path], bool]:
    def matches(folder: Path) -> bool:
        # only Ray's processes: the test's own may have it open, too
        return b"ray::" in (folder / "cmdline").read_bytes() and any(
            str(link.readlink()) == str(path) for link in (folder / "fd").iterdir()
        )

    return matches


class Killer(threading.Thread):
    """Sends a signal to the first process that fulfils a condition, and to as many others after it as are wanted."""

    def __init__(
        self,
        matches: Callable[[Path], bool],
        *,
        when: Callable[[Path], bool] | None = None,
        times: int = 1,
        send: signal.Signals = signal.SIGKILL,
    ) -> None:
        super().__init__(daemon=True)
        self._matches, self._when, self._times, self._send = matches, when or matches, times, send
        self.killed: list[int] = []

    def run(self) -> None:
        ends = time.monotonic() + 60
        while len(self.killed) < self._times and time.monotonic() < ends:
            found = processes(self._matches) if processes(self._when) else []
            for pid in found[:1]:
                if pid not in self.killed:
                    os.kill(pid, self._send)
                    self.killed.append(pid)
            time.sleep(0.02)
