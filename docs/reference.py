"""The reference from docstrings, as pages: python docs/reference.py FOLDER [MODULE ...]

Without names, of all modules.
"""

import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pdoc

import regraft


def modules() -> Iterator[str]:
    """The package and all that is in it, but for what only starts the program."""
    yield "regraft"
    for module in pkgutil.walk_packages(regraft.__path__, "regraft."):
        if not module.name.endswith("__main__"):
            yield module.name


def main(folder: str, *names: str) -> None:
    """Write the pages."""
    for name in regraft.__all__:  # they are imported when they are first used
        setattr(regraft, name, getattr(regraft, name))
    pdoc.pdoc(*(names or modules()), output_directory=Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
