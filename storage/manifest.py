"""What a finished directory says of itself, and whether it still holds what it says.

`manifest.json` names every file with its size, its SHA-256 and its xxh3 (64 bits, cheap enough to be read at every opening), and carries a
digest of itself. `timing.json` does the same for the record of model calls beside it. Both are *sealed*: JSON with a key `digest` over
all the rest. Directories of older versions have neither seals nor xxh3; of those only the sizes are compared, and by `verify` SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from nouns.errors import Damaged

MANIFEST = "manifest.json"
TIMING = "timing.json"
LEDGER = "ledger.parquet"
UNCOMPARED = (TIMING, "calls.jsonl.zst", LEDGER)
"""Files that are no result: wall-clock times, recorded calls with their latencies, and by which keys a stage's rows can be carried over."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_xxh3(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_64).hexdigest()  # type: ignore[arg-type]


def file_entry(path: Path) -> dict[str, Any]:
    """How a manifest names one file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path), "xxh3": file_xxh3(path)}


def list_files(directory: Path) -> list[Path]:
    """Files below `directory`, sorted by their relative path."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def sealed(value: dict[str, Any]) -> str:
    """A JSON object as the text of a file, with `digest` over all its other keys."""
    body = {key: entry for key, entry in value.items() if key != "digest"}
    body["digest"] = digest_of(body)
    return json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def unsealed(text: str, where: str, *, must: bool = False) -> dict[str, Any]:
    """The object that `sealed` wrote, without its digest; one of an older version, without a seal, is taken as it is unless it `must` have one.

    Raises `Damaged` naming `where` if the text is empty, no JSON object, or not what its digest says.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        what = "is empty" if not text.strip() else f"is no JSON ({error})"
        raise Damaged(
            f"{where} is damaged: it {what}. Run its command again: it is set aside and made again."
        ) from None
    if not isinstance(value, dict):
        raise Damaged(f"{where} is damaged: it holds no JSON object. Run its command again: it is made again.")
    digest = value.pop("digest", None)
    if digest != digest_of(value) and (digest is not None or must):
        raise Damaged(f"{where} is damaged: its content does not fit its own digest. Run its command again.")
    return value


@dataclass(frozen=True)
class Manifest:
    """What was done with what, in one finished directory."""

    stage: str
    fingerprint: str
    code: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    seed: int | None
    counts: dict[str, Any]
    outputs: dict[str, dict[str, Any]]

    @property
    def digest(self) -> str:
        """SHA-256 over the outputs' digests: what a later stage names as its input."""
        return digest_of({name: entry["sha256"] for name, entry in self.outputs.items()})

    @property
    def recent(self) -> bool:
        """Written since manifests bear a seal (version 0.6)."""
        return all("xxh3" in entry for entry in self.outputs.values())

    def to_json(self) -> str:
        return sealed(self.__dict__)

    @classmethod
    def from_json(cls, text: str, where: str = MANIFEST) -> Manifest:
        """Raises `Damaged` naming `where` when the text is not a manifest."""
        value = unsealed(text, where)
        try:
            manifest = cls(**{name: value[name] for name in cls.__dataclass_fields__})
            _ = manifest.digest
            unsealed(text, where, must=manifest.recent)
        except (KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"{where} is damaged: it is no manifest ({error}). Run its command again.") from None
        return manifest


_seen: dict[tuple[str, int, int, int], str] = {}
"""xxh3 of files read by this process, by path, inode, size and time of change."""


def problems(directory: Path, manifest: Manifest, *, thorough: bool = False) -> list[str]:
    """What of a finished directory is missing or damaged, a sentence each; empty: it is whole.

    Sizes always; xxh3 once per process; with `thorough` SHA-256 of everything, read again.
    """
    recent = manifest.recent
    entries = dict(manifest.outputs)
    found = []
    timing = directory / TIMING
    if timing.is_file():
        try:
            entries |= unsealed(timing.read_text(encoding="utf-8", errors="replace"), TIMING, must=recent).get(
                "files", {}
            )
        except Damaged as error:
            found.append(str(error).split(". Run")[0])
    elif recent:
        found.append(f"{TIMING} is missing")
    for name, entry in sorted(entries.items()):
        what = _problem(directory / name, entry, thorough)
        if what:
            found.append(f"{name} is {what}")
    return found


def _problem(path: Path, entry: dict[str, Any], thorough: bool) -> str:
    try:
        status = path.stat()
        if status.st_size != entry["bytes"]:
            return f"damaged: {status.st_size:,} bytes instead of {entry['bytes']:,}"
        if thorough:
            return "" if file_sha256(path) == entry["sha256"] else "damaged: its SHA-256 is another"
        if "xxh3" not in entry:
            return ""
        key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in _seen:
            _seen[key] = file_xxh3(path)
        return "" if _seen[key] == entry["xxh3"] else "damaged: its content has changed"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return f"damaged: it cannot be read ({error.strerror or error})"


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a local finished directory. Raises `Damaged` if it is missing or no manifest."""
    path = directory / MANIFEST
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(f"{path} is missing: {directory.name} is not finished, or half of it was deleted.") from None
    return Manifest.from_json(text, str(path))


def require_whole(directory: Path, manifest: Manifest | None = None) -> Manifest:
    """The manifest of a directory that holds what it says. Raises `Damaged` naming the directory and what is wrong with it."""
    manifest = manifest or read_manifest(directory)
    wrong = problems(directory, manifest)
    if wrong:
        raise Damaged(damage(str(directory), manifest.stage, wrong))
    return manifest


def damage(where: str, stage: str, wrong: list[str]) -> str:
    """One paragraph on what is wrong with a finished directory."""
    listed = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return (
        f"{where} does not hold what {stage} wrote: {listed}. Run the stage again "
        f"(supernotes {stage.replace('_', '-')}, or the same supernotes run): what is damaged is set aside in damaged/ and made again."
    )
