"""What a job refuses, and that it says so before Ray is needed and leaves nothing behind."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from audio_files import wav_bytes
from job_runs import put_manifest, run

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.tagging import execution


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for Ray here has missed a refusal."""

    def asked(address: str | None) -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr(execution, "connected", asked)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "a.wav").write_bytes(wav_bytes(np.zeros(1600, np.int16)))
    return folder


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nowhere", None, "no such file or folder"),
        ("m.csv", "track_id,uri\n1,a.wav\n1,b.wav\n", "duplicate track_id '1' in rows 1, 2"),
        ("m.csv", "track_id,path\n1,a.wav\n", "column 'uri' is missing"),
    ],
)
def test_a_source_that_cannot_be_used_leaves_no_warehouse(
    name: str, text: str | None, message: str, bundle: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        run(tmp_path / name, tmp_path / "w", bundle)
    assert not (tmp_path / "w").exists()


def test_an_unknown_bundle_leaves_no_warehouse(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bundle 'nowhere'"):
        run(source, tmp_path / "w", "nowhere")
    assert not (tmp_path / "w").exists()


def test_a_warehouse_that_cannot_be_written_is_one_error(source: Path, bundle: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"/file/w/runs/r/\w+\.\w+: not a folder, or a file is in the way"):
        run(source, tmp_path / "file" / "w", bundle)


def started(source: Path, warehouse: Path, bundle: str) -> None:
    """A run that was planned and did not come further."""
    with pytest.raises(AssertionError, match="Ray was asked for"):
        run(source, warehouse, bundle)


def test_an_unfinished_run_is_not_resumed_with_another_source(source: Path, bundle: str, tmp_path: Path) -> None:
    started(source, tmp_path / "w", bundle)
    other = shutil.copytree(source, tmp_path / "other")
    with pytest.raises(UsageError) as caught:
        run(other, tmp_path / "w", bundle)
    assert str(caught.value) == (
        f"run r was started with source '{source}', not '{other}'; resume it with the same, or choose another --run-id"
    )


def test_an_unfinished_run_is_not_resumed_with_another_bundle(source: Path, bundle: str, tmp_path: Path) -> None:
    started(source, tmp_path / "w", bundle)
    job = tmp_path / "w/runs/r/job.json"
    job.write_text(job.read_text().replace("untrained@", "untrained@0"))
    with pytest.raises(UsageError, match=r"run r was started with bundles \['untrained@0"):
        run(source, tmp_path / "w", bundle)


def test_a_damaged_job_file_is_one_error(source: Path, bundle: str, tmp_path: Path) -> None:
    started(source, tmp_path / "w", bundle)
    (tmp_path / "w/runs/r/job.json").write_text("{")
    with pytest.raises(StorageError, match=r"job\.json: damaged .*; start a run of another name"):
        run(source, tmp_path / "w", bundle)


def test_a_damaged_plan_is_one_error(source: Path, bundle: str, tmp_path: Path) -> None:
    started(source, tmp_path / "w", bundle)
    (plan,) = (tmp_path / "w/runs/r").glob("plan-*/shards.parquet")
    plan.write_bytes(b"PAR1 but no more")
    with pytest.raises(StorageError, match="damaged"):
        run(source, tmp_path / "w", bundle)


def test_unfinished_runs_are_told_and_left_alone(source: Path, bundle: str, tmp_path: Path) -> None:
    started(source, tmp_path / "w", bundle)
    manifest = put_manifest(tmp_path / "m.csv", {"a.wav": str(source / "a.wav")})
    with pytest.raises(AssertionError, match="Ray was asked for"):
        run(manifest, tmp_path / "w", bundle, run_id="r2")
    assert list((tmp_path / "w/runs/r").glob("plan-*"))
    assert list((tmp_path / "w/runs/r2").glob("plan-*"))
