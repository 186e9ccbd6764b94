"""What DAG tasks call: short strings in, short strings out. Imports nothing heavy before it is called.

A task is given a workspace and a run id. Settings come from `supernotes.toml` named by the DAG's `config` parameter, or
the environment of the worker; the address of the workspace from the `workspace` parameter, else `SUPERNOTES_WORKSPACE`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any


def workspace_of(params: Mapping[str, Any]) -> str:
    """The workspace a DAG run works in. Raises `InputError` if none is named."""
    from nouns.errors import InputError

    workspace = params.get("workspace") or os.environ.get("SUPERNOTES_WORKSPACE")
    if not workspace:
        raise InputError(
            "No workspace is named: set the DAG's parameter `workspace` or SUPERNOTES_WORKSPACE in the workers' environment."
        )
    return str(workspace)


AGE_WINDOW_DAYS = int(os.environ.get("SUPERNOTES_AGE_WINDOW_DAYS") or "14")
"""The scheduled chain's age window; X locks a note's status after two weeks. `supernotes run` has none."""

POOL = "default_pool" if os.environ.get("SUPERNOTES_POOL") is None else os.environ["SUPERNOTES_POOL"]
"""The pool that bounds tasks using the model server; operators create one and name it in SUPERNOTES_POOL."""


def describe_run(params: Mapping[str, Any], event: Mapping[str, Any], moment: Any = None) -> dict[str, str]:
    """Write down what the run is asked to do; returns its workspace and id. A retry finds the same run again.

    `event`: what the asset event says that the DAG run serves; its `input`, `posts`, `as_of` serve where a parameter is empty.
    `moment`: what `as_of` means by 'logical_date' (a datetime), so that a backfill knows only what was known that day.
    """
    from nouns.errors import InputError
    from pipeline.console import as_of
    from pipeline.plan import RunRequest, create_run

    params = dict(event) | {name: value for name, value in dict(params).items() if value not in (None, "")}
    if params.get("as_of") == "logical_date":
        params["as_of"] = moment.isoformat()
    source = input_of(params, {})
    if not source:
        raise InputError(
            "No input is named: set the DAG's parameter `input` or SUPERNOTES_INPUT in the workers' environment."
        )
    request = RunRequest(
        source=source,
        posts=params.get("posts") or os.environ.get("SUPERNOTES_POSTS") or None,
        as_of=as_of(str(params["as_of"])) if params.get("as_of") else None,
        extra=tuple(params.get("extra") or ()),
        raters=params.get("raters"),
        jury=params.get("jury"),
        recorded=params.get("recorded"),
        decisions=params.get("decisions"),
    )
    flags = list(params.get("set") or ())
    if params.get("age_window_days") is not None:
        flags.insert(0, f"cluster_notes.age_window_days={float(params['age_window_days'])}")
    workspace = workspace_of(params)
    run_id = create_run(_store(workspace), request, _settings(params | {"set": flags}))
    return {"workspace": workspace, "run_id": run_id}


def _settings(params: Mapping[str, Any]) -> Any:
    from pathlib import Path

    from pipeline.settings import load_settings

    return load_settings(Path(params["config"]) if params.get("config") else None, flags=params.get("set") or ())


def _store(workspace: str) -> Any:
    from storage.store import Store

    return Store(workspace)


def _plan(work: Mapping[str, str]) -> Any:
    from pipeline.plan import Plan

    return Plan(_store(work["workspace"]), work["run_id"])


def run_stage(work: Mapping[str, str], stage: str) -> str:
    """One stage of a run; progress goes to the task's log. Returns the result's path relative to the workspace."""
    import logging

    from nouns.notices import notices_of

    plan = _plan(work)
    store = plan.store
    with contextlib.ExitStack() as stack:
        if stage in ("build_pairs", "export") and not plan.request.decisions:
            found = stack.enter_context(decisions_so_far(store))
            plan.request = dataclasses.replace(plan.request, decisions=found)
        result = plan.run(stage, _logging(stage))
    _log(stage).info("%s", log_line(result, f"run {work['run_id']} of {work['workspace']}"))
    for entry in notices_of(stage, result.counts):
        level = logging.INFO if entry["level"] == "told" else logging.WARNING
        _log(stage).log(level, "%s: %s", stage, entry["text"])
    tell_measures(store, work["run_id"], stage, ran=result.state == "ran")
    return result.path


@contextlib.contextmanager
def decisions_so_far(store: Any) -> Iterator[str | None]:
    """A file with the analysts' decisions in the inspector's database; None if there is no database or no decision yet.

    What they say enters the fingerprint of `build_pairs` and `export`, so nothing is repeated until somebody has decided.
    """
    import tempfile
    from pathlib import Path

    database = os.environ.get("SUPERNOTES_DATABASE_URL")
    beside = store.home.resolve() / "decisions.sqlite"
    if not database and (store.remote or not beside.is_file()):
        yield None
        return
    from pipeline.inspecting import write_decisions

    with tempfile.TemporaryDirectory(prefix="supernotes-decisions-") as folder:
        path = Path(folder) / "decisions.parquet"
        number = write_decisions(store.root, database, path, None)
        _log("decisions").info("%d analysts' decisions are read", number)
        yield str(path) if number else None


def log_line(result: Any, of_what: str) -> str:
    """One sentence for a task's log: what was done to what, how it went, and where the result is."""
    counts = result.counts
    did = f"took {result.seconds:.1f} s" if result.state == "ran" else "was done already and is not repeated"
    rejected = ", ".join(f"{reason} {number:,}" for reason, number in sorted((counts.get("rejected") or {}).items()))
    calls = f"; {counts['calls']:,} model calls" if isinstance(counts.get("calls"), int) else ""
    return (
        f"{result.stage} of {of_what} {did}: {counts.get('in', 0):,} in, {counts.get('out', 0):,} out, "
        f"left out: {rejected or 'none'}{calls}; result: {result.path}"
    )


def tell_measures(store: Any, run_id: str, stage: str, *, ran: bool) -> None:
    """Give Airflow's metrics what the stage measured and how far it is from the last runs; log what is far.

    Never fails the task: a finished stage is not lost because its numbers could not be told.
    """
    from pipeline.show import metrics

    log = _log(stage)
    try:
        compared = metrics.drifts(store, run_id, stage)
        metrics.emit(stage, metrics.measures_of(store, run_id, stage), compared, ran=ran)
    except Exception:
        log.exception("the measures of %s could not be told", stage)
        return
    for entry in compared:
        if entry.noteworthy:
            log.warning(
                "%s: %s is %.4g; the last %d runs had %.4g (%+.1f robust standard deviations)",
                stage, entry.measure, entry.value, entry.runs, entry.median, entry.distance,
            )  # fmt: skip


def shard_indices(work: Mapping[str, str]) -> list[int]:
    """The numbers of the shards of eligible posts."""
    return list(range(len(_plan(work).shards())))


def run_shard(work: Mapping[str, str], stage: str, index: int) -> str:
    """One shard of a per-post stage; progress goes to the task's log."""
    result = _plan(work).run_shard(stage, index, _logging(stage))
    _log(stage).info("%s", log_line(result, f"shard {index} of run {work['run_id']} of {work['workspace']}"))
    return result.path


def newest_run_of(workspace: str) -> str:
    """The run described last in a workspace."""
    from pipeline.console import newest_run

    return newest_run(_store(workspace))


def run_to_continue(params: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, str]:
    """Workspace and run to continue: from the parameters, else from the event that triggered, else the newest run."""
    workspace = params.get("workspace") or event.get("workspace") or workspace_of(params)
    run_id = params.get("run") or event.get("run_id") or newest_run_of(workspace)
    return {"workspace": str(workspace), "run_id": str(run_id)}


def is_there(target: str) -> bool:
    """Whether an http(s) address answers with success, or a path or fsspec URL exists. Never raises.

    Of an answer only the head is read: what is waited for may be a file of gigabytes.
    """
    if target.startswith(("http://", "https://")):
        import httpx

        try:
            with httpx.stream("GET", target, timeout=5, follow_redirects=True) as answer:
                return answer.is_success
        except httpx.HTTPError:
            return False
    if "://" in target:
        import fsspec

        try:
            fs, path = fsspec.core.url_to_fs(target)
            return bool(fs.exists(path))
        except Exception:
            return False
    return os.path.exists(os.path.expanduser(target))


def writer_address(workspace: str, run_id: str) -> str | None:
    """The address that says whether the run's writing model is being served; None if it needs no server."""
    draft = _plan({"workspace": workspace, "run_id": run_id}).settings.draft_candidates
    return f"{draft.base_url.rstrip('/')}/models" if draft.backend == "openai" else None


def report(work: Mapping[str, str]) -> str:
    """Write the run's report page; returns its path, below the workspace's URL if that is remote."""
    from pipeline.show.page import write_report

    path = write_report(_store(work["workspace"]), work["run_id"])
    _log("report").info("the report of run %s: %s", work["run_id"], path)
    return path


def publish_export(work: Mapping[str, str], path: str | None = None) -> str:
    """Name `path` (None: the run's export) as the workspace's current export, in one step; returns it.

    `published.json` says the same a moment before, so that `supernotes verify` knows of a `current.json` that should be there.
    """
    from storage.manifest import sealed

    path = path or _plan(work).where("export")
    for name in ("published.json", "current.json"):
        _store(work["workspace"]).write_text(f"exports/{name}", sealed({"path": path, "run_id": work["run_id"]}))
    return path


def input_of(params: Mapping[str, Any], event: Mapping[str, Any]) -> str | None:
    """The directory or URL of X's files that `describe_run` will read; None if nobody named one."""
    return str(params.get("input") or event.get("input") or os.environ.get("SUPERNOTES_INPUT") or "") or None


def files_of_day(params: Mapping[str, Any], date: str) -> list[str]:
    """Addresses that all answer once X has published a day."""
    from ingest.fetch import first_files

    return first_files(_settings(params).fetch_snapshot, date)


def fetch_snapshot(params: Mapping[str, Any], date: str) -> dict[str, str]:
    """Download X's files of one day; returns what `refresh_jury` needs to know: `input`, `as_of`, `workspace`.

    Files go to `downloads/DATE` of the workspace, or of the parameter `target`; to an object store by way of this machine's
    disk, which must hold a day. Whole files are not fetched again.
    """
    from pathlib import Path

    from ingest.fetch import fetch_snapshot as fetch

    workspace = workspace_of(params)
    target = str(params.get("target") or "").rstrip("/") or f"{workspace.rstrip('/')}/downloads"
    remote = "://" in target
    out = _store(workspace).home / "downloads" / date if remote else Path(target) / date
    fetch(out, _settings(params).fetch_snapshot, date=date, progress=_logging("fetch_snapshot"))
    source = str(out.resolve())
    if remote:
        source = f"{target}/{date}"
        _move_to(out, source)
    return {"workspace": workspace, "input": source, "as_of": ""}


def _move_to(folder: Any, address: str) -> None:
    """Bring a folder's files to an object store, the list of them last; what is there in the same size is not sent again."""
    import shutil

    import fsspec

    fs, base = fsspec.core.url_to_fs(address)
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == "fetch.json", path.name)):
        there = f"{base}/{path.name}"
        if path.name == "fetch.json" or not fs.exists(there) or fs.info(there).get("size") != path.stat().st_size:
            fs.put_file(str(path), there)
    shutil.rmtree(folder)


def tidy_workspace(params: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Housekeeping of one workspace at a given moment; returns what went."""
    from storage.housekeeping import forget_deleted_notes, tidy

    store = _store(workspace_of(params))
    dry_run = bool(params.get("dry_run"))
    gone = tidy(
        store, now=now_ms, keep_days=int(params["keep_days"]), keep_runs=int(params["keep_runs"]), dry_run=dry_run
    ).to_json()
    for rel, size in gone["bytes"].items():
        _log("housekeeping").info("%s %s, %s bytes", "would remove" if dry_run else "removed", rel, f"{size:,}")
    snapshots = store.list("snapshots")
    if snapshots:
        newest = max(snapshots, key=lambda name: (store.modified(f"snapshots/{name}/manifest.json"), name))
        forgotten = forget_deleted_notes(store, newest=f"snapshots/{newest}", dry_run=dry_run)
        gone |= {"with_deleted_notes": list(forgotten.with_deleted_notes), "doubt": forgotten.doubt}
        if forgotten.doubt:
            _log("housekeeping").warning(forgotten.doubt)
    return gone


def _log(stage: str) -> Any:
    import logging

    log = logging.getLogger(f"supernotes.{stage}")
    log.setLevel(logging.INFO)  # a task's log says what was done whatever level Airflow itself logs at
    return log


def _logging(stage: str) -> Any:
    log = _log(stage)

    told = time.monotonic()

    def progress(message: str, done: int | None = None, total: int | None = None) -> None:
        """A line when something begins or is done; on the way a line in a quarter of a minute, not one a chunk."""
        nonlocal told
        if done and done != total:
            if time.monotonic() - told < 15:
                return
            told = time.monotonic()
        log.info("%s%s", message, f" {done}/{total}" if total else "")

    return progress


def learn_outcomes(params: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """How the texts of the run `params["run"]` were received, seen from the run `later` (or that of the event)."""
    work = run_to_continue({**params, "run": params.get("later")}, event)
    later = work["run_id"]
    run_id = params.get("run") or _last_selected_before(_store(work["workspace"]), later)
    return _plan(work | {"run_id": str(run_id)}).run("learn_outcomes", _logging("learn_outcomes"), later).path


def _last_selected_before(store: Any, later: str) -> str:
    """The newest run other than `later` that selected winners. Raises `NothingToDo` if there is none."""
    from nouns.errors import NothingToDo

    runs = [run for run in store.list("runs") if run != later and store.manifest(f"runs/{run}/select_winners")]
    if not runs:
        raise NothingToDo(
            "No earlier run of the workspace has selected winners; there is nothing to learn outcomes of."
        )
    return str(max(runs, key=lambda run: (store.modified(f"runs/{run}/run.json"), run)))


def tune_writer(params: Mapping[str, Any], work: Mapping[str, str]) -> str:
    """A writer tuned on a run's export; returns models/writer-ID."""
    from pipeline.promote import with_feedback_settings

    plan = with_feedback_settings(_plan(work), _settings(params))
    return plan.run("tune_writer", _logging("tune_writer")).path


def compare_writers(params: Mapping[str, Any], work: Mapping[str, str], writer: str) -> dict[str, Any]:
    """The tuned writer against the current one; returns the comparison's decision, reason and measures."""
    from pipeline.promote import compare_adapter

    store, settings = _store(work["workspace"]), _settings(params)
    return compare_adapter(store, work["run_id"], f"{writer}/adapter", settings, _logging("compare_writers"))


def promote_writer(work: Mapping[str, str], writer: str, comparison: dict[str, Any]) -> dict[str, Any]:
    """Make a tuned writer the workspace's current one; refused when the comparison did not say promote."""
    from pipeline.promote import promote_writer as promote

    return promote(_store(work["workspace"]), writer, comparison)
