"""Where runs live: directories that are either complete or never happened.

A stage writes into a scratch directory. When it returns, the digests of its files go into `manifest.json`, which is
written last; then the directory is renamed to its final name. A directory with a manifest is complete; one without
never happened, and is cleared away when its stage runs again. `timing.json` stands beside the manifest with seconds and
software versions; it is, with recorded model calls, the only file that may differ between two runs on equal inputs.

A workspace is a local directory or any fsspec URL (`s3://bucket/path`). On an object store there is no rename: files
are uploaded first and the manifest last, which keeps the same promise.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nouns.errors import InputError

MANIFEST = "manifest.json"
TIMING = "timing.json"
UNCOMPARED = (TIMING, "calls.jsonl.zst")
"""Files that may differ between two runs on equal inputs: wall-clock times and recorded calls with their latencies."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


_PACKAGES = ("supernotes", "numpy", "polars", "pyarrow", "duckdb", "numba", "torch", "scikit-learn", "sentence-transformers",
             "transformers", "trl", "apache-airflow")  # fmt: skip


@functools.cache
def software_versions() -> tuple[tuple[str, str], ...]:
    """Python and the installed packages whose version can matter to a stage's numbers, as (name, version)."""
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return tuple(found)


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(directory: Path) -> list[Path]:
    """Files below `directory`, sorted by their relative path."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


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

    def to_json(self) -> str:
        return json.dumps(self.__dict__, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        return cls(**json.loads(text))


class Store:
    """A workspace: `snapshots/`, `models/`, `runs/`, `exports/` under one local directory or fsspec URL.

    `root`: a path or URL. `cache`: where remote directories are copied for reading, and scratch lives when the root is
    remote; defaults to a directory in the system's temporary folder.
    """

    def __init__(self, root: str | Path, cache: Path | None = None) -> None:
        self.root = str(root)
        self.remote = "://" in self.root and not self.root.startswith("file://")
        if self.remote:
            import fsspec

            try:
                self.fs, self._base = fsspec.core.url_to_fs(self.root)
            except (ImportError, ValueError) as error:
                raise InputError(
                    f"The workspace {self.root!r} cannot be opened: {error}. Give a local directory or an fsspec URL "
                    "whose driver is installed (for s3:// install supernotes[s3])."
                ) from error
            tag = hashlib.sha256(self.root.encode()).hexdigest()[:12]
            self.home = (cache or Path(tempfile.gettempdir())) / f"supernotes-{os.getuid()}-{tag}"
        else:
            self.home = Path(self.root.removeprefix("file://")).expanduser()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.home):
                pass
        except OSError as error:
            raise InputError(
                f"The workspace {str(self.home)!r} cannot be written ({error.strerror or error}). "
                "Give --workspace a directory you may write to."
            ) from error

    # -- reading ---------------------------------------------------------------------------------------------------

    def manifest(self, rel: str) -> Manifest | None:
        """The manifest of a finished directory, or None: then it never happened."""
        text = self.read_text(f"{rel}/{MANIFEST}")
        return None if text is None else Manifest.from_json(text)

    def read_text(self, rel: str) -> str | None:
        if self.remote:
            try:
                return self.fs.cat_file(f"{self._base}/{rel}").decode()
            except FileNotFoundError:
                return None
        try:
            return (self.home / rel).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_text(self, rel: str, text: str) -> None:
        """Replace one small file in one step: readers see the old text or the new one."""
        if self.remote:
            self.fs.pipe_file(f"{self._base}/{rel}", text.encode())
            return
        path = self.home / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def list(self, rel: str) -> list[str]:
        """Names of the entries of a directory, sorted; hidden ones left out."""
        if self.remote:
            self.fs.invalidate_cache()  # drivers remember listings; another worker may have written since
            try:
                names = [
                    str(entry).rstrip("/").rsplit("/", 1)[-1]
                    for entry in self.fs.ls(f"{self._base}/{rel}", detail=False)
                ]
            except FileNotFoundError:
                return []
        else:
            directory = self.home / rel
            names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
        return sorted(name for name in names if not name.startswith("."))

    def modified(self, rel: str) -> float:
        """When a file was last written, in seconds since 1970; 0 if it is not there."""
        try:
            if self.remote:
                return float(self.fs.modified(f"{self._base}/{rel}").timestamp())
            return (self.home / rel).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def local(self, rel: str) -> Path:
        """A local directory holding what stands at `rel`; a remote one is copied once per content."""
        if not self.remote:
            return self.home / rel
        manifest = self.manifest(rel)
        if manifest is None:
            raise InputError(f"{self.root}/{rel} is not finished: it has no {MANIFEST}. Run its stage first.")
        target = self.home / "copies" / f"{manifest.digest[:24]}" / rel.rsplit("/", 1)[-1]
        if not (target / MANIFEST).exists():
            scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=self.home))
            for name in manifest.outputs:
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self._base}/{rel}/{name}", str(scratch / name))
            (scratch / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(scratch, target)
            except OSError:  # another process copied the same content first
                shutil.rmtree(scratch, ignore_errors=True)
        return target

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, rel: str) -> Iterator[None]:
        """One writer at a time for `rel` on this machine; a second one waits and then finds the work done."""
        path = self.home / ".locks" / (rel.replace("/", "~") + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def scratch(self, rel: str) -> Iterator[Path]:
        """An empty directory to work in; removed afterwards unless `publish` took it away."""
        parent = self.home / ".scratch"
        parent.mkdir(parents=True, exist_ok=True)
        stem = rel.replace("/", "~")
        self.clear_scratch(stem)
        directory = Path(tempfile.mkdtemp(prefix=f"{stem}@{socket.gethostname()}@{os.getpid()}@", dir=parent))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def clear_scratch(self, stem: str = "") -> int:
        """Remove scratch directories whose process on this machine is gone (killed); returns how many."""
        removed = 0
        parent = self.home / ".scratch"
        for directory in parent.iterdir() if parent.is_dir() else ():
            name, _, rest = directory.name.partition("@")
            host, _, rest = rest.partition("@")
            pid = rest.partition("@")[0]
            if (stem and name != stem) or host != socket.gethostname() or not pid.isdigit():
                continue
            if not Path(f"/proc/{pid}").exists():
                shutil.rmtree(directory, ignore_errors=True)
                removed += 1
        return removed

    def publish(
        self,
        scratch: Path,
        rel: str,
        *,
        stage: str,
        fingerprint: str,
        code: str,
        settings: dict[str, Any],
        inputs: dict[str, str],
        seed: int | None,
        counts: dict[str, Any],
        seconds: float,
    ) -> Manifest:
        """Write timing and manifest into `scratch` and make it the finished directory `rel`."""
        outputs = {}
        for path in list_files(scratch):
            name = path.relative_to(scratch).as_posix()
            if path.name in UNCOMPARED:
                continue
            outputs[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        manifest = Manifest(stage, fingerprint, code, settings, inputs, seed, counts, outputs)
        timing_path = scratch / TIMING
        timing = json.loads(timing_path.read_text()) if timing_path.exists() else {}
        timing |= {"seconds": round(seconds, 3), "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        timing |= {"software": dict(software_versions())}
        timing_path.write_text(json.dumps(timing, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (scratch / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if self.remote:
            self._upload(scratch, rel)
        else:
            self._rename(scratch, rel)
        return manifest

    def _rename(self, scratch: Path, rel: str) -> None:
        target = self.home / rel
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.chmod(0o755)
        if target.exists():
            # The old directory leaves in one step, so a kill in between leaves no directory rather than a mixed one.
            grave = Path(
                tempfile.mkdtemp(prefix=f"old@{socket.gethostname()}@{os.getpid()}@", dir=self.home / ".scratch")
            )
            os.replace(target, grave / "old")
            os.replace(scratch, target)
            shutil.rmtree(grave, ignore_errors=True)
        else:
            os.replace(scratch, target)
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _upload(self, scratch: Path, rel: str) -> None:
        base = f"{self._base}/{rel}"
        if self.fs.exists(f"{base}/{MANIFEST}"):
            self.fs.rm_file(f"{base}/{MANIFEST}")
        for path in list_files(scratch):
            if path.name != MANIFEST:
                self.fs.put_file(str(path), f"{base}/{path.relative_to(scratch).as_posix()}")
        self.fs.put_file(str(scratch / MANIFEST), f"{base}/{MANIFEST}")

    def remove(self, rel: str) -> None:
        """Delete a directory, its manifest first: at no moment does it look finished without being so."""
        if self.remote:
            base = f"{self._base}/{rel}"
            if self.fs.exists(f"{base}/{MANIFEST}"):
                self.fs.rm_file(f"{base}/{MANIFEST}")
            if self.fs.exists(base):
                self.fs.rm(base, recursive=True)
            return
        (self.home / rel / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.home / rel, ignore_errors=True)
