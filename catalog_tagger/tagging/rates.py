"""What a warehouse's runs and rows, and this machine, say of how long tracks are and how fast they are tagged.

Measured where that is possible: bytes per second of audio over the current rows of the same extension; the rate of a
core over the committed runs of the same depth, their start left out, once they add up to `_ENOUGH_S` seconds of work
(over those with bundles of the same names where they are enough, for a run with more of them takes longer, else over
all of that depth); the shares of music once there are `_ENOUGH_TRACKS` rows of the kind, by length and not by number,
since a show is as long as many songs. A run from before depths were kept counts as a scan.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, Session, committed_runs
from catalog_tagger.tables.views import connect
from catalog_tagger.tagging.bundle_set import PEAKS_ID
from catalog_tagger.tagging.costs import Music
from catalog_tagger.tagging.skimming import IN_PART_SQL, Depth

#: 128 kb/s, what most lossy catalogues come near to
_LOSSY_BYTES_PER_S: Final = 16_000.0
#: 16 bit stereo at 44.1 kHz, and what FLAC leaves of it
_UNCOMPRESSED_BYTES_PER_S: Final = 176_400.0
_LOSSLESS_BYTES_PER_S: Final = 100_000.0
DEFAULT_BYTES_PER_S: Final[Mapping[str, float]] = {
    **dict.fromkeys(("wav", "wave", "w64", "aif", "aiff", "aifc"), _UNCOMPRESSED_BYTES_PER_S),
    "flac": _LOSSLESS_BYTES_PER_S,
}
#: Ray and the models, before the first track
START_S: Final = 10.0
_ENOUGH_S: Final = 60.0
_ENOUGH_TRACKS: Final = 100
_NEWEST_RUNS: Final = 20

_COLUMNS: Final = (
    *("track_id", "run_id", "status", "uri", "size_bytes", "duration_s", "tagged_at"),
    *("scanned_s", "content_type"),
)
#: of a uri; a tar's member without one has none
_EXTENSION: Final = r"\.([^./#]*)$"
_LENGTHS_SQL: Final = """
    SELECT lower(regexp_extract(uri, $extension, 1)) AS extension, sum(size_bytes) / sum(duration_s) AS bytes_per_s
    FROM tracks WHERE status = 'tagged' AND size_bytes > 0 AND duration_s > 0 GROUP BY 1"""
#: of tracks that were told speech and music from, and of the music among them that runs of depth auto heard
_MUSIC_SQL: Final = f"""
    WITH told AS (
        SELECT duration_s, content_type = 'music' AS music,
               content_type = 'music' AND run_id IN (SELECT unnest($runs)) AS looked_at,
               {IN_PART_SQL} AS in_part
        FROM tracks WHERE status = 'tagged' AND content_type IS NOT NULL AND duration_s > 0)
    SELECT count(*), sum(duration_s) FILTER (music) / sum(duration_s),
           count(*) FILTER (looked_at),
           sum(duration_s) FILTER (looked_at AND in_part) / sum(duration_s) FILTER (looked_at)
    FROM told"""  # noqa: S608  a number of this package


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What an estimate rests on."""

    rate_per_core: float | None = None
    """Seconds of audio per second and core, as measured."""
    measured_runs: int = 0
    """Runs that it was measured in."""
    bytes_per_s: Mapping[str, float]
    """Extension -> bytes per second of audio, as measured; others have the defaults that ship."""
    nodes: int = 1
    cpus: int = 1
    """Of a node. Both as the newest run that did enough work had them, of this depth or any; else this machine's."""
    music: Music = field(default_factory=Music)

    def bytes_per_second_of(self, extension: str) -> float:
        """Bytes of a second of audio in a file with that extension."""
        return self.bytes_per_s.get(extension) or DEFAULT_BYTES_PER_S.get(extension, _LOSSY_BYTES_PER_S)


def audio_seconds(sizes: Mapping[str, int], rates: Rates, *, unknown_share: float = 0.0) -> float | None:
    """Length of the audio in so many bytes by extension; `unknown_share` of the tracks are not among them.

    None where that is all of them.
    """
    known = sum(size / rates.bytes_per_second_of(extension) for extension, size in sizes.items())
    return known / (1.0 - unknown_share) if unknown_share < 1.0 else None


def core_seconds(sessions: Iterable[Session]) -> float:
    """Seconds of work of a core, the start of each session left out."""
    total = 0.0
    for session in sessions:
        machine_s = session.node_s or session.wall_s * session.nodes
        nodes = max(session.nodes, 1)
        total += max(0.0, machine_s / nodes - START_S) * session.cpus
    return total


def measured_rate(
    runs: Sequence[RunManifest], *, depth: Depth, bundle_ids: Sequence[str] = ()
) -> tuple[float | None, list[RunManifest]]:
    """Seconds of audio per second and core over the newest runs of a depth, and those it was measured in.

    Where runs with bundles of the same names as `bundle_ids` did enough work, they alone count. None where none did.
    """
    names = names_of(bundle_ids)
    alike = [run for run in runs if _depth_of(run) == depth]
    for chosen in ([run for run in alike if names_of(run.bundles) == names], alike):
        used = _enough(chosen)
        if used:
            return sum(run.audio_s for run in used) / sum(core_seconds(run.sessions) for run in used), used
    return None, []


def _enough(runs: Sequence[RunManifest]) -> list[RunManifest]:
    """The newest of the runs that worked; none where all of these did too little."""
    used = [run for run in runs[-_NEWEST_RUNS:] if run.audio_s > 0 and core_seconds(run.sessions) > 0]
    return used if sum(core_seconds(run.sessions) for run in used) >= _ENOUGH_S else []


def _depth_of(run: RunManifest) -> Any:
    return run.config.get("depth", "scan")


def names_of(bundle_ids: Sequence[str]) -> list[str]:
    """Names of bundles by what rows and manifests call them."""
    return [identity.partition("@")[0] for identity in bundle_ids if identity != PEAKS_ID]


def measured_rates(warehouse: Store, *, depth: Depth, bundle_ids: Sequence[str] = ()) -> Rates:
    """What a warehouse's rows and committed runs say of a run of some depth with these bundles."""
    runs = committed_runs(warehouse) if warehouse.children("runs") else []
    if not runs:
        return Rates(bytes_per_s={}, cpus=usable_cpus())
    with connect(warehouse, tables=("tracks",), columns=_COLUMNS) as connection:
        lengths = dict(connection.execute(_LENGTHS_SQL, {"extension": _EXTENSION}).fetchall())
        music = _music(connection, [run.run_id for run in runs if _depth_of(run) == "auto"])
    rate, used = measured_rate(runs, depth=depth, bundle_ids=bundle_ids)
    worked = used or _enough(runs)
    last = worked[-1].sessions[-1] if worked else None
    return Rates(
        rate_per_core=rate,
        measured_runs=len(used),
        bytes_per_s=lengths,
        nodes=max(last.nodes, 1) if last else 1,
        cpus=max(last.cpus // max(last.nodes, 1), 1) if last else usable_cpus(),
        music=music,
    )


def _music(connection: duckdb.DuckDBPyConnection, runs: list[str]) -> Music:
    """Shares of the warehouse's audio; `runs` are those of depth auto."""
    answer = connection.execute(_MUSIC_SQL, {"runs": runs}).fetchone()
    tracks, share, looked_at, settled = answer or (0, None, 0, None)
    of_music: dict[str, Any] = {}
    if tracks >= _ENOUGH_TRACKS:
        of_music |= {"share": min(1.0, share or 0.0), "share_measured": True}
    if looked_at >= _ENOUGH_TRACKS:
        of_music |= {"settled": min(1.0, settled or 0.0), "settled_measured": True}
    return Music(**of_music)


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs of this machine that a job may use: those this process may run on, within its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = map(float, " ".join((cgroup / name).read_text() for name in names).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            count = min(count, max(1, math.floor(quota / period)))
    return count


def bytes_by_extension(tracks: pa.Table) -> dict[str, int]:
    """Bytes of encoded audio by lower-case extension, empty where there is none; without tracks of unknown size."""
    last = pc.replace_substring_regex(tracks["uri"], rf"(?s)^.*{_EXTENSION}", r"\1")
    extension = pc.utf8_lower(pc.if_else(pc.match_substring_regex(tracks["uri"], _EXTENSION), last, ""))
    table = pa.table({"extension": extension, "size": pc.fill_null(tracks["size_bytes"], 0)})
    grouped = table.group_by("extension").aggregate([("size", "sum")])
    sizes = zip(grouped["extension"].to_pylist(), grouped["size_sum"].to_pylist(), strict=True)
    return {extension: int(size) for extension, size in sizes if size}
