"""Listening without a cluster."""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from audio_files import glide, wav_bytes

from catalog_tagger import Tagger
from catalog_tagger.audio import SEGMENT_SAMPLES, cut_segments, read_pcm
from catalog_tagger.errors import AudioError, UsageError
from catalog_tagger.models.bundle import Bundle, load_bundle
from catalog_tagger.tagging.content import judge
from catalog_tagger.tagging.tagger import Scorer


@pytest.fixture(scope="module")
def tagger(bundle: str) -> Tagger:
    return Tagger([bundle])


def noise(n: int) -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(n).standard_normal(n))
    return (walk / np.abs(walk).max() * 20000).astype(np.int16)


def test_bytes_path_and_file_object_give_the_same_result(tagger: Tagger, catalogue: Path) -> None:
    path = catalogue / "a.mp3"
    with path.open("rb") as file:
        results = [tagger.tag(source) for source in (path, str(path), path.read_bytes(), file)]
    for result in results:
        assert result.info == results[0].info
        assert result.verdict == results[0].verdict
        np.testing.assert_array_equal(result.p_speech, results[0].p_speech)


def test_the_result_says_what_was_heard(tagger: Tagger, catalogue: Path) -> None:
    result = tagger.tag(catalogue / "a.mp3")
    assert (result.info.codec, result.info.sample_rate_hz, result.info.channels) == ("mp3", 22050, 1)
    assert result.duration_s == result.scanned_s == pytest.approx(12.0, abs=0.001)
    np.testing.assert_array_equal(result.start_s, [0.0, 5.0, 10.0])
    np.testing.assert_allclose(result.end_s, [5.0, 10.0, 12.0], atol=0.001)
    seconds = result.end_s - result.start_s
    assert judge(result.p_speech, result.p_music, seconds) == result.verdict
    assert result.content_type == result.verdict.content_type
    frame = result.segments()
    assert list(frame.columns) == ["start_s", "end_s", "p_speech", "p_music", "p_female", "tags"]
    np.testing.assert_array_equal(frame["p_music"], result.p_music)
    assert frame["p_female"].isna().all(), "no bundle tells voices"
    assert frame["tags"].tolist() == [{}, {}, {}]
    assert (result.voice_gender, result.tags, result.embedding) == (None, {}, None)


def said_by(bundle: Bundle, segments: np.ndarray) -> np.ndarray:
    """Probabilities, past the scorer."""
    with torch.inference_mode():
        features = bundle.frontend(torch.from_numpy(segments.astype(np.float32) / 32768.0))
        return bundle.probabilities(features).numpy()


@pytest.mark.parametrize(
    ("samples", "segments", "scanned_s"),
    [(1, 1, 1 / 16000), (80000, 1, 5.0), (83999, 1, 5.0), (84000, 2, 5.25), (160001, 2, 10.0)],
)
def test_a_tail_shorter_than_a_quarter_second_is_not_scanned(
    samples: int, segments: int, scanned_s: float, tagger: Tagger
) -> None:
    result = tagger.tag(wav_bytes(noise(samples)))
    assert len(result.p_speech) == segments
    assert result.duration_s == samples / 16000
    assert result.scanned_s == pytest.approx(scanned_s)


def test_columns_go_by_label_and_not_by_place(bundle: str) -> None:
    scorer = Scorer([bundle])
    (only,) = scorer.bundles.bundles
    assert only.labels == ("music", "speech")
    segments = cut_segments(noise(3 * SEGMENT_SAMPLES))
    np.testing.assert_allclose(scorer.score(segments).presence, said_by(only, segments)[:, ::-1], atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("auto", 0.02)])
def test_scores_hardly_depend_on_how_segments_are_batched(
    precision: Literal["auto", "float32"], tolerance: float, bundle: str
) -> None:
    segments = cut_segments(noise(37 * SEGMENT_SAMPLES))
    whole = Scorer([bundle], batch_segments=64, precision=precision).score(segments).presence
    assert whole is not None
    assert whole.dtype == np.float32
    assert whole.shape == (37, 2)
    assert np.ptp(whole, axis=0).min() > 0.001, "segments must differ, or their order could not be seen"
    for size in (1, 16, 40):
        other = Scorer([bundle], batch_segments=size, precision=precision)
        np.testing.assert_allclose(other.score(segments).presence, whole, atol=tolerance)
    alone = np.concatenate([other.score(segments[i : i + 1]).presence for i in range(5)])
    np.testing.assert_allclose(alone, whole[:5], atol=tolerance)


def test_no_segments_have_no_scores(bundles: tuple[str, ...]) -> None:
    scores = Scorer(bundles).score(np.zeros((0, SEGMENT_SAMPLES), np.int16))
    assert (scores.presence.shape, scores.voices.shape, scores.tags.shape) == ((0, 2), (0, 2), (0, 3))
    assert scores.embedding.shape == (0, 8)


def test_a_track_of_several_blocks_is_one_track(tagger: Tagger) -> None:
    pcm = noise(130 * 16000 + 1000)  # blocks of 120 s: two, the last one ragged
    result = tagger.tag(wav_bytes(pcm))
    assert len(result.p_speech) == 26
    np.testing.assert_allclose(result.p_speech, tagger.scorer.score(cut_segments(pcm)).presence[:, 0], atol=1e-4)


def test_bundle_ids_name_bundle_and_fingerprint(bundle: str) -> None:
    assert Scorer([bundle]).bundles.ids == [f"untrained@{load_bundle(bundle).fingerprint}", "peaks@1"]


def test_a_broken_track_is_one_audio_error(tagger: Tagger, tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        tagger.tag(b"")
    assert caught.value.code == "empty"
    with pytest.raises(FileNotFoundError):
        tagger.tag(tmp_path / "none.mp3")


def test_a_bundle_that_is_missing_or_altered_is_one_error(bundle: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle 'nowhere'"):
        Tagger(["nowhere"])
    copy = shutil.copytree(bundle, tmp_path / "copy")
    card = copy / "bundle.json"
    card.write_text(card.read_text().replace('"untrained"', '"better"'))
    with pytest.raises(UsageError, match="altered"):
        Tagger([str(copy)])


def test_level_decides_nothing_about_length(tagger: Tagger) -> None:
    silent = tagger.tag(wav_bytes(np.zeros(10 * 16000, np.int16)))
    loud = tagger.tag(wav_bytes((glide(10.0, rate_hz=16000)[0] * 80000).clip(-32768, 32767).astype(np.int16)))
    for result in (silent, loud):
        assert np.isfinite(result.p_speech).all()
        assert len(result.p_speech) == 2
    assert len(read_pcm(wav_bytes(np.zeros(10, np.int16)))) == 10
