"""Work follows change: rows of posts whose key is equal come from an earlier run of the workspace, only the rest is worked on.

A stage that works post by post has a function `keys` beside it: per post a digest of what reaches its result. What holds for all posts (code,
settings, jury, seed) is added here. `ledger.parquet` keeps each post's key and counts beside the rows; it says nothing of which way a
row came, and neither do the rows: they are put together in the order of the posts.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import zstandard

from nouns.errors import Damaged
from nouns.snapshot import newest_time
from nouns.stage import Counts, add_counts
from storage.manifest import LEDGER, MANIFEST, TIMING, Manifest, canonical_json, digest_of, read_manifest
from storage.store import Store

LOOK_BACK = 10
"""Runs whose results are looked at, the newest first."""


@dataclass(frozen=True)
class Earlier:
    """A finished stage of an earlier run, and the posts whose rows it has under the very same key."""

    directory: Path | None = None
    digest: str | None = None  # of its manifest when it was found whole
    posts: frozenset[int] = frozenset()
    counts: Mapping[int, Counts] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


def find(store: Store, stage: str, keys: Mapping[int, str]) -> Earlier:
    """The newest result of that stage with rows for half of these keys, else the one with the most; none where none has any."""
    if not keys:
        return Earlier()
    rels = [f"runs/{run}/{stage}" for run in store.list("runs")]
    aged = sorted(((store.modified(f"{rel}/{TIMING}"), rel) for rel in rels), reverse=True)
    best = Earlier()
    for _, rel in [entry for entry in aged if entry[0]][:LOOK_BACK]:
        with contextlib.suppress(Damaged):
            manifest = store.require_whole(rel)
            directory = store.local(rel) if manifest else None
            if manifest is None or directory is None or not (directory / LEDGER).is_file():
                continue
            ledger = pl.scan_parquet(directory / LEDGER).filter(pl.col("post_id").is_between(min(keys), max(keys)))
            known = {post: counts for post, key, counts in ledger.collect().iter_rows() if keys.get(post) == key}
            if len(known) > len(best.posts):
                constants = {key: value for key, value in manifest.counts.items() if _holds_for_all(key, value)}
                best = Earlier(
                    directory,
                    manifest.digest,
                    frozenset(known),
                    {p: json.loads(c) for p, c in known.items()},
                    constants,
                )
            if 2 * len(best.posts) >= len(keys):
                break
    return best


def _holds_for_all(key: str, value: Any) -> bool:
    return key in ("shared", "judge") or isinstance(value, (str, list))


def jury_that_serves(store: Store, run_id: str, days: float, alike: Callable[[Manifest], bool]) -> str | None:
    """A jury (models/jury-ID) trained by another run of this workspace that serves this run too, the newest first; None where none does.

    It was trained on raters fitted in the same way, `alike` says whether this run would train it in the same way, too, and this run's
    snapshot continues the one it learnt from: nearly all of its notes and ratings are there, and the newest rating is at most `days`
    younger. A run that has trained its own jury keeps it, and one that has another's stays with that.
    """
    ours = {stage: store.manifest(f"runs/{run_id}/{stage}") for stage in ("ingest", "fit_raters")}
    snapshot, fit = ours.values()
    if days <= 0 or snapshot is None or fit is None:
        return None
    has = store.manifest(f"runs/{run_id}/train_jury")
    has = has if has is not None and alike(has) else None
    if has is not None and snapshot.digest in has.inputs.values():
        return None
    others = [run for run in store.list("runs") if run != run_id]
    for run in sorted(others, key=lambda r: (store.modified(f"runs/{r}/train_jury/{MANIFEST}"), r), reverse=True):
        with contextlib.suppress(Damaged):
            theirs = store.manifest(f"runs/{run}/fit_raters")
            jury, learnt_from = store.target(f"runs/{run}/train_jury"), store.target(f"runs/{run}/ingest")
            trained, read = store.require_whole(jury), store.require_whole(learnt_from)
            if trained is None or read is None or theirs is None or read.digest not in trained.inputs.values():
                continue  # that run did not train it: its own snapshot says nothing of the jury's age
            same = alike(trained) and _how(theirs) == _how(fit) and (has is None or has.digest == trained.digest)
            if same and _continues(store.local(learnt_from), store.local(store.target(f"runs/{run_id}/ingest")), days):
                return jury
    return None


def _how(fit: Manifest) -> Any:
    """How raters were fitted: code, settings, seed and given things, whatever the snapshot."""
    given = {name: digest for name, digest in fit.inputs.items() if name not in ("ingest", "snapshot")}
    return fit.code, fit.settings, fit.seed, given


def _continues(earlier: Path, later: Path, days: float) -> bool:
    """Whether a snapshot is an earlier one some days on."""
    ratings = [pl.scan_parquet(path / "ratings.parquet").select("createdAtMillis") for path in (earlier, later)]
    n_then, n_now = (table.select(pl.len()).collect().item() for table in ratings)
    then, now = (newest_time(table) for table in ratings)
    if then is None or now is None or n_now < 0.95 * n_then or not 0 <= now - then <= days * 86_400_000:
        return False
    old, new = (pl.scan_parquet(path / "notes.parquet").select("noteId") for path in (earlier, later))
    kept = old.join(new, on="noteId", how="semi").select(pl.len()).collect().item()
    return bool(kept >= 0.95 * old.select(pl.len()).collect().item())


def _still_there(earlier: Earlier) -> None:
    """Raises `Damaged` where the earlier result was made again, or removed, since it was found."""
    if read_manifest(Path(str(earlier.directory))).digest != earlier.digest:
        raise Damaged(
            f"{earlier.directory} was made again while its rows were carried over. Run the same command again."
        )


def complete(
    out: Path, earlier: Earlier, keys: Mapping[int, str], worked: Mapping[int, Counts], counts: Counts | None
) -> Counts:
    """Put the carried rows beside those just made in `out`, write the ledger, and return the counts of both together.

    `worked`: counts of each post just worked on. `counts`: what the stage returned for them, None where it had nothing to do.
    """
    retry = _with_failed_calls(out / "calls.jsonl.zst")  # what a server could not do today is asked for again tomorrow
    if earlier.directory is not None and earlier.posts:
        _still_there(earlier)
        for path in sorted(earlier.directory.iterdir()):
            if path.suffix == ".parquet" and path.name != LEDGER:
                _merge_table(out / path.name, path, earlier.posts)
            elif path.suffix == ".jsonl":
                _merge_lines(out / path.name, path, earlier.posts)
            elif path.name == "calls.jsonl.zst":
                _append_calls(out / path.name, path, earlier.posts)
        _still_there(earlier)
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
    lines = target.read_bytes().splitlines(keepends=True) if target.exists() else []
    by_post = [(int(json.loads(line)["post_id"]), line) for line in lines]
    where = _places(source, source.stat().st_mtime_ns)
    with source.open("rb") as stream:
        for post in sorted(posts & where.keys()):
            for start in where[post]:
                stream.seek(start)
                by_post.append((post, stream.readline()))
    by_post.sort(key=lambda entry: entry[0])
    target.write_bytes(b"".join(line for _, line in by_post))


@functools.lru_cache(maxsize=2)
def _places(path: Path, changed: int) -> dict[int, list[int]]:
    """Where in a file of lines each post's stand; read once, however many shards ask."""
    found: dict[int, list[int]] = {}
    start = 0
    with path.open("rb") as stream:
        for line in stream:
            found.setdefault(int(json.loads(line)["post_id"]), []).append(start)
            start += len(line)
    return found


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as raw:
        for line in io.BufferedReader(raw, 1 << 20):  # type: ignore[arg-type]
            yield line, json.loads(line)


def _with_failed_calls(path: Path) -> set[int]:
    return {int(call["post_id"]) for _, call in _lines(path) if call["failure"]} if path.exists() else set()


def _append_calls(target: Path, source: Path, posts: frozenset[int]) -> None:
    """The record of calls of carried posts goes along: it belongs to their rows."""
    kept = []
    with source.open("rb") as stream:
        for start, end, whose in _frames(source, source.stat().st_mtime_ns):
            if whose & posts:
                stream.seek(start)
                lines = (
                    zstandard.ZstdDecompressor().decompressobj().decompress(stream.read(end - start)).splitlines(True)
                )
                kept += [line for line in lines if int(json.loads(line)["post_id"]) in posts]
    if kept:
        with target.open("ab") as sink:
            sink.write(zstandard.ZstdCompressor().compress(b"".join(kept)))


@functools.lru_cache(maxsize=2)
def _frames(path: Path, changed: int) -> list[tuple[int, int, frozenset[int]]]:
    """Where the frames of a record of calls begin and end, and whose calls each holds; read once, however many shards ask."""
    found, start, size = [], 0, path.stat().st_size
    with path.open("rb") as stream:
        while start < size:
            stream.seek(start)
            frame, text = zstandard.ZstdDecompressor().decompressobj(), b""
            while not frame.eof and (chunk := stream.read(1 << 20)):
                text += frame.decompress(chunk)
            end = stream.tell() - len(frame.unused_data)
            found.append((start, end, frozenset(int(json.loads(line)["post_id"]) for line in text.splitlines())))
            start = end
    return found


def full_keys(own: Mapping[int, Any], shared: Mapping[str, Any]) -> dict[int, str]:
    """Keys of posts from what reaches each of them and what reaches all."""
    base = digest_of(shared)
    return {post: digest_of([base, value]) for post, value in own.items()}
