"""Examples of voices, what is made of voices, and a small training that tells them apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_voices import person, write_voices

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.tagging.voices import judge_voice
from catalog_tagger.training.acting import PITCH_HZ, act
from catalog_tagger.training.bank import Bank, Recording
from catalog_tagger.training.config import ClipConfig, TrainingConfig
from catalog_tagger.training.job import Job
from catalog_tagger.training.manifest import Clip, Split, read_manifest
from catalog_tagger.training.voice import analyse
from catalog_tagger.training.voice_figures import Heard, Trial, cheapest, listen, report, trials
from catalog_tagger.training.voice_material import one_side_each, read_heard, voice_banks
from catalog_tagger.training.voices import SpeakerBank, VoiceBanks, VoiceBatches, compose_voice


def _recording(samples: np.ndarray, source: str, group: str) -> Recording:
    pcm = (samples * 32767).astype(np.int16)
    return Recording(pcm, pcm, -50.0, source, group)


@pytest.fixture(scope="module")
def banks() -> VoiceBanks:
    rng = np.random.default_rng(0)
    spoken = {
        gender: SpeakerBank([_recording(person(rng, 1.5, gender), "toy", f"{gender}{n}") for n in range(2)])
        for gender in ("f", "m")
    }
    hiss = Bank([_recording(0.1 * rng.standard_normal(24_000), "hiss", "hiss")])
    nobody = {"f": Bank([]), "m": Bank([])}
    return VoiceBanks(
        spoken=spoken,
        heard=nobody,
        acted=spoken,
        unlabelled=Bank([]),
        music=hiss,
        singing=Bank([]),
        sung=Bank([]),
        noise=hiss,
    )


def test_labels_follow_from_what_was_put_in(banks: VoiceBanks) -> None:
    rng = np.random.default_rng(1)
    for gender, female in (("f", 1.0), ("m", 0.0)):
        drawn = [compose_voice(banks, rng, samples=24_000, kind="gendered", gender=gender) for _ in range(12)]
        assert {one.target for one in drawn} == {(female, 1.0)}
        assert sum(one.weight == (1.0, 1.0) for one in drawn) > 6
    for one in (compose_voice(banks, rng, samples=24_000, kind="voiceless") for _ in range(12)):
        assert (one.target, one.weight) == ((0.0, 0.0), (0.0, 1.0))


def test_an_inaudible_voice_teaches_nothing(banks: VoiceBanks) -> None:
    deaf = SpeakerBank([replace(one, gate_db=0.0) for one in banks.spoken["f"].recordings])
    silent = replace(banks, spoken={"f": deaf, "m": deaf}, acted={"f": deaf, "m": deaf})
    rng = np.random.default_rng(2)
    drawn = [compose_voice(silent, rng, samples=24_000, kind="gendered") for _ in range(8)]
    assert {one.weight for one in drawn} == {(0.0, 0.0)}


def test_a_batch_depends_on_seed_and_place_alone(banks: VoiceBanks) -> None:
    frontend = build_frontend({"name": "cqt"}).eval()

    def batches(seed: int) -> VoiceBatches:
        return VoiceBatches(banks, frontend, seed=seed, batches=3, batch_size=4, samples=16_000)

    first, again, other = batches(5)[2], batches(5)[2], batches(6)[2]
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.features, other.features)
    assert first.features.shape == (4, 1 + 16_000 // 371, 144)


def test_collections_weigh_by_their_voices() -> None:
    one_voice = [_recording(np.ones(160_000) * 0.1, "long", "a")]
    many = [_recording(np.ones(1_600) * 0.1, "short", f"v{n}") for n in range(16)]
    bank, rng = SpeakerBank([*one_voice, *many]), np.random.default_rng(0)
    drawn = [bank.draw(rng).source for _ in range(400)]
    assert 0.72 < drawn.count("short") / 400 < 0.88  # 4 to 1


def _tract_ratio(one: np.ndarray, other: np.ndarray) -> float:
    """By what factor the resonances of `other` lie higher, as far as their shapes tell."""
    shapes = []
    for samples in (one, other):
        voice = analyse(samples)
        shapes.append(voice.log_envelope[voice.level > 0.3 * voice.level.max()].mean(axis=0))
    bins = np.arange(20, 200)

    def shape(envelope: np.ndarray, ratio: float) -> np.ndarray:
        moved = np.interp(bins / ratio, np.arange(513), envelope)
        # effort tilts a spectrum: what is bent less than a resonance is taken out
        return moved - np.polyval(np.polyfit(bins, moved, 2), bins)

    ratios = 2 ** np.linspace(-0.7, 0.7, 29)
    match = [np.corrcoef(shape(shapes[0], ratio), shape(shapes[1], 1.0))[0, 1] for ratio in ratios]
    return float(ratios[np.argmax(match)])


def _vowel(pitch_hz: float, tract: float) -> np.ndarray:
    """One second of "a" with a falling pitch, in two syllables."""
    time_s = np.arange(16_000) / 16_000
    hertz = pitch_hz * (1.1 - 0.2 * time_s)
    phase = 2 * np.pi * np.cumsum(hertz) / 16_000
    out = np.zeros_like(time_s)
    for harmonic in range(1, int(7_000 / pitch_hz)):
        at = harmonic * hertz
        gain = sum(np.exp(-np.square((at - tract * formant) / 200)) for formant in (700, 1250, 2600, 3600))
        out += (gain + 0.05) * 500 / (500 + at) * np.sin(harmonic * phase)
    out *= np.clip(4 * np.abs(np.sin(2 * np.pi * time_s)), 0, 1)
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


@pytest.mark.parametrize(("gender", "pitch_hz", "tract"), [("f", 200.0, 1.15), ("m", 110.0, 0.95)])
def test_an_acted_voice_changes_its_pitch_and_keeps_its_tract(gender: str, pitch_hz: float, tract: float) -> None:
    spoken = _vowel(pitch_hz, tract)
    pitches, tracts = [], []
    for seed in range(6):
        acted = act(spoken, np.random.default_rng(seed), gender=gender)
        f0_hz = analyse(acted).f0_hz
        if (f0_hz > 0).mean() > 0.2:  # not whispered
            pitches.append(np.median(f0_hz[f0_hz > 0]))
            tracts.append(_tract_ratio(spoken, acted))
    assert max(pitches) > 1.3 * pitch_hz
    assert min(pitches) >= 0.9 * PITCH_HZ[gender][0]
    assert np.median(tracts) == pytest.approx(1.0, abs=0.12)


def test_silence_cannot_be_acted() -> None:
    assert act(np.zeros(16_000, np.float32), np.random.default_rng(0), gender="f").size == 0


def _clip(name: str, *, source: str = "s", speaker: str = "", gender: str = "", role: str = "speech") -> Clip:
    return Clip(Path(name), "train", role, "", source, name, speaker, "", 1.0, gender=gender)


def test_a_named_voice_is_on_one_side() -> None:
    kerstin = [_clip(f"{n}.wav", speaker="kerstin", gender="f") for n in range(3)]
    crowd = [_clip(f"c{n}.wav", source="crowd", speaker="crowd") for n in range(2)]
    split = one_side_each(Split(train=(kerstin[0], crowd[0]), validation=(kerstin[1], kerstin[2], crowd[1])))
    assert split.validation == (crowd[1],)
    assert split.train == (kerstin[0], crowd[0])


def test_made_voices_are_kept_and_belong_to_their_speakers(tmp_path: Path) -> None:
    clips = [_clip(f"{g}.wav", speaker=g, gender=g) for g in ("f", "m")] + [_clip("heard.wav"), _clip("crowd.wav")]
    rng = np.random.default_rng(0)
    recordings = [_recording(person(rng, 1.5, "f"), "s", clip.original_path) for clip in clips]
    told: list[str] = []

    def banks(cache: Path) -> VoiceBanks:
        return voice_banks(
            clips,
            recordings,
            ClipConfig(),
            heard={"s/heard.wav": "m", "s/f.wav": "m"},
            acted=2,
            sung=1,
            seed=1,
            cache_dir=cache,
            title="training",
            progress=lambda title, done, of: told.append(title),
        )

    first = banks(tmp_path)
    assert set(told) == {"training: acted_f", "training: acted_m", "training: sung_by"}
    assert [one.group for one in first.acted["f"].recordings] == ["f.wav", "f.wav"]
    # a collection's word goes before what was heard
    assert [one.group for one in first.spoken["f"].recordings] == ["f.wav"]
    assert [one.group for one in first.spoken["m"].recordings] == ["m.wav"]
    assert [one.group for one in first.heard["m"].recordings] == ["heard.wav"]
    assert [one.group for one in first.unlabelled.recordings] == ["crowd.wav"]
    told.clear()
    again = banks(tmp_path)
    assert told == []
    assert np.array_equal(again.acted["f"].recordings[1].pcm, first.acted["f"].recordings[1].pcm)


def test_one_gender_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both genders; has 1 f, 0 m"):
        voice_banks(
            [_clip("f.wav", gender="f")],
            [_recording(np.ones(8_000) * 0.1, "s", "f")],
            ClipConfig(),
            heard={},
            acted=0,
            sung=0,
            seed=0,
            cache_dir=tmp_path,
            title="training",
            progress=lambda *_: None,
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("source,original_path\na,b\n", "gender"),
        ("source,original_path,gender\na,b,x\n", "'x'"),
        ("source,original_path,gender\na,b\n", "''"),
        (None, "cannot be read"),
    ],
)
def test_an_unusable_file_of_heard_genders_is_refused(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "heard.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=told):
        read_heard(path)


def test_heard_genders_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "heard.csv").write_text("source,original_path,gender\na,ü.wav,Female\n", encoding="utf-8-sig")
    assert read_heard(tmp_path / "heard.csv") == {"a/ü.wav": "f"}


def test_hears_what_a_tagging_job_hears() -> None:
    sizes = [3, 160_010, 100_000]  # a tail of ten samples is no segment

    def hear(waveforms: torch.Tensor) -> torch.Tensor:
        return torch.stack([waveforms.abs().amax(dim=1), torch.ones(len(waveforms))], dim=1)

    heard = listen([np.full(size, 3277 * (n + 1), np.int16) for n, size in enumerate(sizes)], hear)
    assert heard.owner.tolist() == [0, 1, 1, 2, 2]
    assert heard.seconds.tolist() == [3 / 16_000, 5.0, 5.0, 5.0, 1.25]
    assert heard.p_female == pytest.approx([0.1, 0.2, 0.2, 0.3, 0.3], abs=1e-3)
    assert len(heard.verdicts({})) == 3


def test_figures_count_what_was_said() -> None:
    pcm = np.zeros(16_000, np.int16)
    tried = [Trial(pcm, "female", "a", ("source a", "language en"))] * 3 + [Trial(pcm, "unknown", "b", ("music",))]
    heard = Heard(np.array([0.9, 0.2, 0.6, 0.9]), np.array([0.9, 0.9, 0.9, 0.1]), np.ones(4), np.arange(4))
    found = report(tried, heard, {"abstain_below": 0.7})
    assert (found["clips"]["right"], found["clips"]["of"]) == (1, 3)
    assert (found["answered"]["right"], found["answered"]["of"]) == (1, 2)
    rows = {(row["truth"], row["group"]): row for row in found["groups"]}
    assert rows["female", "language en"]["unknown"] == pytest.approx(1 / 3, abs=1e-4)
    assert rows["unknown", "music"]["share"] == 1.0


def test_thresholds_are_the_cheapest() -> None:
    pcm = np.zeros(16_000, np.int16)
    # 0.7 is right once in four: to abstain costs 1, to be wrong 3
    tried = [Trial(pcm, truth, "a", ("source a",)) for truth in ("female", "male", "male", "male", "female")]
    heard = Heard(np.array([0.7, 0.7, 0.7, 0.7, 0.95]), np.full(5, 0.9), np.ones(5), np.arange(5))
    chosen = cheapest(tried, heard, wrong_costs=3.0)
    assert 0.7 < chosen["abstain_below"] < 0.95
    right = Heard(heard.p_female[[0, 4]], heard.p_voice[:2], np.ones(2), np.arange(2))
    surer = cheapest([tried[0], tried[4]], right, wrong_costs=3.0)
    assert surer["abstain_below"] < 0.7


def test_trials_bear_every_condition(banks: VoiceBanks) -> None:
    clips = [_clip("f.wav", speaker="f", gender="f"), _clip("n.wav", role="noise"), _clip("crowd.wav")]
    recordings = [banks.spoken["f"].recordings[0], banks.noise.recordings[0], banks.spoken["f"].recordings[1]]
    found = trials(
        clips,
        recordings,
        ClipConfig(),
        acted={"f": banks.acted["f"]},
        backgrounds={"noise": banks.noise},
        per_voice=8,
        seed=0,
    )
    groups = {group for one in found for group in one.groups}
    assert groups == {
        "source s",
        "language unknown",
        "room",
        "telephone",
        "noise 5 dB under",
        "half a second",
        "noise",
        "acted",
    }
    assert {one.truth for one in found if one.groups == ("noise",)} == {"unknown"}
    assert {one.pcm.size for one in found if one.groups == ("half a second",)} == {8_000}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voices(tmp_path_factory.mktemp("voices"), voices=5, seconds=1.5)


def _train(manifest: Path, out: Path, **keys: Any) -> dict[str, Any]:
    config = TrainingConfig.model_validate(
        {
            "name": "toy_voices",
            "task": "voice_gender",
            "seed": 3,
            "manifest": manifest,
            "architecture": {"name": "voice_cnn", "channels": [6, 8, 12], "hidden": 16, "dropout": 0.0},
            "validation": {"hold_out": ["*/?3-*.wav", "*/*3.wav"], "fraction": 0.0, "scenes": 8},
            "options": {"acted": 5, "sung": 0, "stretch_s": 1.0},
            "report_on_test": True,
            "optimisation": {
                "batch_size": 16,
                "workers": 0,
                "warmup_steps": 5,
                "steps": 40,
                "learning_rate": 5e-3,
                "average_decay": 0.9,
                "validate_every_steps": 40,
            },
            **keys,
        }
    )
    return Job(
        config=config,
        out=out,
        cache_dir=manifest.parent / "cache",
        progress=lambda title, done, of: None,
        report=lambda line: None,
        say=lambda sentence: None,
    ).run()


def test_learns_high_voices_from_low_ones(collection: Path, tmp_path: Path) -> None:
    card = _train(collection, tmp_path / "out")
    assert json.loads(json.dumps(card)) == card
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert (bundle.task, bundle.labels) == ("voice_gender", ("female", "voice"))
    assert set(bundle.decision) == {"abstain_below", "voice_at"}
    rows = {(row["truth"], row["group"]): row for row in card["figures"]["test"]["groups"]}
    assert rows["female", "source speechs"]["of"] == rows["male", "source speechs"]["of"] == 2
    rng = np.random.default_rng(11)
    means = []
    for gender in ("f", "m"):
        waves = torch.from_numpy(np.stack([person(rng, 5.0, gender) for _ in range(6)]).astype(np.float32))
        means.append(float(bundle.probabilities(bundle.frontend(waves))[:, 0].mean()))
    assert means[0] > means[1] + 0.3
    verdict = judge_voice(np.array([0.5]), np.array([0.0]), np.array([5.0]), bundle.decision)
    assert verdict.voice_gender == "unknown"


def test_a_manifest_without_genders_is_refused(collection: Path, tmp_path: Path) -> None:
    text = collection.read_text().replace(",f,en", ",,en").replace(",m,en", ",,en")
    manifest = collection.with_name("nobody.csv")
    manifest.write_text(text)
    assert not any(clip.gender for clip in read_manifest(manifest))
    with pytest.raises(UsageError, match="no training row of speech has a gender"):
        _train(manifest, tmp_path / "out")
