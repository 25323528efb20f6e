"""Which texts are in another language than most, by their letters' sequences.

Lui and Baldwin 2012, langid.py: an off-the-shelf language identification tool, in the package
py3langid. It is asked only of texts that are long enough, and believed only where it is sure.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from regraft.data.findings import Finding
from regraft.data.inline import contents

OTHER_LANGUAGE = "other-language"
LEAST_LETTERS = 20  # of fewer a language can hardly be told
READ = 600  # characters
SURE = 0.9  # probability: of 3,000 questions in English none was sure to be in another language
FEW, RARE = 3, 0.002  # texts of a language, and their share: of fewer it may be a mistake
MANY = 0.05  # share from which a network for several languages is named
MOST_ASKED = 50_000  # texts, evenly spread: a thousand take about a tenth of a second
UNTOLD = (
    "languages were not told apart: that takes py3langid; install it with: "
    "pip install 'regraft[text]'"
)


def languages(ids: Sequence[str], files: Sequence[str]) -> Iterator[Finding]:
    """One finding for each language that is not the commonest: ISO 639 codes.

    files  paths of texts, or what stands in place of one, see `inline`; UTF-8
    """
    if (told := _identifier()) is None:
        yield Finding(OTHER_LANGUAGE, (), UNTOLD, "note")
        return
    asked = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), MOST_ASKED)).astype(int))
    found = {i: code for i in asked if (code := _language(files[i], told))}
    counts = Counter(found.values())
    for usual, (code, n) in ((counts.most_common(1)[0][0], one) for one in _others(counts)):
        reason = (
            f"{n} of {len(found):,} texts whose language is sure are in another one ({code}) than "
            f"most ({usual})"
        )
        if n > MANY * len(found):
            reason += ": a network for several languages may suit them better"
        files_of = tuple(ids[i] for i, other in found.items() if other == code)
        yield Finding(OTHER_LANGUAGE, files_of, reason, "note")


def _others(counts: Counter[str]) -> Iterator[tuple[str, int]]:
    """Languages that are surely there, but the commonest."""
    least = max(FEW, RARE * counts.total())
    yield from ((code, n) for code, n in islice(counts.most_common(), 1, None) if n >= least)


def _language(file: str, told: Any) -> str:
    """The code; empty where that is not sure."""
    try:
        text = contents(file).decode("utf-8-sig")[:READ]
    except OSError:  # it has gone since it was looked at
        return ""
    if sum(map(str.isalpha, text)) < LEAST_LETTERS:
        return ""
    code, probability = told.classify(text)
    return str(code) if probability >= SURE else ""


@cache
def _identifier() -> Any:
    """With probabilities; None where the package is missing."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        return None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
