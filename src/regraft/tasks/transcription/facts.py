"""What a bundle tells of a head beside its tensors; needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadFacts:
    """What the tensors of a head do not tell.

    kind    a key of `heads.HEADS`
    normed  linear: the last block goes through a norm first
    eps     of that
    heads   decoder: of its attention
    """

    kind: str = "spelling"
    normed: bool = False
    eps: float = 1e-5
    heads: int = 0


SPELLING = HeadFacts()
