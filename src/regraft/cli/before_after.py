"""What the verbs Model → Model print: the table of both models, and where the new one is."""

from collections.abc import Mapping
from typing import Any

from regraft.cli.edge import Voice
from regraft.cli.tables import table


def show_before_after(voice: Voice, record: Mapping[str, Any]) -> None:
    """The table of both models on the same examples."""
    from regraft.evaluation.before_after import COLUMNS, table_rows

    voice.print(f"{record['verb']}: {record['told']}")
    voice.print(f"measured on {record['n']} examples {record['examples']}\n")
    voice.print(table(COLUMNS, table_rows(record), COLUMNS[1:]))
