"""The command that measures: its documents, its pages, and what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from evaluations import run, tags_of, untrained
from toy_collection import write_collection

from catalog_tagger.cli.evaluate import evaluate
from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.training import reports
from catalog_tagger.training.definitions import definitions_of
from catalog_tagger.training.measure import scorer_of
from catalog_tagger.training.pages.evaluation import evaluation_page


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("toy"), per_kind=8, seconds=2.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_bundle_is_measured_against_another(collection: Path, bundle: str, cache: Path, tmp_path: Path) -> None:
    run(bundle, collection, "--against", bundle, "--cache", cache, "--out", tmp_path)
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["fingerprint"] == load_bundle(bundle).fingerprint
    assert (document["split"], document["clips"], document["unlabelled"]) == ("test", 6, 0)
    clips = document["figures"]["clips"]
    assert clips["two_class"]["of"] == 4
    assert {row["source"] for row in document["figures"]["sources"]} == {"speech-1", "music-1", "noise-1"}
    assert sum(map(sum, document["details"]["clips"]["confusion"]["counts"])) == 6
    test = document["against"]["tests"]["clips"]["squared_error"]["items"]
    assert (test["items"], test["difference"], test["p"]) == (6, 0.0, 1.0)
    page = (tmp_path / "evaluation.html").read_text()
    assert {"svg", "table", "style"} <= tags_of(page)
    assert "script" not in tags_of(page)
    assert "var(--c1)" in page
    assert "#0000" not in page


def test_columns_go_by_label(bundle: str) -> None:
    loaded = load_bundle(bundle)
    assert loaded.labels == ("music", "speech")
    waveforms = torch.randn(2, 80_000) * 0.1
    heard = scorer_of(loaded, definitions_of(loaded))(waveforms)
    torch.testing.assert_close(heard, loaded.probabilities(loaded.frontend(waveforms))[:, [1, 0]])


def test_a_manifest_of_paths_and_labels_is_enough(collection: Path, cache: Path, tmp_path: Path) -> None:
    rows = ["\ufeffpath,label"]
    rows += [f"{collection.parent}/{role}/{at}.wav,{label}" for at in (3, 7) for role, label in _TAGS.items()]
    manifest = tmp_path / "mine.csv"
    manifest.write_text("\n".join(rows), encoding="utf-8")
    labels = ("babble", "hiss", "melody", "bells")
    one = untrained(tmp_path / "one", "tags", labels)
    other = untrained(tmp_path / "other", "tags", (*labels[:3], "horn"), seed=1)
    shown = run(one, manifest, "--against", other, "--cache", cache, "--out", tmp_path / "o", "--json")
    document = json.loads(shown)
    assert document == json.loads((tmp_path / "o" / "evaluation.json").read_text())
    assert document["split"] == "all"
    figures = document["figures"]["clips"]
    assert figures["labels"]["babble"]["true"] == 2
    assert figures["labels"]["bells"]["average_precision"]["value"] is None
    assert figures["mean"]["map_at_3"]["value"] is not None
    assert document["against"]["labels"] == ["babble", "hiss", "melody"]
    assert set(document["against"]["tests"]["clips"]["right"]) == {"one", "other", "items", "sources"}
    assert document["against"]["tests"]["clips"]["right"]["sources"] is None
    page = (tmp_path / "o" / "evaluation.html").read_text()
    tags_of(page)
    assert document["figures"]["over"] == "recordings"
    assert figures["top"]["over_sources"] is not None
    assert "95 % (recordings)" in page
    shown = run(one, manifest, "--cache", cache, "--out", tmp_path / "o")
    assert "95 % (recordings)" in shown
    assert "one source: intervals draw its recordings and voices anew" in shown
    assert "MAP@3 0." in shown
    assert "d\u2032" in shown


_TAGS = {"speech": "babble", "music": "melody; hiss", "noise": "hiss"}


def test_voices_are_measured_where_genders_are_given(collection: Path, cache: Path, tmp_path: Path) -> None:
    rows = [{"path": f"speech/{at}.wav", "gender": "fm"[at % 2], "language": "en"} for at in range(4)]
    rows += [{"path": "noise/0.wav", "gender": "", "language": ""}]
    manifest = collection.parent / "voices.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "gender", "language", "role"])
        writer.writeheader()
        writer.writerows({**row, "role": row["path"].split("/")[0]} for row in rows)
    voices = untrained(tmp_path / "voices", "voice_gender", ("female", "voice"))
    shown = run(voices, manifest, "--cache", cache, "--out", tmp_path / "o")
    document = json.loads((tmp_path / "o" / "evaluation.json").read_text())
    assert document["figures"]["clips"]["gender"]["of"] == 4
    assert document["figures"]["clips"]["voiceless_unknown"]["of"] == 1
    assert {row["language"] for row in document["figures"]["languages"]} == {"en"}
    assert "voiceless unknown" in shown
    assert str(tmp_path / "o" / "evaluation.html") in shown


def test_what_cannot_be_measured_is_said_in_one_line(
    collection: Path, bundle: str, cache: Path, tmp_path: Path
) -> None:
    tags = untrained(tmp_path / "tags", "tags", ("bells",))
    common = ["--cache", str(cache), "--out", str(tmp_path / "o")]
    for arguments, message in (
        ([bundle, str(collection), "--split", "hidden"], "no row has the split 'hidden'; there are test, train"),
        ([tags, str(collection)], "manifest.csv: none of its 6 clips says anything of bells"),
        ([tags, str(collection), "--stress"], "manifest.csv: none of its 6 clips says anything of bells"),
        ([bundle, str(collection), "--against", tags], "has the task tags, untrained has speech_music"),
        (
            [bundle, str(tmp_path / "none.csv")],
            "none.csv: cannot be read as a manifest: No such file or directory; name",
        ),
    ):
        result = CliRunner().invoke(evaluate, [*arguments, *common])
        assert isinstance(result.exception, UsageError), arguments
        assert message in str(result.exception)
    nowhere = CliRunner().invoke(evaluate, [bundle, str(collection), "--out", "/dev/null/o"])
    assert "/dev/null/o: cannot be written to: Not a directory; give another --out" in str(nowhere.exception)
    result = CliRunner().invoke(evaluate, [bundle, str(collection), "--stress", "--against", bundle, *common])
    assert result.exit_code == 2
    assert not (tmp_path / "o").exists()


def test_a_bundle_of_an_embedding_alone_is_refused_before_anything_is_heard(
    collection: Path, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlabelled = replace(load_bundle(bundle), name="embedder", labels=())
    monkeypatch.setattr("catalog_tagger.models.bundle.load_bundle", lambda name: unlabelled)
    cache = tmp_path / "cache"
    for more in ([], ["--stress"]):
        result = CliRunner().invoke(evaluate, ["x", str(collection), "--cache", str(cache), *more])
        assert isinstance(result.exception, UsageError)
        assert "bundle embedder has an embedding and no labels" in str(result.exception)
    assert not cache.exists()


def test_what_is_measured_and_what_speaks_against_it_is_said_first(
    collection: Path, cache: Path, tmp_path: Path
) -> None:
    trained = untrained(
        tmp_path / "trained",
        "speech_music",
        ("speech", "music"),
        card={"training_sources": [{"source": "speech-0"}, {"source": "elsewhere"}]},
    )
    common = ["--cache", str(cache), "--out", str(tmp_path / "o")]
    beside = CliRunner().invoke(evaluate, [trained, str(collection), *common], catch_exceptions=False).stderr
    assert beside.startswith("6 clips, split test of manifest.csv\n")
    assert "warning" not in beside
    result = CliRunner().invoke(evaluate, [trained, str(collection), "--split", "all", *common], catch_exceptions=False)
    assert result.stderr.startswith("24 clips, split all of manifest.csv\nwarning: 18 of the 24 clips are not of")
    assert "trained was trained on sources of these clips, by its card: speech-0\n" in result.stderr
    document = json.loads((tmp_path / "o" / "evaluation.json").read_text())
    assert len(document["warnings"]) == 2
    assert "Warning: 18 of the 24 clips" in (tmp_path / "o" / "evaluation.html").read_text()


def test_clips_with_other_labels_alone_are_counted_and_named(collection: Path, cache: Path, tmp_path: Path) -> None:
    tags = untrained(tmp_path / "tags", "tags", ("whistle", "hiss"))
    manifest = collection.with_name("told.csv")
    manifest.write_text("path,label\nspeech/0.wav,hiss\nmusic/0.wav,hum\nmusic/1.wav,hiss\n")
    arguments = [tags, str(manifest), "--cache", str(cache), "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert "warning: 1 of them say nothing of" in result.stderr
    assert "and count nowhere (labels: hum)" in result.stderr
    assert json.loads((tmp_path / "o" / "evaluation.json").read_text())["unlabelled"] == 1


def test_where_a_bundle_of_ones_own_links_its_page_is_told_and_true(
    collection: Path, cache: Path, tmp_path: Path
) -> None:
    mine = untrained(tmp_path / "my own", "speech_music", ("speech", "music"))
    shown = run(mine, collection, "--cache", cache, "--out", tmp_path / "elsewhere")
    assert f"with --out '{mine}/reports' it is linked by: catalog-tagger bundles show '{mine}'" in shown
    shown = run(mine, collection, "--cache", cache, "--out", f"{mine}/reports")
    assert "linked by" not in shown
    found = reports.read_reports(mine, load_bundle(mine).fingerprint)
    assert found["evaluation"][0].is_file()


def test_a_seed_below_zero_is_bad_usage(collection: Path, bundle: str) -> None:
    result = CliRunner().invoke(evaluate, [bundle, str(collection), "--stress", "--seed", "-1"])
    assert result.exit_code == 2
    assert "-1 is not in the range x>=0" in result.output


def test_reports_are_made_of_test_rows_and_say_so(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "mine.csv"
    manifest.write_text("path,role\na.wav,speech\n")
    for arguments, words in (
        ([str(manifest), bundle], "mine.csv: no row has the split 'test', and reports are made of these alone"),
        ([str(tmp_path / "nope.csv"), bundle], "nope.csv: cannot be read as a manifest"),
        ([str(manifest), "no such bundle"], "no bundle 'no such bundle'"),
    ):
        with pytest.raises(SystemExit) as ended:
            reports.main(arguments)
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_names_in_pages_are_text() -> None:
    share: dict[str, Any] = {"right": 1, "of": 1, "share": 1.0, "wilson": [0.2, 1.0], "over_sources": None}
    figure = {"value": None, "over_sources": None}
    labels = ("precision", "recall", "f", "average_precision", "auc", "d_prime", "calibration_error")
    level = {
        "top": share,
        "labels": {"<script>": {"true": 1, "known": 1, **dict.fromkeys(labels, figure)}},
        "mean": dict.fromkeys((*labels, "map", "map_at_3"), figure),
    }
    details = {"reliability": {"<script>": []}, "confusion": {"classes": ["<script>"], "counts": [[1]]}}
    page = evaluation_page(
        {
            "bundle": "<b>",
            "task": "tags",
            "fingerprint": "0",
            "clips": 1,
            "hours": 0.1,
            "manifest": "<i>.csv",
            "split": "all",
            "unlabelled": 0,
            "warnings": ["<s>"],
            "definitions": {"top": "right & good"},
            "primary": "top",
            "figures": {
                "segments": level,
                "clips": level,
                "over": "sources",
                "sources": [{"truth": "x", "source": "<u>", "clips_top": 1.0}],
            },
            "details": {"segments": details, "clips": details},
        }
    )
    assert not {"script", "b", "i", "u", "s"} & tags_of(page)
    assert "right &amp; good" in page
