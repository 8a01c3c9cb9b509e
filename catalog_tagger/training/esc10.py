"""The ESC-10 protocol: five folds, every head of the tagger on one trunk, nothing chosen on the fold held out.

``python -m catalog_tagger.training.esc10 --manifest DATA/manifest.csv --out FOLDER`` trains, for
each fold, on the other four and measures on the one left out (Piczak, "ESC: dataset for
environmental sound classification", ACM Multimedia 2015; the fold is the first digit of a clip's
file name). The heads of `heads.HEADS` sit side by side on one trunk, which learns from all of them
at once: they are compared on the same features, and a fold costs one training.

The weights measured are the averaged ones after the last step: there is no early stopping, and so
no use of the held-out fold. Settings are tried with ``--inner``, which leaves the fold of the
figures out altogether: of the other four, three are trained on and one is measured.

`results.json` in the folder, written whole after each fold: `settings`; `answers`, what each head took
each clip of each fold for, from one view and from the mean logit of `VIEWS`; and `heads`, per head and
way of looking the accuracy of every fold, and over the folds with Wilson's interval and a bootstrap
over original recordings. Folds that are there with equal settings are kept, so that a run that was
ended goes on; other settings need another folder. `results.md` beside it holds the same as tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models.heads import HEADS
from catalog_tagger.models.vgg import VGGTrunk
from catalog_tagger.training.cache import open_cache
from catalog_tagger.training.config import OptimisationConfig
from catalog_tagger.training.loop import Trainer
from catalog_tagger.training.losses import MULTI_LABEL
from catalog_tagger.training.manifest import Clip, read_manifest
from catalog_tagger.training.metrics import share
from catalog_tagger.training.prepare import recording_of
from catalog_tagger.training.tag_bank import TagBank, Truth, build_bank
from catalog_tagger.training.tag_batches import TagBatches, Variation

PREFIX: Final = "esc10_"
FOLDS: Final = (1, 2, 3, 4, 5)
#: Beginnings of the views, as shares of the frames, and their transpositions in bins.
VIEWS: Final = tuple((start, bins) for start in (0.0, 0.25, 0.5, 0.75) for bins in (-1, 0, 1))
_TOGETHER: Final = "mean of the heads"
_RESULTS: Final = "results.json"
_TABLES: Final = "results.md"
_NOT_SETTINGS: Final = ("manifest", "out", "cache", "folds")
#: Accuracies on ESC-10 that others published, per cent.
PUBLISHED: Final = (
    ("random forest on MFCC and zero crossings (Piczak, ACM MM 2015)", 72.7),
    ("first CNN (Piczak, MLSP 2015)", 80.0),
    ("people (Piczak, ACM MM 2015)", 95.7),
)
Taken = dict[str, dict[int, npt.NDArray[np.int64]]]


class SideBySide(nn.Module):
    """All heads on one trunk; logits (batch, heads * n_labels), head by head."""

    def __init__(self, *, n_labels: int, channels: Sequence[int], hidden: int, dropout: float) -> None:
        super().__init__()
        self.trunk = VGGTrunk(channels=channels)
        self.heads = nn.ModuleList(
            head(self.trunk.size, n_labels, hidden=hidden, dropout=dropout) for head in HEADS.values()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits of all heads."""
        x = self.trunk(features)
        return torch.cat([head(x)[0] for head in self.heads], dim=1)


def fold_of(clip: Clip) -> int:
    """The first digit of the original file's name.

    Raises
    ------
    UsageError
        The name does not begin with a fold.
    """
    first = PurePosixPath(clip.original_path).name[:1]
    if not first.isdigit() or int(first) not in FOLDS:
        raise UsageError(f"{clip.path}: original_path {clip.original_path!r} does not begin with a fold from 1 to 5")
    return int(first)


def views_of(features: Tensor) -> Tensor:
    """Features (batch, frames, bins) turned and transposed, (views, batch, frames, bins)."""
    frames = features.shape[1]
    return torch.stack(
        [torch.roll(features, (-round(start * frames), bins), dims=(1, 2)) for start, bins in VIEWS],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the protocol and write `results.json`."""
    options = _parse(arguments)
    torch.set_num_threads(1)
    clips, bank, names = _material(options)
    folds = np.array([fold_of(clip) for clip in clips])
    recordings = [_recording(clip) for clip in clips]
    truth = bank.truth.target.argmax(axis=1)
    settings = {key: str(value) for key, value in vars(options).items() if key not in _NOT_SETTINGS}
    taken, minutes = _finished(options.out / _RESULTS, settings)
    for fold in options.folds:
        if fold in taken["views"]:
            continue
        started = time.monotonic()
        held = fold % 5 + 1 if options.inner else fold
        train = np.flatnonzero((folds != fold) & (folds != held))
        test = np.flatnonzero(folds == held)
        model = _train(options, _part(bank, train), seed=options.seed + fold)
        for title, answer in _measure(model, bank, test, n_labels=len(names)).items():
            taken[title][fold] = answer
        minutes += (time.monotonic() - started) / 60
        results: dict[str, Any] = {"settings": settings, "minutes": round(minutes, 1)}
        results |= _results(taken, truth, folds, recordings, names, inner=options.inner)
        _write_whole(options.out / _RESULTS, json.dumps(results) + "\n")
        print(f"fold {fold}: " + _line(results["heads"], fold), flush=True)
    results = _results(taken, truth, folds, recordings, names, inner=options.inner)
    _write_whole(options.out / _TABLES, tables(results, settings, inner=options.inner))
    for title, row in results["heads"].items():
        print(f"{title:24s} one view {row['one view']['text']}; {len(VIEWS)} views {row['views']['text']}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m catalog_tagger.training.esc10", description=main.__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="decoded recordings; OUT/cache unless given")
    parser.add_argument("--folds", type=lambda text: [int(one) for one in text.split(",")], default=list(FOLDS))
    parser.add_argument("--inner", action="store_true", help="try settings without the fold of the figures")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--channels", type=lambda text: [int(one) for one in text.split(",")], default=[16, 32, 64, 128]
    )
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.4)
    parser.add_argument("--takes", type=int, default=8)
    parser.add_argument("--mixed", type=float, default=0.5)
    parser.add_argument("--mixup", type=float, default=0.0)
    parser.add_argument("--trunk", type=Path, help="weights of a tagger that never heard these clips")
    parser.add_argument("--frontend", type=yaml.safe_load, default={"name": "cqt"}, help="as in a configuration")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="fuse the network's operations; needs a C++ compiler")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or options.out / "cache"
    return options


def _material(options: argparse.Namespace) -> tuple[list[Clip], TagBank, list[str]]:
    rows = [clip for clip in read_manifest(options.manifest) if clip.split == "train"]
    place = [index for index, clip in enumerate(rows) if clip.label.startswith(PREFIX)]
    if not place:
        raise UsageError(f"{options.manifest}: no training row has a label that begins with {PREFIX!r}")
    cache = open_cache(rows, options.cache, degraded=True)
    clips = [rows[index] for index in place]
    names = sorted({clip.label for clip in clips})
    target = np.array([[clip.label == name for name in names] for clip in clips], np.float32)
    bank = build_bank(
        [recording_of(rows[index], cache, index, group=rows[index].key) for index in place],
        Truth(target=target, weight=np.ones_like(target)),
        build_frontend(options.frontend).eval(),
        takes=options.takes,
        seed=options.seed,
        per_clip=1,
    )
    return clips, bank, [name.removeprefix(PREFIX) for name in names]


def _finished(path: Path, settings: dict[str, str]) -> tuple[Taken, float]:
    """Answers per way of looking and fold, and the minutes they took."""
    taken: Taken = {"one view": {}, "views": {}}
    if not path.exists():
        return taken, 0.0
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise UsageError(f"{path}: holds folds of other settings; give another --out")
    for title, by_fold in found["answers"].items():
        taken[title] = {int(fold): np.array(answer) for fold, answer in by_fold.items()}
    return taken, float(found["minutes"])


def _recording(clip: Clip) -> str:
    # several clips are cut from one upload: 4-167077-B.ogg and 4-167077-C.ogg
    return "-".join(PurePosixPath(clip.original_path).stem.split("-")[:2])


def _part(bank: TagBank, chosen: npt.NDArray[np.intp]) -> TagBank:
    wide = len(HEADS)  # every head learns the same
    return TagBank(
        features=bank.features[chosen],
        clip=bank.clip[chosen],
        seconds=bank.seconds[chosen],
        truth=Truth(bank.truth.target[chosen], bank.truth.weight[chosen]).repeated(wide),
    )


def _train(options: argparse.Namespace, bank: TagBank, *, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = SideBySide(
        n_labels=bank.truth.target.shape[1] // len(HEADS),
        channels=options.channels,
        hidden=options.hidden,
        dropout=options.dropout,
    )
    if options.trunk is not None:
        model.trunk.load_state_dict(_trunk_in(options.trunk, model.trunk))
    trainer = Trainer(
        model=model,
        data=TagBatches(
            bank,
            seed=seed,
            batches=options.steps,
            batch_size=options.batch_size,
            variation=Variation(mixed=options.mixed),
        ),
        config=OptimisationConfig(
            steps=options.steps,
            max_minutes=600,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            weight_decay=0.05,
            warmup_steps=50,
            average_decay=0.99,
            label_smoothing=0.05,
            mixup_alpha=options.mixup,
            validate_every_steps=options.steps,
            bfloat16=True,
            compile=options.compile,
            device="cpu",
            workers=0,
        ),
        loss=MULTI_LABEL,
        seed=seed,
        folder=options.out / "weights",
        validate=lambda _: (0.0, 0.0),  # the end of the training is what is measured, whatever it is
        report=lambda _: None,
    )
    return trainer.run().eval()


def _trunk_in(path: Path, trunk: nn.Module) -> dict[str, Tensor]:
    """The weights of a `vgg_tagger`'s trunk, out of a file of its training or its bundle."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"--trunk {path}: cannot be read: {error}") from error
    weights = {key.removeprefix("trunk."): value for key, value in found.items() if key.startswith("trunk.")}
    sizes = {key: value.shape for key, value in weights.items()}
    if sizes != {key: value.shape for key, value in trunk.state_dict().items()}:
        raise UsageError(f"--trunk {path}: holds no trunk of a vgg_tagger with these --channels")
    return weights


@torch.inference_mode()
def _measure(
    model: nn.Module, bank: TagBank, chosen: npt.NDArray[np.intp], *, n_labels: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Per way of looking what each head took each clip for, (heads + 1, clips); the last row is their mean."""
    features = torch.from_numpy(bank.features[chosen, 0].astype(np.float32))
    answers = {}
    for title, views in (("one view", features[None]), ("views", views_of(features))):
        logits = torch.stack([model(view) for view in views]).mean(dim=0).view(len(features), len(HEADS), n_labels)
        every = torch.cat([logits, torch.sigmoid(logits).log().mean(dim=1, keepdim=True)], dim=1)
        answers[title] = every.argmax(dim=2).T.numpy()
    return answers


def _results(
    taken: Taken,
    truth: npt.NDArray[np.intp],
    folds: npt.NDArray[np.int64],
    recordings: list[str],
    names: list[str],
    *,
    inner: bool,
) -> dict[str, Any]:
    heads: dict[str, Any] = {}
    for row, head in enumerate([*HEADS, _TOGETHER]):
        heads[head] = {}
        for title, by_fold in taken.items():
            right: list[bool] = []
            of: list[str] = []
            shares = {}
            for fold, answer in by_fold.items():
                clips = np.flatnonzero(folds == (fold % 5 + 1 if inner else fold))
                hits = answer[row] == truth[clips]
                shares[fold] = round(float(hits.mean()), 4)
                right += hits.tolist()
                of += [recordings[clip] for clip in clips]
            counted = share(right, of)
            heads[head][title] = {"accuracy": counted.to_json(), "folds": shares, "text": str(counted)}
    answers = {title: {fold: answer.tolist() for fold, answer in by_fold.items()} for title, by_fold in taken.items()}
    counts = _confusion(taken["views"], truth, folds, inner=inner)
    return {"labels": names, "heads": heads, "confusion": counts, "answers": answers}


def _confusion(
    taken: dict[int, npt.NDArray[np.int64]], truth: npt.NDArray[np.intp], folds: npt.NDArray[np.int64], *, inner: bool
) -> list[list[int]]:
    """Rows are the truth, columns what the mean of the heads said."""
    size = int(truth.max()) + 1
    counts = np.zeros((size, size), int)
    for fold, answer in taken.items():
        np.add.at(counts, (truth[folds == (fold % 5 + 1 if inner else fold)], answer[-1]), 1)
    return counts.tolist()


def tables(results: dict[str, Any], settings: dict[str, str], *, inner: bool) -> str:
    """What `results.json` holds as tables in Markdown: per head, and what is taken for what."""
    folds = sorted(results["answers"]["views"], key=int)
    which = "the inner fold beside each" if inner else "each measured by a network that learned from the others"
    lines = [
        f"# ESC-10: {len(folds)} folds, {which}",
        "",
        f"Per cent of clips that are right: `one view` hears a clip once, `{len(VIEWS)} views` takes the mean logit of "
        "it turned and transposed. In brackets 95 % intervals: Wilson's over clips, then whole recordings drawn anew. "
        f"All heads sit on one trunk. Settings: {', '.join(f'{key} {value}' for key, value in settings.items())}.",
        "",
        f"| head | one view | {len(VIEWS)} views | folds {', '.join(str(fold) for fold in folds)} |",
        "|---|---|---|---|",
    ]
    for head, row in results["heads"].items():
        shares = {int(fold): value for fold, value in row["views"]["folds"].items()}
        by_fold = " ".join(f"{100 * shares[int(fold)]:.1f}" for fold in folds)
        lines.append(f"| {head} | {row['one view']['text']} | {row['views']['text']} | {by_fold} |")
    lines += [f"| {title} | {share_:.1f} | | |" for title, share_ in PUBLISHED]
    names = [name.replace("_", " ") for name in results["labels"]]
    lines += ["", f"What the mean of the heads takes each sound for ({len(VIEWS)} views), clips:", ""]
    lines += [f"| true | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name, counts in zip(names, results["confusion"], strict=True):
        lines.append(f"| {name} | {' | '.join(str(count or '') for count in counts)} |")
    return "\n".join(lines) + "\n"


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _line(heads: dict[str, Any], fold: int) -> str:
    return ", ".join(
        f"{head} {row['one view']['folds'][fold]:.3f}/{row['views']['folds'][fold]:.3f}" for head, row in heads.items()
    )


if __name__ == "__main__":
    main()
