"""Timelines as the files that editors' tools open: Audacity labels, Praat TextGrids, RTTM and JSON.

- ``audacity``: a line per stretch, ``<start>\\t<end>\\t<label>`` in seconds; File > Import > Labels.
- ``textgrid``: Praat's long text format, an interval tier per label that covers the whole track; the text of an
  interval is its label, a song's id in the tier ``songs``, and empty where nothing of the kind is heard.
- ``rttm``: ``SPEAKER <track> 1 <start> <duration> <NA> <NA> <label> <NA> <NA>``, as tools for diarisation read it;
  ids are percent-encoded, since fields end at blanks.
- ``json``: the track with its stretches and their scores, and what was not heard.

Names of files are the tracks' ids, percent-encoded, so that no id leads out of the folder and none is another's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import groupby
from typing import Final
from urllib.parse import quote

from catalog_tagger.report.timeline import Stretch, Timeline

#: bytes of a name that file systems take, less an extension
_LONGEST_NAME: Final = 200


def audacity(line: Timeline) -> str:
    """Labels of Audacity."""
    found = sorted([*line.heard, *_songs(line)], key=lambda stretch: (stretch.start_s, stretch.end_s, stretch.label))
    return "".join(f"{one.start_s:.6f}\t{one.end_s:.6f}\t{_one_line(one.label)}\n" for one in found)


def textgrid(line: Timeline) -> str:
    """A TextGrid of Praat."""
    tiers = [(label, list(parts)) for label, parts in groupby(line.heard, key=lambda one: one.label)]
    if line.songs:
        tiers.append(("songs", _apart(line.songs)))
    end = max([line.duration_s, *(part.end_s for _, parts in tiers for part in parts)])
    out = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    out += [f"tiers? {'<exists>' if tiers else '<absent>'}"]
    if tiers:
        out += [f"size = {len(tiers)}", "item []:"]
    for number, (name, parts) in enumerate(tiers, start=1):
        intervals = _covering(parts, end)
        out += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        out += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(intervals)}"]
        for count, (start_s, end_s, text) in enumerate(intervals, start=1):
            out += [f"        intervals [{count}]:", f"            xmin = {start_s:.6f}"]
            out += [f"            xmax = {end_s:.6f}", f"            text = {_quoted(text)}"]
    return "\n".join(out) + "\n"


def rttm(line: Timeline) -> str:
    """Rich Transcription Time Marked."""
    track = quote(line.track_id, safe="/:")
    found = sorted([*line.heard, *_songs(line)], key=lambda one: (one.start_s, one.label))
    times = (f"{one.start_s:.3f} {one.end_s - one.start_s:.3f}" for one in found)
    return "".join(
        f"SPEAKER {track} 1 {when} <NA> <NA> {quote(one.label, safe='/:')} <NA> <NA>\n"
        for one, when in zip(found, times, strict=True)
    )


def as_json(line: Timeline) -> str:
    """All of a timeline."""
    return json.dumps(asdict(line), indent=1, ensure_ascii=False) + "\n"


#: format -> (extension, what writes it)
FORMATS: Final[dict[str, tuple[str, Callable[[Timeline], str]]]] = {
    "audacity": (".txt", audacity),
    "textgrid": (".TextGrid", textgrid),
    "rttm": (".rttm", rttm),
    "json": (".json", as_json),
}


def file_name(track_id: str, extension: str) -> str:
    """The name of a track's file; long ones end in a digest of the id."""
    name = quote(track_id, safe=" ,()'&+=@[]{}~!")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(track_id.encode(errors="surrogatepass")).hexdigest()[:16]
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    return name + extension


def _songs(line: Timeline) -> list[Stretch]:
    return [Stretch(f"song:{one.label}", one.start_s, one.end_s, None) for one in line.songs]


def _apart(songs: tuple[Stretch, ...]) -> list[Stretch]:
    """Songs that overlap, as tiers allow: the earlier one ends where the next begins."""
    parts = list(songs)
    ends = [*(one.start_s for one in parts[1:]), float("inf")]
    cut = [Stretch(one.label, one.start_s, min(one.end_s, end), None) for one, end in zip(parts, ends, strict=True)]
    return [one for one in cut if one.end_s > one.start_s]


def _covering(parts: list[Stretch], end: float) -> list[tuple[float, float, str]]:
    """Intervals from 0 to the end without a gap."""
    found, at = [], 0.0
    for part in parts:
        if part.start_s > at:
            found.append((at, part.start_s, ""))
        found.append((part.start_s, part.end_s, part.label))
        at = part.end_s
    if at < end:
        found.append((at, end, ""))
    return found


def _quoted(text: str) -> str:
    doubled = _one_line(text).replace('"', '""')
    return f'"{doubled}"'


def _one_line(text: str) -> str:
    return " ".join(text.split())
