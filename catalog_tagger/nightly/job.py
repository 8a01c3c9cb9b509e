"""A night: what changed is tagged, songs are searched for, labels compared, and all of it is told.

Stages, each of which reads only what those before it have committed::

    tag        what is new, changed, or heard by older models
    songs      the index grows by new songs; new shows are searched for all, old shows for new ones
    reconcile  metadata against what was heard, with what editors have decided
    report     the page
    iceberg    runs that the catalogue lacks
    prune      old runs that nobody needs

Layout: ``nightly/<night>.json`` of the warehouse, written after every stage: `Night` as JSON, and the summary.

Failure rule: a stage that fails ends the night, with its error in the summary. Started again, the newest night that is
not done goes on with that stage, and each stage with what it had done; where all are done a new one begins, and a
second one on a date is called ``<date>-2``. A night that is named is that one: where it is done, nothing is. One night
works on a warehouse at a time.
"""

from __future__ import annotations

import json
import re
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from http.client import HTTPException
from itertools import chain, count
from typing import Any, Final

from catalog_tagger.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_QUARANTINED,
    CatalogTaggerError,
    StorageError,
)
from catalog_tagger.nightly.config import NightlyConfig
from catalog_tagger.storage import Store
from catalog_tagger.tables.lease import hold
from catalog_tagger.tables.published import publish

FOLDER: Final = "nightly"
#: what is held, beside the runs
_LOCK: Final = "nightly.lock"
_POST_S: Final = 20.0
_DATED: Final = re.compile(r"\d{4}-\d\d-\d\d(-\d+)?$")

Told = dict[str, Any]


@dataclass(kw_only=True)
class Stage:
    """What a stage came to."""

    state: str
    """done, failed or interrupted."""
    started_at: str
    seconds: float
    said: Told = field(default_factory=dict)
    """Counts and names, by stage."""
    error: str | None = None


@dataclass(kw_only=True)
class Night:
    """A night so far."""

    night: str
    source: str
    warehouse: str
    state: str = "running"
    """running, done, failed or interrupted."""
    exit_code: int = EXIT_OK
    started_at: str = ""
    ended_at: str | None = None
    stages: dict[str, Stage] = field(default_factory=dict)
    webhook: str | None = None
    """``sent``, or why the summary could not be posted; None where there is none."""


def run_night(config: NightlyConfig, *, on_stage: Callable[[str], None] = lambda _: None) -> Night:
    """Do a night, or what is left of it.

    Parameters
    ----------
    on_stage
        Is told each stage that begins, and each that was done before.

    Returns
    -------
    Night
        Also of a night that failed; its `exit_code` is that of the stage that did.

    Raises
    ------
    RunError
        Another process works on a night of this warehouse.
    StorageError
        The store refuses.
    """
    store = Store(config.warehouse)
    with hold(store, _LOCK) as lock:
        publish(store)
        night = _read(store, config)
        for name, stage in stages(config).items():
            if name in night.stages and night.stages[name].state == "done":
                on_stage(f"{name}: done before")
                continue
            on_stage(name)
            lock.require()
            _run_stage(night, name, stage)
            _write(store, night)
            if night.state != "running":
                break
        else:
            night.state = "done"
        night.ended_at = _now()
        if config.webhook is not None:
            night.webhook = _post(config.webhook, night)
        _write(store, night)
    if night.state == "interrupted":
        raise KeyboardInterrupt
    return night


def stages(config: NightlyConfig) -> dict[str, Callable[[], Told]]:
    """Stage -> what does it, in their order; those that are left out are not there."""
    found: dict[str, Callable[[], Told]] = {"tag": lambda: _tag(config)}
    if config.songs is not False:
        found["songs"] = lambda: _songs(config)
    if config.reconcile is not False:
        found["reconcile"] = lambda: _reconcile(config)
    if config.report is not False:
        found["report"] = lambda: _report(config)
    if config.iceberg is not False:
        found["iceberg"] = lambda: _iceberg(config)
    if config.prune_after_days is not None:
        found["prune"] = lambda: _prune(config)
    return found


def _run_stage(night: Night, name: str, stage: Callable[[], Told]) -> None:
    began, begun_s = _now(), time.monotonic()
    state, error, said = "done", None, {}
    try:
        said = stage()
        if _has_quarantined(said) and night.exit_code == EXIT_OK:
            night.exit_code = EXIT_QUARANTINED
    except CatalogTaggerError as raised:
        state, error = "failed", str(raised)
        night.state, night.exit_code = "failed", raised.exit_code
    except Exception as raised:  # noqa: BLE001  a night has to say what it died of, whatever that was
        traceback.print_exc()
        state, error = "failed", f"{type(raised).__name__}: {' '.join(str(raised).split())}"
        night.state, night.exit_code = "failed", EXIT_FAILED
    except KeyboardInterrupt:
        state, error = "interrupted", "interrupted"
        night.state, night.exit_code = "interrupted", EXIT_INTERRUPTED
    seconds = round(time.monotonic() - begun_s, 3)
    night.stages[name] = Stage(state=state, started_at=began, seconds=seconds, said=said, error=error)


def _tag(config: NightlyConfig) -> Told:
    from catalog_tagger.tagging.job import run_tag_job

    result = run_tag_job(config.tag_config())
    told: Told = {
        "state": result.state,
        "run_id": result.run_id,
        "up_to_date": result.up_to_date,
        "removed": result.removed,
    }
    if result.manifest is not None:
        told |= {key: getattr(result.manifest, key) for key in ("tracks", "tagged", "quarantined", "audio_s")}
        told["quarantined_by_code"] = result.manifest.quarantined_by_code
    if result.finished:
        told["finished"] = result.finished
    if result.finished_quarantined:
        told["finished_quarantined"] = True
    return told


def _songs(config: NightlyConfig) -> Told:
    from catalog_tagger.songs.job import run_songs_job

    songs = config.songs_config()
    assert songs is not None, "left out otherwise"
    result = run_songs_job(songs)
    return {
        "run_id": result.run_id,
        "indexed": result.indexed,
        "songs": result.songs.num_rows,
        "shows_with_songs": result.shows_with_songs,
        "duplicates": result.duplicates.num_rows,
    }


def _reconcile(config: NightlyConfig) -> Told:
    from catalog_tagger.reconcile.job import run_reconcile

    reconcile = config.reconcile_config()
    assert reconcile is not None, "left out otherwise"
    result = run_reconcile(reconcile)
    states = result.flags["state"].to_pylist()
    counts = {state: states.count(state) for state in sorted(set(states))}
    return {"run_id": result.run_id, "flags": len(states), "by_state": counts, "decisions": result.decisions}


def _report(config: NightlyConfig) -> Told:
    from catalog_tagger.report.write import write_report

    part = config.report
    assert part is not False, "left out otherwise"
    place = write_report(Store(config.warehouse), out=part.out, most_flags=part.flags, grams=part.grams)
    return {"page": place}


def _iceberg(config: NightlyConfig) -> Told:
    from catalog_tagger.tables.iceberg import open_catalog, register

    part = config.iceberg
    assert part is not False, "left out otherwise"
    store = Store(config.warehouse)
    catalog = open_catalog(store, name=part.catalog, properties=part.properties)
    added = register(store, catalog, namespace=part.namespace)
    return {
        "snapshots": len(added),
        "runs": sorted({one.run_id for one in added}),
        "rows": sum(one.rows for one in added),
    }


def _prune(config: NightlyConfig) -> Told:
    from catalog_tagger.tables.iceberg import NAMESPACE, open_catalog, own_catalog, unregister
    from catalog_tagger.tables.prune import prune

    store, part = Store(config.warehouse), config.iceberg
    if part is False:
        catalog, namespace = own_catalog(store), NAMESPACE
    else:
        catalog, namespace = open_catalog(store, name=part.catalog, properties=part.properties), part.namespace
    removed = prune(
        store,
        keep=timedelta(days=config.prune_after_days or 0.0),
        unregister=None if catalog is None else lambda run_ids: unregister(catalog, run_ids, namespace=namespace),
    )
    return {"runs": [run.run_id for run in removed], "size_bytes": sum(run.size_bytes for run in removed)}


def _has_quarantined(said: Told) -> bool:
    return bool(said.get("quarantined") or said.get("finished_quarantined"))


def _read(store: Store, config: NightlyConfig) -> Night:
    """The night as it was left, or a new one."""
    if config.night is not None:
        named = _stored(store, config.night)
        return _begun(store, config, config.night) if named is None else _going_on(named)
    nights = sorted(name.removesuffix(".json") for name in store.children(FOLDER) if name.endswith(".json"))
    last = _stored(store, max(nights, key=_order)) if nights else None
    if last is not None and last.state != "done":
        return _going_on(last)
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    names = chain([today], (f"{today}-{number}" for number in count(2)))
    return _begun(store, config, next(name for name in names if name not in nights))


def _order(night: str) -> tuple[str, int]:
    """Nights by date, then by their number on it."""
    date, _, number = (night[:10], night[10:11], night[11:]) if _DATED.match(night) else (night, "", "")
    return date, int(number or 1)


def _begun(store: Store, config: NightlyConfig, name: str) -> Night:
    return Night(night=name, source=config.source, warehouse=store.uri, started_at=_now())


def _stored(store: Store, night: str) -> Night | None:
    """A night as its file has it; None where there is none."""
    name = f"{FOLDER}/{night}.json"
    try:
        content = json.loads(store.read(name))
        stages = {key: Stage(**value) for key, value in content["stages"].items()}
        return Night(**{**content, "stages": stages})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{store.uri_of(name)}: not the summary of a night ({error}); remove the file") from error


def _going_on(night: Night) -> Night:
    """A night that was left, under way again."""
    night.state, night.ended_at, night.exit_code = "running", None, EXIT_OK
    if any(_has_quarantined(stage.said) for stage in night.stages.values()):
        night.exit_code = EXIT_QUARANTINED
    return night


def _write(store: Store, night: Night) -> None:
    store.write(f"{FOLDER}/{night.night}.json", json.dumps(asdict(night), indent=1).encode())


def _post(url: str, night: Night) -> str:
    """A summary that cannot be delivered is no reason to call the night failed; the summary says so."""
    body = json.dumps(asdict(night)).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310  http(s) by the configuration
    try:
        with urllib.request.urlopen(request, timeout=_POST_S):  # noqa: S310
            return "sent"
    except (OSError, ValueError, HTTPException) as error:
        return f"not sent: {error}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
