"""Runs that write whole tables, a file each, and appear at once: searches for songs, and reconciling.

Failure rule: nothing is seen of a run before its manifest, which is written once and last; what a killed one left is
in nobody's way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from catalog_tagger._version import __version__
from catalog_tagger.errors import RunError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, Session, commit_run, table_file, write_table
from catalog_tagger.tables.published import publish


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Beginning:
    """When a run began, by the calendar and by this process's clock."""

    at: str = field(default_factory=_now)
    monotonic_s: float = field(default_factory=time.monotonic)


def commit_tables(
    store: Store,
    tables: Mapping[str, pa.Table],
    *,
    run_id: str,
    kind: str,
    source: str,
    begun: Beginning,
    packages: Sequence[str],
    config: dict[str, Any],
    tracks: int,
    tagged: int = 0,
    quarantined: int = 0,
    sessions: Sequence[Session] = (),
) -> RunManifest:
    """Write the tables of a run and commit it.

    Parameters
    ----------
    packages
        Whose versions are kept, beside this one's.
    tracks, tagged, quarantined
        Tracks looked at, and what is known of them.

    Raises
    ------
    RunError
        Somebody has committed a run of that name meanwhile.
    """
    files = [write_table(store, table_file(name, run_id, "all"), kind, name, rows) for name, rows in tables.items()]
    manifest = RunManifest(
        run_id=run_id,
        started_at=begun.at,
        committed_at=_now(),
        source=source,
        bundles=[],
        versions={"catalog_tagger": __version__, **{name: version(name) for name in packages}},
        config=config,
        tracks=tracks,
        tagged=tagged,
        quarantined=quarantined,
        segments=0,
        audio_s=0.0,
        wall_s=round(time.monotonic() - begun.monotonic_s, 3),
        up_to_date=0,
        quarantined_by_code={},
        workers={},
        files=files,
        sessions=list(sessions),
        kind=kind,
    )
    if not commit_run(store, manifest):
        raise RunError(f"run {run_id}: another driver has committed it; run again with another --run-id")
    publish(store, committed=manifest)
    return manifest
