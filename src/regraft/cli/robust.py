"""What the terminal tells of attacks, worse examples, other data and answers left out."""

from typing import Any

from regraft.cli.edge import Voice
from regraft.cli.tables import table


def show_parts(voice: Voice, record: dict[str, Any]) -> None:
    """The parts of a report that are only there where they were asked for."""
    _show_robust(voice, record.get("robust"))
    _show_corruptions(voice, record.get("corruptions"))
    _show_other_data(voice, record.get("out_of_distribution"))
    _show_abstention(voice, record.get("abstention"))


def _show_robust(voice: Voice, found: dict[str, Any] | None) -> None:
    """Clean and robust accuracy, and whether it can be believed."""
    from regraft.evaluation.report import share, span

    if found is None:
        return
    voice.print(f"\nunder attack: {found['n']} {found['noun']}, {found['norm']}, {found['attack']}")
    shares = [("none", found["clean"])]
    shares += [(f"ε = {point['told']}", point["accuracy"]) for point in found["points"]]
    heads = ("change", "right", "95 % interval")
    rows = [[change, share(one["value"]), span(one)] for change, one in shares]
    noise = [point.get("snr") for point in found["points"]]
    voice.print(table(heads, rows, heads[1:]))
    if told := [f"{decibels:.0f}" for decibels in noise if decibels is not None]:
        voice.print(f"the changes are {', '.join(told)} dB below the recordings")
    if not found["whole"]:
        voice.print("a quick attack: these are upper bounds, a stronger one may find more")
    if found["reliable"]:
        voice.print(f"{len(found['checks'])} checks of the attack passed; empirical, Lp only")
    for reason in found["why"]:
        voice.print(f"! UNRELIABLE: {reason}")


def _show_corruptions(voice: Voice, found: dict[str, Any] | None) -> None:
    """The mean and the worst."""
    from regraft.evaluation.report import share, span

    if found is None:
        return
    mean, worst, lowest = found["mean"], found["worst"], found["lowest"]
    clean = share(found["clean"]["value"])
    voice.print(
        f"\non worse examples ({found['n']}, {len(found['rows'])} kinds, 5 severities): "
        f"{share(mean['value'])} right ({span(mean)}), as they are {clean}",
        f"worst: {worst['name']} {share(worst['value'])}; lowest: {lowest['name']} at severity "
        f"{lowest['severity']} {share(lowest['value'])}",
    )


def _show_other_data(voice: Voice, found: dict[str, Any] | None) -> None:
    """How well each score tells it from what the model knows."""
    from regraft.evaluation.report import number, share, span

    if found is None:
        return
    if not found["measured"]:
        voice.print(f"\nother data: {found['why']}")
        return
    own, others = found["inside"], found["outside"]
    voice.print(f"\nother data: {others} of {found['name']} against {own} that the model knows")
    heads = ("score", "AUROC", "95 % interval", "FPR95", "interval")
    rows = [
        [
            *(row["name"], number(row["auroc"]["value"]), span(row["auroc"], shares=False)),
            *(share(row["fpr95"]["value"]), span(row["fpr95"])),
        ]
        for row in found["scores"]
    ]
    voice.print(table(heads, rows, heads[1:]))
    marked = found["marked"]
    voice.print(
        f"the model's own mark “unlike”: on {share(marked['outside']['value'])} of the other data, "
        f"on {share(marked['inside']['value'])} of its own"
    )
    if found["left_out"]:
        voice.print(f"! {len(found['left_out'])} of the other data left out; see the report")


def _show_abstention(voice: Voice, found: dict[str, Any] | None) -> None:
    """Which answers may be taken, and what that gives."""
    from regraft.evaluation.report import number, share, span

    if found is None:
        return
    curve, chosen = found["curve"], found["selection"]
    least = number(curve["best"])
    voice.print(
        f"\nleaving answers out: AURC {number(curve['aurc']['value'])} "
        f"({span(curve['aurc'], shares=False)}), at best {least}; all answers: "
        f"{share(found['wrong']['value'])} wrong"
    )
    if chosen is None:
        voice.print(f"! {found['why']}")
        return
    here, from_on = chosen["here"], max(chosen["threshold"], 0.0)
    wrong = "no answer was taken"
    if here["risk"] is not None:
        wrong = f"{here['errors']} of {here['n']} wrong: {share(here['risk']['value'])}"
        wrong += f" ({span(here['risk'])})"
    voice.print(
        f"taking answers above a confidence of {from_on:.4f}, at most {100 * found['risk']:g} % "
        f"are wrong, with {100 * found['confidence']:g} % certainty (chosen on {chosen['n']}, "
        f"{found['chosen_on']})",
        f"on the {found['measured']} measured: {share(here['coverage']['value'])} answered "
        f"({span(here['coverage'])}), {wrong}",
    )
