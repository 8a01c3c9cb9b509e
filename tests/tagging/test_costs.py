"""What a million tracks cost: the formula against its own words, and what follows from it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.tagging.costs import (
    BY_DEPTH,
    DECODE,
    HALF,
    LISTEN,
    MACHINES,
    MUSIC,
    SEEK,
    SETTLED,
    TRACK,
    Catalogue,
    Machine,
    Music,
    constants,
    core_rate,
    listen_rate,
    million_on,
    per_million,
    share_of,
)
from catalog_tagger.tagging.skimming import LONGEST, SHORTEST, Depth

WHOLE, HALVES, GPU = MACHINES
shares = st.floats(0, 1)
music = st.builds(Music, share=shares, settled=shares)
names = st.lists(st.sampled_from(["speech_music", "voice_gender", "tagger", "mine", "yours"]), min_size=1, max_size=5)
catalogues = st.builds(
    Catalogue, track_s=st.floats(1, 7200), bundles=names.map(tuple), can_skim=st.booleans(), music=music
)
machines = st.sampled_from(MACHINES)


def test_a_million_songs_of_four_minutes_by_hand() -> None:
    """Six windows of 5 s are an eighth of 240 s; a fifth of the audio is scanned beside that."""
    window, whole = 0.125, 1 - MUSIC * SETTLED
    overhead = TRACK / 240
    rates = {
        "skim": 1 / (1.35 * window / 948 + window / 863 + overhead),
        "auto": 1 / ((1.35 * window + whole) / 948 + (window + whole) / 863 + overhead),
        "scan": 1 / (1 / 948 + 1 / 863 + overhead),
    }
    for depth in BY_DEPTH:
        million = million_on(WHOLE, depth, Catalogue(track_s=240.0))
        assert million.machine_hours == pytest.approx(1e6 * 240 / (rates[depth] * 16) / 3600)
        assert million.cost == pytest.approx(million.machine_hours * 0.82112)
    assert [round(million.cost, 2) for million in per_million(Catalogue(track_s=240.0))] == [
        *(1.25, 2.82, 7.72),
        *(2.26, 5.4, 15.29),
        *(2.02, 4.03, 10.08),
    ]


@given(machine=machines, catalogue=catalogues, depth=st.sampled_from(BY_DEPTH))
def test_cost_is_hours_times_price_and_hours_are_audio_by_rate(
    machine: Machine, catalogue: Catalogue, depth: Depth
) -> None:
    million = million_on(machine, depth, catalogue)
    assert million.cost == pytest.approx(million.machine_hours * machine.price_per_hour)
    assert million.rate * million.machine_hours * 3600 == pytest.approx(1e6 * catalogue.track_s)
    dearer = replace(machine, price_per_hour=machine.price_per_hour * 2)
    assert million_on(dearer, depth, catalogue).cost == pytest.approx(million.cost * 2)
    larger = replace(machine, cpus=machine.cpus * 2, price_per_hour=machine.price_per_hour * 2)
    assert million_on(larger, depth, catalogue).cost == pytest.approx(million.cost), "by the CPU, not by the machine"


@given(machine=machines, catalogue=catalogues)
def test_a_skim_is_never_dearer_than_the_rest(machine: Machine, catalogue: Catalogue) -> None:
    skim, auto, scan = (million_on(machine, depth, catalogue).cost for depth in BY_DEPTH)
    assert skim <= auto * (1 + 1e-9)
    assert skim <= scan * (1 + 1e-9)


@given(catalogue=catalogues, more=st.floats(0, 1))
def test_the_more_music_a_look_settles_the_less_is_heard(catalogue: Catalogue, more: float) -> None:
    settled = catalogue.music.settled + more * (1 - catalogue.music.settled)
    better = replace(catalogue, music=replace(catalogue.music, settled=settled))
    assert share_of("auto", better).heard <= share_of("auto", catalogue).heard + 1e-12
    for depth in ("skim", "scan"):
        assert share_of(depth, better) == share_of(depth, catalogue)


def test_auto_is_a_skim_of_music_that_is_settled_and_a_scan_after_a_look_of_what_is_not() -> None:
    of = {share: Catalogue(music=Music(share=share, settled=1.0)) for share in (0.0, 1.0)}
    skim, scan = share_of("skim", of[0.0]), share_of("scan", of[0.0])
    assert share_of("auto", of[1.0]) == skim
    looked_in_vain = share_of("auto", of[0.0])
    assert looked_in_vain.heard == scan.heard + skim.heard
    assert looked_in_vain.decoded == scan.decoded + skim.decoded
    assert skim.decoded == pytest.approx(SEEK * skim.heard)


@pytest.mark.parametrize(
    ("track_s", "scanned_by"),
    [
        (0.01, {"skim", "auto", "scan"}),
        (SHORTEST * 5.0 - 5, {"skim", "auto", "scan"}),
        (SHORTEST * 5.0, {"scan"}),
        (LONGEST * 5.0, {"scan"}),
        (LONGEST * 5.0 + 5, {"auto", "scan"}),
    ],
)
def test_tracks_that_are_not_looked_at_are_scanned(track_s: float, scanned_by: set[str]) -> None:
    catalogue = Catalogue(track_s=track_s)
    assert {depth for depth in BY_DEPTH if share_of(depth, catalogue).heard == 1.0} == scanned_by
    blind = replace(catalogue, can_skim=False)
    assert all(share_of(depth, blind).heard == 1.0 for depth in BY_DEPTH)


@pytest.mark.parametrize("listener", ["bfloat16", "float32"])
def test_the_three_that_ship_listen_as_fast_as_was_measured(listener: str) -> None:
    assert listen_rate(Catalogue().bundles, listener) == pytest.approx(LISTEN[listener])
    assert listen_rate(("a", "b", "c"), listener) == pytest.approx(LISTEN[listener]), "others count as their mean"


@given(names=names, more=st.sampled_from(["speech_music", "tagger", "mine"]))
def test_each_further_bundle_takes_its_time(names: list[str], more: str) -> None:
    for listener in ("bfloat16", "float32"):
        assert listen_rate([*names, more], listener) < listen_rate(names, listener)
    assert listen_rate(names, "float32") < listen_rate(names, "bfloat16")


def test_beside_a_gpu_cpus_only_decode() -> None:
    catalogue = Catalogue(track_s=240.0)
    assert core_rate("scan", catalogue, listener="gpu") == pytest.approx(1 / (1 / DECODE + TRACK / 240))
    assert (GPU.gpus, GPU.listener, GPU.part_of_core) == (1, "gpu", HALF)
    assert core_rate("scan", replace(catalogue, bundles=("a",) * 9), listener="gpu") > 900


def test_half_a_core_does_its_part() -> None:
    halves, whole = (million_on(one, "scan", Catalogue()) for one in (HALVES, replace(HALVES, part_of_core=1.0)))
    assert halves.rate == pytest.approx(HALF * whole.rate)
    assert 0.5 <= HALF < 1.0


@given(catalogue=catalogues)
def test_the_numbers_shown_give_the_costs_shown(catalogue: Catalogue) -> None:
    """Whoever takes the constants and the formula gets the table."""
    of = constants(catalogue)
    for million in per_million(catalogue):
        machine = next(machine for machine in MACHINES if machine.name == million.machine)
        per_s = of[f"decoded_{million.depth}"] / of["decode"] + of["track_s"] / catalogue.track_s
        if machine.listener != "gpu":
            per_s += of[f"heard_{million.depth}"] / of[f"listen_{machine.listener}"]
        cpu = (1.0 if machine.part_of_core == 1.0 else of["half_core"]) / per_s
        cost = machine.price_per_hour * 1e6 * catalogue.track_s / (machine.cpus * cpu * 3600)
        assert million.cost == pytest.approx(cost, rel=0.02), "four digits of each number"


@pytest.mark.parametrize("track_s", [0.0, -1.0, float("nan")])
def test_tracks_without_length_have_no_cost(track_s: float) -> None:
    with pytest.raises(ValueError, match="mean length of tracks is positive"):
        Catalogue(track_s=track_s)


@pytest.mark.parametrize("values", [{"share": 1.1}, {"settled": -0.1}, {"share": float("nan")}])
def test_shares_are_from_0_to_1(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares of music are from 0 to 1"):
        Music(**values)
