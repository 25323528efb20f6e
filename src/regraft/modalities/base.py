"""What every kind of data offers to the stages that do not know which kind it is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from regraft.modalities.facts import Facts
from regraft.modalities.spec import InputSpec

if TYPE_CHECKING:
    from regraft.modalities.augment import Augmentations
    from regraft.modalities.usual import Usual

MOST_BYTES = 512 * 2**20  # of an example's file; more is not read
MOST_CLIP = 100_000  # characters of something to listen to in a report


class Decoded(NamedTuple):
    """One example in memory: the raw thing of the modality, and what was seen on the way."""

    raw: Any
    facts: Facts


class Modality(Protocol):
    """One kind of data. Methods hold no state and may be called from several threads.

    name        a key of the registry
    version     of all that decides what `decode` and `prepare` give: the code and its libraries
    extensions  of file names, lower case, without the dot
    inputs      what examples can be turned into for a network, the usual one first: keys of
                `spec.UNITS`
    views       ways of looking at an example; the first is the usual one
    parts       whether the views show parts of an example, and not the whole of it in other ways:
                training is then shown one of them at a time, by chance
    sayable     whether an example can be given by what it says, in place of a file's name
    plainly     how a baseline on the vectors of `plain` is called, and what it is
    baseline    what reads these vectors: a key of `transfer.baselines.BASELINES`
    usual       what augmentation consists of where none is named, see `modalities.usual.Usual`
    """

    name: str
    version: str
    extensions: frozenset[str]
    inputs: tuple[str, ...]
    views: tuple[str, ...]
    parts: bool
    sayable: bool
    plainly: tuple[str, str]
    baseline: str

    @property
    def usual(self) -> "tuple[Usual, ...]": ...

    def decode(self, data: bytes, file: str, spec: InputSpec | None = None) -> Decoded:
        """Bytes of a file → example, at a resolution that suffices for `spec` (None: for a look).

        Raises Unreadable naming `file`.
        """
        ...

    def prepare(self, raw: Any, spec: InputSpec, view: str) -> npt.NDArray[np.uint8]:
        """Example → uint8, one of the `views` of it, as ``spec.reads`` wants it.

        picture: (size, size, 3) RGB; text: (n,) UTF-8; sound: (4 n,) bytes of float32 samples.
        """
        ...

    def augment(
        self, raw: Any, spec: InputSpec, wanted: "Augmentations", rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Example → as `prepare` gives it, for training, changed at random as is `wanted`.

        Without augmentations it is the first of the spec's views. The same state of `rng` gives the
        same bytes.
        """
        ...

    def view_sets(self, facts: Sequence[Facts]) -> Mapping[str, tuple[str, ...]]:
        """Sets of views worth a comparison with one view, by what a person calls them.

        facts  of some of the examples
        """
        ...

    def augmentations(self, text: "str | Augmentations") -> "Augmentations":
        """Augmentations from their text form; those of that type stay. Raises UsageError."""
        ...

    def compact(self, raw: Any, spec: InputSpec) -> tuple[Any, int]:
        """The example no larger than training for `spec` needs, and the bytes that it fills."""
        ...

    def plain(self, facts: Facts) -> npt.NDArray[np.float32]:
        """A vector without any learned features, for the trivial baseline."""
        ...

    def thumbnail(self, data: bytes, file: str, side: int = 160) -> str:
        """A small picture of the example as a data URI for reports. Raises Unreadable."""
        ...

    def clip(self, data: bytes, file: str) -> str | None:
        """Something of the example to listen to in reports, as a data URI of at most MOST_CLIP
        characters; None where there is nothing to be heard. Raises Unreadable.
        """
        ...

    def said(self, name: str) -> bytes | None:
        """The name of a class as an example of it; None where examples are nothing that is said."""
        ...

    def natural_size(self, facts: Facts) -> int:
        """Size at which the example holds all its detail (image: the shorter side, pixels)."""
        ...
