"""The experiments run, small, on generated audio; their samples, tables and pictures by their rules."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from toy_collection import RATE_HZ, write_manifest, write_wav

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models.paper_cnn import PaperCNN
from catalog_tagger.training.cache import open_cache
from catalog_tagger.training.experiments.__main__ import main
from catalog_tagger.training.experiments.features import EpochBatches, Standard, open_features
from catalog_tagger.training.experiments.network import LayeredCNN
from catalog_tagger.training.experiments.pictures import describe_filters, draw_filters
from catalog_tagger.training.experiments.runner import Outcome, Runner, make_network
from catalog_tagger.training.experiments.samples import Sample, Sets, speech_music_sets, usable_clips, voice_sets
from catalog_tagger.training.experiments.session import choose_experiments
from catalog_tagger.training.experiments.settings import CQT, EXPERIMENTS, Experiment, Row, Setting
from catalog_tagger.training.experiments.tables import compare, markdown
from catalog_tagger.training.manifest import read_manifest

SETTINGS = {row.setting.name: row.setting for one in EXPERIMENTS for row in one.rows}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips of 10.2 s per role from two collections, noise in syllables and held tones; a fourth is for testing."""
    folder = tmp_path_factory.mktemp("experiments")
    rng, time_s = np.random.default_rng(0), np.arange(int(10.2 * RATE_HZ)) / RATE_HZ
    rows = []
    for number in range(24):
        role, voice = ("speech", "music")[number % 2], number // 2
        syllables = np.sin(2 * np.pi * rng.uniform(2.0, 4.0) * time_s) > 0
        tones = sum(np.sin(2 * np.pi * hertz * time_s) for hertz in rng.uniform(200.0, 2000.0, 3))
        sound = 0.3 * rng.standard_normal(time_s.size) * syllables if role == "speech" else 0.1 * tones
        write_wav(folder / f"{number}.wav", sound)
        rows.append(
            {
                "path": f"{number}.wav",
                "split": "test" if voice % 4 == 3 else "train",
                "role": role,
                "source": f"{role}-{voice % 2 if voice % 4 != 3 else (voice // 4) % 2}",
                "duration_s": 10.2,
                "speaker_or_artist": f"{role}{number}",
                "gender": "fm"[(voice // 3) % 2] if role == "speech" else "",
            }
        )
    return write_manifest(folder, rows)


@pytest.fixture(scope="module")
def runner(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    clips = read_manifest(manifest)
    cache = open_cache(clips, manifest.parent / "cache", degraded=False)
    sets = {**speech_music_sets(clips, cache), **voice_sets(clips, cache)}
    return Runner(sets=sets, cache=cache, fingerprint="toy", out=tmp_path_factory.mktemp("out"))


def test_samples_keep_collections_apart_and_classes_equal(manifest: Path, runner: Runner) -> None:
    clips = read_manifest(manifest)
    for name in ("small", "large"):
        sets = runner.sets[name]
        for part in (sets.train, sets.validation, sets.test):
            counts = Counter(sample.label for sample in part)
            assert counts[0] == counts[1] > 0
            assert all(clips[one.clip].role == ("speech", "music")[one.label] for one in part)
        kept = [{(one.label, one.source) for one in part} for part in (sets.train, sets.validation)]
        assert not kept[0] & kept[1]
        assert all(clips[one.clip].split == "test" for one in sets.test)
        assert all(clips[one.clip].split == "train" for one in (*sets.train, *sets.validation))
    small, large = runner.sets["small"], runner.sets["large"]
    assert max(Counter(one.clip for one in small.train).values()) == 1
    assert len(large.train) == 2 * len(small.train)
    assert (small.validation, small.test) == (large.validation, large.test)


def test_samples_of_one_clip_do_not_overlap(runner: Runner) -> None:
    for sets in runner.sets.values():
        places = sorted((one.clip, one.start, one.length) for one in (*sets.train, *sets.validation, *sets.test))
        for (clip, start, length), (other, later, _) in pairwise(places):
            assert clip != other or later >= start + length


def test_silence_is_no_sample(manifest: Path, runner: Runner) -> None:
    clips = read_manifest(manifest)
    for sample in runner.sets["large"].train:
        pcm = runner.cache.samples(sample.clip)[sample.start : sample.start + sample.length]
        assert np.abs(pcm).max() > 300, clips[sample.clip].path


def test_voices_are_disjoint_by_speaker_or_shared_as_in_the_paper(manifest: Path, runner: Runner) -> None:
    clips = read_manifest(manifest)
    speakers = [{clips[one.clip].speaker for one in part} for part in _parts(runner.sets["voices_disjoint"])]
    assert not speakers[0] & speakers[1]
    assert not speakers[0] & speakers[2]
    shared = [{clips[one.clip].speaker for one in part} for part in _parts(runner.sets["voices_shared"])]
    assert shared[0] & shared[2]


def _parts(sets: Sets) -> tuple[tuple[Sample, ...], ...]:
    return sets.train, sets.validation, sets.test


def test_rows_of_other_splits_are_validated_on_or_left_out(manifest: Path, tmp_path: Path) -> None:
    rows = list(read_manifest(manifest))
    mine = [place for place, clip in enumerate(rows) if clip.split == "train"]
    for place, split in zip(mine[:6], ["validation"] * 4 + ["holdout"] * 2, strict=True):
        rows[place] = replace(rows[place], split=split)
    rows[mine[-2]] = replace(rows[mine[-2]], speaker=rows[mine[0]].speaker, source=rows[mine[0]].source, gender="f")
    clips = usable_clips(rows)
    assert len(clips) == len(rows) - 2
    cache = open_cache(clips, tmp_path, degraded=False)
    for name, sets in {**speech_music_sets(clips, cache), **voice_sets(clips, cache)}.items():
        splits = [{clips[one.clip].split for one in part} for part in _parts(sets)]
        if name == "voices_shared":
            assert splits == [{"train"}] * 3
            continue
        assert (splits[0], splits[2]) == ({"train"}, {"test"})
        assert "validation" in splits[1]
        if name == "voices_disjoint":
            assert all(clips[one.clip].speaker != rows[mine[0]].speaker for one in sets.train)


def test_one_collection_alone_cannot_be_split(manifest: Path, tmp_path: Path) -> None:
    clips = [clip for clip in read_manifest(manifest) if clip.source in ("speech-0", "music-0")]
    cache = open_cache(clips, tmp_path, degraded=False)
    with pytest.raises(UsageError, match="validation needs long enough clips of both classes"):
        speech_music_sets(clips, cache)


def test_features_are_the_front_end_s_and_are_made_once(runner: Runner, tmp_path: Path) -> None:
    samples = runner.sets["small"].test
    rows = open_features(CQT, samples, runner.cache, fingerprint="toy", folder=tmp_path)
    pcm = runner.cache.samples(samples[1].clip)[samples[1].start : samples[1].start + samples[1].length]
    wanted = build_frontend(CQT)(torch.from_numpy(pcm / np.float32(32768))[None])[0]
    torch.testing.assert_close(torch.from_numpy(rows[1].astype(np.float32)), wanted, atol=0.02, rtol=2e-3)
    [path] = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    open_features(CQT, samples, runner.cache, fingerprint="toy", folder=tmp_path)
    assert path.stat().st_mtime_ns == before
    open_features(CQT, samples, runner.cache, fingerprint="another", folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_epoch_shows_every_example_once_and_standardised() -> None:
    rows = np.random.default_rng(0).normal(3.0, 2.0, (24, 5, 4)).astype(np.float16)
    rows[:, :, 2] += np.arange(24, dtype=np.float16)[:, None]
    labels = (np.arange(24) % 2).astype(np.int64)
    data = EpochBatches(rows, labels, Standard(rows), batch_size=8, epochs=3, seed=1)
    epochs = [torch.cat([data[3 * epoch + number].features for number in range(3)]) for epoch in range(3)]
    assert len(data) == 9
    for epoch in epochs:
        torch.testing.assert_close(epoch.sum(dim=0), epochs[0].sum(dim=0), atol=1e-4, rtol=1e-4)
        assert epoch.mean(dim=(0, 1)).abs().max() < 1e-2
        assert (epoch.std(dim=(0, 1)) - 1).abs().max() < 2e-2
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(data[4].features, data[4].features)


@pytest.mark.parametrize("shape", [(1, 431, 700), (1, 216, 700), (1, 108, 700), (1, 216, 144), (3, 108, 12)])
@pytest.mark.parametrize(("convolutions", "connected"), [(1, 2), (2, 2), (3, 1), (3, 2)])
def test_one_network_takes_every_input(shape: tuple[int, int, int], convolutions: int, connected: int) -> None:
    model = LayeredCNN(shape=shape, convolutions=convolutions, connected=connected, maps=2, hidden=4)
    features = torch.zeros(2, *shape) if shape[0] > 1 else torch.zeros(2, *shape[1:])
    assert model(features).shape == (2, 2)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in model.modules()) == convolutions
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model.modules()) == connected + 1


def test_the_layers_filters_span_the_same_of_every_input() -> None:
    spectra, grams = (LayeredCNN(shape=shape, maps=2) for shape in ((1, 431, 700), (1, 216, 144)))
    sizes = [model.convolutions[0].kernel_size for model in (spectra, grams)]
    assert sizes == [(9, 21), (5, 5)]


def test_strides_leave_the_filters_of_three_octaves() -> None:
    model = PaperCNN(maps=(2, 2, 2, 2), pools=(2, 4, 2, 4), strides=(2, 2))
    assert model.convolutions[0].kernel_size == (10, 72)
    assert model.convolutions[3].kernel_size == (11, 1)  # half a second at two frames a step
    assert model(torch.zeros(1, 216, 144)).shape == (1, 2)
    with pytest.raises(ValueError, match="strides"):
        PaperCNN(strides=(0, 1))


def test_every_setting_has_a_network_for_its_features() -> None:
    for setting in SETTINGS.values():
        if setting.network["name"] in ("svm", "forest"):
            continue
        samples = 80000 if not setting.data.startswith("voices") else 3521
        spec = {key: value for key, value in setting.frontend.items() if key != "context"}
        features = build_frontend(spec)(torch.zeros(1, samples))
        cut = setting.frontend.get("context", 0)
        features = features[..., cut : features.shape[-2] - cut, :]
        assert make_network(setting, features.shape[1:])(features).shape == (1, 2), setting.name


def test_all_budgets_together_leave_three_hours_room_for_decoding_and_front_ends() -> None:
    assert sum(one.budget_minutes * one.seeds for one in SETTINGS.values()) <= 170


def test_settings_of_one_name_are_one_setting() -> None:
    for one in EXPERIMENTS:
        for row in one.rows:
            assert row.setting == SETTINGS[row.setting.name]


def test_the_whole_set_runs_and_goes_on_where_it_was(manifest: Path, tmp_path: Path) -> None:
    arguments = ["--manifest", str(manifest), "--out", str(tmp_path / "out"), "--cache", str(manifest.parent / "cache")]
    done = CliRunner().invoke(main, [*arguments, "--smoke", "--only", "1,3,6"])
    assert done.exit_code == 0, done.output
    tables = json.loads((tmp_path / "out" / "tables.json").read_text())
    assert [table["experiment"] for table in tables] == ["1", "3", "6"]
    for table in tables:
        for row in table["rows"]:
            assert 0 <= row["ours"]["figure"] <= 100
            assert row["seconds"] <= row["budget_seconds"]
    assert set(tables[2]["filters"]) == {"before training", "wide", "wide-l1"}
    assert (tmp_path / "out" / "filters-wide-l1.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "Experiment 3: The network and two other classifiers" in text
    assert "| SVM | 82.2 | 89.8 | 85.8 |" in text

    kept = {path: path.read_bytes() for path in (tmp_path / "out" / "settings").iterdir()}
    (tmp_path / "out" / "settings" / "svm-0.json").unlink()
    again = CliRunner().invoke(main, [*arguments, "--smoke", "--only", "3"])
    assert again.exit_code == 0, again.output
    assert "svm, seed 0" in again.output
    assert "forest" not in again.output
    for path, content in kept.items():
        if path.name != "svm-0.json":
            assert path.read_bytes() == content
    other = CliRunner().invoke(main, [*arguments, "--finished", "--only", "3"])
    assert "0 of 1 tables" in other.output  # what ran small does not stand for the real setting
    (tmp_path / "out" / "settings" / "forest-0.json").unlink()
    partly = CliRunner().invoke(main, [*arguments, "--smoke", "--finished", "--only", "3"])
    assert "1 of 1 tables" in partly.output
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "| random forest | 76.3 | 89.1 | 82.2 |  |  |  |  |  | not run; at most 60 s |" in text


def test_an_unknown_experiment_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="--only 9: there is no such experiment; there are 1, 2, 3, 4a"):
        choose_experiments(["9"])
    assert [one.number for one in choose_experiments(["4", "2"])] == ["2", "4a", "4b", "4c"]


def _table(*, first: list[float], second: list[float], paper: tuple[float, float]) -> dict[str, object]:
    """A comparison of two settings on 40 samples of 8 collections, half of them of class 0."""
    test = tuple(Sample(number, 0, 1, number % 2, f"collection {number // 5}") for number in range(40))
    sets = {"small": Sets(test, test, test)}
    rows = tuple(
        Row(name, Setting(name, "small", {}, {"name": "layered"}), 0.0, 0.0, figure)
        for name, figure in zip(("one", "other"), paper, strict=True)
    )
    outcomes = {
        name: [Outcome(tuple(said), seconds=1.0, epochs=1.0, error=0.0, parameters=1)]
        for name, said in (("one", first), ("other", second))
    }
    return compare(Experiment("0", "a title", "a table", rows), outcomes, sets)


RIGHT = [1.0 - number % 2 for number in range(40)]


def test_a_table_says_precision_recall_and_order() -> None:
    worse = [1.0 if number % 5 == 0 else one for number, one in enumerate(RIGHT)]
    table = _table(first=RIGHT, second=worse, paper=(95.0, 90.0))
    one, other = table["rows"]  # type: ignore[misc]
    assert (one["ours"]["recall"], one["ours"]["precision"], one["ours"]["figure"]) == (100.0, 100.0, 100.0)
    assert other["ours"]["recall"] == 100.0
    assert other["ours"]["precision"] == pytest.approx(100 * 20 / 24, abs=0.01)
    assert other["ours"]["low"] <= other["ours"]["figure"] <= other["ours"]["high"]
    assert [pair["agrees"] for pair in table["order"]] == ["yes"]  # type: ignore[index]
    text = markdown([table])
    assert "1 come out the same" in text
    assert other["wrong"]["collection 0"] == {"samples": 5, "wrong": 0.0}
    assert other["wrong"]["collection 1"] == {"samples": 5, "wrong": 1.0}
    assert "Where most errors are, per cent wrong by row: collection 1 (0.0 / 20.0)" in text
    assert "| one | 0.0 | 0.0 | 95.0 | 100.0 | 100.0 | **100.0** (100.0–100.0) |" in text


def test_an_order_that_does_not_hold_is_said() -> None:
    worse = [1.0 if number % 5 == 0 else one for number, one in enumerate(RIGHT)]
    table = _table(first=RIGHT, second=worse, paper=(90.0, 95.0))
    assert [pair["agrees"] for pair in table["order"]] == ["no"]  # type: ignore[index]
    assert "- one against other, the other way round: -5.0 in the paper" in markdown([table])


def test_an_order_that_other_collections_would_change_is_undecided() -> None:
    one_wrong = [*RIGHT[:-1], 1.0]
    other_wrong = [0.0, *RIGHT[1:]]
    table = _table(first=one_wrong, second=other_wrong, paper=(90.0, 95.0))
    assert [pair["agrees"] for pair in table["order"]] == ["undecided"]  # type: ignore[index]


def test_filters_are_described_by_sparsity_and_smoothness(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((20, 10, 72))
    rough = describe_filters(noise)
    assert abs(rough["in_time"]) < 0.05
    assert rough["near_zero"] < 0.1
    lines = np.repeat(np.random.default_rng(1).standard_normal((20, 1, 72)), 10, axis=1)
    lines[:, :, ::2] = 0.0
    structured = describe_filters(lines)
    assert structured["in_time"] == pytest.approx(1.0)
    assert structured["near_zero"] > 0.5
    draw_filters(lines, tmp_path / "filters.png", title="lines", hop_s=0.023, bins_per_octave=24)
    assert 1000 < (tmp_path / "filters.png").stat().st_size < 300_000
