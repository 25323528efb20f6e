"""The reference is made from docstrings, with all public names."""

import re
import subprocess
import sys
from pathlib import Path

import regraft

SCRIPT = Path(__file__).parents[1] / "docs" / "reference.py"


def test_every_public_name_has_its_place_and_its_docstring(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning:pdoc", str(SCRIPT), str(tmp_path)]
    subprocess.run([*command, "regraft"], check=True, timeout=120)
    page = (tmp_path / "regraft.html").read_text(encoding="utf-8")
    assert {f'id="{name}"' for name in regraft.__all__} <= set(re.findall(r'id="\w+"', page))
    assert "Graft a pretrained network onto your own data" in page
    for name in set(regraft.__all__) - {"__version__"}:
        section = page.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert 'class="docstring"' in section, name
