"""Verbs that work without a run: a ratings file straight to parameters, a jury put to the test, requests shown."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.run import Run
from nouns.stage import Tools
from pipeline.plan import Plan
from pipeline.progress import Progress, silent
from pipeline.settings import Settings, changed
from storage.store import MANIFEST, Store


def _publish(scratch: Path, out: Path) -> None:
    """Move finished files into `out`, replacing files of equal name one by one; nothing half-written is ever seen."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(scratch.iterdir()):
        target = out / path.name
        if path.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        shutil.move(str(path), str(target))


def _scratch_beside(out: Path) -> tempfile.TemporaryDirectory[str]:
    """A scratch directory on the same file system as `out`, so that the final move is a rename."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent)
    except OSError as error:
        raise InputError(
            f"--out {str(out)!r} cannot be written ({error.strerror or error}). Give a directory you may write to."
        ) from error


def _table_files(path: Path, what: str) -> list[Path]:
    """The files of one of X's tables at `path`, which is such a file or a directory holding some."""
    from ingest.files import table_of

    if not path.exists():
        raise InputError(f"--{what} {str(path)!r} does not exist. Give X's {what} file or the directory that holds it.")
    if path.is_file():
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and table_of(file.name.split(".")[0]) == what]
    if not files:
        raise InputError(f"--{what} {str(path)!r} holds no {what} file; a name such as {what}-00000.tsv was expected.")
    return files


def _snapshot_of(
    ratings: Path | None, notes: Path | None, settings: Settings, scratch: Path, progress: Progress
) -> Path:
    """A snapshot of loose files. Without a notes file every rated note is taken to call its post misleading, X's usual case.

    A directory given for --ratings that also holds notes is taken whole, status history included.
    """
    from ingest.files import find_shards
    from ingest.stage import ingest

    whole = ratings is not None and ratings.is_dir() and notes is None and "notes" in find_shards(ratings)[0]
    source = scratch / "source"
    if whole and ratings is not None:
        _table_files(ratings, "ratings")
        source = ratings
    else:
        source.mkdir()
        for what, path in {"ratings": ratings, "notes": notes}.items():
            for number, file in enumerate(_table_files(path, what) if path else ()):
                suffix = "".join(file.suffixes[-2:]) or ".tsv"
                (source / f"{what}-{number:05d}{suffix}").symlink_to(file.resolve())
        if notes is None and ratings is not None:
            _invent_notes(sorted(source.iterdir()), source / "notes-00000.tsv")
    snapshot = scratch / "snapshot"
    snapshot.mkdir()
    ingest(Run(given={"source": source}), settings.ingest, snapshot, Tools(progress=progress))
    return snapshot


def _invent_notes(ratings: Sequence[Path], target: Path) -> None:
    """A notes table that holds only the ids found in rating files: all that fitting needs to know of a note."""
    import csv
    import gzip
    import io
    import zipfile

    import zstandard

    ids: set[str] = set()
    for path in ratings:
        with path.open("rb") as raw:
            if path.suffix == ".gz":
                stream: Any = gzip.GzipFile(fileobj=raw)
            elif path.suffix == ".zst":
                stream = zstandard.ZstdDecompressor().stream_reader(raw)
            elif path.suffix == ".zip":
                archive = zipfile.ZipFile(raw)
                stream = archive.open(archive.namelist()[0])
            else:
                stream = raw
            rows = csv.reader(
                io.TextIOWrapper(stream, encoding="utf-8", errors="replace"), delimiter="\t", quoting=csv.QUOTE_NONE
            )
            try:
                header = next(rows, [])
                if "noteId" not in header:
                    raise InputError(
                        f"{path.name}: no column noteId in its header ({', '.join(header[:6])}...); X's ratings were expected."
                    )
                column = header.index("noteId")
                ids.update(row[column] for row in rows if len(row) > column and row[column].isdigit())
            except (EOFError, OSError, csv.Error) as error:
                raise InputError(
                    f"{path.resolve().name} cannot be read to its end: {error}. Download it again."
                ) from error
    with target.open("w", encoding="utf-8") as out:
        out.write("noteId\ttweetId\tclassification\tsummary\n")
        for note in sorted(ids, key=int):
            out.write(f"{note}\t{note}\tMISINFORMED_OR_POTENTIALLY_MISLEADING\t-\n")


def fit_raters_alone(
    ratings: Path | None,
    notes: Path | None,
    out: Path | None,
    adopt: Path | None,
    settings: Settings,
    progress: Progress = silent,
) -> dict[str, Any]:
    """`fit_raters` on loose files into `out`; returns what stands in fit.json, and the stage's `notices`."""
    from matrix_factorization.score.stage import fit_raters

    if out is None:
        raise InputError("--out is missing: give the directory for raters.parquet, notes.parquet and fit.json.")
    with _scratch_beside(out) as name:
        scratch = Path(name)
        snapshot = _snapshot_of(ratings, notes, settings, scratch, progress) if ratings is not None else None
        result = scratch / "result"
        result.mkdir()
        began = time.monotonic()
        loose = Run(directories={"ingest": snapshot} if snapshot else {}, given={"raters": adopt} if adopt else {})
        counts = fit_raters(loose, settings.fit_raters, result, Tools(progress=progress))
        # Outside a run nothing compares bytes, and whoever scripts against fit.json wants the seconds beside the loss.
        fit = json.loads((result / "fit.json").read_text(encoding="utf-8")) | {
            "seconds": round(time.monotonic() - began, 3)
        }
        (result / "fit.json").write_text(json.dumps(fit, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        _publish(result, out)
    return fit | {"notices": counts["notices"]}


def diff_alone(before: Path, after: Path) -> dict[str, Any]:
    """What `ingest.diff.compare` finds in two snapshots or folders of X's files, with the `notices` of reading the latter."""
    import dataclasses

    from ingest.diff import compare
    from ingest.stage import ingest

    settings = Settings().ingest
    names = [field.name for field in dataclasses.fields(settings) if field.type == "Level"]
    # A doubtful snapshot is what this looks at, so nothing is refused.
    settings = dataclasses.replace(settings, **dict.fromkeys(names, "warned"))
    notices: list[dict[str, str]] = []
    snapshots = []
    with tempfile.TemporaryDirectory(prefix="supernotes-diff-") as scratch:
        for number, directory in enumerate((before, after)):
            if (directory / "notes.parquet").is_file() and (directory / "schema_report.json").is_file():
                snapshots.append(directory)
                continue
            out = Path(scratch) / str(number)
            out.mkdir()
            counts = ingest(Run(given={"source": directory}), settings, out, Tools())
            notices += [entry | {"text": f"{directory}: {entry['text']}"} for entry in counts["notices"]]
            snapshots.append(out)
        return compare(snapshots[0], snapshots[1]) | {"notices": notices}


def fold_in_alone(
    raters: Path, ratings: Path, out: Path, settings: Settings, progress: Progress = silent
) -> dict[str, Any]:
    """Parameters of the notes in `ratings`, the raters held fixed, into `out`."""
    from matrix_factorization.score.stage import fold_in

    with _scratch_beside(out) as name:
        scratch = Path(name)
        snapshot = _snapshot_of(ratings, None, settings, scratch, progress)
        result = scratch / "result"
        result.mkdir()
        counts = fold_in(result, settings.fit_raters, raters=raters, ratings=snapshot, progress=progress)
        _publish(result, out)
    return counts


def jury_directory(jury: str, workspace: str) -> Path:
    """The directory of a trained jury, named by its id in the workspace or by its path."""
    path = Path(jury).expanduser()
    if (path / MANIFEST).is_file() or (path / "model.json").is_file():
        return path
    if "://" in workspace or Path(workspace).expanduser().is_dir():
        store = Store(workspace)
        for rel in (f"models/{jury}", f"models/jury-{jury}"):
            if store.manifest(rel):
                return store.local(rel)
        known = ", ".join(name for name in store.list("models") if name.startswith("jury-")) or "none"
    else:
        known = "none"
    raise InputError(
        f"There is no jury {jury!r}: no such directory, and the workspace {workspace!r} has these: {known}."
    )


def dry_run_requests(store: Store, run_id: str, posts: list[int] | None) -> Iterator[dict[str, Any]]:
    """The exact requests `draft_candidates` would send, as JSON-able objects; calls no model."""
    from synthesis.draft.stage import draft_requests_json

    plan = Plan(store, run_id)
    wanted = posts if posts is not None else [post for shard in plan.shards() for post in shard]
    size = plan.settings.run.posts_per_shard
    for start in range(0, len(wanted), size):
        yield from draft_requests_json(
            plan.settings.draft_candidates,
            plan.open("draft_candidates", wanted[start : start + size]),
            seed=plan.settings.run.seed,
        )


def export_alone(plan: Plan, formats: tuple[str, ...], out: Path | None, progress: Progress = silent) -> dict[str, Any]:
    """Export a run with the plan's settings, chosen formats or all, into the workspace or into `out`."""
    import dataclasses

    from feedback.export.stage import export

    settings = plan.settings.export
    if formats:
        settings = dataclasses.replace(settings, formats=formats)
    plan.settings = changed(plan.settings, export=settings)
    if out is None:
        result = plan.run("export", progress)
        return {"run_id": plan.run_id, "stage": "export"} | result.counts | result.to_json()
    with _scratch_beside(out) as name:
        scratch = Path(name) / "result"
        scratch.mkdir()
        also = {name: getattr(plan.settings, name) for name in ("draft_candidates", "judge_candidates")}
        tools = Tools(seed=plan.settings.run.seed, progress=progress)
        counts = export(plan.open("export"), settings, scratch, tools, **also)
        _publish(scratch, out)
    return counts | {"path": str(out)}


def evaluate_alone(
    jury: str,
    notes: Path,
    ratings: Path | None,
    posts: Path | None,
    raters: Path | None,
    targets: Path | None,
    as_of: int | None,
    workspace: str,
) -> dict[str, Any]:
    """The object that `supernotes evaluate-jury --json` prints."""
    from jury.train.evaluate import evaluate_jury

    for name, path in {
        "notes": notes,
        "ratings": ratings,
        "posts": posts,
        "raters": raters,
        "targets": targets,
    }.items():
        if path is not None and not path.exists():
            raise InputError(f"--{name} {str(path)!r} does not exist.")
    wanted = None
    if targets is not None:
        lines = [line.strip() for line in targets.read_text(encoding="utf-8").splitlines() if line.strip()]
        bad = next((line for line in lines if not line.isdigit()), None)
        if bad is not None:
            raise InputError(f"--targets {str(targets)!r}: {bad!r} is no note id; one id a line was expected.")
        wanted = [int(line) for line in lines]
    return evaluate_jury(
        jury_directory(jury, workspace),
        notes=notes,
        ratings=ratings,
        posts=posts,
        raters=raters,
        targets=wanted,
        as_of=as_of,
        cache=_cache(workspace),
        passes=passes_checks,
    )


def passes_checks(foil: Any, original: Any) -> bool:
    """Whether an edited note would get through the checks, with the note itself as its only source (`jury.train.foils`)."""
    from synthesis.check.check import check_text, passed

    return passed(check_text(foil.text, [original.text], post_text=original.post_text, language=original.language))


def _cache(workspace: str) -> Path | None:
    """The workspace's embedding cache, if the workspace is a local directory that exists."""
    home = Path(workspace).expanduser()
    return home / ".cache" / "embeddings" if "://" not in workspace and home.is_dir() else None


def print_evaluation(result: dict[str, Any]) -> None:
    """Metrics beside the baselines as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{result['n_ratings']:,} ratings of {result['n_notes']:,} notes on {result['n_posts']:,} posts\n", markup=False
    )
    table = Table("measure", "jury [95 %]", "n", *result["baselines"])

    def cell(entry: dict[str, Any] | None) -> str:
        if not entry or entry.get("value") is None:
            return "–"
        span = f" [{entry['lo']:.3f}, {entry['hi']:.3f}]" if entry.get("lo") is not None else ""
        return f"{entry['value']:.3f}{span}"

    for name, entry in result["metrics"].items():
        others = [(values.get(name) or {}).get("value") for values in result["baselines"].values()]
        table.add_row(
            name, cell(entry), str((entry or {}).get("n", "")), *("–" if v is None else f"{v:.3f}" for v in others)
        )
    console.print(table)
