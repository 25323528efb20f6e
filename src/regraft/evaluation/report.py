"""The report: what was made, how good it is and what it rests on, as one plain record.

The record is the report; the page, the table on the terminal and the JSON are three ways to read
it. Here are the words that they share; `regraft.evaluation.page` draws the page.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from regraft.errors import UsageError
from regraft.evaluation.figures import main_figure
from regraft.evaluation.plain_data import plain_copy
from regraft.storage import write_atomically

NOUNS = {"image": "pictures", "text": "texts", "audio": "recordings", "volume": "volumes"}
SHARES = frozenset(  # metrics that people read as a percentage
    {
        *("wer", "cer", "exact"),
        "accuracy",
        "balanced_accuracy",
        "worst_class_recall",
        "top5_accuracy",
        "precision_macro",
        "recall_macro",
        "precision_weighted",
        "recall_weighted",
        *("recall", "precision", "specificity", "npv"),
        *("precision_micro", "recall_micro", "subset_accuracy"),
    }
)
REQUIRED = ("metrics", "classes", "split")
LONGEST = 60  # characters of a name inside a sentence
UNKNOWN = "–"

# Control characters, marks that reverse the text around them, bytes that are no text: they would
# steer a terminal, hide in a page or fail to be written.
INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Report:
    """What a person should know about a model, wrapped around a plain record.

    The record is copied and kept as JSON would give it back; NaN and infinite numbers become None.
    Only `metrics`, `classes` and `split` are required. Every other key may be absent, and then its
    part of the page is. All probabilities, scores and shares are in [0, 1]; an *interval* is
    ``{value, low, high}``, the ends at 95 % confidence or None; a *thumbnail* is a
    ``data:image/jpeg;base64,…`` text (PNG and WebP too) or None.

        title, created (ISO 8601), regraft (version), task, modality
        classes        [name], in the order of the class numbers
        split          name and n (of the part that was measured), source (given or made), how,
                       seed, counts {train | validation | test: {class: n}}
        metrics        {name: interval + title, higher_is_better, definition}
        notice         what must be said before all else
        per_class      [{class, support, precision, recall, f1, auroc, specificity, npv,
                       average_precision, and of each but the support …_low and …_high}]
        operating_point  what `operating.OperatingPoint` holds: all figures are of answers at it
        decisions      positive (the class), named (by the user), prevalence, points [{threshold,
                       value, low, high, all}]: see `net_benefit.decision_curve`
        confusion      [[n]], a row per true class, a column per predicted one
        reliability    [{low, high, confidence, accuracy, count}], a row per bin of confidence
        temperature    what the scores were divided by
        conformal      target, coverage (interval), mean_size, threshold (None: every class is in
                       every set)
        leave_one_out  accuracy and n, on the training examples; learned: how many these are where
                       only some of them judge
        tried          [{name, kind (baseline, probe, ensemble …), strategy, backbone, detail, score
                       (interval of the accuracy), held_score (interval, on the examples held back
                       for choosing), loo, seconds, kept, why}] in the order of the attempts; the
                       name of a baseline reads on after "for": "raw pixels". Where the score of
                       what was kept is not the accuracy among the metrics, the attempts were
                       measured on other examples, and nothing is said to stand beside them
        training       [{name, told (what the strategy is), size (pixels), curve [{epoch, seconds,
                       loss, held_loss, held_accuracy, average_accuracy (of the averaged weights),
                       rate}], start_accuracy (of the probe on the same held-back examples),
                       warnings [sentence], chosen (which weights were taken, and why)}], a row per
                       run; of a point of the curve all but the seconds may be None
        looked         [{file, label, predicted, right, probability, thumbnail, heatmap (thumbnail
                       under its heat map)}], of texts words [[word, share in the score]] in place
                       of the pictures; wrong answers are shown first
        robust         noun, norm, axis {title, scale}, attack, n, clean (interval), points [{eps,
                       told, accuracy (interval), fell_to {attack: n}, snr (dB, of recordings)}],
                       checks [{name, passed, told}], reliable, why, examples [{file, label,
                       predicted, eps, times, thumbnail, change, changed, clip}], limits, whole (the
                       attack is strong enough to stand alone), as_files {eps, n, misled}
        before_after   what a verb Model → Model has changed: `before_after.ToldBeforeAfter`
        corruptions    how, note (in words), n, clean and mean (intervals), worst {name, value},
                       lowest {name, severity, value}, rows [{name, kind, accuracies [of 5]}]
        out_of_distribution  measured; why (where it was not); name (of the other data), inside and
                       outside (n), scores [{name, told, source, auroc, fpr95 (intervals)}], marked
                       {inside, outside}: intervals of the model's own mark “unlike”, examples
                       [{file, predicted, probability, unlike, thumbnail, clip}], left_out [{file,
                       reason}]
        abstention     risk, confidence, chosen_on, n, wrong (interval, of all answers), measured
                       (n, of what follows), selection (None: nothing can be promised) {threshold,
                       coverage, errors, n, bound (where it was chosen), here {coverage, risk
                       (intervals), n, errors}}, nearest (as selection), why, curve {aurc
                       (interval), best, error, points [{coverage, value, low, high, best}]}
        mistakes       [{file, label, predicted, probability, top [[class, probability]],
                       thumbnail, clip (a sound as a data URI, or None)}], the worst first
        novelty        flagged, n, examples [{file, score, thumbnail}]
        findings       [{kind, files, reason, severity, score, thumbnails}]
        left_out       [{file, reason}]
        backbones      [{name, source, architecture, licence_code, licence_weights, parameters,
                       upstream_score, fingerprint, spec {…}, engine, pictures_per_second}]
        recipe         what was asked for, nested plain data
        chosen         {parameter: reason}, the defaults that were chosen for the user
        timings        {stage: seconds}; a stage "total" is that of all
        reproduce      [command line]
        limits         [sentence]

    And where the task is to find objects:

        boxes_per_class  [{class, objects, ap (_low, _high), ap50, ap75, ar, threshold, precision,
                       recall (both at the threshold)}]
        curves         [{class, points [[recall, precision]]}]
        box_errors     [{kind, told, count, lost (of mAP50)}]
        box_confusion  [[n]], classes and then background
        box_training   [{name, told, steps, epochs, seconds, chosen, curve, warnings}]
        gallery        [{title, pictures [{file, told, thumbnail}]}]

    And where the task is to write down what is said:

        transcripts    [{file, said, written, errors, steps [[said, written]], thumbnail,
                       clip}], the worst first
        mistaken       [{said, written, count}]
        trivial        {text, wer, cer} of the same answer for all
        as_it_came     metrics of the head that came with the network, before it learned
        speech_training  [{name, told, steps, epochs, seconds, chosen, curve, warnings}]
    And where examples have tags, or numbers (the figures are those of `tag_metrics` and
    `value_metrics`; in place of the accuracy attempts have the one that `figures` names):

        per_tag        [{tag, support, answered, threshold, average_precision, auroc, precision,
                       recall, f1 (each with _low, _high)}]
        beside         tags [name], together [[n]] of these, none (examples without any), confused
                       [{missed, said, count}]
        worst_tags     [{title, rows [{file, about, tags [{name, probability, there, said}],
                       thumbnail, clip}]}]
        per_number     [{name, mean, spread, half_width, coverage, target, r2, mae, rmse, spearman
                       (each with _low, _high)}]
        numbers        [{name, points [[right, answer]]}]
        worst_numbers  [{file, numbers [{name, right, answer}], thumbnail, clip}]

    Raises `UsageError` where a required key is missing or the record is not plain data.
    """

    record: dict[str, Any]

    def __post_init__(self) -> None:
        plain = plain_copy(self.record, REQUIRED, _odd_metrics(self.record))
        object.__setattr__(self, "record", plain)

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Every metric's value, low and high (the 95 % interval); None where unknown."""
        ends = ("value", "low", "high")
        found: dict[str, dict[str, Any]] = self.record["metrics"]
        return {name: {end: metric.get(end) for end in ends} for name, metric in found.items()}

    def json(self) -> str:
        """The record as JSON (RFC 8259), indented."""
        text = json.dumps(self.record, ensure_ascii=False, indent=2, allow_nan=False)
        # A file name that is no text holds lone surrogates; JSON has an escape for them.
        return text.encode("utf-8", "backslashreplace").decode() + "\n"

    def html(self) -> str:
        """One self-contained page: no script, nothing loaded from anywhere."""
        from regraft.evaluation.page import report_page

        return report_page(self.record)

    def table(self, width: int = 100) -> str:
        """What the terminal shows: the sentence, what was tried, the metrics; `width` columns."""
        from rich.console import Console

        from regraft.evaluation.headlines import headline

        console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(str(headline(self.record)), markup=False, highlight=False)
            for table in _tables(self.record):
                console.print(table)
            if self.record.get("notice"):
                console.print(visible(self.record["notice"]), markup=False, highlight=False)
        lines = capture.get().replace("\u202f", " ").splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.table()

    def save(self, path: str | Path) -> None:
        """Write the page (``.html``) or the record (``.json``), by the suffix of `path`.

        Raises `UsageError` for another suffix, `StorageError` where it cannot be written.
        """
        path = Path(path)
        forms: dict[str, Callable[[], str]] = {".html": self.html, ".json": self.json}
        if path.suffix.lower() not in forms:
            raise UsageError(f"path: expected a name that ends in .html or .json, got {path}")
        write_atomically(path, forms[path.suffix.lower()]().encode())


def noun(record: Mapping[str, Any]) -> str:
    """What the examples are called, in the plural."""
    return NOUNS.get(record.get("modality") or "", "examples")


def per_hundred(value: float) -> str:
    """Of a hundred, in whole numbers where that does not make it none or all."""
    whole = round(100 * value)
    if whole in (0, 100) and 0 < value < 1:
        return f"{min(max(100 * value, 0.1), 99.9):.1f}"
    return str(whole)


def share(value: float | None) -> str:
    """0.903 → "90.3 %"."""
    return UNKNOWN if value is None else f"{100 * value:.1f}\u202f%"


def number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def span(interval: Mapping[str, Any], shares: bool = True) -> str:
    """The ends of an interval: "87.4–93.1 %" or "0.874–0.931".

    Unknown without any spread: where all answers are right, resampling them shows none, and that
    is no certainty.
    """
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None or low == high:
        return UNKNOWN
    return f"{100 * low:.1f}–{100 * high:.1f}\u202f%" if shares else f"{low:.3f}–{high:.3f}"


def duration(seconds: float | None) -> str:
    """ "0.4 s", "12 s", "3 min 20 s", "1 h 05 min"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def clipped(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def visible(text: str) -> str:
    r"""Text with the characters that act on what is around them spelled out, as in ``\x1b``."""
    return INVISIBLE.sub(lambda hit: hit[0].encode("unicode_escape").decode(), text)


def _tables(record: Mapping[str, Any]) -> Iterator[Any]:
    """The tables of the terminal, as rich draws them."""
    if record.get("tried"):
        title = main_figure(record).title.lower()
        columns = ["", "tried", title, "95 % interval", "leave-one-out", "time"]
        yield _table(columns, [_tried_row(row) for row in record["tried"]], texts=2)
    yield from _deciding(record)
    columns = ["metric", "value", "95 % interval"]
    yield _table(columns, [_metric_row(*item) for item in record["metrics"].items()], texts=1)


def _deciding(record: Mapping[str, Any]) -> Iterator[Any]:
    """The class that the decisions are about, where there is one."""
    from regraft.evaluation.decisions import deciding

    if (told := deciding(record)) is None:
        return
    point, row = told["point"], told["row"]
    at = f" from a probability of {share(point['threshold'])} ({point['asked']})" if point else ""
    columns = [f"{clipped(told['positive'])}{at}", "value", "95 % interval"]
    ends = ("low", "high")
    rows = [
        _metric_row(
            key, {"title": title, "value": row.get(key)} | {e: row.get(f"{key}_{e}") for e in ends}
        )
        for key, (title, _) in told["figures"].items()
    ]
    yield _table(columns, rows, texts=1)


def _tried_row(row: Mapping[str, Any]) -> list[str]:
    score = row.get("score") or {}
    facts = [share(score.get("value")), span(score), share(row.get("loo"))]
    name = " · ".join(text for text in (row["name"], row.get("backbone")) if text)
    return ["✓" if row.get("kept") else "", name, *facts, duration(row.get("seconds"))]


def _metric_row(name: str, metric: Mapping[str, Any]) -> list[str]:
    is_share = name in SHARES
    value = (share if is_share else number)(metric.get("value"))
    return [metric.get("title") or name, value, span(metric, is_share)]


def _table(columns: list[str], rows: list[list[str]], texts: int) -> Any:
    """`texts` columns of words, then numbers; nothing in a cell is read as markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(columns):
        of_words = place < texts
        table.add_column(
            title, justify="left" if of_words else "right", overflow="fold", no_wrap=not of_words
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def _odd_metrics(record: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in dict(record.get("metrics") or {}).items():
        if not (isinstance(metric, dict) and "value" in metric):
            yield f"record['metrics'][{name!r}]: expected value, low and high, got {metric!r}"
