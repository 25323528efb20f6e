"""Robust accuracy of a standard and of a hardened network under AutoAttack, with its checks.

    python benchmarks/robust.py clothing --clothing FOLDER --work WORK --json robust.json
    python benchmarks/robust.py digits --work WORK --size 32 --eps 8/255,16/255 --json digits.json
    python benchmarks/robust.py clothing ... --examples 20 --attack pgd --budget 2min   # a portion

Learned on the learning part, measured on pictures of the held-out part. Rows: ``standard`` (a fit
that does not train: the probe) and ``hardened`` (the same time for both is not meant: a probe needs
none). What is in the file is not measured again.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import portions
import sets
from portions import Portions

KEYS = ("model",)
MODELS = ("standard", "hardened")
# set → ε, the robust accuracy that is wanted and the clean accuracy beside it; shares of clean
GOALS = {
    "clothing": ("2/255", 0.55, 0.82),
    "digits": ("8/255", 0.85, None),
}


def fitted(name: str, place: Any, asked: argparse.Namespace) -> tuple[Any, float]:
    """The model of a row, and the seconds it took."""
    from regraft.verbs.fit import fit_and_report
    from regraft.verbs.harden import harden

    network = {"backbone": asked.backbone, "size": asked.size}
    make = {
        "standard": lambda: fit_and_report(place, strategy="probe", **network),
        "hardened": lambda: harden(
            place,
            eps=asked.train_eps,
            method=asked.method,
            budget=asked.budget,
            wish=asked.wish,
            **network,
        ),
    }
    start = time.perf_counter()
    made = make[name]()
    return made, time.perf_counter() - start


def row(name: str, place: Any, asked: argparse.Namespace) -> dict[str, Any]:
    from regraft.cli.outputs import without_thumbnails
    from regraft.verbs.evaluate import evaluate

    made, seconds = fitted(name, place, asked)
    if asked.save:
        made.model.save(asked.work / f"{asked.set}-{name}.regraft")
    measured = {"eps": asked.eps.split(","), "norm": asked.norm, "attack": asked.attack}
    report = evaluate(
        made.model, made.data.held_out, robust=True, attacked=asked.examples, **measured
    )
    found = without_thumbnails(report.record["robust"])
    found["examples"] = len(found["examples"])
    print(
        f"{name}: clean {found['clean']['value']:.3f}, "
        + ", ".join(f"{p['told']} {p['accuracy']['value']:.3f}" for p in found["points"]),
        "" if found["reliable"] else f"UNRELIABLE: {found['why']}",
        flush=True,
    )
    training = without_thumbnails(made.report.record.get("training", []))
    trade = [run["trade_off"] for run in training if "trade_off" in run]
    accuracy = report.record["metrics"]["accuracy"]["value"]
    return {"model": name, "seconds": seconds, "accuracy": accuracy, **found, "trade_off": trade}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures that are wanted, and those that were found."""
    return {
        "table": [
            {
                "model": r["model"],
                "clean": r["clean"]["value"],
                "robust": {p["told"]: p["accuracy"]["value"] for p in r["points"]},
                "n": r["n"],
                "attack": r["attack"],
                "reliable": r["reliable"],
                "seconds": r["seconds"],
            }
            for r in rows
        ]
    }


def figures(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Goals of the set beside what was found, where it was measured."""
    if name not in GOALS:
        return []
    eps, wanted, clean = GOALS[name]
    out = []
    for r in (r for r in rows if r["model"] == "hardened"):
        own = {p["told"]: p["accuracy"]["value"] for p in r["points"]}
        if eps in own:
            least = wanted * (1.0 if clean else r["clean"]["value"])
            out.append(_figure(f"robust at {eps}", own[eps], least))
        if clean:
            out.append(_figure("clean", r["clean"]["value"], clean))
    return out


def _figure(what: str, found: float, least: float) -> dict[str, Any]:
    return {"what": what, "goal": f">= {least:.3f}", "found": f"{found:.3f}", "met": found >= least}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=sets.SETS)
    parser.add_argument("--models", type=portions.several(str), default=list(MODELS))
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--eps", default="1/255,2/255,4/255", help="measured")
    parser.add_argument("--train-eps", default="2/255", help="hardened against")
    parser.add_argument("--norm", default="linf")
    parser.add_argument("--method", default="n-fgsm")
    parser.add_argument("--attack", default="autoattack")
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--budget", default="15min", help="of hardening")
    parser.add_argument("--wish", type=float, default=0.5)
    parser.add_argument("--save", action="store_true", help="the bundles, into --work")
    sets.add_arguments(parser)
    portions.add_arguments(parser)
    asked = parser.parse_args(arguments)
    os.environ.setdefault("REGRAFT_CACHE", str(asked.work / "cache"))
    asked.work.mkdir(parents=True, exist_ok=True)
    if (place := sets.folder(asked.set, asked)) is None:
        return 0
    names = ("set", "backbone", "size", "eps", "train_eps", "norm", "method", "attack", "examples")
    settings = {name: getattr(asked, name) for name in (*names, "budget", "wish")}
    kept = Portions(asked.json, settings, KEYS, asked.max_seconds)
    for name in asked.models:
        if kept.has(name) or kept.over:
            continue
        kept.add(row(name, place, asked), summary=summary)
    print(portions.told(figures(asked.set, kept.rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
