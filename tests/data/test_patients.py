"""Patients: a given split that shows one on both sides is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from regraft.data.dataset import Dataset
from regraft.data.patients import refuse_shared_patients
from regraft.errors import DataError
from regraft.modalities.facts import Facts


def dataset(parts: list[str | None], groups: list[str | None] | None = None) -> Dataset:
    names = [f"{i}.dcm" for i in range(len(parts))]
    columns = {"id": names, "path": [f"/x/{name}" for name in names], "split": parts}
    return Dataset.of(columns | {"group": groups or [None] * len(parts)}, Path("/x"))


def facts(patients: list[str], form: str = "DICOM") -> dict[int, Facts]:
    thumb = np.zeros((32, 32, 3), np.uint8)
    return {i: Facts(9, 9, "L", form, 1, 1, thumb, p) for i, p in enumerate(patients)}


def test_a_patient_in_two_parts_is_named_with_files_and_the_way_out() -> None:
    found = dataset(["train", "train", "test", "test"])
    with pytest.raises(DataError) as caught:
        refuse_shared_patients(found, facts(["a", "b", "b", "c"]))
    told = str(caught.value)
    assert "1 patients" in told
    assert "b: 1 in train, 1 in test, such as '1.dcm', '2.dcm'" in told
    assert "--patients shared" in told
    assert "a:" not in told


def test_only_medical_files_of_a_given_split_count() -> None:
    parts = ["train", "train", "test", "test"]
    refuse_shared_patients(dataset(parts), facts(["a", "b", "c", "d"]))
    refuse_shared_patients(dataset(parts), facts(["", "", "", ""]))
    refuse_shared_patients(dataset(parts), facts(["a", "a", "a", "a"], "PNG"))
    refuse_shared_patients(dataset([None] * 4), facts(["a", "a", "a", "a"]))


def test_a_group_that_was_named_is_the_patient_of_files_that_tell_none() -> None:
    found = dataset(["train", "test"], ["p7", "p7"])
    with pytest.raises(DataError, match="p7: 1 in train, 1 in test"):
        refuse_shared_patients(found, facts(["", ""], "NIfTI"))


def test_of_many_patients_some_are_named() -> None:
    found = dataset(["train", "test"] * 15)
    with pytest.raises(DataError, match="and 5 more patients"):
        refuse_shared_patients(found, facts([f"p{i // 2:02}" for i in range(30)]))
