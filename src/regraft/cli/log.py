"""What a run tells while it works: bars on a terminal, steps and tracebacks in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regraft import __version__
from regraft.errors import StorageError, UsageError
from regraft.progress import Advance, Lines, Progress, Quiet, Terminal

LOG = logging.getLogger("regraft")


class Remarks(Quiet):
    """Words on stderr, no bars: for a pipe or a file."""

    def say(self, message: str) -> None:
        print(message, file=sys.stderr)


class Logged:
    """Progress that is written to the log as well."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        LOG.info("%s: %s", name, "begun" if total is None else f"{total} to do")
        start = time.perf_counter()
        with self._inner.stage(name, total) as advance:
            yield advance
        LOG.info("%s: done in %.1f s", name, time.perf_counter() - start)

    def say(self, message: str) -> None:
        LOG.info(message)
        self._inner.say(message)

    def found(self, what: str, facts: Mapping[str, Any]) -> None:
        LOG.info("%s: %s", what, facts["told"])
        self._inner.found(what, facts)


@contextmanager
def logged(
    name: str,
    settings: Mapping[str, Any],
    quiet: bool,
    verbose: bool,
    file: Path | None,
    form: str | None = None,
) -> Iterator[Progress]:
    """Progress for a verb, with a log of its steps and of what it raises.

    form  of the progress, a key of FORMS; None: what suits stderr

    The warnings of libraries go to the log alone. Raises UsageError for an unknown form,
    StorageError for a file that cannot be written.
    """
    if form is not None and form not in FORMS:
        raise UsageError(f"--progress: expected one of {', '.join(FORMS)}, got {form!r}")
    shown = Quiet() if quiet or (verbose and form is None) else FORMS[form or "auto"]()
    with _installed([logging.NullHandler(), *_handlers(verbose, file)]):
        asked = {name: value for name, value in settings.items() if value}
        LOG.info("regraft %s: %s %s", __version__, name, asked)
        try:
            yield Logged(shown)
        except Exception:
            LOG.exception("%s failed", name)
            raise
        LOG.info("%s: done", name)


def _shown() -> Progress:
    from rich.console import Console

    console = Console(stderr=True)
    return Terminal(console) if console.is_terminal else Remarks()


# How progress is written to stderr.
FORMS: Mapping[str, Callable[[], Progress]] = MappingProxyType(
    {"auto": _shown, "jsonl": lambda: Lines(sys.stderr)}
)


def _handlers(verbose: bool, file: Path | None) -> Iterator[logging.Handler]:
    if verbose:
        yield logging.StreamHandler()
    if file is not None:
        yield _file_handler(file)


def _file_handler(file: Path) -> logging.Handler:
    try:
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise StorageError(
            f"--log-file {file}: cannot be written: {error.strerror}; choose another place"
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


@contextmanager
def _installed(handlers: list[logging.Handler]) -> Iterator[None]:
    root, level = logging.getLogger(), LOG.level
    LOG.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        LOG.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
