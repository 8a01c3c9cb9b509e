"""What object storage can refuse, each as one line and before anything is started."""

from pathlib import Path

import pytest
from commands import command
from servers import BUCKET, S3Server, free_port

SOURCE, WAREHOUSE = f"s3://{BUCKET}/audio", f"s3://{BUCKET}/warehouse"

pytestmark = pytest.mark.parametrize("s3", ["rclone"], indirect=True)  # moto checks no keys


def test_a_missing_bucket_is_one_line(s3: S3Server, bundle: str, tmp_path: Path) -> None:
    done = command("tag", "s3://no-such-bucket/audio", "-w", str(tmp_path / "w"), "--bundle", bundle)
    assert done.returncode in (1, 2)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("catalog-tagger: s3://no-such-bucket")
    assert not (tmp_path / "w").exists()


def test_wrong_keys_are_one_line(s3: S3Server, bundle: str, tmp_path: Path) -> None:
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong-secret-of-someone"}
    for arguments in (
        ("tag", SOURCE, "-w", str(tmp_path / "w"), "--bundle", bundle),
        ("sql", WAREHOUSE, "select 1"),
    ):
        done = command(*arguments, **wrong)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert "access denied; check the permissions and credentials" in line
        assert "wrong-secret" not in line


def test_no_keys_at_all_are_one_line(s3: S3Server, bundle: str, tmp_path: Path) -> None:
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = command("tag", SOURCE, "-w", str(tmp_path / "w"), "--bundle", bundle, **none)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "credentials" in line


def test_a_server_that_cannot_be_reached_is_one_line(s3: S3Server, bundle: str, tmp_path: Path) -> None:
    nowhere = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_MAX_ATTEMPTS": "2"}
    done = command("tag", SOURCE, "-w", str(tmp_path / "w"), "--bundle", bundle, **nowhere)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert (
        line == f"catalog-tagger: {SOURCE}: the object store cannot be reached; check AWS_ENDPOINT_URL and the network"
    )


def test_an_endpoint_that_is_none_is_one_line_without_what_it_holds(s3: S3Server, bundle: str, tmp_path: Path) -> None:
    wrong = {"AWS_ENDPOINT_URL": "user:hunter2@localhost:9000"}
    done = command("tag", SOURCE, "-w", str(tmp_path / "w"), "--bundle", bundle, **wrong)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("catalog-tagger: AWS_ENDPOINT_URL: not the address of a server; use http://host:port")
