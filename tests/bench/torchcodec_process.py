"""torchcodec in a process of its own, so that it finds FFmpeg's libraries where the system has none.

torchcodec's wheel holds no FFmpeg and loads the system's by name. PyAV's wheel holds one, under names of its own; a
folder of links with the plain names, put into the loader's path before the process starts, serves both from the same
build. The process takes a path per line, decodes it to mono at 16 kHz, and answers the number of samples.

    python tests/bench/torchcodec_process.py < paths
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Decoder:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def decode(self, path: Path) -> int:
        """Samples of a file at 16 kHz.

        Raises
        ------
        RuntimeError
            torchcodec cannot be loaded, or cannot read the file.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(path, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline().strip()
        except BrokenPipeError:
            answer = ""
        if not answer.isdigit():
            raise RuntimeError(answer or "torchcodec's process has ended: is a wheel for this torch installed?")
        return int(answer)


@contextmanager
def torchcodec_decoder(links: Path) -> Iterator[Decoder]:
    """Start the process; `links` is an empty folder."""
    folders = [str(links), *link_ffmpeg(links)]
    before = os.environ.get("LD_LIBRARY_PATH")
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join([*folders, *([before] if before else [])])}
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        yield Decoder(process)
    finally:
        process.communicate()


def link_ffmpeg(links: Path) -> list[str]:
    """Link PyAV's libraries under FFmpeg's names; returns the folder of what they need in turn."""
    import av

    held = Path(av.__file__).parents[1] / "av.libs"
    for library in held.glob("lib*.so.*"):
        name = re.fullmatch(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+(\.so\.\d+)[.\d]*", library.name)
        if name:
            (links / f"{name[1]}{name[2]}").symlink_to(library)
    return [str(held)] if held.is_dir() else []


def main() -> None:
    """The process itself."""
    import torch
    from torchcodec.decoders import AudioDecoder

    torch.set_num_threads(1)
    for line in sys.stdin:
        try:
            decoder = AudioDecoder(line.strip(), sample_rate=16000, num_channels=1)
            samples = decoder.get_all_samples().data
            print((samples * 32767.0).to(torch.int16).shape[1], flush=True)
        except (RuntimeError, ValueError) as error:
            print(" ".join(str(error).split())[:90], flush=True)


if __name__ == "__main__":
    main()
