"""What all tests share: no network, a cache of their own, repeatable properties."""

import os
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Set before any test imports a library that reads them, and inherited by child processes.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")  # children test this checkout too

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    """The user's cache is neither read nor written: the tests have one that goes when they end."""
    cache = tempfile.TemporaryDirectory(prefix="regraft-tests-")
    os.environ["XDG_CACHE_HOME"] = cache.name
    os.environ.pop("REGRAFT_CACHE", None)  # would name the user's again
    config.add_cleanup(cache.cleanup)
