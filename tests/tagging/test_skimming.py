"""When a few segments are enough: the arithmetic against enumeration, the rule against tracks drawn by its chances."""

from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.tagging import skimming
from catalog_tagger.tagging.content import judge
from catalog_tagger.tagging.skimming import (
    ERROR,
    LONGEST,
    SHORTEST,
    Depth,
    chance_of_share,
    decide,
    may_skim,
    new_places,
    places,
)

LOOKS = len(skimming._LOOKS)
Presence = npt.NDArray[np.float32]


def presence(count: int, *, speech: float = 0.01, music: float = 0.99) -> Presence:
    return np.tile(np.array([speech, music], np.float32), (count, 1))


def scan(track: Presence) -> str:
    return judge(track[:, 0], track[:, 1], np.full(len(track), 5.0)).content_type


def heard_as(track: Presence, *, depth: Depth = "auto") -> tuple[str, int]:
    """(What came of a track, segments that were heard for it)."""
    for look in range(LOOKS):
        at = list(places(len(track), look))
        decision = decide(len(track), look, track[at], depth=depth)
        if decision != "more":
            return decision, len(at)
    raise AssertionError("the last look leaves nothing open")


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 8),
    share=st.sampled_from([0.15, 0.4, 0.75, 1.0]),
    seen=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=5, unique_by=lambda one: one[0]),
)
def test_the_chance_of_a_share_is_the_sum_over_all_tracks(n: int, share: float, seen: list[tuple[int, bool]]) -> None:
    seen = sorted((place, has) for place, has in seen if place < n)
    likely = enough = 0.0
    for chance, stationary, p01, p10 in skimming._WEIGHTED:
        for track in product((0, 1), repeat=n):
            p = chance * (stationary if track[0] else 1 - stationary)
            for before, after in pairwise(track):
                p *= (p10, 1 - p10)[after] if before else (1 - p01, p01)[after]
            for place, has in seen:
                if track[place]:
                    p *= skimming._TOLD if has else 1 / skimming._TOLD
            likely += p
            enough += p * (sum(track) >= share * n)
    found = chance_of_share(n, np.array([p for p, _ in seen], int), np.array([h for _, h in seen], bool), share=share)
    assert found == pytest.approx(enough / likely, rel=1e-9, abs=1e-12)


@given(n=st.integers(SHORTEST, 5000), look=st.integers(0, LOOKS - 1))
@settings(deadline=None, max_examples=50)
def test_places_are_segments_of_the_track_and_later_looks_add_to_earlier_ones(n: int, look: int) -> None:
    chosen = places(n, look)
    assert list(chosen) == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < n
    assert set(new_places(n, look)) == set(chosen) - (set(places(n, look - 1)) if look else set())
    gaps = np.diff([-1, *chosen, n])
    assert gaps.max() <= 2.5 * n / len(chosen) + 2


@pytest.mark.parametrize(("n", "most"), [(24, 6), (48, 6), (72, 7), (180, 8)])
def test_clear_music_is_settled_at_the_first_look(n: int, most: int) -> None:
    assert heard_as(presence(n)) == ("enough", len(places(n, 0)))
    assert len(places(n, 0)) <= most


def test_one_doubtful_place_in_clear_music_is_looked_at_again_and_then_settled() -> None:
    track = presence(96)
    track[places(96, 0)[2], 0] = 0.6
    assert decide(96, 0, track[list(places(96, 0))], depth="auto") in {"more", "scan"}


@pytest.mark.parametrize(
    "track",
    [
        presence(60, speech=0.98, music=0.02),  # speech
        presence(60, speech=0.9, music=0.95),  # speech over music
        presence(60, speech=0.02, music=0.02),  # neither
        presence(60, speech=0.48, music=0.99),  # a voice that may be one or the other, throughout
        np.concatenate([presence(40), presence(20, speech=0.98, music=0.02)]),  # a third of it talk
    ],
)
def test_whatever_else_it_may_be_is_scanned(track: Presence) -> None:
    assert heard_as(track)[0] == "scan"
    assert heard_as(track, depth="skim")[0] == "enough"


def test_without_scores_of_speech_and_music_nothing_can_be_settled() -> None:
    assert decide(60, 0, None, depth="auto") == "scan"
    assert decide(60, 0, None, depth="skim") == "enough"


@pytest.mark.parametrize(
    ("n", "depth", "expected"),
    [
        (SHORTEST - 1, "auto", False),
        (SHORTEST, "auto", True),
        (LONGEST, "auto", True),
        (LONGEST + 1, "auto", False),
        (SHORTEST - 1, "skim", False),
        (LONGEST + 1, "skim", True),
        (60, "scan", False),
    ],
)
def test_which_lengths_are_skimmed(n: int, depth: Depth, expected: bool) -> None:
    assert may_skim(n, depth) is expected


def test_of_tracks_drawn_by_the_assumed_chances_few_that_stop_would_have_been_scanned_as_something_else() -> None:
    rng = np.random.default_rng(0)
    stopped = changed = 0
    for _ in range(1500):
        n = int(rng.integers(SHORTEST, 100))
        track = presence(n)
        _, stationary, p01, p10 = skimming._WEIGHTED[rng.choice(len(skimming._WEIGHTED), p=skimming._WEIGHTED[:, 0])]
        talks = rng.random() < stationary
        for segment in track:
            if talks:
                segment[:] = 0.98, 0.02
            talks = rng.random() >= p10 if talks else rng.random() < p01
        if heard_as(track)[0] == "enough":
            stopped += 1
            changed += scan(track) != "music"
    assert stopped > 1000
    # three standard deviations over what the bound allows
    assert changed <= ERROR * stopped + 3 * np.sqrt(ERROR * stopped)
