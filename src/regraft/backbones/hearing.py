"""What a checkpoint of transformers was trained to hear, from its configuration."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from regraft.backbones.catalog import CatalogRow, Family
from regraft.backbones.configs import Record, read_config
from regraft.backbones.fronts import HOP
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError, UsageError
from regraft.modalities.samples import MOST_SECONDS, RATE
from regraft.modalities.spec import Hearing, InputSpec

PREPROCESSOR = "preprocessor_config.json"


def spec_of_sounds(blank: CatalogRow, family: Family, config: Record) -> InputSpec:
    """As `describe.SPECS` has it. Raises BackboneError where the checkpoint cannot be used."""
    try:
        hearing, frames = OF[family.front](blank, config)
        seconds = min(MOST_SECONDS, frames * HOP // RATE)
        return InputSpec(size=seconds, reads="sound", hears=hearing)
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise BackboneError(f"{blank.name}: it does not say what it hears: {error}") from error


def _preprocessor(blank: CatalogRow) -> Record:
    told = read_config(row_file(blank, PREPROCESSOR))
    if (rate := told.get("sampling_rate", RATE)) != RATE:
        raise BackboneError(f"{blank.name}: hears {rate} samples a second; only {RATE} are read")
    return told


def _of_samples(blank: CatalogRow, config: Record) -> tuple[Hearing, int]:
    told = _preprocessor(blank)
    return Hearing("samples", normalise=told.get("do_normalize", True)), MOST_SECONDS * RATE // HOP


def _of_log_mel(blank: CatalogRow, config: Record) -> tuple[Hearing, int]:
    """Two frames make one position. Loudness is evened out: it helped with unheard speakers."""
    hearing = Hearing("log-mel", config["num_mel_bins"], normalise=True)
    return hearing, 2 * config["max_source_positions"]


def _of_filterbank(blank: CatalogRow, config: Record) -> tuple[Hearing, int]:
    """transformers divides by twice the deviation."""
    told, frames = _preprocessor(blank), config["max_length"]
    mean, std = float(told["mean"]), 2 * float(told["std"])
    if not told.get("do_normalize", True):
        mean, std = 0.0, 1.0
    return Hearing("filterbank", config["num_mel_bins"], frames, mean, std), frames


# A family's front → what is heard, and the most frames of it.
OF: Mapping[str, Callable[[CatalogRow, Record], tuple[Hearing, int]]] = MappingProxyType(
    {"samples": _of_samples, "log-mel": _of_log_mel, "filterbank": _of_filterbank}
)
