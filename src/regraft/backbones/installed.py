"""Which distribution is installed, where either of several will do."""

from importlib.metadata import PackageNotFoundError, version


def installed(names: str) -> tuple[str, str]:
    """The distribution that is installed, the first of ``a|b``, and its version.

    Raises PackageNotFoundError.
    """
    first, *others = names.split("|")
    for name in others:
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return first, version(first)
