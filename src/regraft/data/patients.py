"""Patients: a split that shows a patient's files on both sides measures how well it knows them."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from regraft.data.dataset import PARTS, Dataset, listed
from regraft.errors import DataError
from regraft.modalities.facts import Facts

TOLD = 10  # patients that a message names
FILES = 4  # files of each


def refuse_shared_patients(dataset: Dataset, facts: Mapping[int, Facts]) -> None:
    """Raise DataError where a given split has medical files of one patient in several parts.

    facts  of the rows that can be read, by their position. A patient is whom the files tell of (a
           digest of the number), and of medical files the group that was named for them
    """
    if dataset.split_source != "given":
        return
    rows = defaultdict(list)
    table = dataset.table.select("id", "split", "group").rows()
    for place, fact in facts.items():
        name, part, group = table[place]
        if fact.medical and part is not None:
            for patient in {fact.group or None, group} - {None}:
                rows[patient].append((name, part))
    shared = {p: files for p, files in rows.items() if len({part for _, part in files}) > 1}
    if not shared:
        return
    lines = [_line(patient, files) for patient, files in sorted(shared.items())[:TOLD]]
    more = [f"and {len(shared) - TOLD} more patients"] if len(shared) > TOLD else []
    raise DataError(
        "\n".join(
            [
                f"the given split has medical files of {len(shared)} patients in several parts, so "
                "what is measured would look too good; move each patient into one part, leave the "
                'split out so that one is made by patient, or allow it with patients="shared" '
                "(--patients shared), which the report will tell",
                *lines,
                *more,
            ]
        )
    )


def _line(patient: str | None, files: list[tuple[str, str]]) -> str:
    counts = Counter(part for _, part in files)
    where = ", ".join(f"{counts[part]} in {part}" for part in PARTS if counts[part])
    first = [next(name for name, own in files if own == part) for part in PARTS if counts[part]]
    return f"{patient}: {where}, such as {listed(first, FILES)}"
