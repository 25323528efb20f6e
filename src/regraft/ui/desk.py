"""What was chosen, what runs, and what came of it; one at a time."""

import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.errors import UsageError
from regraft.recipe import Recipe
from regraft.ui.folders import folder_of, output, proposed
from regraft.ui.jobs import Job

SHOWN = 200  # findings on the page
NAMED = 20  # files of one finding
CLASSES = 50
RUN = "run"  # folder in the results where a stopped training is kept
LONGEST = 200  # characters of a setting
SETTINGS = ("budget", "backbone", "size", "engine")  # options of `regraft fit`


class Busy(UsageError):
    """Something runs already."""


class Desk:
    """The work of one person on one folder.

    results  where folders with results are proposed
    start    folder with which choosing begins
    folder   with the examples, if it was named already
    """

    def __init__(self, results: Path, start: Path, folder: Path | None = None) -> None:
        self.results, self.start, self.folder = results, start, folder
        self.doctor: Job | None = None
        self.fit: Job | None = None
        self._ticket = ""

    # --- what is asked ----------------------------------------------------------------------------

    def choose(self, given: object) -> None:
        """Take another folder; what is known of the one before is forgotten."""
        self._refuse_busy()
        self.folder = folder_of(given)
        self._forget("doctor", "fit")

    def examine(self, thorough: bool = False) -> None:
        """Begin the doctor; `thorough`: wrong labels too, which takes a network."""
        self._refuse_busy()
        self._forget("doctor")
        words = [] if thorough else ["--no-label-errors"]
        about = {"folder": str(self._chosen()), "thorough": thorough}
        self.doctor = Job("doctor", [*words, "--", str(self._chosen())], about)

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Begin a fit. `asked`: out, and perhaps SETTINGS, as texts."""
        self._refuse_busy()
        source = self._chosen()
        settings = {name: _setting(asked, name) for name in SETTINGS}
        seconds = Recipe().changed(budget=settings["budget"] or Recipe().budget).budget
        place = output(asked.get("out") or str(proposed(self.results, source)), source)
        words = [f"--{name}={value}" for name, value in settings.items() if value]
        self._run([*words, f"--out={place}"], place, seconds)

    def resume(self) -> None:
        """Go on with a fit that was stopped while it trained."""
        self._refuse_busy()
        if self.fit is None or not self.resumable:
            raise UsageError("there is no stopped training to go on with")
        about = self.fit.about
        words = [word for word in about["words"] if word != "--resume"]
        self._run([*words, "--resume"], Path(about["out"]), about["budget"])

    def clear(self) -> None:
        """Forget the fit; what it wrote stays."""
        self._refuse_busy()
        self._forget("fit")

    def stop(self) -> None:
        """What runs; asked again it is killed."""
        for job in (self.doctor, self.fit):
            if job is not None:
                job.stop()

    def close(self) -> None:
        self._forget("doctor", "fit")

    def _run(self, words: list[str], place: Path, seconds: float) -> None:
        source = self._chosen()
        self._forget("fit")
        self._ticket = secrets.token_urlsafe(24)
        about = {"folder": str(source), "out": str(place), "budget": seconds, "words": words}
        self.fit = Job("fit", [*words, "--", str(source)], about)

    def _chosen(self) -> Path:
        if self.folder is None:
            raise UsageError("folder: choose one first")
        return self.folder

    def _refuse_busy(self) -> None:
        for job in (self.doctor, self.fit):
            if job is not None and job.running:
                raise Busy(f"regraft {job.verb} is at work; stop it first, or wait for its end")

    def _forget(self, *verbs: str) -> None:
        for verb in verbs:
            if (job := getattr(self, verb)) is not None:
                job.close()
            setattr(self, verb, None)

    # --- what came of it --------------------------------------------------------------------------

    @property
    def resumable(self) -> bool:
        fit = self.fit
        return (
            fit is not None
            and fit.state in ("stopped", "failed")
            and any((Path(fit.about["out"]) / RUN).glob("*.checkpoint"))
        )

    @property
    def bundle(self) -> Path:
        """The model that the fit has made. Raises UsageError where there is none."""
        if self.fit is None or self.fit.state != "done":
            raise UsageError("there is no model yet")
        return Path(self.fit.document()["bundle"])

    def report(self, ticket: str) -> bytes | None:
        """The page about the model, for whoever knows its address."""
        is_right = hmac.compare_digest(ticket.encode(), self._ticket.encode())
        if not is_right or self.fit is None or self.fit.state != "done":
            return None
        try:
            return Path(self.fit.document()["report"]).read_bytes()
        except OSError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """All of it, as plain data for the page."""
        folder = self.folder
        return {
            "start": str(self.start),
            "folder": None if folder is None else str(folder),
            "out": None if folder is None else str(proposed(self.results, folder)),
            "doctor": self.doctor and {**self.doctor.to_dict(), **_findings(self.doctor)},
            "fit": self.fit and {**self.fit.to_dict(), **self._result(self.fit)},
        }

    def _result(self, fit: Job) -> dict[str, Any]:
        if fit.state != "done":
            return {"resumable": self.resumable}
        told = fit.document()
        shown = ("metrics", "tried", "bundle")
        parts = {key: value for key, value in told.items() if key in shown}
        more = {"measured": told.get("split", {}).get("n"), "report": f"/report/{self._ticket}"}
        return {**parts, **more, "resumable": False}


def _findings(doctor: Job) -> dict[str, Any]:
    """The first ones, each with its first files; how many there are."""
    document = doctor.document()
    if "findings" not in document:
        return {}
    found = document["findings"]
    shown = [
        {"kind": one["kind"], "severity": one["severity"], "reason": one["reason"]}
        | {"files": one["files"][:NAMED], "count": len(one["files"])}
        for one in found[:SHOWN]
    ]
    classes = dict([*document["classes"].items()][:CLASSES])
    counts = {"n": document["n"], "classes": classes, "class_count": len(document["classes"])}
    return {**counts, "findings": shown, "left": len(found) - len(shown)}


def _setting(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name) or ""
    if not isinstance(value, str) or len(value) > LONGEST or "\0" in value:
        raise UsageError(f"{name}: expected a short text")
    return value.strip()
