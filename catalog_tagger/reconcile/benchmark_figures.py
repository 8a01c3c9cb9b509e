"""Figures of the benchmark: what the tables of a warehouse say against the truth; arithmetic on rows alone.

Shares come with how many there were and Wilson's 95 % interval, in which every one counts as independent.
A share of nothing is None.

Rules:

- a flag is right where the label is wrong; tracks whose truth is unknown are left out of the shares, and are listed;
- an excerpt is found where a row of `songs` has its track and its song, and covers more than half of it;
- a row of `songs` is right where it has track and song of an excerpt, and what the two share is more than half of
  the shorter one. Others are false;
- a copy stands for its original: a row that names it as the song is as right as one that names the original, and one
  that hears the one in the other is right;
- a copy is found where `duplicates` pairs it with its original, or both with one other track.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

from catalog_tagger.reconcile.benchmark_catalogue import Copy, Played
from catalog_tagger.training.metrics import wilson

#: the recall at which the best precision is looked for
RECALL: Final = 0.95
NEAR_S: Final = 1.0

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Share:
    """A share with its numbers and interval."""

    right: int
    of: int
    share: float | None
    interval: tuple[float, float] | None

    @classmethod
    def counted(cls, right: int, of: int) -> Share:
        """So many of so many."""
        return cls(right, of, right / of, wilson(right, of)) if of else cls(right, of, None, None)

    def __str__(self) -> str:
        if self.share is None or self.interval is None:
            return "none to count"
        low, high = self.interval
        return f"{100 * self.share:.1f} % ({self.right:,} of {self.of:,}; {100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True, kw_only=True)
class AtRecall:
    """A list that ends at a confidence."""

    confidence: float
    precision: Share
    recall: Share


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """How right the flags of wrong labels of a field are."""

    field: str
    errors: int
    """Labels that are wrong."""
    flags: int
    precision: Share
    recall: Share
    expected: float | None
    """Mean confidence of the flags."""
    expected_interval: tuple[float, float] | None
    """Of the cut, as `flag_precision` has it."""
    inside: bool | None
    """Whether the precision lies in it."""
    best: AtRecall | None
    """The most precise beginning of the list whose recall reaches `RECALL`; None where the whole list does not."""
    wrong: tuple[str, ...]
    """Tracks that are flagged and are right."""
    missed: tuple[str, ...]
    """Tracks that are wrong and are not flagged."""
    unjudged: tuple[str, ...]
    """Tracks that are flagged and whose truth is unknown."""


@dataclass(frozen=True, kw_only=True)
class EndFigures:
    """How far starts, or ends, of the excerpts that were found are off."""

    median_s: float | None
    near: Share
    """Within `NEAR_S`."""


@dataclass(frozen=True, kw_only=True)
class SongFigures:
    """How right the songs inside other tracks are."""

    found: Share
    found_alone: Share
    """Of excerpts without speech over them."""
    found_under_speech: Share
    missed: tuple[Played, ...]
    rows: int
    false: int
    """Rows of `songs` that are in no excerpt; the next three are parts of it."""
    false_unnamed: tuple[Played, ...]
    """Over no excerpt: silence, speech, or music that the truth does not name."""
    false_other_song: tuple[Played, ...]
    """Over an excerpt of another song."""
    false_elsewhere: tuple[Played, ...]
    """Over an excerpt of the same song, but for the most part beside it."""
    same_by_duplicates: int
    """Of those over another song, the ones that `duplicates` calls the same recording."""
    hours: float
    """Of the tracks that were searched."""
    false_per_100_hours: float | None
    starts: EndFigures
    ends: EndFigures
    music_s: float
    unknown_s: float
    unknown_share: float | None


@dataclass(frozen=True, kw_only=True)
class DuplicateFigures:
    """How right the tracks that are the same recording are."""

    found: Share
    by_kind: Mapping[str, Share]
    missed: tuple[str, ...]
    others: tuple[tuple[str, str], ...]
    """Pairs of tracks that are no copies of each other by the truth."""


def label_figures(
    field: str, flags: Sequence[Row], *, errors: Collection[str], judged: Collection[str], cut: Row | None
) -> LabelFigures:
    """Flags of wrong labels against the labels that are wrong.

    Parameters
    ----------
    flags
        ``track_id, confidence`` of those that are new or open.
    errors
        Tracks whose label is wrong.
    judged
        Tracks of which it is known whether it is.
    cut
        The row of `flag_precision` at which the list begins; None where there is none.
    """
    counted = [flag for flag in flags if flag["track_id"] in judged]
    hits = [flag["track_id"] for flag in counted if flag["track_id"] in errors]
    precision = Share.counted(len(hits), len(counted))
    interval = None if cut is None else (cut["low"], cut["high"])
    inside = None if interval is None or precision.share is None else interval[0] <= precision.share <= interval[1]
    flagged = {flag["track_id"] for flag in flags}
    return LabelFigures(
        field=field,
        errors=len(errors),
        flags=len(flags),
        precision=precision,
        recall=Share.counted(len(hits), len(errors)),
        expected=fmean(flag["confidence"] for flag in flags) if flags else None,
        expected_interval=interval,
        inside=inside,
        best=_best(counted, errors),
        wrong=tuple(sorted(flag["track_id"] for flag in counted if flag["track_id"] not in errors)),
        missed=tuple(sorted(set(errors) - flagged)),
        unjudged=tuple(sorted(flagged - set(judged))),
    )


def song_figures(
    found: Sequence[Played],
    truth: Sequence[Played],
    *,
    searches: Sequence[Row],
    hours: float,
    duplicates: Sequence[Row],
    copies: Sequence[Copy],
) -> SongFigures:
    """Rows of `songs` against the excerpts that are there.

    Parameters
    ----------
    searches
        ``music_s, unknown_s`` of each track that was searched.
    hours
        Of these tracks.
    duplicates
        ``track_id, other_track_id``.
    """
    original = {copy.track_id: copy.original for copy in copies}
    by_track: dict[str, list[Played]] = {}
    for one in truth:
        by_track.setdefault(one.track_id, []).append(one)
    rows_of: dict[tuple[str, str], list[Played]] = {}
    for row in found:
        rows_of.setdefault((row.track_id, _stood_for(row.song_track_id, original)), []).append(row)
    matched = [(one, _covering(one, rows_of.get((one.track_id, one.song_track_id), []))) for one in truth]
    pairs = [(one, row) for one, row in matched if row is not None]
    linked = _linked(duplicates)
    unnamed: list[Played] = []
    other_song: list[Played] = []
    elsewhere: list[Played] = []
    same = 0
    for row in found:
        song = _stood_for(row.song_track_id, original)
        if _stood_for(row.track_id, original) == song:
            continue
        over = [one for one in by_track.get(row.track_id, []) if shared_s(one, row) > 0]
        if any(one.song_track_id == song and _is_of(row, one) for one in over):
            continue
        others = [one.song_track_id for one in over if one.song_track_id != song]
        (other_song if others else elsewhere if over else unnamed).append(row)
        same += any(_are_linked(row.song_track_id, other, linked) for other in others)
    false = len(unnamed) + len(other_song) + len(elsewhere)
    music_s, unknown_s = (sum(row[name] for row in searches) for name in ("music_s", "unknown_s"))
    return SongFigures(
        found=Share.counted(len(pairs), len(truth)),
        found_alone=_found(matched, talk_over=False),
        found_under_speech=_found(matched, talk_over=True),
        missed=tuple(one for one, row in matched if row is None),
        rows=len(found),
        false=false,
        false_unnamed=tuple(unnamed),
        false_other_song=tuple(other_song),
        false_elsewhere=tuple(elsewhere),
        same_by_duplicates=same,
        hours=hours,
        false_per_100_hours=100 * false / hours if hours else None,
        starts=_ends([abs(one.start_s - row.start_s) for one, row in pairs]),
        ends=_ends([abs(one.end_s - row.end_s) for one, row in pairs]),
        music_s=music_s,
        unknown_s=unknown_s,
        unknown_share=unknown_s / music_s if music_s else None,
    )


def duplicate_figures(duplicates: Sequence[Row], copies: Sequence[Copy]) -> DuplicateFigures:
    """Rows of `duplicates` (``track_id, other_track_id``) against the copies that were made."""
    linked = _linked(duplicates)
    found = {copy.track_id for copy in copies if _are_linked(copy.track_id, copy.original, linked)}
    original = {copy.track_id: copy.original for copy in copies}
    pairs: set[tuple[str, str]] = set()
    for row in duplicates:
        one, other = _stood_for(row["track_id"], original), _stood_for(row["other_track_id"], original)
        if one != other:
            pairs.add((min(one, other), max(one, other)))
    kinds = sorted({copy.kind for copy in copies})
    of_kind = {kind: [copy.track_id in found for copy in copies if copy.kind == kind] for kind in kinds}
    return DuplicateFigures(
        found=Share.counted(len(found), len(copies)),
        by_kind={kind: Share.counted(sum(are), len(are)) for kind, are in of_kind.items()},
        missed=tuple(copy.track_id for copy in copies if copy.track_id not in found),
        others=tuple(sorted(pairs)),
    )


def shared_s(one: Played, other: Played) -> float:
    """Seconds that two stretches of a track share."""
    return max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))


def _stood_for(track_id: str, original: Mapping[str, str]) -> str:
    """The original of a copy; other tracks as they are."""
    return original.get(track_id, track_id)


def _best(flags: Sequence[Row], errors: Collection[str]) -> AtRecall | None:
    """Flags of one confidence come or go together; of equally precise lists the shortest."""
    ordered = sorted(flags, key=lambda flag: -float(flag["confidence"]))
    best: AtRecall | None = None
    hits = 0
    for number, flag in enumerate(ordered, start=1):
        hits += flag["track_id"] in errors
        last = number == len(ordered) or ordered[number]["confidence"] < flag["confidence"]
        if last and errors and hits / len(errors) >= RECALL:
            precision = Share.counted(hits, number)
            if best is None or hits * best.precision.of > best.precision.right * number:
                recall = Share.counted(hits, len(errors))
                best = AtRecall(confidence=flag["confidence"], precision=precision, recall=recall)
    return best


def _covering(one: Played, rows: Iterable[Played]) -> Played | None:
    """The row that covers most of an excerpt, if that is more than half of it."""
    row = max(rows, key=lambda row: shared_s(one, row), default=None)
    return row if row is not None and shared_s(one, row) > (one.end_s - one.start_s) / 2 else None


def _is_of(row: Played, one: Played) -> bool:
    return shared_s(one, row) > min(one.end_s - one.start_s, row.end_s - row.start_s) / 2


def _found(matched: Sequence[tuple[Played, Played | None]], *, talk_over: bool) -> Share:
    rows = [row for one, row in matched if one.talk_over == talk_over]
    return Share.counted(sum(row is not None for row in rows), len(rows))


def _ends(errors_s: Sequence[float]) -> EndFigures:
    near = Share.counted(sum(error <= NEAR_S for error in errors_s), len(errors_s))
    return EndFigures(median_s=median(errors_s) if errors_s else None, near=near)


def _linked(duplicates: Sequence[Row]) -> dict[str, set[str]]:
    """Track -> those that a row pairs it with."""
    linked: dict[str, set[str]] = {}
    for row in duplicates:
        linked.setdefault(row["track_id"], set()).add(row["other_track_id"])
        linked.setdefault(row["other_track_id"], set()).add(row["track_id"])
    return linked


def _are_linked(one: str, other: str, linked: Mapping[str, set[str]]) -> bool:
    ones, others = linked.get(one, set()), linked.get(other, set())
    return other in ones or bool(ones & others)
