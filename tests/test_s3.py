"""The job from and into object storage, through the command, as users run it."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from commands import command
from conftest import BROKEN, TRACKS
from servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

pytestmark = pytest.mark.xdist_group("ray_commands")

SOURCE, WAREHOUSE = f"s3://{BUCKET}/audio", f"s3://{BUCKET}/warehouse"


def rows(statement: str) -> list[dict[str, object]]:
    done = command("sql", WAREHOUSE, statement, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


Tagged = tuple[S3Server, dict[str, object]]


@pytest.fixture(scope="session")
def summaries() -> dict[str, dict[str, object]]:
    """Kind of server -> summary of the one run on it."""
    return {}


@pytest.fixture
def tagged(s3: S3Server, catalogue: Path, bundle: str, summaries: dict[str, dict[str, object]]) -> Tagged:
    """The catalogue as objects, half of it as members of a tar, tagged in one run."""
    if s3.kind not in summaries:
        names = [*TRACKS, *BROKEN]
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in names[1::2]:
                tar.add(catalogue / name, arcname=name)
        s3.put("audio/part.tar", archive.getvalue())
        for name in names[::2]:
            s3.put(f"audio/{name}", (catalogue / name).read_bytes())
        done = command("tag", SOURCE, "--warehouse", WAREHOUSE, "--bundle", bundle, "--run-id", "r", "--json")
        assert done.returncode == 3, done.stderr
        summaries[s3.kind] = json.loads(done.stdout)
    return s3, summaries[s3.kind]


def test_objects_and_tar_members_are_tagged_into_a_bucket(tagged: Tagged) -> None:
    _, summary = tagged
    assert (summary["state"], summary["warehouse"], summary["tracks"]) == ("committed", WAREHOUSE, 8)
    assert (summary["tagged"], summary["quarantined_by_code"]) == (6, {"empty": 1, "not_audio": 1})


def test_sql_reads_the_tables_in_the_bucket(tagged: Tagged, catalogue: Path) -> None:
    found = {str(row["track_id"]): row for row in rows("select * from tracks")}
    names = [*TRACKS, *BROKEN]
    assert set(found) == set(names[::2]) | {f"part.tar#{name}" for name in names[1::2]}
    for i, (name, (_, length_s)) in enumerate(TRACKS.items()):
        track_id = f"part.tar#{name}" if i % 2 else name
        row = found[track_id]
        assert row["uri"] == f"{SOURCE}/{track_id}"
        assert row["status"] == "tagged"
        assert row["duration_s"] == pytest.approx(length_s, abs=0.1)
        assert row["size_bytes"] == (catalogue / name).stat().st_size
        assert row["audio_etag"]
    (count,) = rows("select count(*) as n, count(distinct track_id) as t from segments")
    assert (count["t"], count["n"]) == (6, 3 + 1 + 2 + 1 + 1 + 2)


def test_a_second_run_finds_nothing_to_do(tagged: Tagged, bundle: str) -> None:
    done = command("tag", SOURCE, "-w", WAREHOUSE, "--bundle", bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"Nothing to do: all 8 tracks are up to date in {WAREHOUSE}"


def test_nothing_secret_is_written(tagged: Tagged) -> None:
    server, _ = tagged
    files = server.files()
    names = files.find(f"{BUCKET}/warehouse")
    assert len(names) >= 5
    for name in names:
        data = files.cat_file(name)
        assert SECRET_KEY.encode() not in data
        assert ACCESS_KEY.encode() not in data


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone keeps the ETag of an object overwritten at once
def test_an_overwritten_object_is_tagged_again(tagged: Tagged, catalogue: Path, bundle: str) -> None:
    server, _ = tagged
    server.put("audio/a.mp3", (catalogue / "z.wma").read_bytes())
    missing = f"s3://{BUCKET}/audio/gone.mp3"
    text = f"track_id,uri\na.mp3,{SOURCE}/a.mp3\nb/d,{SOURCE}/b/d%2C e.m4a\ngone,{missing}\nrelative,audio/z.wma\n"
    manifest = server.put("list.csv", text.encode())
    done = command("tag", manifest, "-w", WAREHOUSE, "--bundle", bundle, "--run-id", "s", "--json")
    assert done.returncode == 3, done.stderr
    found = {str(row["track_id"]): row for row in rows("select * from tracks where run_id = 's'")}
    assert found["a.mp3"]["codec"] == "wmav2"
    for name in ("gone", "b/d", "relative"):  # z.wma lies in the tar
        assert (found[name]["error_code"], found[name]["error_message"]) == ("not_found", "no such object")
