"""A manifest and a configuration out of a folder of recordings, to begin a training with.

The folder holds one subfolder per label, and below it audio at any depth::

    recordings/<label>/<file>
    recordings/<label>/<artist, speaker, album or collection>/<file>

Folders below a label are taken for what must not be torn apart: all files of one name below any
label are trained on, or held out, together. About one unit in seven (such a folder, or a file that
lies in none) of each label gets the split `test`, at least one of a label that has three, and as many
of the others the split `validation`, at least one of a label that has four.

What the labels are decides the task: `speech` and `music` (and `noise` for neither) give
`speech_music`; `female` and `male` give `voice_gender`, beside which `music`, `singing` and `noise`
hold what is nobody's voice; all others give `tags`, and a folder ``dog;rain`` holds both. Two files
are written, and none is replaced: the configuration, and beside it the manifest, of the same name
with ``.csv``.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog_tagger.errors import UsageError
from catalog_tagger.tagging.track_list import AUDIO_EXTENSIONS

_HELD_OUT_SHARE: Final = 1 / 7
#: units that a label must have for one of them to be held out
_LEAST: Final = {"test": 3, "validation": 4}
_COLUMNS: Final = ("path", "label", "role", "gender", "source", "original_path", "speaker_or_artist", "split")
_GENDERS: Final = {"female": "f", "male": "m"}
_SPEECH_MUSIC: Final = {"speech", "music", "noise"}
#: The roles of what is heard without a speaker; singing is music by the label that `clips.singing` names.
_VOICELESS: Final = {"music": "music", "singing": "music", "noise": "noise"}

_NETWORKS: Final = {
    "speech_music": "  name: residual_cnn",
    "voice_gender": "  name: voice_cnn",
    "tags": "  name: vgg_tagger       # or residual_cnn",
}
_CONFIGURATION: Final = """\
# Made from {folder}; every key is described in catalog_tagger/training/config.py.
name: {name}
task: {task}
manifest: {manifest}
architecture:
{network}
{clips}validation:
  fraction: 0            # beyond the rows of the split validation: a share of the recordings and voices, whole ones
optimisation:
  steps: 3000            # batches; the learning rate falls to zero over them
  max_minutes: 60        # ends it earlier, if it is clearly not going to be in time
  batch_size: 32
  validate_every_steps: 250
  patience: {patience}            # validations in a row that are no better end it; 0: none are counted
report_on_test: {tested}     # measure the rows with the split test, once, at the end
"""


@dataclass(frozen=True)
class Scaffold:
    """What was written.

    Attributes
    ----------
    clips
        Rows per label.
    test, validation
        Rows per label of these splits.
    """

    config: Path
    manifest: Path
    task: str
    clips: dict[str, int]
    test: dict[str, int]
    validation: dict[str, int]


@dataclass(frozen=True)
class _File:
    path: Path
    label: str
    unit: str


def scaffold(folder: Path, config: Path) -> Scaffold:
    """Write a manifest and a configuration for the recordings in `folder`.

    Raises
    ------
    UsageError
        There are no labels, a label has no audio, or a file to be written exists or cannot be written.
    """
    manifest = config.with_suffix(".csv")
    for path in (config, manifest):
        if path.exists():
            raise UsageError(f"{path}: exists; name another configuration, or remove it")
    files = _files(folder)
    labels = sorted({one.label for one in files})
    task = _task(set(labels))
    sung = task == "voice_gender" and "singing" in labels
    tested = _drawn(files, "test", apart_from=set())
    validated = _drawn(files, "validation", apart_from=tested)
    splits = dict.fromkeys(tested, "test") | dict.fromkeys(validated, "validation")
    rows = [_row(one, folder, manifest, task=task, split=splits.get(one.unit, "train")) for one in files]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in config.stem.lower())
    text = _CONFIGURATION.format(
        folder=folder,
        name=name.strip("_") or "mine",
        task=task,
        manifest=_quoted(Path(manifest.name)),
        network=_NETWORKS[task],
        clips="clips:\n  singing: [singing]   # the label of music that is sung\n" if sung else "",
        patience=6 if validated else 0,
        tested="true" if tested else "false",
    )
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(table.getvalue(), encoding="utf-8", newline="")
        config.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}; name another place") from error
    return Scaffold(
        config=config,
        manifest=manifest,
        task=task,
        clips=_per_label(files, labels),
        test=_per_label([one for one in files if one.unit in tested], labels),
        validation=_per_label([one for one in files if one.unit in validated], labels),
    )


def _per_label(files: list[_File], labels: list[str]) -> dict[str, int]:
    counts = Counter(one.label for one in files)
    return {label: counts[label] for label in labels}


def _files(folder: Path) -> list[_File]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; it should hold one subfolder of audio per label")
    found = []
    for place in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")):
        inside = [one for one in sorted(place.rglob("*")) if one.is_file() and _is_audio(one)]
        if not inside:
            raise UsageError(f"{place}: holds no audio ({', '.join(sorted(AUDIO_EXTENSIONS))}); remove it or fill it")
        for one in inside:
            first, *rest = one.relative_to(place).parts
            unit = first if rest else str(one.relative_to(folder).with_suffix(""))
            found.append(_File(one, place.name, unit))
    if not found:
        raise UsageError(f"{folder}: holds no folder; it should hold one subfolder of audio per label")
    return found


def _is_audio(path: Path) -> bool:
    return path.suffix.lower().removeprefix(".") in AUDIO_EXTENSIONS and not path.name.startswith(".")


def _task(labels: set[str]) -> str:
    if {"speech", "music"} <= labels <= _SPEECH_MUSIC:
        return "speech_music"
    return "voice_gender" if _GENDERS.keys() <= labels <= _GENDERS.keys() | _VOICELESS.keys() else "tags"


def _drawn(files: list[_File], split: str, *, apart_from: set[str]) -> set[str]:
    """The units whose files are held out for this split, some of each label, and never all of one."""
    units: dict[str, set[str]] = defaultdict(set)
    for one in files:
        units[one.label].add(one.unit)
    drawn: set[str] = set()
    for found in units.values():
        shuffled = sorted(found, key=lambda unit: hashlib.sha256(unit.encode()).digest())
        # other labels may hold files of a unit, and nothing else
        wanted = max(round(_HELD_OUT_SHARE * len(found)), len(found) >= _LEAST[split]) - len(found & drawn)
        for unit in shuffled:
            if wanted > 0 and unit not in drawn | apart_from and not _all_of_one(unit, drawn | apart_from, units):
                drawn.add(unit)
                wanted -= 1
    return drawn


def _all_of_one(unit: str, held_out: set[str], units: Mapping[str, set[str]]) -> bool:
    """Whether a label would be left with nothing to train on, were this unit held out, too."""
    return any(unit in found and found <= held_out | {unit} for found in units.values())


def _row(one: _File, folder: Path, manifest: Path, *, task: str, split: str) -> dict[str, str]:
    inside = one.path.relative_to(folder)
    alone = one.unit == str(inside.with_suffix(""))
    gender = _GENDERS.get(one.label, "") if task == "voice_gender" else ""
    roles = {"speech_music": one.label, "voice_gender": _VOICELESS.get(one.label, "speech"), "tags": "tag"}
    place, near = one.path.absolute(), manifest.parent.absolute()
    return {
        "path": (place.relative_to(near) if place.is_relative_to(near) else place).as_posix(),
        "label": "" if gender else one.label,
        "role": roles[task],
        "gender": gender,
        "source": folder.resolve().name,
        # What splits keep together has one name; two labels may well have a 1.wav each.
        "original_path": "_".join(inside.parts) if alone else f"{one.unit}/",
        "speaker_or_artist": "" if alone else one.unit,
        "split": split,
    }


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
