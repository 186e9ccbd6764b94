"""The command line. `supernotes --help` lists the verbs; every stage is one, with hyphens.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input. An error is one paragraph on standard error, a traceback only
with `--debug`. `--json` prints exactly one object (or JSON lines where a verb says so) on standard output and nothing else.
"""

from __future__ import annotations

import json as jsonlib
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from nouns.errors import InputError, SupernotesError
from nouns.stages import RUN_STAGES, STAGES, verb
from pipeline.console import as_of as read_as_of
from pipeline.console import emit, emitted, newest_run, sample_directory, say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Merges proposed Community Notes into one that people who usually disagree would both find helpful.",
)

Workspace = Annotated[
    str, typer.Option("--workspace", "-w", help="Directory or fsspec URL for everything the runs keep.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else there.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; default: supernotes.toml if there is one.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="One setting, as table.key=value. Repeatable.")]
RunId = Annotated[str | None, typer.Option("--run", help="Run id; default: the newest run of the workspace.")]
DEFAULT_WORKSPACE = "./workspace"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"supernotes {version('supernotes')}")
        raise typer.Exit()


@app.callback()
def every_verb(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


def show_notices(notices: Any) -> None:
    """What a stage noticed, for a person: every one, as indented lines."""
    from nouns.notices import as_lines

    for line in as_lines(notices):
        say(f"    {line}")


def _settings(config: Path | None, flags: list[str] | None) -> Any:
    from pipeline.settings import load_settings

    return load_settings(config, flags=flags or ())


# -- runs ----------------------------------------------------------------------------------------------------------


def carry_out(
    workspace: str, request: Any, settings: Any, *, as_json: bool, until: str | None = None, jobs: int | None = None
) -> dict[str, Any]:
    """All stages of a run with progress on standard error; returns the run's summary, also of one that failed."""
    from nouns.notices import notices_of
    from pipeline.plan import Plan, StageResult, create_run, run_summary
    from pipeline.progress import reporting
    from storage.store import Store

    store = Store(workspace)
    run_id = create_run(store, request, settings)
    plan = Plan(store, run_id)
    plan.jobs = jobs
    say(f"run {run_id} in {store.root}")
    results: list[StageResult] = []
    for stage in RUN_STAGES:
        try:
            with reporting(stage) as progress:
                result = plan.run(stage, progress)
        except SupernotesError as error:
            results.append(StageResult(stage, "failed", f"runs/{run_id}/{stage}"))
            summary = run_summary(store, run_id, results, "failed")
            summary["error"] = str(error)
            summary["notices"] += error.notices
            if as_json:
                emit(summary)
            raise
        results.append(result)
        counts = result.counts
        rejected = sum(counts.get("rejected", {}).values())
        left_out = f", {rejected:,} left out" if rejected else ""
        left_out += f", {result.carried:,} carried over" if result.carried else ""
        say(
            f"  {stage:<18} {result.state:<8}{counts.get('in', 0):>9,} in {counts.get('out', 0):>9,} out{left_out}  {result.seconds:6.1f} s"
        )
        show_notices(notices_of(stage, counts))
        if stage == until:
            break
    summary = run_summary(store, run_id, results)
    if not store.remote and until is None:
        from pipeline.show.page import write_report

        say(f"  report: {write_report(store, run_id)}")
    return summary


@app.command()
def run(
    input: Annotated[str, typer.Option("--input", "-i", help="Directory or URL of X's public files.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    posts: Annotated[
        str | None, typer.Option(help="Table of post texts (Parquet, JSONL or CSV); public data has none.")
    ] = None,
    raters: Annotated[
        str | None, typer.Option(help="A fit_raters output or X's scorer files, adopted instead of fitting.")
    ] = None,
    jury: Annotated[
        str | None, typer.Option(help="A trained jury (id or directory), used instead of training one.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Use only rows created before this time (ISO 8601 or milliseconds).")
    ] = None,
    recorded: Annotated[
        str | None, typer.Option(help="Recorded model calls to replay instead of calling a server.")
    ] = None,
    decisions: Annotated[str | None, typer.Option(help="Analysts' decisions (Parquet) that enter the pairs.")] = None,
    extra: Annotated[list[str] | None, typer.Option(help="Further labelled notes for train-jury. Repeatable.")] = None,
    config: Config = None,
    set: Set = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes that work on shards at a time; default: the cores there are.")
    ] = None,
    json: Json = False,
) -> None:
    """All stages on a directory of X's public files. Finished stages are not repeated: rerun it after a kill."""
    from pipeline.plan import RunRequest

    request = RunRequest(input, posts, raters, jury, read_as_of(as_of), recorded, decisions, tuple(extra or ()))
    summary = carry_out(workspace, request, _settings(config, set), as_json=json, jobs=jobs)
    if json:
        emit(summary)
    else:
        show_summary(summary, workspace)


def show_summary(summary: dict[str, Any], workspace: str) -> None:
    say()
    abstained = sum(summary["abstentions"].values())
    say(f"{summary['posts']:,} posts: {summary['winners']:,} winners, {abstained:,} abstentions")
    for reason, number in sorted(summary["abstentions"].items(), key=lambda item: -item[1]):
        say(f"  {number:>8,}  {reason}")
    say(f"\nsee what won and why:  supernotes show {summary['run_id']} --workspace {workspace}")
    say(f"decide on candidates:  supernotes inspect --workspace {workspace}")


@app.command()
def demo(workspace: Workspace = DEFAULT_WORKSPACE, config: Config = None, set: Set = None, json: Json = False) -> None:
    """All stages on the bundled, wholly invented sample."""
    from pipeline.plan import RunRequest

    sample = sample_directory()
    summary = carry_out(
        workspace, RunRequest(str(sample), posts=str(sample / "posts.jsonl")), _settings(config, set), as_json=json
    )
    if json:
        emit(summary)
        return
    show_summary(summary, workspace)
    from pipeline.show.text import show_run
    from storage.store import Store

    show_run(Store(workspace), summary["run_id"], limit=3)


@app.command()
def dags() -> None:
    """Print the folder of the DAG files: what Airflow's DAG bundle or AIRFLOW__CORE__DAGS_FOLDER points to."""
    from pipeline.airflow.home import dags_folder

    print(dags_folder())


@app.command()
def show(
    run: Annotated[str | None, typer.Argument(help="Run id; default: the newest.")] = None,
    post: Annotated[str | None, typer.Argument(help="Post id: everything about this post.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    limit: Annotated[int, typer.Option(help="Winners to print.")] = 10,
    json: Json = False,
) -> None:
    """What won and why, in the terminal."""
    from pipeline.show.text import post_summary, run_view, show_post, show_run
    from storage.store import Store

    store = Store(workspace)
    run_id = run or newest_run(store)
    if json:
        emit(post_summary(store, run_id, post) if post else run_view(store, run_id))
    elif post:
        show_post(store, run_id, post)
    else:
        show_run(store, run_id, limit=limit)


@app.command()
def runs(workspace: Workspace = DEFAULT_WORKSPACE, json: Json = False) -> None:
    """The runs of a workspace, the newest last."""
    from pipeline.show.text import list_runs
    from storage.store import Store

    rows = list_runs(Store(workspace))
    if json:
        emit(rows)
        return
    for row in rows:
        print(
            f"{row['run_id']}  {row['state']:<22} {row['winners']:>7} winners of {row['posts']:>7} posts  {row['source']}"
        )


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A snapshot, or a folder of X's files.")],
    after: Annotated[Path, typer.Argument(help="The later one.")],
    json: Json = False,
) -> None:
    """What appeared and vanished between two snapshots, by table, with likely causes."""
    from pipeline.cli.alone import diff_alone

    found = diff_alone(before, after)
    if json:
        emit(found)
        return
    print(f"{'':<20} {'before':>13} {'after':>13} {'appeared':>13} {'vanished':>13} {'changed':>13}")
    for name, table in found["tables"].items():
        print(f"{name:<20} " + " ".join(f"{number:>13,}" for number in table.values()))
    for cause in found["causes"]:
        print(f"- {cause}")
    show_notices(found["notices"])


@app.command("requests")
def requests_command(
    workspace: Workspace = DEFAULT_WORKSPACE,
    run: RunId = None,
    limit: Annotated[int, typer.Option(help="Posts shown at most.")] = 20,
    json: Json = False,
) -> None:
    """Posts for which people asked for a note, those that want one most first, with what they suggested."""
    from ingest.requests import FEEDS, ranked_requests
    from pipeline.plan import Plan
    from storage.store import Store
    from texts.note import clean_text

    store = Store(workspace)
    rows = ranked_requests(Plan(store, run or newest_run(store)).input("ingest").path)[:limit]
    if json:
        emit({"requests": [row | {"post_id": str(row["post_id"])} for row in rows]})
        return
    for row in rows:
        notes = (
            f"{row['notes']} note{'' if row['notes'] == 1 else 's'}{', one rated Helpful' if row['helpful'] else ''}"
        )
        print(f"{row['post_id']}  {notes}; asked for in {row['feeds']} of X's {len(FEEDS)} feeds of requests")
        for text in row["suggestions"][:3]:
            print(f"    {clean_text(text)}")
        for link in row["links"][:3]:
            print(f"    link offered by a reader, unchecked: {clean_text(link)}")
    if not rows:
        print("The snapshot holds no requests.")


@app.command("inspect")
def inspect_command(
    workspace: Workspace = DEFAULT_WORKSPACE,
    host: Annotated[str, typer.Option(help="Address to bind; loopback unless you know what you do.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to bind.")] = 8765,
    database: Annotated[
        str | None, typer.Option(help="Database URL of the decisions; default: SQLite in the workspace.")
    ] = None,
    single_user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Nobody signs in, everything is NAME's; loopback only.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes.")] = 2,
    proxy_user_header: Annotated[
        str | None, typer.Option(metavar="HEADER", help="Header in which a reverse proxy on loopback names the user.")
    ] = None,
    proxy_address: Annotated[
        list[str] | None, typer.Option(metavar="IP", help="Peers whose header is believed instead of loopback's.")
    ] = None,
    proxy_role: Annotated[str, typer.Option(help="Role of a user first seen in that header.")] = "viewer",
    https: Annotated[bool, typer.Option("--https", help="Behind TLS: cookies are marked Secure.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Further Host names to answer to.")
    ] = None,
    add_user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add an account and end; the password is asked for, or read from stdin."),
    ] = None,
    role: Annotated[str, typer.Option(help="With --add-user: viewer, analyst or admin.")] = "analyst",
) -> None:
    """The analysts' web app on the runs of a workspace."""
    import pipeline.inspecting as inspecting

    if add_user is not None:
        typed = sys.stdin.isatty()
        password = typer.prompt("Password", hide_input=True) if typed else sys.stdin.readline().rstrip("\n")
        inspecting.add_user(workspace, database, add_user, role, password)
        return
    more: dict[str, Any] = {"proxy_addresses": tuple(proxy_address)} if proxy_address else {}
    inspecting.serve(
        workspace,
        host,
        port,
        database,
        single_user=single_user,
        workers=workers,
        proxy_user_header=proxy_user_header,
        proxy_default_role=proxy_role,
        https=https,
        allowed_hosts=tuple(allow_host or ()),
        **more,
    )


@app.command("decisions")
def decisions_command(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    run: Annotated[str | None, typer.Option(help="Only decisions made in this run.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    database: Annotated[str | None, typer.Option(help="Database URL of the decisions.")] = None,
    json: Json = False,
) -> None:
    """Write every decision that analysts made, undone ones too, for build-pairs and export."""
    import pipeline.inspecting as inspecting

    n = inspecting.write_decisions(workspace, database, out, run)
    emit({"decisions": n, "path": str(out)}) if json else say(f"{n} decisions: {out}")


@app.command("publication")
def publication_command(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    out: Annotated[Path, typer.Option(help="File of JSON lines to write; withheld.jsonl is written beside it.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    database: Annotated[str | None, typer.Option(help="Database URL of the decisions.")] = None,
    json: Json = False,
) -> None:
    """Write the notes of a run that analysts accepted and that may be published."""
    import pipeline.inspecting as inspecting

    n = inspecting.write_publication(workspace, database, run, out)
    emit(n) if json else say(f"{n['published']} notes may be published: {out}; {n['withheld']} are withheld")


@app.command()
def doctor(
    workspace: Workspace = DEFAULT_WORKSPACE, config: Config = None, set: Set = None, json: Json = False
) -> None:
    """Versions, embeddings, model server, workspace, database, disk, GPU: what works here and what does not."""
    from pipeline.cli.doctor import examine, print_findings

    findings = examine(workspace, _settings(config, set))
    if json:
        emit(findings)
    else:
        print_findings(findings)
    if any(finding["state"] == "failed" for finding in findings["checks"]):
        raise typer.Exit(1)


@app.command("verify")
def verify_command(
    workspace: Annotated[str, typer.Argument(help="Directory or fsspec URL of the workspace.")] = DEFAULT_WORKSPACE,
    json: Json = False,
) -> None:
    """Read a whole workspace and compare every file with what its manifest says. Exit code 0: sound, 1: damaged or missing files."""
    from pipeline.progress import reporting
    from storage.store import Store
    from storage.verify import verify

    if "://" not in workspace and not Path(workspace).expanduser().is_dir():
        raise InputError(f"There is no workspace {workspace!r}. Give the directory that --workspace named.")
    store = Store(workspace)
    with reporting("verify") as progress:
        found = verify(store, progress)
    if json:
        emit(found.to_json())
    else:
        for path, wrong in found.damaged.items():
            print(f"{path}: {'; '.join(wrong)}")
        state = f"{len(found.damaged)} damaged or with missing files" if found.damaged else "all sound"
        say(f"{found.checked} directories and databases read: {state}")
        if found.damaged:
            say("Run the same supernotes run again: what is damaged is set aside in damaged/ and made again.")
    if found.damaged:
        raise typer.Exit(1)


@app.command("settings")
def settings_command(config: Config = None, set: Set = None, json: Json = False) -> None:
    """Every setting with its present value."""
    from pipeline.settings import as_dict

    values = as_dict(_settings(config, set))
    if json:
        emit(values)
        return

    def lines(table: dict[str, Any], name: str) -> None:
        print(f"[{name}]")
        nested = {}
        for key, value in table.items():
            if isinstance(value, dict):
                nested[key] = value
            elif value is not None:
                print(f"{key} = {jsonlib.dumps(value, ensure_ascii=False)}")
        print()
        for key, value in nested.items():
            lines(value, f"{name}.{key}")

    for name, table in values.items():
        lines(table, name)


# -- single stages of a run ----------------------------------------------------------------------------------------


def say_frozen(plan: Any, stage: str, settings: Any) -> None:
    """Say which settings asked for now a run made with others does not use; what was left at its default says nothing."""
    from pipeline.settings import Settings, as_dict

    asked, usual, kept = (as_dict(values) for values in (settings, Settings(), plan.settings))
    for table in (stage, "run"):
        for key, value in asked.get(table, {}).items():
            if value not in (usual[table][key], kept[table].get(key)):
                say(
                    f"  {table}.{key} = {jsonlib.dumps(value)} is not used: run {plan.run_id} keeps the settings it was made with, "
                    f"here {jsonlib.dumps(kept[table].get(key))}. For another value make a new run: supernotes run"
                )


def stage_of_run(
    stage: str, run_id: str | None, workspace: str, as_json: bool, settings: Any, second: str | None = None
) -> None:
    """One stage of a run. `second` (the run compared with, or ''): a stage of the feedback, whose settings are those given now."""
    from nouns.notices import notices_of
    from pipeline.plan import Plan
    from pipeline.progress import reporting
    from pipeline.promote import with_feedback_settings
    from storage.store import Store

    store = Store(workspace)
    plan = Plan(store, run_id or newest_run(store))
    if second is None:
        say_frozen(plan, stage, settings)
    else:
        plan = with_feedback_settings(plan, settings)
    with reporting(stage) as progress:
        result = plan.run(stage, progress, second or "")
    notices = notices_of(stage, result.counts)
    if as_json:
        emit({"run_id": plan.run_id, "stage": stage, "notices": notices} | result.to_json())
        return
    say(f"{stage} {result.state}: {result.path}")
    show_notices(notices)
    for key, value in result.counts.items():
        if key == "rejected":
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in value.items())
            say(f"  left out: {reasons or 'none'}")
        elif key == "warnings":
            for warning in value:
                say(f"  warning: {warning}")
        elif value is not None and not isinstance(value, (dict, list)):
            say(f"  {key}: {value}")
    if stage == "tune_writer":
        say(
            f"  report.json and training.png there; next: supernotes compare-writers --adapter {result.path}/adapter --workspace {workspace}"
        )


def _register(stage: str, help_text: str) -> None:
    def command(
        run: RunId = None,
        workspace: Workspace = DEFAULT_WORKSPACE,
        config: Config = None,
        set: Set = None,
        json: Json = False,
    ) -> None:
        stage_of_run(stage, run, workspace, json, _settings(config, set))

    command.__doc__ = help_text
    app.command(verb(stage))(command)


@app.command()
def ingest(
    input: Annotated[str | None, typer.Option("--input", "-i", help="Directory or URL of X's public files.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    posts: Annotated[str | None, typer.Option(help="Table of post texts (Parquet, JSONL or CSV).")] = None,
    as_of: Annotated[str | None, typer.Option(help="Use only rows created before this time.")] = None,
    run: RunId = None,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """X's public files to a typed snapshot, every row accounted for."""
    from pipeline.plan import RunRequest, create_run
    from storage.store import Store

    if input is not None:
        run = create_run(Store(workspace), RunRequest(input, posts, as_of=read_as_of(as_of)), _settings(config, set))
    stage_of_run("ingest", run, workspace, json, _settings(config, set))


@app.command("fit-raters")
def fit_raters(
    ratings: Annotated[Path | None, typer.Option(help="X's ratings: a file or a directory; without a run.")] = None,
    notes: Annotated[Path | None, typer.Option(help="X's notes file or directory; with --ratings.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for the tables; with --ratings or --adopt.")] = None,
    adopt: Annotated[Path | None, typer.Option(help="X's scorer files to adopt instead of fitting.")] = None,
    run: RunId = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """Rater and note parameters: of a run, or of a ratings file straight into --out."""
    if ratings is None and adopt is None:
        stage_of_run("fit_raters", run, workspace, json, _settings(config, set))
        return
    from pipeline.cli.alone import fit_raters_alone
    from pipeline.progress import reporting

    with reporting("fit_raters") as progress:
        fit = fit_raters_alone(ratings, notes, out, adopt, _settings(config, set), progress)
    if json:
        emit(fit)
    else:
        show_notices(fit["notices"])
        say(
            f"{fit.get('n_raters', 0):,} raters, {fit.get('n_notes', 0):,} notes, {fit.get('n_ratings', 0):,} ratings -> {out}"
        )


@app.command("fold-in")
def fold_in(
    raters: Annotated[Path, typer.Option(help="A fit_raters output.")],
    ratings: Annotated[Path, typer.Option(help="New ratings: X's file or a directory.")],
    out: Annotated[Path, typer.Option(help="Directory for notes.parquet.")],
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """Parameters of new notes from their ratings, the raters held fixed."""
    from pipeline.cli.alone import fold_in_alone

    counts = fold_in_alone(raters, ratings, out, _settings(config, set))
    if json:
        emit(counts)
    else:
        say(f"{counts.get('out', 0):,} notes -> {out}")


@app.command("draft-candidates")
def draft_candidates(
    run: RunId = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact requests as JSON lines and call no model.")
    ] = False,
    post: Annotated[list[str] | None, typer.Option(help="With --dry-run: only this post. Repeatable.")] = None,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """Candidate texts for every eligible post. With --set or --config in a new run like the one named: a run keeps its settings."""
    from storage.store import Store

    store = Store(workspace)
    run = run_with_settings(store, run or newest_run(store), config, set)
    if not dry_run:
        stage_of_run("draft_candidates", run, workspace, json, _settings(config, set))
        return
    from pipeline.cli.alone import dry_run_requests

    for request in dry_run_requests(store, run, [int(p) for p in post] if post else None):
        emit(request)


def run_with_settings(store: Any, run_id: str, config: Path | None, flags: list[str] | None) -> str:
    """The run itself, or, where settings are given, the id of a run like it with those, as far as its clusters."""
    from pipeline.plan import Plan, create_run
    from pipeline.progress import reporting
    from pipeline.settings import changed_by_flags

    if not config and not flags:
        return run_id
    plan = Plan(store, run_id)
    settings = _settings(config, flags) if config else changed_by_flags(plan.settings, flags or ())
    other = create_run(store, plan.request, settings)
    if other != run_id:
        say(f"run {other}: like {run_id}, with other settings")
        for stage in RUN_STAGES[: RUN_STAGES.index("draft_candidates")]:
            with reporting(stage) as progress:
                Plan(store, other).run(stage, progress)
    return other


@app.command("try-writer")
def try_writer_command(
    posts: Annotated[int, typer.Option(min=1, max=200, help="How many of the run's eligible posts.")] = 5,
    run: RunId = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """A writing model on a few posts, beside the extractive writer: drafts, checks, scores. Keeps nothing."""
    from pipeline.plan import Plan
    from pipeline.progress import reporting
    from pipeline.settings import changed_by_flags
    from pipeline.try_writer import print_trial, try_writer
    from storage.store import Store

    store = Store(workspace)
    plan = Plan(store, run or newest_run(store))
    settings = _settings(config, set) if config else changed_by_flags(plan.settings, set or ())
    with reporting("try_writer") as progress:
        result = try_writer(plan, settings, posts, progress)
    if json:
        emit(result)
    else:
        print_trial(result)


@app.command()
def export(
    run: Annotated[str | None, typer.Argument(help="Run id; default: the newest.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    format: Annotated[
        list[str] | None, typer.Option(help="dpo, kto, reward, grpo, scored, sft, ... Repeatable; default: all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory to write instead of the workspace's exports/.")] = None,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """Dataset folders for training tools, with card, manifest and checksums. Its own settings are those given now."""
    from pipeline.cli.alone import export_alone
    from pipeline.plan import Plan
    from pipeline.progress import reporting
    from pipeline.settings import given_values, with_given
    from storage.store import Store

    store = Store(workspace)
    plan = Plan(store, run or newest_run(store))
    given = given_values(config, flags=set or ())
    plan.settings = with_given(plan.settings, "export", given)
    say_frozen(plan, "build_pairs", _settings(config, set))
    with reporting("export") as progress:
        counts = export_alone(plan, tuple(format or ()), out, progress)
    if json:
        emit(counts)
    else:
        say(f"exported to {counts['path']}")


# -- texts and juries without a run --------------------------------------------------------------------------------


def _lines() -> Any:
    """JSON objects from standard input, one a line. Raises `InputError` with the line's number."""
    for number, line in enumerate(sys.stdin, start=1):
        if not line.strip():
            continue
        try:
            value = jsonlib.loads(line)
        except jsonlib.JSONDecodeError as error:
            raise InputError(
                f"standard input, line {number}: not valid JSON ({error.msg}). One JSON object a line was expected."
            ) from error
        if not isinstance(value, dict):
            raise InputError(
                f"standard input, line {number}: {type(value).__name__} found, a JSON object was expected."
            )
        yield number, value


@app.command("check-text")
def check_text(config: Config = None, set: Set = None) -> None:
    """Check texts given as JSON lines on standard input; JSON lines out."""
    from synthesis.check.stage import check_text_json

    settings = _settings(config, set).check_candidates
    for number, line in _lines():
        try:
            emit(check_text_json(line, settings))
        except ValueError as error:
            raise InputError(f"standard input, line {number}: {error}") from error


@app.command("rate-text")
def rate_text(
    jury: Annotated[str, typer.Option(help="A trained jury: id in the workspace or directory.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """How a jury would receive texts given as JSON lines on standard input; JSON lines out."""
    from jury.rate_text import rate_lines
    from pipeline.cli.alone import _cache, jury_directory

    for result in rate_lines(
        jury_directory(jury, workspace), (value for _, value in _lines()), cache=_cache(workspace)
    ):
        emit(result)


@app.command("evaluate-jury")
def evaluate_jury(
    jury: Annotated[str, typer.Option(help="A trained jury: id in the workspace or directory.")],
    notes: Annotated[Path, typer.Option(help="Notes as TSV.")],
    ratings: Annotated[Path | None, typer.Option(help="Ratings as TSV.")] = None,
    posts: Annotated[Path | None, typer.Option(help="Post texts.")] = None,
    raters: Annotated[
        Path | None, typer.Option(help="Rater parameters; default: the jury's own, or those in the ratings.")
    ] = None,
    targets: Annotated[Path | None, typer.Option(help="Note ids to predict, one a line; default: all.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Siblings with ratings made before this time only.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    json: Json = False,
) -> None:
    """How well a jury predicts real ratings it has not seen, beside the baselines."""
    from pipeline.cli.alone import evaluate_alone, print_evaluation

    result = evaluate_alone(jury, notes, ratings, posts, raters, targets, read_as_of(as_of), workspace)
    if json:
        emit(result)
    else:
        print_evaluation(result)


@app.command("learn-outcomes")
def learn_outcomes(
    later: Annotated[
        str, typer.Option(help="Id of a later run: its snapshot and parameters say how texts were received.")
    ],
    run: RunId = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """How published supernotes and judged notes were really received, from a later snapshot."""
    stage_of_run("learn_outcomes", run, workspace, json, _settings(config, set), later)


@app.command("tune-writer")
def tune_writer(
    run: RunId = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """A LoRA adapter for the writing model, tuned on a run's export."""
    stage_of_run("tune_writer", run, workspace, json, _settings(config, set), "")


@app.command("compare-writers")
def compare_writers(
    new: Annotated[str | None, typer.Option(help="Id of a run by the new writer; or give --adapter.")] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            help="Adapter (models/writer-ID/adapter); it and the current writer draft the held-out posts now."
        ),
    ] = None,
    run: RunId = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    config: Config = None,
    set: Set = None,
    json: Json = False,
) -> None:
    """The current writer against a new one on held-out posts, before a jury that taught neither."""
    from pipeline.plan import Plan
    from pipeline.progress import reporting
    from pipeline.promote import adapter_of, compare_adapter, read_comparison, with_feedback_settings
    from storage.store import Store

    store, settings = Store(workspace), _settings(config, set)
    run_id = run or newest_run(store)
    with reporting("compare_writers") as progress:
        if adapter:
            result = compare_adapter(store, run_id, adapter_of(store, adapter), settings, progress)
        else:
            plan = with_feedback_settings(Plan(store, run_id), settings)
            result = read_comparison(store, plan.run("compare_writers", progress, new or ""))
    if json:
        emit(result)
        return
    for name, measure in result.items():
        if isinstance(measure, dict) and "value" in measure:
            say(
                f"  {name:<24} {measure['value']!s:>10}  [{measure.get('lo')}, {measure.get('hi')}]  n = {measure.get('n')}"
            )
    say(f"{result['decision']}: {result.get('reason', '')}")
    if result["decision"] == "promote" and result.get("new_run"):
        say(f"promote it: supernotes promote-writer {result['new_run']} --workspace {workspace}")


@app.command("promote-writer")
def promote_writer(
    run: Annotated[
        str | None, typer.Argument(help="Run of the new writer, as compare-writers names it (new_run).")
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Take the last promotion back instead.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    json: Json = False,
) -> None:
    """Make a writer that won its comparison the workspace's current one (draft_candidates.adapter = "current"), or roll back."""
    from pipeline.promote import comparison_of, roll_back_writer
    from pipeline.promote import promote_writer as promote
    from storage.store import Store

    if back == bool(run):
        raise InputError("promote-writer needs either a run whose comparison says promote, or --back.")
    store = Store(workspace)
    now = roll_back_writer(store) if run is None else promote(store, *comparison_of(store, run))
    if json:
        emit({"current": now})
        return
    say(f"current writer: {now['path']}" if now else "current writer: the model without an adapter")


for _stage in STAGES:  # verbs that need no word of their own
    if _stage.verb not in {command.name for command in app.registered_commands} | {"ingest", "export"}:
        _register(_stage.name, _stage.help)


def main(argv: list[str] | None = None) -> None:
    """Entry point: turns every error into one paragraph and an exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("SUPERNOTES_DEBUG") == "1"
    arguments = [argument for argument in arguments if argument != "--debug"]
    said: dict[str, Any] = {}
    code = 0
    emitted[0] = 0
    try:
        # Not `app(arguments)`, which swallows Ctrl-C and ends a broken pipe as a failure.
        command = typer.main.get_command(app)
        with command.make_context("supernotes", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as error:
        code = error.exit_code
    except BrokenPipeError:
        os._exit(0)  # whoever read has enough; no word, and no flush at the end
    except (KeyboardInterrupt, typer.Abort):
        again = " ".join(["supernotes", *map(shlex.quote, arguments)])
        said, code = {"status": "stopped", "error": "stopped before the end"}, 130
        say(f"stopped; finished stages are kept and are not repeated. To go on, run the same command again:\n  {again}")
    except Exception as error:
        if debug:
            traceback.print_exc()
        usage: Any = error if hasattr(error, "format_message") else None  # typer's own, without a public name
        text = usage.format_message() if usage else str(error)
        if not usage and not isinstance(error, SupernotesError):
            text = f"{type(error).__name__}: {error} (run again with --debug for the traceback)"
        notices = list(getattr(error, "notices", ()))
        said, code = {"status": "failed", "error": text, "notices": notices}, getattr(error, "exit_code", 1)
        show_notices(entry for entry in notices if entry["level"] != "refused")  # that one is the error itself
        if usage:
            usage.show()
        else:
            say(f"error: {text}")
    if said and "--json" in arguments and not emitted[0]:
        emit({"notices": []} | said | {"exit_code": code})
    raise SystemExit(code)


if __name__ == "__main__":
    main()
