"""Every table is declared once: the document and the files of a real run agree with the declarations."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nouns.errors import InputError
from nouns.tables import RUN_TABLES, SNAPSHOT_TABLES, arrow, polars
from pipeline.show.tables import document

_OTHER_NAMES = {("cluster_notes", "posts"): "clustered_posts", ("learn_outcomes", "pairs"): "outcome_pairs"}


def _plain(schema) -> list[tuple[str, str]]:
    return [(f.name, str(f.type).replace("large_", "").replace("element:", "item:")) for f in schema]


def test_the_document_is_made_from_the_declarations():
    path = Path(__file__).parents[2] / "docs" / "tables.md"
    assert path.read_text("utf-8") == document(), "run: python -m pipeline.show.tables > docs/tables.md"


def test_every_table_of_the_sample_has_exactly_the_columns_declared(sample_run):
    workspace, run_id = sample_run
    files = sorted((workspace / "runs" / run_id).glob("*/*.parquet"))
    files += (workspace / "models").glob("jury-*/raters.parquet")
    seen = set()
    for path in files:
        stage, name = path.parent.name, path.stem
        table = "jury_raters" if stage.startswith("jury-") else _OTHER_NAMES.get((stage, name), name)
        assert _plain(pq.read_schema(path)) == _plain(arrow(table)), path
        seen.add(table)
    for path in (workspace / "snapshots").glob("*/*.parquet"):
        if path.stem in SNAPSHOT_TABLES:
            assert _plain(pq.read_schema(path)) == _plain(arrow(path.stem, "snapshot")), path
            seen.add(path.stem)
    assert {*RUN_TABLES, *SNAPSHOT_TABLES} - seen <= {"outcomes", "outcome_pairs"}


def test_every_column_has_a_meaning_and_both_schemas_agree():
    for name, table in RUN_TABLES.items():
        assert all(column.meaning for column in table.columns)
        assert list(polars(name)) == arrow(name).names


def test_an_unknown_table_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="verdict'; the tables are"):
        arrow("verdict")
