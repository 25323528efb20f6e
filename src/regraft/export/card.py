"""The model card: what a model is, how good it is, where it ends. Markdown for people, with the
metadata block that the Hugging Face Hub reads.

All of it comes from the model's own record. Names of classes and data are text from outside: they
are spelt so that they are text in Markdown too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

SHOWN = 40  # classes that are named
KEY_METRICS = ("accuracy", "balanced_accuracy", "worst_class_recall", "f1_macro", "ece", "log_loss")
LICENCES = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0"})
SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#|!~&$])")

# What is said where the record tells no limits of its own.
LIMITS = (
    "The figures hold for examples like those measured; other sources, places or times can be "
    "harder.",
    "The note “unlike the training data” is a statistical hint, not a safeguard.",
)
CLASSES: Mapping[str, str] = MappingProxyType(
    {name: f"{name}-classification" for name in ("image", "text", "audio")}
)
CALIBRATED = "Probabilities are calibrated on held-out scores."


@dataclass(frozen=True)
class Task:
    """How the card tells of models of a task.

    what     in a sentence, with places for {noun} and {n}
    named    what the list of its classes is called
    metrics  of its record that are shown, as far as they were measured
    answers  how its answers are meant
    tags     modality → the pipeline tag of the hub
    covers   what holds as often as the coverage tells, with a place for {share}; empty: nothing
    """

    what: str
    named: str
    metrics: tuple[str, ...]
    answers: tuple[str, ...]
    tags: Mapping[str, str]
    covers: str = ""


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "classification": Task(
            "A classifier of {noun} into {n} classes, made with Regraft.",
            "Classes",
            KEY_METRICS,
            ("Probabilities are calibrated by temperature scaling on held-out scores.",),
            CLASSES,
            "The conformal set holds the right class for at least {share} examples like those "
            "learned from, over all classes together.",
        ),
        "tags": Task(
            "A model that tells which of {n} tags fit {noun}, any number of them, made with "
            "Regraft.",
            "Tags",
            ("map_macro", "f1_macro", "f1_micro", "subset_accuracy", "hamming_loss"),
            (CALIBRATED, "A tag is answered from a probability of its own on."),
            CLASSES,
        ),
        "regression": Task(
            "A model that tells {n} numbers for {noun}, made with Regraft.",
            "Numbers",
            ("mae", "rmse", "r2"),
            ("Numbers are in the units of what was learned from.",),
            MappingProxyType({}),
            "The interval beside a number is conformal: it holds the truth for at least {share} "
            "examples like those learned from.",
        ),
        "detection": Task(
            "A detector of {n} kinds of objects in {noun}, made with Regraft.",
            "Objects",
            ("map", "map50", "map75", "ar100"),
            (
                "A box is taken for an object from a score of its class on.",
                "Boxes are left, top, right, bottom in pixels of the upright picture.",
            ),
            MappingProxyType({"image": "object-detection"}),
        ),
        "transcription": Task(
            "A transcriber: it writes down what is said in {noun}, made with Regraft.",
            "",
            ("wer", "cer"),
            (
                "Text is in lower case and without punctuation.",
                "The confidence is the mean probability of the characters, and not calibrated.",
            ),
            MappingProxyType({"audio": "automatic-speech-recognition"}),
        ),
    }
)
USUAL = TASKS["classification"]


def _task(about: Mapping[str, Any]) -> Task:
    return TASKS.get(str(about.get("task")), USUAL)


def model_card(about: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The card.

    about   name, task, modality, classes, networks (each with its name and licences), version,
            coverage
    record  provenance, as a bundle keeps it
    """
    return f"---\n{_metadata(about, record)}\n---\n\n{card_text(about, record)}"


def card_text(about: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The card without its metadata block."""
    task = _task(about)
    parts = [
        f"# {plain(about['name'])}",
        task.what.format(noun=_noun(about), n=len(about["classes"])),
        *([f"**{plain(about['notice'])}**"] if about.get("notice") else []),
        *_section(task.named, _classes(about["classes"])),
        *_section("How good it is", _metrics(task, record)),
        *_section("Data", _data(record)),
        *_section("Networks and licences", _networks(about["networks"])),
        *_section("How its answers are meant", _answers(about)),
        *_section("Limits", [f"- {plain(line)}" for line in _limits(record)]),
        *_section("Do it again", _again(record)),
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: object) -> str:
    """Text that stays text in Markdown, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _noun(about: Mapping[str, Any]) -> str:
    return {"image": "pictures", "text": "texts", "audio": "recordings"}.get(
        about["modality"], "examples"
    )


def _classes(classes: Sequence[str]) -> list[str]:
    more = f" … and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    return [", ".join(plain(name) for name in classes[:SHOWN]) + more] if classes else []


def measured(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record tells of the held-out examples: n and metrics; empty where it tells nothing.

    Bundles of before kept only the accuracy of what was tried.
    """
    found = record.get("measured")
    if isinstance(found, dict) and isinstance(found.get("metrics"), dict):
        return found
    kept = [row for row in record.get("tried") or () if row.get("kept") and row.get("score")]
    return {"metrics": {"accuracy": kept[-1]["score"]}} if kept else {}


def _metrics(task: Task, record: Mapping[str, Any]) -> list[str]:
    found = measured(record)
    rows = [row for name in task.metrics if (row := _metric(name, found))]
    if not rows:
        return []
    on = f" on {found['n']} examples" if isinstance(found.get("n"), int) else ""
    head = [
        f"Measured{on} held out from learning; intervals are 95 % bootstrap intervals.",
        "",
        "| metric | value | 95 % interval |",
        "|---|---|---|",
    ]  # fmt: skip
    return [*head, *rows]


def _metric(name: str, found: Mapping[str, Any]) -> str:
    one = found["metrics"].get(name) if found else None
    if not isinstance(one, dict) or not isinstance(one.get("value"), int | float):
        return ""
    ends = [one.get("low"), one.get("high")]
    known = all(isinstance(end, int | float) for end in ends)
    interval = f"{ends[0]:.3f} – {ends[1]:.3f}" if known else "–"
    return (
        f"| {plain(one.get('title', name.replace('_', ' ')))} | {one['value']:.3f} | {interval} |"
    )


def _data(record: Mapping[str, Any]) -> list[str]:
    split = record.get("split") if isinstance(record.get("split"), dict) else {}
    lines = [f"Source: {plain(record['name'])}."] if record.get("name") else []
    counts = (split or {}).get("counts")
    if isinstance(counts, dict) and counts:
        names = sorted({name for part in counts.values() for name in part})
        lines += ["", "| part | examples | classes |", "|---|---|---|"]
        lines += [
            f"| {plain(part)} | {sum(of.values())} | {len(of)} of {len(names)} |"
            for part, of in counts.items()
        ]
    if how := (split or {}).get("how"):
        lines += ["", f"How it was split: {plain(how)}."]
    return lines


def _networks(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["| network | licence of its weights | licence of its code |", "|---|---|---|"]
    rows = [
        f"| {plain(one['name'])} | {plain(one.get('licence_weights') or 'unknown')} | "
        f"{plain(one.get('licence_code') or 'unknown')} |"
        for one in networks
    ]
    return [*head, *rows] if rows else []


def _answers(about: Mapping[str, Any]) -> list[str]:
    task = _task(about)
    lines = [f"- {line}" for line in task.answers]
    if task.covers and (coverage := about.get("coverage")) is not None:
        lines.append(f"- {task.covers.format(share=f'{100 * coverage:.0f} of 100')}")
    if point := about.get("operating"):
        lines.append(
            f"- The answer is {plain(point['positive'])} from a probability of "
            f"{point['threshold']:.4g} on ({plain(point['asked'])}); else the most probable other."
        )
    return lines


def _limits(record: Mapping[str, Any]) -> Sequence[str]:
    told = measured(record).get("limits")
    return [str(line) for line in told] if isinstance(told, list) and told else LIMITS


def _again(record: Mapping[str, Any]) -> list[str]:
    commands = [str(line) for line in record.get("reproduce") or ()]
    return ["```", *(line.replace("```", "") for line in commands), "```"] if commands else []


# --- metadata for the hub ------------------------------------------------------------------------


def _metadata(about: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    tag = _task(about).tags.get(about["modality"])
    name, data = str(about["name"]), str(record.get("name") or "own data")
    found = measured(record).get("metrics", {})
    results = [
        EvalResult(
            task_type=tag or "other",
            dataset_type="own",
            dataset_name=data,
            metric_type=metric,
            metric_value=round(float(found[metric]["value"]), 4),
        )
        for metric in _task(about).metrics
        if _metric(metric, {"metrics": found})
    ]
    card = ModelCardData(
        license=_licence(about["networks"]),
        library_name="regraft",
        pipeline_tag=tag,
        tags=["regraft", "transfer-learning", about["modality"]],
        model_name=name,
        eval_results=results or None,
    )
    return str(card.to_yaml())


def _licence(networks: Sequence[Mapping[str, Any]]) -> str:
    """Of all networks, where it is one that the hub knows; else ``other``."""
    found = {str(one.get("licence_weights") or "").lower() for one in networks}
    return found.pop() if len(found) == 1 and found <= LICENCES else "other"
