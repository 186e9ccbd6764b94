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
import logging
import os
import platform
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nouns.errors import Damaged, InputError
from storage.locks import Lease, leased
from storage.manifest import (
    MANIFEST,
    TIMING,
    UNCOMPARED,
    Manifest,
    canonical_json,
    damage,
    digest_of,
    file_entry,
    file_sha256,
    list_files,
    problems,
    sealed,
    unsealed,
)

__all__ = [
    "MANIFEST",
    "TIMING",
    "UNCOMPARED",
    "Manifest",
    "Store",
    "canonical_json",
    "digest_of",
    "file_sha256",
    "list_files",
]

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


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a directory's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Store:
    """A workspace: `snapshots/`, `models/`, `runs/`, `exports/` under one local directory or fsspec URL.

    `root`: a path or URL. `cache`: where remote directories are copied for reading, and scratch lives when the root is
    remote; defaults to a directory in the system's temporary folder.
    """

    def __init__(self, root: str | Path, cache: Path | None = None) -> None:
        self.root = str(root)
        self._leases: dict[str, Lease] = {}
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
        """The manifest of a finished directory, or None: then it never happened. Raises `Damaged` if it is no manifest."""
        text = self.read_text(f"{rel}/{MANIFEST}")
        return None if text is None else Manifest.from_json(text, f"{self.root}/{rel}/{MANIFEST}")

    def problems(self, rel: str, *, thorough: bool = False) -> list[str]:
        """What is missing or damaged in a finished directory, a sentence each; empty where it is whole or never happened."""
        try:
            manifest = self.manifest(rel)
            target = self.target(rel)
        except Damaged as error:
            return [str(error).split(". Run")[0]]
        if manifest is None:
            left = [] if self.remote else list_files(self.home / rel)
            return [f"{MANIFEST} is missing"] if left else []
        if target != rel:
            if not Path(target).is_absolute() and self.read_text(f"{target}/{MANIFEST}") is None:
                return [f"{target}, which its pointer.json names, is missing"]
            return []
        if self.remote and not thorough:
            return self._remote_sizes(rel, manifest)
        try:
            return problems(self.local(rel), manifest, thorough=thorough)
        except Damaged as error:
            return [str(error).split(". Run")[0]]

    def finished(self, rel: str) -> Manifest | None:
        """The manifest of a whole directory; None if it never happened, or was damaged: then it is set aside first and named.

        To be called under the lock of `rel` by whoever will make it again.
        """
        wrong = self.problems(rel)
        if not wrong:
            return self.manifest(rel)
        self.set_aside(rel, "; ".join(wrong))
        return None

    def require_whole(self, rel: str) -> Manifest | None:
        """The manifest of a directory that is to be read; None if it never happened. Raises `Damaged` where it is not whole."""
        wrong = self.problems(rel)
        if wrong:
            raise Damaged(damage(f"{self.root}/{rel}", rel.rsplit("/", 1)[-1].split("-")[0], wrong))
        return self.manifest(rel)

    def target(self, rel: str) -> str:
        """Where the result of a stage stands: `rel`, or the directory its pointer.json names (absolute if from elsewhere)."""
        text = self.read_text(f"{rel}/pointer.json")
        if text is None:
            return rel
        path = unsealed(text, f"{self.root}/{rel}/pointer.json").get("path")
        if not isinstance(path, str):
            raise Damaged(f"{self.root}/{rel}/pointer.json is damaged: it names no directory. Run its command again.")
        return path

    def _remote_sizes(self, rel: str, manifest: Manifest) -> list[str]:
        base = f"{self._base}/{rel}"
        self.fs.invalidate_cache()
        sizes = {
            name.removeprefix(f"{base}/"): entry["size"] for name, entry in self.fs.find(base, detail=True).items()
        }
        found = [f"{name} is missing" for name in manifest.outputs if name not in sizes]
        return found + [
            f"{name} is damaged: {sizes[name]:,} bytes instead of {entry['bytes']:,}"
            for name, entry in manifest.outputs.items()
            if name in sizes and sizes[name] != entry["bytes"]
        ]

    def set_aside(self, rel: str, why: str) -> None:
        """Move a damaged directory to damaged/, where nothing reads it, and say so on standard error."""
        name = f"damaged/{rel.replace('/', '~')}"
        number = len([entry for entry in self.list("damaged") if entry.startswith(rel.replace("/", "~"))])
        name = f"{name}~{number}" if number else name
        if self.remote:
            self.fs.mv(f"{self._base}/{rel}", f"{self._base}/{name}", recursive=True)
        else:
            (self.home / "damaged").mkdir(exist_ok=True)
            os.replace(self.home / rel, self.home / name)
        logging.getLogger("supernotes").warning("%s is damaged (%s): set aside as %s and made again", rel, why, name)

    def read_text(self, rel: str) -> str | None:
        """A small file, None if it is not there. Damaged bytes become replacement characters: a seal or a parser names them."""
        if self.remote:
            try:
                return self.fs.cat_file(f"{self._base}/{rel}").decode(errors="replace")
            except FileNotFoundError:
                return None
        try:
            return (self.home / rel).read_text(encoding="utf-8", errors="replace")
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
            _sync(path.parent)
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
        if (target / MANIFEST).exists() and problems(target, manifest):  # a copy can be damaged like any other file
            shutil.rmtree(target, ignore_errors=True)
        if not (target / MANIFEST).exists():
            scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=self.home))
            for name in manifest.outputs:
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self._base}/{rel}/{name}", str(scratch / name))
            if self.fs.exists(f"{self._base}/{rel}/{TIMING}"):
                self.fs.get_file(f"{self._base}/{rel}/{TIMING}", str(scratch / TIMING))
            (scratch / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            wrong = [what for what in problems(scratch, manifest) if not what.startswith(UNCOMPARED)]
            if wrong:
                shutil.rmtree(scratch, ignore_errors=True)
                raise Damaged(damage(f"{self.root}/{rel}", manifest.stage, wrong))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(scratch, target)
            except OSError:  # another process copied the same content first
                shutil.rmtree(scratch, ignore_errors=True)
        return target

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, rel: str) -> Iterator[None]:
        """One writer at a time for `rel`, on this machine and, on S3, among all; a second one waits and finds the work done."""
        path = self.home / ".locks" / (rel.replace("/", "~") + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not (self.remote and hasattr(self.fs, "call_s3")):
                yield
                return
            with leased(self.fs, f"{self._base}/locks/{rel.replace('/', '~')}.json") as lease:
                self._leases[rel] = lease
                try:
                    yield
                finally:
                    del self._leases[rel]

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
            outputs[name] = file_entry(path)
        manifest = Manifest(stage, fingerprint, code, settings, inputs, seed, counts, outputs)
        timing_path = scratch / TIMING
        timing = json.loads(timing_path.read_text()) if timing_path.exists() else {}
        timing |= {"seconds": round(seconds, 3), "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        timing |= {"software": dict(software_versions())}
        # Calls differ between equal runs, so the manifest must not name them; what they were is said here.
        calls = [path for path in list_files(scratch) if path.name in UNCOMPARED and path != timing_path]
        timing["files"] = {path.relative_to(scratch).as_posix(): file_entry(path) for path in calls}
        timing_path.write_text(sealed(timing), encoding="utf-8")
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
        for path in scratch.rglob("*"):
            _sync(path)
        _sync(scratch)
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
        _sync(target.parent)

    def _upload(self, scratch: Path, rel: str) -> None:
        base = f"{self._base}/{rel}"
        if self.fs.exists(f"{base}/{MANIFEST}"):
            self.fs.rm_file(f"{base}/{MANIFEST}")
        for path in list_files(scratch):
            if path.name != MANIFEST:
                self.fs.put_file(str(path), f"{base}/{path.relative_to(scratch).as_posix()}")
        if rel in self._leases:
            self._leases[rel].check()
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
