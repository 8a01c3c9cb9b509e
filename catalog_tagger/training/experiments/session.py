"""All experiments in one go, from a manifest to tables and pictures.

`<out>/` receives `tables.json` and `tables.md` (see `tables`), anew after every experiment, pictures
of the filters (see `pictures`) and what `features` and `runner` keep. A table appears once its
settings have run; with `finished_only` also one that lacks settings or seeds, which says so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from catalog_tagger.errors import UsageError
from catalog_tagger.training.cache import open_cache
from catalog_tagger.training.experiments.pictures import describe_filters, draw_filters, filters_table, read_filters
from catalog_tagger.training.experiments.runner import Outcome, Runner
from catalog_tagger.training.experiments.samples import speech_music_sets, usable_clips, voice_sets
from catalog_tagger.training.experiments.settings import EXPERIMENTS, Experiment, Setting, smoke
from catalog_tagger.training.experiments.tables import compare, write_tables
from catalog_tagger.training.manifest import read_manifest

_SMOKE_SAMPLES: Final = 8
_HOP_S: Final = 371 / 16000
_BINS_PER_OCTAVE: Final = 24


def run(
    *,
    manifest: Path,
    only: Sequence[str],
    out: Path,
    cache_dir: Path,
    threads: int = 1,
    finished_only: bool = False,
    smoke_only: bool = False,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run experiments, write their tables, and return them.

    Parameters
    ----------
    only
        Numbers of experiments, `4` or `4b`; all where empty.
    finished_only
        Train nothing: tables of what has run already.
    smoke_only
        Tiny settings on a few samples.

    Raises
    ------
    UsageError
        A number is no experiment's, or the manifest lacks what an experiment needs.
    """
    chosen = choose_experiments(only)
    torch.set_num_threads(threads)
    clips = usable_clips(read_manifest(manifest))
    say(f"{len(clips)} clips of speech and music; decoding what is not in {cache_dir}")
    cache = open_cache(clips, cache_dir, degraded=False)
    told = "\n".join(f"{clip.key} {size}" for clip, size in zip(clips, cache.offsets, strict=False))
    runner = Runner(
        sets={},
        cache=cache,
        fingerprint=hashlib.sha256(told.encode()).hexdigest()[:16],
        out=out,
        threads=threads,
    )
    limit = _SMOKE_SAMPLES if smoke_only else None
    outcomes: dict[str, list[Outcome]] = {}
    tables: list[dict[str, Any]] = []
    for experiment in chosen:
        settings = [smoke(row.setting) if smoke_only else row.setting for row in experiment.rows]
        if any(setting.data not in runner.sets for setting in settings):
            make = voice_sets if settings[0].data.startswith("voices") else speech_music_sets
            runner.sets |= make(clips, cache, limit=limit)
        for setting in settings:
            if setting.name not in outcomes:
                outcomes[setting.name] = _run_setting(runner, setting, finished_only=finished_only, say=say)
        if any(outcomes[setting.name] for setting in settings):
            tables.append(compare(experiment, outcomes, runner.sets))
            _add_pictures(tables[-1], [one for one in settings if outcomes[one.name]], runner, out)
            write_tables(tables, out)
    say(f"{len(tables)} of {len(chosen)} tables in {out / 'tables.md'}")
    return tables


def choose_experiments(only: Sequence[str]) -> list[Experiment]:
    """The experiments of these numbers, in the paper's order.

    Raises
    ------
    UsageError
        A number is no experiment's.
    """
    for number in only:
        if not any(one.number == number or one.number.rstrip("abc") == number for one in EXPERIMENTS):
            known = ", ".join(one.number for one in EXPERIMENTS)
            raise UsageError(f"--only {number}: there is no such experiment; there are {known}")
    return [one for one in EXPERIMENTS if not only or {one.number, one.number.rstrip("abc")} & set(only)]


def _run_setting(runner: Runner, setting: Setting, *, finished_only: bool, say: Callable[[str], None]) -> list[Outcome]:
    found = []
    for seed in range(setting.seeds):
        if finished_only and runner.kept(setting, seed) is None:
            continue
        started = time.monotonic()
        outcome = runner.run(setting, seed, say=say)
        found.append(outcome)
        if time.monotonic() - started > 1.0:
            wrong = f"{100 * outcome.error:.1f} % of validation wrong"
            say(f"  {wrong} after {outcome.epochs:g} epochs, {outcome.seconds:.0f} s")
    return found


def _add_pictures(table: dict[str, Any], settings: Sequence[Setting], runner: Runner, out: Path) -> None:
    """Pictures of the filters of three octaves, where an experiment has them, and a table of their statistics."""
    described: dict[str, dict[str, float]] = {}
    for setting in settings:
        if setting.network["name"] != "paper_cnn":
            continue
        folder = runner.folder(setting, 0)
        if not described:
            described["before training"] = describe_filters(read_filters(folder / "initial.safetensors"))
        filters = read_filters(folder / "best.safetensors")
        title = f"{len(filters)} filters of the first layer, {setting.penalty or 'no'} penalty, {setting.data} set"
        described[setting.name] = describe_filters(filters)
        draw_filters(
            filters, out / f"filters-{setting.name}.png", title=title, hop_s=_HOP_S, bins_per_octave=_BINS_PER_OCTAVE
        )
    if described:
        table["filters"] = {
            name: {key: round(value, 3) for key, value in one.items()} for name, one in described.items()
        }
        table["notes"].append(filters_table(described))
