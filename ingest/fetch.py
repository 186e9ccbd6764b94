"""Downloading one day of X's public files.

X publishes a cumulative snapshot a day, each table in numbered shards, as zip archives. The address pattern is a
setting because it has changed before. A file is written under a temporary name, continued after an interruption by an
HTTP range if the server still has the same version of it, and renamed when it is complete; so a file under its final
name is whole. `fetch.json` in the folder says what came from where, with size, the server's ETag and our own SHA-256.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from ingest.fetch_settings import FetchSettings
from nouns.errors import InputError, StageFailed

Progress = Callable[..., None]
T = TypeVar("T")


_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")


class _Retry(Exception):
    """An answer that may be better next time."""


def fetch_snapshot(
    out: Path,
    settings: FetchSettings,
    *,
    date: str,
    progress: Progress = lambda *args, **kwargs: None,
    client: httpx.Client | None = None,
    rng: random.Random | None = None,
) -> dict[str, Any]:
    """Download the files of one day (`date` as 2026-11-19) into the directory `out`; returns counts and `files`.

    Shards are numbered from 00000; the first number the server does not have ends a table, if none of the next
    `probe_shards` is there. Files that are already whole in `out` (listed in its `fetch.json` and unchanged on the server)
    are not fetched again. `in` is the number of files the server has, `out` the number now in the folder. `compared_with` is
    the day before, None where neither the folder beside nor the server has it. Raises InputError for a wrong date or
    pattern, and for a day on which a required table has no files (X publishes about 48 hours late); StageFailed for an
    incomplete day, which later may be whole; RuntimeError when the server keeps failing. `client` and `rng` are for
    tests and for proxies of one's own.
    """
    day = _day(date, settings)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    known = _read_manifest(out)
    before = str(datetime.date.fromisoformat(date) - datetime.timedelta(days=1))
    files_before = _read_manifest(out.parent / before)
    compared = False
    tables: dict[str, dict[str, int]] = {}
    files: list[dict[str, Any]] = []
    counts = {"fetched": 0, "continued": 0, "kept": 0}
    own = client is None
    session = client or httpx.Client(timeout=settings.timeout_seconds, follow_redirects=True)
    random_source = rng or random.Random()

    def ask(url: str) -> tuple[int, int]:
        return _patiently(url, settings, random_source, progress, lambda: _head(session, url))

    try:
        for table in (*settings.tables, *settings.optional):
            folder, _, name = table.rpartition("/")
            n_shards, first = 0, len(files)
            while n_shards < settings.max_shards:
                url = _url(settings, day, folder, name, n_shards)
                target = out / url.split("?")[0].rsplit("/", 1)[-1]
                entry = _fetch(session, url, target, known.get(target.name), settings, random_source, progress, counts)
                if entry is None:
                    break
                files.append(entry | {"table": name})
                n_shards += 1
                _write_manifest(out, date, files)
            _refuse_gap(ask, settings, day, folder, name, n_shards)
            if n_shards == 0 and table in settings.tables:
                raise InputError(
                    f"The server has no files of {name} for {date} ({_url(settings, day, folder, name, 0)} does not "
                    "exist). X publishes a day's files about 48 hours later, and keeps old ones for a limited time: try "
                    "an earlier or a later date, or set fetch.url if the address has changed."
                )
            tables[name] = {"shards": n_shards, "bytes": sum(entry["bytes"] for entry in files[first:])}
            then = _day_before(ask, settings, files_before, before, folder, name)
            if then["shards"]:
                compared = True
                _refuse_shrunk(name, date, tables[name], before, then, settings.max_shrink)
    finally:
        if own:
            session.close()
    _write_manifest(out, date, files, tables)
    n_bytes = sum(entry["bytes"] for entry in files)
    progress(f"fetch: {len(files)} files, {n_bytes:,} bytes", len(files), len(files))
    return {
        "in": len(files),
        "out": len(files),
        "rejected": {},
        "bytes": n_bytes,
        "date": date,
        "compared_with": before if compared else None,
        **counts,
        "files": files,
    }


Ask = Callable[[str], tuple[int, int]]


def _refuse_gap(ask: Ask, settings: FetchSettings, day: str, folder: str, name: str, n: int) -> None:
    """Raise StageFailed if what looks like a table's end is a shard that is missing, or one that we may not read."""
    missing = _url(settings, day, folder, name, n)
    for later in range(n + 1, n + 1 + settings.probe_shards):
        if ask(_url(settings, day, folder, name, later))[0] == 200:
            raise StageFailed(
                f"{name} has no shard {n} ({missing} is not there), but shard {later} is: the day is incomplete on the "
                "server. What has come is kept; ask again later."
            )
    code = ask(missing)[0]
    if code in (401, 403) and (none := ask(_url(settings, day, folder, name, 99_999))[0]) not in (401, 403):
        raise StageFailed(
            f"The server refuses {missing} with {code}, while it answers {none} to files it does not have: the shard may exist. "
            "Check your access, then ask again; what has come is kept."
        )


def _day_before(
    ask: Ask, settings: FetchSettings, known: dict[str, dict[str, Any]], date: str, folder: str, name: str
) -> dict[str, int]:
    """Shards and bytes of a table on the day before: as fetched into the folder beside, else as the server tells."""
    sizes = [entry["bytes"] for entry in known.values() if entry.get("table") == name]
    if not sizes:
        while len(sizes) < settings.max_shards:
            code, size = ask(_url(settings, _day(date, settings), folder, name, len(sizes)))
            if code != 200:
                break
            sizes.append(size)
    return {"shards": len(sizes), "bytes": sum(sizes)}


def _refuse_shrunk(
    name: str, date: str, now: dict[str, int], before: str, then: dict[str, int], allowed: float
) -> None:
    fewer = now["bytes"] < then["bytes"] and now["shards"] < then["shards"]
    if (allowed < 1 and fewer) or now["bytes"] < (1 - allowed) * then["bytes"]:
        raise StageFailed(
            f"{name} of {date} has {now['shards']} shards with {now['bytes']:,} bytes; {before} had {then['shards']} with "
            f"{then['bytes']:,}. X's tables grow: the day is taken for incomplete. Ask again later, or "
            f"take it as it is with fetch_snapshot.max_shrink=1 (now {allowed:g})."
        )


def _head(session: httpx.Client, url: str) -> tuple[int, int]:
    """Status and size of a file, without the file. Raises `_Retry` where the server can't tell now."""
    answer = session.head(url)
    if answer.status_code in (405, 501):
        with session.stream("GET", url) as answer:
            pass
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise _Retry(f"the server answered {answer.status_code}")
    length = answer.headers.get("Content-Length", "")
    return answer.status_code, int(length) if length.isdigit() else 0


def first_files(settings: FetchSettings, date: str) -> list[str]:
    """Addresses of the first file of every table that a day must have: the day is published when all of them are there."""
    day = _day(date, settings)
    parts = [table.rpartition("/") for table in settings.tables]
    return [_url(settings, day, folder, name, 0) for folder, _, name in parts]


def _day(date: str, settings: FetchSettings) -> str:
    try:
        if not _DATE.match(date):
            raise ValueError
        return time.strftime(settings.date_format, time.strptime(date, "%Y-%m-%d"))
    except ValueError:
        raise InputError(
            f"The date {date!r} is not a day; write it as year-month-day, for instance 2026-11-19."
        ) from None


def _url(settings: FetchSettings, day: str, folder: str, name: str, shard: int) -> str:
    try:
        url = settings.url.format(date=day, folder=folder or name, table=name, shard=f"{shard:05d}")
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"fetch.url = {settings.url!r} can't be filled in ({error!r}); it may hold {{date}}, {{folder}}, {{table}} and "
            "{shard}."
        ) from error
    if "{shard}" not in settings.url or "{table}" not in settings.url:
        raise InputError(
            f"fetch.url = {settings.url!r} must hold {{table}} and {{shard}}, or every file would be the same."
        )
    return url


def _fetch(
    session: httpx.Client,
    url: str,
    target: Path,
    known: dict[str, Any] | None,
    settings: FetchSettings,
    rng: random.Random,
    progress: Progress,
    counts: dict[str, int],
) -> dict[str, Any] | None:
    """One file, with retries; its manifest entry, or None if the server does not have it."""
    return _patiently(url, settings, rng, progress, lambda: _attempt(session, url, target, known, progress, counts))


def _patiently(
    url: str, settings: FetchSettings, rng: random.Random, progress: Progress, attempt_once: Callable[[], T]
) -> T:
    """What `attempt_once` gives, tried again with growing waits. Raises RuntimeError when patience ends."""
    name = url.split("?")[0].rsplit("/", 1)[-1]
    reason = ""
    for attempt in range(settings.attempts):
        if attempt:
            # Full jitter: many workers that failed together don't come back together.
            wait = settings.backoff_seconds * 2 ** (attempt - 1) * (0.5 + rng.random())
            progress(f"fetch: {name}: {reason}; trying again in {wait:.1f} s", None, None)
            time.sleep(wait)
        try:
            return attempt_once()
        except (_Retry, httpx.TransportError) as error:
            reason = f"{type(error).__name__.lstrip('_')}: {error}" if not isinstance(error, _Retry) else str(error)
    raise RuntimeError(
        f"{url} could not be downloaded in {settings.attempts} attempts; the last one ended with {reason}. What has come "
        f"so far is kept as {name}.part and will be continued: run the same command again later."
    )


def _attempt(
    session: httpx.Client,
    url: str,
    target: Path,
    known: dict[str, Any] | None,
    progress: Progress,
    counts: dict[str, int],
) -> dict[str, Any] | None:
    part = target.with_name(target.name + ".part")
    tag_file = target.with_name(target.name + ".part.tag")
    headers = {"Accept-Encoding": "identity"}  # sizes and ranges are those of the file
    if known and target.is_file() and target.stat().st_size == known["bytes"] and known.get("etag"):
        headers["If-None-Match"] = known["etag"]
    tag = tag_file.read_text() if tag_file.is_file() else ""
    have = part.stat().st_size if part.is_file() and tag else 0
    if have and "If-None-Match" not in headers:
        headers["Range"] = f"bytes={have}-"
        headers["If-Range"] = tag  # a changed file is sent from its start
    with session.stream("GET", url, headers=headers) as answer:
        code = answer.status_code
        # X's server answers 403 as well as 404 for a file it does not have.
        if code in (403, 404, 410):
            return None
        if code == 304:
            counts["kept"] += 1
            return known
        if code == 416:
            part.unlink(missing_ok=True)
            tag_file.unlink(missing_ok=True)
            raise _Retry("the part on disk does not fit the file any more; starting it again")
        if code in (408, 425, 429) or code >= 500:
            raise _Retry(f"the server answered {code}")
        if code not in (200, 206):
            raise InputError(
                f"The server answered {code} to {url}; expected the file. Check fetch.url and your access."
            )
        etag = answer.headers.get("ETag", "")
        continued = code == 206 and have > 0
        if continued and _range_start(answer) != have:
            part.unlink()
            raise _Retry("the server continued the file at another place than asked for; starting it again")
        total = _total(answer, have if continued else 0)
        strong = etag and not etag.startswith("W/")
        tag_file.write_text(etag if strong else answer.headers.get("Last-Modified", ""))
        done = have if continued else 0
        with part.open("ab" if continued else "wb") as sink:
            # As it comes: with a chunk size, httpx holds back what came before a broken connection.
            for chunk in answer.iter_raw():
                sink.write(chunk)
                done += len(chunk)
                progress(f"fetch: {target.name}", done, total)
        if total is None:
            progress(f"fetch: {target.name}", done, done)
        if total is not None and done != total:
            if done > total:
                part.unlink()
            raise _Retry(f"{done:,} of {total:,} bytes came")
    _check_archive(part, target.name)
    entry = {
        "file": target.name,
        "url": url,
        "bytes": done,
        "etag": etag,
        "last_modified": answer.headers.get("Last-Modified", ""),
        "sha256": _sha256(part),
    }
    part.replace(target)
    tag_file.unlink(missing_ok=True)
    counts["continued" if continued else "fetched"] += 1
    return entry


def _range_start(answer: httpx.Response) -> int:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _total(answer: httpx.Response, have: int) -> int | None:
    """The size of the whole file, where the server tells it."""
    match = re.match(r"bytes \d+-\d+/(\d+)$", answer.headers.get("Content-Range", ""))
    if match:
        return int(match[1])
    length = answer.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _check_archive(part: Path, name: str) -> None:
    """A server may answer 200 with an error page, or cut a file without saying so: an archive must open."""
    if not name.endswith(".zip") or zipfile.is_zipfile(part):
        return
    with part.open("rb") as raw:
        start = raw.read(60)
    part.unlink()
    raise _Retry(f"what came is no zip archive; it starts with {start!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def _read_manifest(out: Path) -> dict[str, dict[str, Any]]:
    path = out / "fetch.json"
    if not path.is_file():
        return {}
    try:
        return {entry["file"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["files"]}
    except (ValueError, KeyError, TypeError):
        return {}  # an unreadable list only means that files are fetched again


def _write_manifest(
    out: Path, date: str, files: list[dict[str, Any]], tables: dict[str, dict[str, int]] | None = None
) -> None:
    """`tables` is there once the day is whole."""
    whole = {"tables": tables} if tables else {}
    scratch = out / "fetch.json.part"
    scratch.write_text(json.dumps({"date": date, "files": files} | whole, indent=1) + "\n", encoding="utf-8")
    scratch.replace(out / "fetch.json")
