"""What is shown of findings: suspected labels as findings, and small pictures beside them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from regraft.data.dataset import Dataset
from regraft.data.findings import SEVERITIES, Finding
from regraft.data.inline import contents
from regraft.errors import DataError
from regraft.modalities import modality
from regraft.model.model import Answers, Model
from regraft.transfer.noise import label_noise, suspects

SHOWN = 24  # worst mistakes as pictures
SHOWN_UNLIKE = 8
PICTURES_EACH = 4  # of one finding: as many as a page shows
SUSPECT = "label-suspect"


def label_suspects(
    left_out: Any, labels: Any, names: Sequence[str], classes: Sequence[str]
) -> Iterator[Finding]:
    """Labels that the features of all other examples speak against, the most suspect first.

    left_out  (n, c) leave-one-out scores
    labels    (n,) class numbers; names (n) of the examples
    """
    scores = label_noise(left_out, labels)
    for i in suspects(scores, labels):
        given, other = classes[labels[i]], classes[left_out[i].argmax()]
        reason = f"labelled {given!r}, but the other examples suggest {other!r}: look at it"
        yield Finding(SUSPECT, (names[i],), reason, score=float(scores[i]))


def thumbnail(kind: str, path: str) -> str | None:
    """A small picture of a file; None if it can't be read any more."""
    try:
        return modality(kind).thumbnail(contents(path), path)
    except (OSError, DataError):
        return None


def clip(kind: str, path: str) -> str | None:
    """Something of a file to listen to; None where there is nothing, or it can't be read."""
    try:
        return modality(kind).clip(contents(path), path)
    except (OSError, DataError):
        return None


def illustrated(
    dataset: Dataset, findings: Iterable[Finding], most: int
) -> Iterator[dict[str, Any]]:
    """Findings as plain data with thumbnails of at most `most` files, the grave ones first."""
    paths = dict(dataset.table.select("id", "path").iter_rows())
    shown: dict[str, str | None] = {}
    for finding in sorted(findings, key=lambda f: SEVERITIES.index(f.severity)):
        for name in finding.files[:PICTURES_EACH]:
            if name in paths and name not in shown and len(shown) < most:
                shown[name] = thumbnail(dataset.modality, paths[name])
        pictures = [shown.get(name) for name in finding.files[:PICTURES_EACH]]
        yield {**finding.to_dict(), "thumbnails": pictures}


def mistakes(
    model: Model, labels: Any, answers: Answers, files: Sequence[str], paths: Sequence[str]
) -> list[dict[str, Any]]:
    """The most confident wrong answers first."""
    p, answer = answers.probabilities, answers.decided
    sure = p[np.arange(len(p)), answer]
    wrong = np.flatnonzero(answer != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    return [
        {
            "file": files[i],
            "label": model.classes[labels[i]],
            "predicted": model.classes[answer[i]],
            "probability": float(sure[i]),
            "top": [[model.classes[k], float(p[i, k])] for k in np.argsort(-p[i])[:3]],
            "thumbnail": thumbnail(model.modality, paths[i]),
            "clip": clip(model.modality, paths[i]),
        }
        for i in worst
    ]


def unlike(kind: str, unlike: Any, files: Sequence[str], paths: Sequence[str]) -> dict[str, Any]:
    """Examples (n,) that look unlike those learned from, and some as pictures."""
    flagged = np.flatnonzero(unlike)
    shown = [
        {"file": files[i], "score": None, "thumbnail": thumbnail(kind, paths[i])}
        for i in flagged[:SHOWN_UNLIKE]
    ]
    return {"flagged": len(flagged), "n": len(files), "examples": shown}
