"""`docs/tables.md` from the declarations in `nouns/tables.py`: `python -m pipeline.show.tables > docs/tables.md`."""

from __future__ import annotations

from collections.abc import Mapping

from nouns.tables import RUN_TABLES, SNAPSHOT_TABLES, Table

_HEAD = """# Tables

Made from `nouns/tables.py` by `python -m pipeline.show.tables > docs/tables.md`; a test compares it, and the files of a real run, with it.

Files are Parquet. A null says that there is no such value, never zero. `[type]` is a list of that type; a message is a pair of role and
content, a reason one of side, tag and probability. An export's folders are described in its own `data_dictionary.md`.
"""


def document() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for title, tables in (("A snapshot", SNAPSHOT_TABLES), ("A run, a jury", RUN_TABLES)):
        parts += [f"## {title}\n", *_sections(tables)]
    return "\n".join(parts)


def _sections(tables: Mapping[str, Table]) -> list[str]:
    return [
        f"### {table.name}\n\nIn {', '.join(f'`{place}`' for place in table.kept_in)}. A row is {table.row}.\n\n"
        + "| column | type | meaning |\n|---|---|---|\n"
        + "".join(
            f"| `{c.name}` | {c.type}{'' if c.nullable else ', never null'} | {c.meaning} |\n" for c in table.columns
        )
        for table in tables.values()
    ]


if __name__ == "__main__":
    print(document(), end="")
