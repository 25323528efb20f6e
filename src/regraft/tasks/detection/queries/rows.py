"""Which whole detectors of transformers are taken. Loads no torch: the command line reads this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# As they were trained: AdamW, a small norm of the gradient, no rate above 2e-4.
GENTLE: Mapping[str, Any] = MappingProxyType({"rate": 2e-4, "weight_decay": 1e-4, "clip": 0.1})


@dataclass(frozen=True)
class QueryRow:
    """One kind of detector.

    told          what it is, in a sentence
    source        its paper
    architecture  transformers' class, as a checkpoint's config.json names it
    inner         rate of its pretrained encoder and decoder, as a share of that of new rows
    settings      fields of a plan that differ from those for a new head
    losses        there is one: transformers' own, of queries that are matched with objects
    dense         whether other runtimes can give its outputs
    """

    name: str
    told: str
    source: str
    architecture: str
    inner: float = 0.5
    settings: Mapping[str, Any] = field(default_factory=lambda: GENTLE, hash=False)
    losses: tuple[str, ...] = ("matched",)
    dense: bool = True


QUERIES: Mapping[str, QueryRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            QueryRow(
                "rt-detr-v2",
                "Queries chosen among the places of an efficient encoder, no overlaps to sort out.",
                "Lv et al. 2024, arXiv 2407.17140",
                "RTDetrV2ForObjectDetection",
            ),
            QueryRow(
                "d-fine",
                "As RT-DETR; the sides of boxes are refined as distributions.",
                "Peng et al. 2024, arXiv 2410.13842",
                "DFineForObjectDetection",
            ),
            QueryRow(
                "rt-detr",
                "The first version of RT-DETR.",
                "Zhao et al. 2023, arXiv 2304.08069",
                "RTDetrForObjectDetection",
            ),
        )
    }
)


def taken() -> str:
    """All, as a list for a sentence."""
    return ", ".join(f"{row.name} ({row.architecture})" for row in QUERIES.values())
