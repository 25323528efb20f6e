"""distil: a large model, or an ensemble, and examples → a small model that says the same.

The student climbs the ladder of `fit`: the closed-form head that learns the teacher's answers on
frozen features, then training on softened answers where the time allows it. What is kept is what is
best on labels, so that a teacher never makes the student worse.
"""

from pathlib import Path
from typing import Any

from regraft.backbones.store import Store
from regraft.data.sources import task_of
from regraft.errors import UsageError
from regraft.evaluation.before_after import refuse_drop
from regraft.evaluation.report import Report
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.training.teaching import Teaching
from regraft.verbs.before_after import before_and_after
from regraft.verbs.fitted import Fitted
from regraft.verbs.members import single
from regraft.verbs.tasks import carried_out
from regraft.verbs.teacher import Teacher
from regraft.verbs.told import LISTED
from regraft.verbs.unseen import divided_for

BUDGET = 300.0  # seconds, by default
SAME = ("seed", "parts", "coverage")  # that are the teacher's, where nothing else is said


def distil(
    model: Any,
    data: Any,
    *,
    network: str,
    unlabelled: Any = None,
    temperature: float = Teaching.temperature,
    hard: float = Teaching.hard,
    consistent: bool = False,
    max_drop: float | None = None,
    timed: bool = True,
    progress: Progress | None = None,
    store: Store | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    **settings: Any,
) -> Fitted:
    """Teach a small network what a large model knows.

    model       the teacher: a `Model` or the path of its bundle; an ensemble is one too
    data        a Dataset or a source as for `regraft.load`: what the teacher learned from, or more
    network     the student, by name; see `regraft backbones`
    unlabelled  a source of more examples, whose labels are not looked at
    temperature  that softens the teacher's answers in training, 1 to 20
    hard        share of the label beside the teacher's answer, where an example has one, 0 to 1
    consistent  the teacher looks at the same augmented picture as the student: dearer and better
                where there is time for it
    max_drop    points of accuracy that may be lost against the teacher; None: any
    timed       measure the latency of both too, which takes some seconds
    settings    fields of `Recipe`, such as ``budget="10min"``, size, strategy, epochs

    Raises as `regraft.fit`, and RegraftError where too much is lost.
    """
    member = single(model)
    _refuse(temperature, hard, settings)
    teacher = Teacher(member, unlabelled, temperature, hard, consistent)
    asked = _asked(member.model, data, network, settings)
    kept: dict[str, Any] = {"progress": progress, "store": store, "run": run, "resume": resume}
    fitted: Fitted = carried_out("distil", task_of(data))(data, asked, **kept, teacher=teacher)
    return _compared(fitted, teacher, asked, max_drop, timed, store, progress)


def _refuse(temperature: float, hard: float, settings: dict[str, Any]) -> None:
    mistakes = []
    if not 1 <= temperature <= 20:
        mistakes.append(f"temperature: expected a number from 1 to 20, got {temperature!r}")
    if not 0 <= hard <= 1:
        mistakes.append(f"hard: expected a share from 0 to 1, got {hard!r}")
    if "backbone" in settings:
        mistakes.append("backbone: the student is named by network")
    if mistakes:
        raise UsageError(*mistakes)


def _asked(model: Model, data: Any, network: str, settings: dict[str, Any]) -> Recipe:
    """The student's recipe: the split is the teacher's, so that nothing that taught the teacher is
    measured on.
    """
    own = model.record.get("recipe", {})
    same = {name: own[name] for name in SAME if name in own}
    asked = Recipe(budget=BUDGET).changed(**(same | settings), backbone=(network,))
    return asked.changed(source=str(data)) if isinstance(data, str | Path) else asked


def _compared(
    fitted: Fitted,
    teacher: Teacher,
    asked: Recipe,
    max_drop: float | None,
    timed: bool,
    store: Store | None,
    progress: Progress | None,
) -> Fitted:
    """With teacher and student side by side, on what taught neither. Raises RegraftError."""
    student, told = fitted.model, _told(teacher)
    examples = divided_for(teacher.model, fitted.data.held_out).unseen
    found = before_and_after(
        teacher.model,
        student,
        examples,
        verb="distil",
        told=told,
        which="that taught neither",
        max_drop=max_drop,
        resamples=asked.resamples,
        seed=asked.seed,
        timed=timed,
        store=store,
        progress=progress,
    )
    refuse_drop(found)
    learned = dict.fromkeys([*student.record["learned"], *teacher.member.learned])
    student.record.update({"before_after": found, "learned": [*learned][:LISTED]})
    student.record["reproduce"] = [_command(teacher, asked)]
    more = {name: student.record[name] for name in ("before_after", "reproduce")}
    return fitted._replace(report=Report(fitted.report.record | more))


def _told(teacher: Teacher) -> str:
    """What was done, in a line."""
    how = ", on augmented pictures" if teacher.consistent else ""
    return (
        f"taught by {teacher.member.name} at temperature {teacher.temperature:g}{how}, labels "
        f"counting for {teacher.hard:.0%} where there are some"
    )


def _command(teacher: Teacher, asked: Recipe) -> str:
    import shlex

    more = [] if teacher.unlabelled is None else ["--unlabelled", str(teacher.unlabelled)]
    words = ["regraft", "distil", teacher.member.name, "--data", asked.source or "DATA", *more]
    network = ["--network", asked.backbone[0]]
    return shlex.join([*words, *network, "--seed", str(asked.seed)])
