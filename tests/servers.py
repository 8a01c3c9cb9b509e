"""S3 servers on a free loopback port, ended by their process id."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

ACCESS_KEY = "LOOPBACKACCESSKEY"
SECRET_KEY = "loopback-secret-never-shown"
BUCKET = "catalogue"


@dataclass(frozen=True)
class S3Server:
    kind: str
    endpoint: str

    def environment(self) -> dict[str, str]:
        """What the standard AWS chain needs to find this server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def files(self) -> Any:
        """A fresh client, so that no listing is remembered."""
        return fsspec.filesystem("s3", skip_instance_cache=True, endpoint_url=self.endpoint)

    def make_bucket(self) -> None:
        files = self.files()
        if not files.exists(BUCKET):
            files.call_s3("create_bucket", Bucket=BUCKET)

    def put(self, name: str, data: bytes) -> str:
        return self.put_all({name: data})[0]

    def put_all(self, objects: dict[str, bytes]) -> list[str]:
        """Objects by name, all at once; their uris."""
        self.files().pipe({f"{BUCKET}/{name}": data for name, data in objects.items()})
        return [f"s3://{BUCKET}/{name}" for name in objects]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    for _ in range(300):
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


@contextmanager
def rclone_server(folder: Path) -> Iterator[S3Server]:
    """Objects are files below `folder`; wrong keys are refused, conditional writes are not known."""
    port = free_port()
    program = Path(sys.executable).with_name("rclone")
    command = [program, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--config", os.devnull]
    options = ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield S3Server("rclone", f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Objects live in this process; conditional writes work, keys are not checked."""
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        _wait_for(port)
        # what an earlier server of this process was given lives on in its module
        urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/reset", data=b"").close()
        yield S3Server("moto", f"http://127.0.0.1:{port}")
    finally:
        server.stop()
