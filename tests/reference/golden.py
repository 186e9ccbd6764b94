"""Whether a change of structure left every output of a run as it was.

    python -m tests.reference.golden WORKSPACE [RUN] > before.json      # SHA-256 of every output, by stage and file
    python -m tests.reference.golden --compare before.json after.json   # exit 1 and the files that differ

Ids of snapshots, juries, runs and exports are digests of code and settings, so they are masked wherever they occur in a
text or a table. Manifests, timings and records of model calls are left out: they hold ids, versions and times alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LEFT_OUT = {
    "manifest.json", "timing.json", "calls.jsonl.zst", "pointer.json", "run.json", "report.html", "checksums.sha256",
"provenance.json", "ledger.parquet",
}  # fmt: skip
ID_COLUMNS = {"run_id", "jury_id", "snapshot_id", "export_id"}


def digest(path: Path, ids: list[str]) -> str:
    """SHA-256 of a file's content with `ids` masked; a table with id columns by its other columns."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        columns = [name for name in table.column_names if name not in ID_COLUMNS]
        if len(columns) < len(table.column_names):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.select(columns).schema) as stream:
                stream.write_table(table.select(columns).combine_chunks())
            return hashlib.sha256(sink.getvalue().to_pybytes()).hexdigest()
    content = path.read_bytes()
    for number, known in enumerate(ids):
        content = content.replace(known.encode(), f"<id {number}>".encode())
    return hashlib.sha256(content).hexdigest()


def digests(workspace: Path, run: str) -> dict[str, str]:
    """Digest by `stage/file` of everything that one run of a workspace made."""
    directories, ids = {}, [run]
    for stage in sorted(path for path in (workspace / "runs" / run).iterdir() if path.is_dir()):
        if stage.name.startswith("."):
            continue
        pointer = stage / "pointer.json"
        directory = workspace / json.loads(pointer.read_text())["path"] if pointer.is_file() else stage
        directories[stage.name] = directory
        if directory != stage:
            ids += [directory.name, directory.name.rpartition("-")[2]]
    return {
        f"{stage}/{path.relative_to(directory).as_posix()}": digest(path, ids)
        for stage, directory in directories.items()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in LEFT_OUT
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", nargs="?", type=Path)
    parser.add_argument("run", nargs="?", default="")
    parser.add_argument("--compare", nargs=2, type=Path)
    arguments = parser.parse_args()
    if arguments.compare:
        before, after = (json.loads(path.read_text()) for path in arguments.compare)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                print(f"{name}: {'new' if name not in before else 'gone' if name not in after else 'differs'}")
        sys.exit(before != after)
    run = arguments.run or max((arguments.workspace / "runs").iterdir(), key=lambda path: path.stat().st_mtime).name
    json.dump(digests(arguments.workspace, run), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
