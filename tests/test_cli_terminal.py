"""What a terminal shows while a run goes on; a Ray of its own, since its start is what disturbs terminals."""

import os
import pty
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from audio_files import wav_bytes
from commands import PROGRAM, environment

pytestmark = pytest.mark.xdist_group("ray")


def on_terminal(*arguments: str, columns: int) -> tuple[int, str]:
    """Run the command on a pseudo-terminal; returns its code and all it showed, without control sequences."""
    master, slave = pty.openpty()
    values = environment(COLUMNS=str(columns), LINES="24", TERM="xterm")
    process = subprocess.Popen([*PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave, env=values)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:  # how Linux says that the other side of a terminal is closed
        pass
    os.close(master)
    return process.wait(timeout=60), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_progress_fits_80_columns_and_leaves_the_summary_alone(tmp_path: Path, bundle: str) -> None:
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(wav_bytes(np.ones(16000 * 20, np.int16)))
    code, shown = on_terminal("tag", str(tmp_path), "-w", str(tmp_path / "w"), "--bundle", bundle, columns=80)
    assert code == 0
    assert "Traceback" not in shown
    assert "Exception" not in shown
    assert re.search(r"[01234]/4 tracks", shown)
    assert re.search(r"h of audio · [\d,]+x real time · \S+ left · 0 quarantined", shown)
    assert "…" not in shown
    assert "4 of 4 tracks tagged" in shown
