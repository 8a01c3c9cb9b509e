"""From what the segments of an index say of shows to the rows of the tables.

Songs of several segments that are heard at the same time compete, and the likeliest stays. What the last run found
in shows and songs that are unchanged is carried over, with what chance would give now that there are more songs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from catalog_tagger.fingerprints.chance import expected_false_matches
from catalog_tagger.fingerprints.matching import Match, settled
from catalog_tagger.songs.keeping import Found, Searched, Stretches
from catalog_tagger.songs.searching import SEMITONE_BINS, length_s


@dataclass
class Shows:
    """What is known of the shows, by track."""

    songs_s: float
    most_false: float
    shows: dict[str, Searched] = field(default_factory=dict)

    def add(self, searched: Iterable[Searched]) -> None:
        """Add what one segment says."""
        for one in searched:
            before = self.shows.get(one.track_id)
            found = one.found if before is None else (*before.found, *one.found)
            self.shows[one.track_id] = Searched(one.track_id, one.run_id, one.stretches, one.music, found)

    def songs(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of ``songs``."""
        return [
            {
                "track_id": show.track_id,
                "run_id": run_id,
                "song_track_id": found.song_track_id,
                **match_columns(found.match),
                "expected_false_matches": self._by_chance(show, found.match),
            }
            for show in self._in_order()
            for found in self._settled(show)
        ]

    def searches(self, run_id: str) -> list[dict[str, Any]]:
        """Rows of ``searches``."""
        rows = []
        for show in self._in_order():
            songs = [(found.match.start_s, found.match.end_s) for found in self._settled(show)]
            music_s, known_s = length_s(show.music), _shared_s(show.music, songs)
            rows.append(
                {
                    "track_id": show.track_id,
                    "run_id": run_id,
                    "track_run_id": show.run_id,
                    "searched_s": length_s(show.stretches),
                    "music_s": music_s,
                    "known_s": known_s,
                    "unknown_s": music_s - known_s,
                    "stretches": _rows(show.stretches),
                    "music": _rows(show.music),
                }
            )
        return rows

    def _in_order(self) -> list[Searched]:
        return [self.shows[track] for track in sorted(self.shows)]

    def _settled(self, show: Searched) -> list[Found]:
        by_match = {id(found.match): found for found in show.found}
        likely = [one.match for one in show.found if self._by_chance(show, one.match) <= self.most_false]
        return [by_match[id(match)] for match in settled(likely)]

    def _by_chance(self, show: Searched, match: Match) -> float:
        return expected_false_matches(match.score, searched_s=length_s(show.stretches), songs_s=self.songs_s)


def match_columns(match: Match) -> dict[str, float]:
    """What ``songs`` and ``duplicates`` say of a match."""
    return {
        "start_s": match.start_s,
        "end_s": match.end_s,
        "song_start_s": match.song_start_s,
        "rate": match.rate,
        "pitch_semitones": -match.bins / SEMITONE_BINS,
        "score": match.score,
    }


def _rows(stretches: Stretches) -> list[dict[str, float]]:
    return [{"start_s": start, "end_s": end} for start, end in stretches]


def _shared_s(one: Stretches, other: Stretches) -> float:
    """Seconds that lie in both of two lists of stretches, neither of which overlaps itself much."""
    total, upto = 0.0, 0.0
    for begin, end in sorted(other):
        total += sum(max(0.0, min(end, stop) - max(begin, upto, start)) for start, stop in one)
        upto = max(upto, end)
    return total
