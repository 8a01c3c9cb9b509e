"""Bundles to measure, the command that does, and its pages read."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner

from catalog_tagger.cli.evaluate import evaluate
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import save_bundle
from catalog_tagger.models.calibration import Calibration

ARCHITECTURE = {"name": "residual_cnn", "channels": [4, 8], "hidden": 8}


def untrained(
    folder: Path, task: str, labels: tuple[str, ...], *, seed: int = 0, card: dict[str, Any] | None = None
) -> str:
    architecture = {**ARCHITECTURE, "n_labels": len(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_bundle(
            folder,
            name=folder.name,
            task=task,
            labels=labels,
            architecture=architecture,
            frontend={"name": "cqt"},
            model=build_model(architecture),
            calibration=Calibration.identity(len(labels)),
            card=card or {},
        )
    return str(folder)


def run(*arguments: str | Path) -> str:
    return CliRunner().invoke(evaluate, [str(one) for one in arguments], catch_exceptions=False).stdout


class _Tags(HTMLParser):
    """Opened and closed tags balance, and nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {"src", "srcset", "onload"} & {name for name, _ in attrs}
        links = [value or "" for name, value in attrs if name in {"href", "xlink:href"}]
        assert all(link.startswith("#") for link in links)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags_of(page: str) -> set[str]:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    return tags.seen
