"""A sample of the fuzz run: broken files of every container through the whole job."""

import random
from pathlib import Path

import pytest
from fuzz_audio import MIB, ROLES, fuzz
from fuzz_mutations import mutate
from fuzz_seeds import Seed, make_seeds
from fuzz_structure import parts_of, with_right_checksums

from catalog_tagger.audio import read_pcm

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return make_seeds(tmp_path_factory.mktemp("seeds"), dice=random.Random(0))


def test_every_file_the_fuzzer_starts_from_is_whole(seeds: list[Seed]) -> None:
    assert {seed.container for seed in seeds} == {"mp3", "aac", "mp4", "flac", "ogg", "wav", "w64", "aiff", "asf"}
    for seed in seeds:
        assert len(read_pcm(seed.data)) > 2 * 16000, seed.name


def test_the_parts_of_a_file_cover_it_and_say_their_length(seeds: list[Seed]) -> None:
    for seed in seeds:
        parts = parts_of(seed.container, seed.data)
        assert len(parts) >= 2, seed.name
        assert all(0 <= part.start < part.end <= len(seed.data) for part in parts), seed.name
        assert max(part.end for part in parts) == len(seed.data) or len(parts) == 400, seed.name


def test_checksums_made_anew_are_those_of_the_encoder(seeds: list[Seed]) -> None:
    for seed in seeds:
        if seed.container == "ogg":
            assert with_right_checksums(seed.data) == seed.data
            broken = bytearray(seed.data)
            broken[22:26] = b"\0\0\0\0"
            assert with_right_checksums(bytes(broken)) == seed.data


def test_the_same_seed_makes_the_same_files(seeds: list[Seed], tmp_path: Path) -> None:
    one, other = ([mutate(seeds[i % 30], seeds, dice) for i in range(60)] for dice in (random.Random(5),) * 2)
    assert one != other, "dice go on"
    assert one == [mutate(seeds[i % 30], seeds, dice) for dice in (random.Random(5),) for i in range(60)]


def test_broken_files_of_every_container_each_get_one_row(local_ray: None, bundle: str, tmp_path: Path) -> None:
    report = fuzz(tmp_path, files=150, seed=2, bundle=bundle, keep=tmp_path / "crashed", most_s=300.0)
    assert report.violations == []
    assert report.crashed == []
    assert set(report.peak_bytes) == set(ROLES), "the watch must have seen the processes"
    assert report.peak_bytes["decoder"] < 600 * MIB
    codes = {code for found in report.by_container.values() for code in found}
    assert {"tagged", "not_audio", "truncated"} <= codes, "some must be broken, and some spared"
    assert len(list((tmp_path / "audio").iterdir())) == 150
