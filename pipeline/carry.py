"""Work follows change: rows of posts whose key is equal come from an earlier run of the workspace, only the rest is worked on.

A stage that works post by post has a function `keys` beside it: per post a digest of what reaches its result. What holds for all posts (code,
settings, jury, seed) is added here. `ledger.parquet` keeps each post's key and counts beside the rows; it says nothing of which way a
row came, and neither do the rows: they are put together in the order of the posts.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from nouns.errors import Damaged
from nouns.stage import Counts, add_counts
from storage.manifest import LEDGER, MANIFEST, TIMING, Manifest, canonical_json, digest_of
from storage.store import Store

LOOK_BACK = 10
"""Runs whose results are looked at, the newest first."""


@dataclass(frozen=True)
class Earlier:
    """A finished stage of an earlier run, and the posts whose rows it has under the very same key."""

    directory: Path | None = None
    posts: frozenset[int] = frozenset()
    counts: Mapping[int, Counts] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


def find(store: Store, stage: str, keys: Mapping[int, str]) -> Earlier:
    """The newest result of that stage with rows for some of these keys; none where there is no such result."""
    if not keys:
        return Earlier()
    rels = [f"runs/{run}/{stage}" for run in store.list("runs")]
    aged = sorted(((store.modified(f"{rel}/{TIMING}"), rel) for rel in rels), reverse=True)
    for _, rel in [entry for entry in aged if entry[0]][:LOOK_BACK]:
        try:
            manifest = store.require_whole(rel)
            directory = store.local(rel) if manifest else None
        except Damaged:
            continue
        if manifest is None or directory is None or not (directory / LEDGER).is_file():
            continue
        ledger = pl.read_parquet(directory / LEDGER)
        known = {post: counts for post, key, counts in ledger.iter_rows() if keys.get(post) == key}
        if known:
            constants = {key: value for key, value in manifest.counts.items() if _holds_for_all(key, value)}
            return Earlier(directory, frozenset(known), {p: json.loads(c) for p, c in known.items()}, constants)
    return Earlier()


def _holds_for_all(key: str, value: Any) -> bool:
    return key in ("shared", "judge") or isinstance(value, (str, list))


def jury_that_serves(store: Store, run_id: str, days: float) -> str | None:
    """A jury (models/jury-ID) trained by another run of this workspace that serves this run too, the newest first; None where none does.

    It was trained by the same code and settings on raters fitted in the same way, and this run's snapshot continues the one it learnt from:
    nearly all of its notes and ratings are there, and the newest rating is at most `days` younger.
    """
    ours = {stage: store.manifest(f"runs/{run_id}/{stage}") for stage in ("ingest", "fit_raters")}
    if days <= 0 or not all(ours.values()):
        return None
    runs = [run for run in store.list("runs") if run != run_id]
    for run in sorted(runs, key=lambda run: (store.modified(f"runs/{run}/train_jury/{MANIFEST}"), run), reverse=True)[
        :LOOK_BACK
    ]:
        with contextlib.suppress(Damaged):
            theirs = {stage: store.manifest(f"runs/{run}/{stage}") for stage in ("ingest", "fit_raters", "train_jury")}
            jury, snapshot = store.target(f"runs/{run}/train_jury"), store.target(f"runs/{run}/ingest")
            if not all(theirs.values()) or not jury.startswith("models/") or not store.require_whole(jury):
                continue
            alike = _made_alike(ours["fit_raters"], theirs["fit_raters"]) and store.require_whole(snapshot) is not None
            if alike and _continues(store.local(snapshot), store.local(store.target(f"runs/{run_id}/ingest")), days):
                return jury
    return None


def _made_alike(one: Manifest | None, other: Manifest | None) -> bool:
    """Whether two results come of the same code, settings, seed and given things, from whatever snapshot."""

    def how(manifest: Manifest | None) -> Any:
        assert manifest is not None
        given = {
            name: digest
            for name, digest in manifest.inputs.items()
            if name not in ("ingest", "fit_raters", "snapshot", "parameters")
        }
        return manifest.code, manifest.settings, manifest.seed, given

    return bool(how(one) == how(other))


def _continues(earlier: Path, later: Path, days: float) -> bool:
    """Whether a snapshot is an earlier one some days on."""
    then, now = (
        pl.scan_parquet(path / "ratings.parquet").select(pl.len(), pl.col("createdAtMillis").max()).collect().row(0)
        for path in (earlier, later)
    )
    if not then[0] or not now[0] or now[0] < 0.95 * then[0] or not 0 <= now[1] - then[1] <= days * 86_400_000:
        return False
    old, new = (pl.scan_parquet(path / "notes.parquet").select("noteId") for path in (earlier, later))
    kept = old.join(new, on="noteId", how="semi").select(pl.len()).collect().item()
    return bool(kept >= 0.95 * old.select(pl.len()).collect().item())


def complete(
    out: Path, earlier: Earlier, keys: Mapping[int, str], worked: Mapping[int, Counts], counts: Counts | None
) -> Counts:
    """Put the carried rows beside those just made in `out`, write the ledger, and return the counts of both together.

    `worked`: counts of each post just worked on. `counts`: what the stage returned for them, None where it had nothing to do.
    """
    retry = _with_failed_calls(out / "calls.jsonl.zst")  # what a server could not do today is asked for again tomorrow
    if earlier.directory is not None and earlier.posts:
        for path in sorted(earlier.directory.iterdir()):
            if path.suffix == ".parquet" and path.name != LEDGER:
                _merge_table(out / path.name, path, earlier.posts)
            elif path.suffix == ".jsonl":
                _merge_lines(out / path.name, path, earlier.posts)
            elif path.name == "calls.jsonl.zst":
                _append_calls(out / path.name, path, earlier.posts)
    by_post = {post: earlier.counts.get(post) or worked.get(post, {}) for post in sorted(keys)}
    if keys:
        rows = {
            "post_id": list(by_post),
            "key": ["" if post in retry else keys[post] for post in by_post],
            "counts": [canonical_json(c) for c in by_post.values()],
        }
        frame = pl.DataFrame(rows, schema={"post_id": pl.Int64, "key": pl.String, "counts": pl.String})
        frame.write_parquet(out / LEDGER, compression="zstd", statistics=False)
    total: Counts = (
        dict(counts) if counts is not None else {"in": 0, "out": 0, "rejected": {}} | dict(earlier.constants)
    )
    for post in sorted(earlier.posts):
        add_counts(total, earlier.counts[post])
    return total


def _merge_table(target: Path, source: Path, posts: Iterable[int]) -> None:
    table = pq.read_table(source, filters=[("post_id", "in", sorted(posts))])
    if target.exists():
        import pyarrow as pa

        fresh = pq.read_table(target).replace_schema_metadata(None)
        table = pa.concat_tables([fresh, table.replace_schema_metadata(None).cast(fresh.schema)])
    order = (
        table["post_id"].to_numpy().argsort(kind="stable")
    )  # a post's rows come from one side alone and keep their order
    pq.write_table(table.take(order), target, compression="zstd")


def _merge_lines(target: Path, source: Path, posts: frozenset[int]) -> None:
    lines = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
    with source.open(encoding="utf-8") as stream:
        lines += [line.rstrip("\n") for line in stream if int(json.loads(line)["post_id"]) in posts]
    lines.sort(key=lambda line: int(json.loads(line)["post_id"]))
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    import zstandard

    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as raw:
        for line in io.BufferedReader(raw, 1 << 20):  # type: ignore[arg-type]
            yield line, json.loads(line)


def _with_failed_calls(path: Path) -> set[int]:
    return {int(call["post_id"]) for _, call in _lines(path) if call["failure"]} if path.exists() else set()


def _append_calls(target: Path, source: Path, posts: frozenset[int]) -> None:
    """The record of calls of carried posts goes along: it belongs to their rows."""
    import zstandard

    kept = [line for line, call in _lines(source) if int(call["post_id"]) in posts]
    if kept:
        with target.open("ab") as stream:
            stream.write(zstandard.ZstdCompressor().compress(b"".join(kept)))


def full_keys(own: Mapping[int, Any], shared: Mapping[str, Any]) -> dict[int, str]:
    """Keys of posts from what reaches each of them and what reaches all."""
    base = digest_of(shared)
    return {post: digest_of([base, value]) for post, value in own.items()}
