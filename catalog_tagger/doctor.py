"""What a machine must have for the jobs, looked at one by one, each with what to do where it lacks something.

A check is ``ok``, ``warn`` (works, but slower or with less), or ``fail`` (a job would fail). Nothing that is there is
changed: the write check makes objects below ``.doctor/`` of the warehouse and removes them.

Failure rule: whatever a check meets is its answer; no check ends the others.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

from catalog_tagger.errors import CatalogTaggerError
from catalog_tagger.storage import Store

_PACKAGES: Final = ("torch", "torchaudio", "ray", "pyarrow", "av", "s3fs", "duckdb")
_LEAST_FILES: Final = 1024
_LEAST_SHARED_BYTES: Final = 10**9
_LEAST_FREE_BYTES: Final = 10**9
_LEAST_MEMORY_BYTES: Final = 4 * 10**9


@dataclass(frozen=True, kw_only=True)
class Check:
    """One answer."""

    name: str
    state: Literal["ok", "warn", "fail"]
    said: str
    remedy: str = ""


def examine(*, warehouse: str | None, source: str | None, ray_address: str | None) -> Iterator[Check]:
    """All checks, as they are made.

    Parameters
    ----------
    warehouse, source
        Looked at where they are given: the one is written to, the other read.
    ray_address
        Cluster to look for; by default ``RAY_ADDRESS``, else a local Ray is started and ended.
    """
    looks: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("packages", _packages),
        ("codecs", _codecs),
        ("models", _models),
        ("processor", _processor),
        ("gpu", _gpu),
        ("memory", _memory),
        ("open files", _open_files),
        ("ray", lambda: _ray(ray_address)),
    ]
    if source is not None:
        looks.append(("source", lambda: _source(source)))
    if warehouse is not None:
        looks.append(("warehouse", lambda: _warehouse(warehouse)))
    for name, look in looks:
        try:
            yield look()
        except CatalogTaggerError as error:
            yield Check(name=name, state="fail", said=str(error))
        except Exception as error:  # noqa: BLE001  see the module's failure rule
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            yield Check(
                name=name, state="fail", said=reason, remedy="install catalog-tagger anew in an environment of its own"
            )


def _python() -> Check:
    said = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Check(name="python", state="ok", said=said)
    return Check(name="python", state="fail", said=said, remedy="use Python 3.10 to 3.13")


def _packages() -> Check:
    versions = {name: version(name) for name in _PACKAGES}
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    pair = [".".join(versions[name].split("+")[0].split(".")[:2]) for name in ("torch", "torchaudio")]
    if pair[0] != pair[1]:
        return Check(
            name="packages",
            state="fail",
            said=said,
            remedy="torch and torchaudio are a pair: install one release of both",
        )
    return Check(name="packages", state="ok", said=said)


def _codecs() -> Check:
    import av

    from catalog_tagger.opening import CODECS, CONTAINERS

    lacking = sorted((set(CODECS) - av.codecs_available) | {name for name in CONTAINERS if not _demuxes(name)})
    needed = {"mp3float", "aac", "flac", "vorbis", "opus", "pcm_s16le"} & set(lacking)
    said = f"PyAV {av.__version__}: {len(CODECS) + len(CONTAINERS) - len(lacking)} of {len(CODECS) + len(CONTAINERS)}"
    if needed:
        return Check(
            name="codecs",
            state="fail",
            said=f"{said}; without {', '.join(sorted(needed))}",
            remedy="pip install --force-reinstall --only-binary :all: av",
        )
    if lacking:
        return Check(
            name="codecs",
            state="warn",
            said=f"{said}; without {', '.join(lacking)}",
            remedy="tracks in these are quarantined; PyAV's own wheels have them",
        )
    return Check(name="codecs", state="ok", said=f"{said} decoders and containers")


def _demuxes(name: str) -> bool:
    import av.format

    try:
        return bool(av.format.ContainerFormat(name, "r"))
    except ValueError:
        return False


def _models() -> Check:
    from catalog_tagger.models.bundle import load_bundle, shipped_bundles

    loaded = [load_bundle(name) for name in shipped_bundles()]
    return Check(name="models", state="ok", said=", ".join(bundle.identity for bundle in loaded))


def _processor() -> Check:
    import torch

    from catalog_tagger.models.fused import best_dtype, can_fuse

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = f"{cores} cores, networks in {str(best_dtype()).removeprefix('torch.')}"
    if not can_fuse():
        return Check(
            name="processor",
            state="warn",
            said=f"{said}, layer by layer",
            remedy="this torch has no oneDNN: use the wheels of PyTorch",
        )
    return Check(name="processor", state="ok", said=f"{said}, torch {torch.__version__}")


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Check(name="gpu", state="ok", said=", ".join(names))
    if Path("/dev/nvidiactl").exists():
        said = f"the driver is here, and torch {torch.__version__} does not see a device"
        return Check(
            name="gpu",
            state="warn",
            said=said,
            remedy="install the CUDA build of torch that fits the driver (nvidia-smi)",
        )
    return Check(name="gpu", state="ok", said="none; the models run on the CPUs")


def _memory() -> Check:
    if not Path("/proc/meminfo").exists():
        return Check(name="memory", state="ok", said="not looked at on this system")
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = min([int(lines["MemAvailable"].split()[0]) * 1024, *_limits_of_container()])
    shared = shutil.disk_usage("/dev/shm").free  # noqa: S108  where Ray keeps objects
    said = f"{available / 1e9:.1f} GB available, {shared / 1e9:.1f} GB in /dev/shm"
    if available < _LEAST_MEMORY_BYTES:
        return Check(
            name="memory", state="warn", said=said, remedy="a job takes some 3 GB: give it 4 GB, or --batch-segments 16"
        )
    if shared < _LEAST_SHARED_BYTES:
        return Check(
            name="memory",
            state="warn",
            said=said,
            remedy="Ray would keep objects on disk: mount /dev/shm larger (docker run --shm-size 2g)",
        )
    return Check(name="memory", state="ok", said=said)


def _limits_of_container() -> list[int]:
    """Bytes that this process's control group may take, where it is limited."""
    found = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if Path(path).exists():
            text = Path(path).read_text().strip()
            found += [int(text)] if text.isdigit() else []
    return found


def _open_files() -> Check:
    try:
        import resource
    except ImportError:
        return Check(name="open files", state="ok", said="not looked at on this system")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _LEAST_FILES:
        return Check(
            name="open files", state="warn", said=f"{soft} of {hard}", remedy=f"ulimit -n {max(_LEAST_FILES, 65536)}"
        )
    return Check(name="open files", state="ok", said=str(soft))


def _ray(address: str | None) -> Check:
    from catalog_tagger.tagging.cluster import connected

    with connected(address) as cluster:
        size = cluster.size
        where = "starts here" if cluster.is_own else f"cluster at {address or os.environ.get('RAY_ADDRESS')}"
        return Check(name="ray", state="ok", said=f"{where}: {size.nodes} nodes, {size.cpus} CPUs, {size.gpus} GPUs")


def _source(source: str) -> Check:
    from catalog_tagger.tagging.sources import list_tracks
    from catalog_tagger.tagging.track_list import parent_of

    tracks = list_tracks(source)
    if not len(tracks):
        return Check(
            name="source",
            state="fail",
            said=f"{source}: no tracks",
            remedy="name a folder or prefix with audio, tars or a manifest",
        )
    row = tracks.slice(0, 1).to_pylist()[0]
    place = row["container"] or row["uri"]
    folder, name = parent_of(place)
    with folder.open(name) as file:
        file.read(1)
    return Check(name="source", state="ok", said=f"{source}: {len(tracks):,} tracks; {place} can be read")


def _warehouse(place: str) -> Check:
    store = Store(place)
    name, mine, other = f".doctor/{secrets.token_hex(8)}", secrets.token_bytes(8), secrets.token_bytes(8)
    try:
        made = store.create(name, mine)
        again = store.create(name, other)
        read = store.read(name)
    finally:
        store.remove(name)
        store.remove_below(".doctor")
    if not made or (read != mine and not again):
        return Check(
            name="warehouse",
            state="fail",
            said=f"{store.uri}: what was written is not what is read",
            remedy="use another store",
        )
    if again:
        said = f"{store.uri}: can be written; the store ignores conditional writes"
        return Check(
            name="warehouse",
            state="warn",
            said=said,
            remedy="two drivers of one run that start in the same moment may both work: start one",
        )
    if store.is_local:
        free = shutil.disk_usage(store.root).free
        if free < _LEAST_FREE_BYTES:
            return Check(
                name="warehouse",
                state="warn",
                said=f"{store.uri}: {free / 1e9:.2f} GB free",
                remedy="an hour of audio takes some 0.6 MB of tables: make room",
            )
    return Check(name="warehouse", state="ok", said=f"{store.uri}: can be written")
