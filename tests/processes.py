"""Processes of this machine, as /proc tells them."""

from pathlib import Path


def parents() -> dict[int, int]:
    """Process -> its parent."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return found


def descendants(root: int) -> list[int]:
    """All processes below one."""
    parent = parents()
    below: list[int] = []
    for pid in parent:
        at = pid
        while at in parent and at != root:
            at = parent[at]
        if at == root and pid != root:
            below.append(pid)
    return below


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\x00", b" ").decode(errors="replace")
    except OSError:
        return ""
