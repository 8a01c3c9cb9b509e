"""The two files of a bundle: found, checked and named without building the network.

Who only has to know what a bundle is called and what it is for, such as the driver of a job, needs no torch for it,
whose import takes longer than all the rest of planning. `catalog_tagger.models.bundle` says what the files hold.

Failure rule: as there; a folder whose hashes do not hold is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from catalog_tagger.errors import UsageError

FORMAT: Final = 1
WEIGHTS_FILE: Final = "model.safetensors"
JSON_FILE: Final = "bundle.json"
SHIPPED: Final = Path(__file__).parent / "bundles"
SPEECH_MUSIC: Final = "speech_music"
VOICE_GENDER: Final = "voice_gender"
TAGS: Final = "tags"
#: task -> the labels that its columns are made of; a bundle of `tags` names its own
TASKS: Final[Mapping[str, tuple[str, ...]]] = {
    SPEECH_MUSIC: ("speech", "music"),
    VOICE_GENDER: ("female", "voice"),
    TAGS: (),
}


def check_task(folder: Path, task: str, labels: tuple[str, ...]) -> None:
    """Refuse a bundle that does not tell what its task needs; `UsageError`."""
    if task not in TASKS:
        raise UsageError(f"bundle {folder}: unknown task {task!r}; this version knows {', '.join(TASKS)}")
    missing = [label for label in TASKS[task] if label not in labels]
    if missing:
        has = ", ".join(labels) or "none"
        raise UsageError(f"bundle {folder}: task {task} needs the label {' and '.join(missing)}; it has {has}")


@dataclass(frozen=True)
class BundleFiles:
    """What the files of a bundle say of it.

    Attributes
    ----------
    content
        Of `JSON_FILE`.
    fingerprint
        16 hexadecimal digits that change when the weights or the card do.
    """

    folder: Path
    weights: bytes
    content: dict[str, Any]
    name: str
    task: str
    labels: tuple[str, ...]
    fingerprint: str

    @property
    def identity(self) -> str:
        """``name@fingerprint``, as tables and manifests carry it."""
        return f"{self.name}@{self.fingerprint}"


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{JSON_FILE}")))


def read_bundle(name_or_dir: str | Path) -> BundleFiles:
    """Read the files of a bundle that ships with the package (by name) or lies in a folder.

    Raises
    ------
    UsageError
        There is no such bundle, or its files are missing, altered or of an unknown format.
    """
    folder = _find(name_or_dir)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
        text = (folder / JSON_FILE).read_bytes()
    except OSError as error:
        inside = folder / "bundle"
        hint = f"; the bundle of the training there is {inside}" if (inside / JSON_FILE).is_file() else ""
        raise UsageError(f"{folder}: is no bundle: {error.strerror}: {error.filename}{hint}") from error
    content = _parse(folder, text, weights)
    try:
        name, labels = str(content["name"]), tuple(str(label) for label in content["labels"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"bundle {folder}: its parts do not fit together: {error}") from error
    return BundleFiles(
        folder=folder,
        weights=weights,
        content=content,
        name=name,
        task=str(content.get("task", SPEECH_MUSIC)),
        labels=labels,
        fingerprint=fingerprint_of(weights, text),
    )


def canonical_json(data: Mapping[str, Any]) -> str:
    """The same text for equal data, whatever the order of its keys."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _find(name_or_dir: str | Path) -> Path:
    # a name is a shipped bundle, whatever folders lie in the working directory; ./name is a folder
    if str(name_or_dir) in shipped_bundles():
        return SHIPPED / str(name_or_dir)
    folder = Path(name_or_dir)
    if folder.is_dir():
        return folder
    raise UsageError(
        f"no bundle {str(name_or_dir)!r}: neither a folder nor one that ships "
        f"({', '.join(shipped_bundles()) or 'none does'})"
    )


def _parse(folder: Path, text: bytes, weights: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"bundle {folder}: {JSON_FILE} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"bundle {folder}: {JSON_FILE} is not a bundle of format {FORMAT}")
    if content.get("sha256") != content_hash(content):
        raise UsageError(f"bundle {folder}: {JSON_FILE} was altered after it was written; copy the bundle anew")
    if content.get("weights_sha256") != hashlib.sha256(weights).hexdigest():
        raise UsageError(f"bundle {folder}: {WEIGHTS_FILE} is not the file the card speaks of; copy the bundle anew")
    return content


def content_hash(content: Mapping[str, Any]) -> str:
    """Of all of a bundle's JSON but the hash itself."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def fingerprint_of(weights: bytes, text: bytes) -> str:
    """Of the bytes of both files."""
    digest = hashlib.sha256(hashlib.sha256(weights).digest() + hashlib.sha256(text).digest())
    return digest.hexdigest()[:16]
