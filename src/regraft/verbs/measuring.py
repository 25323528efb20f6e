"""What the measuring of every model on features shares: which examples, and what stands around."""

from typing import Any, Protocol

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import PARTS, Dataset
from regraft.data.findings import Finding
from regraft.data.options import EXTENSIONS
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.verbs.rungs import rows

NOT_A_DEVICE = (
    "Not a medical device: a tool for research and teaching, not examined or approved by anybody "
    "for diagnosis or treatment. Nothing that it says may decide over a patient."
)
LIMITS = (
    "The figures hold for examples like those measured here; other cameras, places or times can be "
    "harder.",
    "Intervals are 95 % bootstrap intervals over the measured examples; they do not cover the "
    "choice of the training examples.",
    "The note “unlike the training data” is a statistical hint, not a safeguard.",
)


class Told(Protocol):
    """Of a model what is told around its figures."""

    @property
    def record(self) -> dict[str, Any]: ...

    @property
    def modality(self) -> str: ...

    @property
    def networks(self) -> list[dict[str, Any]]: ...


def title_of(model: Told, examples: Dataset) -> str:
    name, where = str(model.record.get("name", "model")), examples.root.name
    return name if name == where else f"{name} on {where}"


def part_name(examples: Dataset) -> str:
    parts = examples.table["split"].drop_nulls().unique().to_list()
    return str(parts[0]) if len(parts) == 1 else "all"


def groups_of(examples: Dataset, rows: Any) -> Any:
    """Groups for the bootstrap: examples of one group are drawn together; None without groups."""
    column = examples.table["group"]
    if column.null_count() == len(column):
        return None
    names = [column[int(i)] or f"\0{i}" for i in rows]
    found = np.unique(names, return_inverse=True)[1]
    return found if found.max() else None


def notice_for(model: Told, seen: Pass) -> dict[str, str]:
    """What must be said of a model that learned from medical files, or is measured on some."""
    told = str(model.record.get("notice") or notice_of(seen))
    return {"notice": told} if told else {}


def notice_of(seen: Pass) -> str:
    """What must be said of a model of these examples; empty: nothing."""
    return NOT_A_DEVICE if any(facts.medical for facts in seen.facts.values()) else ""


def labelled_examples(data: Any, split: str | None, **columns: Any) -> Dataset:
    if split is not None and split not in PARTS:
        raise UsageError(f"split: {split!r} is not one of {', '.join(PARTS)}")
    if isinstance(data, Dataset):
        chosen = data if split is None else getattr(data, split)
    else:
        whole = load(data, **columns)
        given = whole.split_source == "given"
        chosen = getattr(whole, split) if split else whole.held_out if given else whole
    if not len(chosen.labelled):
        raise DataError("there is nothing to measure on: no example has a label")
    return chosen.labelled


def not_learned(model: Told, examples: Dataset, seen: Pass) -> tuple[Dataset, Pass, dict[str, Any]]:
    """Without files that the model learned from, by content: on them it can only look too good."""
    learned = set(model.record.get("learned", ()))
    new = [i for i, sha in enumerate(seen.shas) if short(sha) not in learned]
    if len(new) == len(examples):
        return examples, seen, {}
    if not new:
        raise DataError(
            "the model learned from every one of these files, so they tell nothing about it; give "
            "others, or name a part with `split` to measure on them all the same"
        )
    names = [
        name
        for name, sha in zip(examples.table["id"], seen.shas, strict=True)
        if short(sha) in learned
    ]
    reason = f"the model learned from {len(names)} of these files: they were not measured on"
    finding = Finding("learned-from", tuple(names), reason, "note")
    fewer = examples.with_table(examples.table[new])
    return fewer, rows(seen, np.array(new)), {"findings": [finding.to_dict()]}


def listed_as(model: Told) -> str | None:
    """The kind of data that files are listed as; None for kinds that are not known by endings."""
    return model.modality if model.modality in EXTENSIONS else None


def short(sha: str) -> str:
    """A SHA-256 as bundles keep it of the examples learned from: 16 hex digits suffice."""
    return sha[:16]


def provenance(model: Told) -> dict[str, Any]:
    """What the model's own record tells about how it came to be, and the engine that ran here."""
    told = ("recipe", "chosen", "leave_one_out", "held_back", "reproduce", "before_after")
    networks = zip(model.record.get("backbones", ()), model.networks, strict=False)
    ran = [{**network, "engine": one["engine"]} for network, one in networks]
    return {key: model.record[key] for key in told if key in model.record} | {"backbones": ran}


def counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Examples per part and class."""
    views = {part: getattr(dataset, part).labelled.table for part in PARTS}
    found = {part: dataset.named(table) for part, table in views.items() if len(table)}
    return {part: {c: own[c] for c in dataset.classes if own[c]} for part, own in found.items()}


def sizes(dataset: Dataset) -> dict[str, int]:
    """Labelled examples of each part that has any."""
    found = {part: len(getattr(dataset, part).labelled) for part in PARTS}
    return {part: n for part, n in found.items() if n}
