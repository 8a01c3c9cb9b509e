import csv
from pathlib import Path

import numpy as np
import pytest

from catalog_tagger.audio import AudioStream, read_pcm
from catalog_tagger.demo import DemoCatalogue, make_demo_catalogue
from catalog_tagger.demo.render_voices import PASSAGES, VOICES_DIR
from catalog_tagger.errors import AudioError

pytestmark = pytest.mark.xdist_group("demo_catalogue")  # it is made once, by one worker


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> DemoCatalogue:
    return make_demo_catalogue(tmp_path_factory.mktemp("demo") / "catalogue")


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["track_id"]: row for row in csv.DictReader(file)}


def test_every_track_stands_in_both_tables_with_its_file(catalogue: DemoCatalogue) -> None:
    manifest, truth = rows(catalogue.manifest), rows(catalogue.truth)
    assert list(manifest) == list(truth)
    assert len(manifest) == catalogue.n_tracks == 25
    assert list(manifest["DEMO0001"]) == ["track_id", "uri", "title", "artist", "content_type"]
    files = {catalogue.root / row["uri"] for row in manifest.values()}
    assert files == set((catalogue.root / "audio").iterdir())


def test_the_truth_says_what_the_decoder_finds(catalogue: DemoCatalogue) -> None:
    manifest = rows(catalogue.manifest)
    total_s, codecs = 0.0, set()
    for track_id, row in rows(catalogue.truth).items():
        path = catalogue.root / manifest[track_id]["uri"]
        if not row["content_type"]:
            with pytest.raises(AudioError):
                read_pcm(path)
            continue
        with AudioStream(path) as stream:
            heard_s = sum(len(block) for block in stream.blocks()) / 16000
            codecs.add(stream.info.codec)
            assert stream.info.channels == int(row["channels"]), track_id
            assert row["codec"] == "opus" or stream.info.sample_rate_hz == int(row["sample_rate_hz"]), track_id
        assert heard_s == pytest.approx(float(row["duration_s"]), abs=0.05), track_id
        total_s += float(row["duration_s"])
    assert codecs == {"mp3", "aac", "alac", "flac", "opus", "vorbis", "wmav2", "pcm_s16le", "pcm_s16be"}
    assert total_s == pytest.approx(catalogue.duration_s)


def test_content_types_and_mistakes_are_as_promised(catalogue: DemoCatalogue) -> None:
    truth, manifest = rows(catalogue.truth), rows(catalogue.manifest)
    kinds = [row["content_type"] for row in truth.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"music": 12, "speech": 6, "mixed": 3, "other": 2, "": 2}
    assert kinds.count("") == catalogue.n_broken
    wrong = {track_id for track_id, row in truth.items() if row["label_is_wrong"] == "true"}
    assert wrong == set(catalogue.wrong_labels)
    claims = {(manifest[track_id]["content_type"], truth[track_id]["content_type"]) for track_id in wrong}
    assert {("audiobook", "music"), ("music", "speech")} <= claims


def test_the_song_inside_a_podcast_is_the_song_of_the_catalogue(catalogue: DemoCatalogue) -> None:
    truth, manifest = rows(catalogue.truth), rows(catalogue.manifest)
    shows = {track_id: row for track_id, row in truth.items() if row["song_track_id"]}
    assert len(shows) == 2
    for track_id, row in shows.items():
        show = read_pcm(catalogue.root / manifest[track_id]["uri"]).astype(float)
        song = read_pcm(catalogue.root / manifest[row["song_track_id"]]["uri"]).astype(float)
        start, middle = int((float(row["song_start_s"]) + 5.0) * 16000), 5 * 16000
        excerpt, original = show[start : start + 32000], song[middle : middle + 32000]
        spectra = np.fft.rfft(excerpt, 1 << 17) * np.conj(np.fft.rfft(original, 1 << 17))
        likeness = np.abs(np.fft.irfft(spectra)).max() / np.sqrt((excerpt**2).sum() * (original**2).sum())
        assert likeness > 0.9, f"{row['song_track_id']} is not in {track_id} where the truth says"


def test_making_it_again_leaves_every_file_as_it_is(catalogue: DemoCatalogue) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        files = sorted((catalogue.root / "audio").iterdir())
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = state()
    assert make_demo_catalogue(catalogue.root) == catalogue
    assert state() == before


def test_the_recorded_voices_are_small_and_long_enough() -> None:
    files = {path.stem: path for path in VOICES_DIR.glob("*.opus")}
    assert set(files) == {passage.name for passage in PASSAGES}
    assert sum(path.stat().st_size for path in files.values()) < 400_000
    assert all(len(read_pcm(path)) > 15 * 16000 for path in files.values())
