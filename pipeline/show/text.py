"""What won and why: the same facts as JSON objects and as pages in the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.stages import RUN_STAGES
from pipeline.show.frames import Run, open_run
from storage.store import Store


def open_in(store: Store, run_id: str) -> Run:
    """A run of a workspace, opened for reading. Raises `InputError` naming the runs there are."""
    if store.remote:
        raise InputError(
            "Pages and tables are read from a local workspace; copy the run, or set --workspace to a local directory."
        )
    if store.read_text(f"runs/{run_id}/run.json") is None:
        known = ", ".join(store.list("runs")) or "none"
        raise InputError(f"There is no run {run_id!r} in {store.root!r}; its runs: {known}.")
    return open_run(store.home / "runs" / run_id)


def list_runs(store: Store) -> list[dict[str, Any]]:
    """The workspace's runs in the order in which they were described, with how far each came."""
    rows = []
    for run_id in store.list("runs"):
        text = store.read_text(f"runs/{run_id}/run.json")
        if text is None:
            continue
        finished = [stage for stage in RUN_STAGES if store.manifest(f"runs/{run_id}/{stage}")]
        selected = store.manifest(f"runs/{run_id}/select_winners")
        counts = selected.counts if selected else {}
        rows.append(
            {
                "run_id": run_id,
                "source": json.loads(text)["request"]["source"],
                "state": "done"
                if len(finished) == len(RUN_STAGES)
                else f"after {finished[-1]}"
                if finished
                else "described",
                "posts": counts.get("in", 0),
                "winners": counts.get("out", 0),
            }
        )
    return rows


def read_selections(run: Run) -> list[dict[str, Any]]:
    path = run.directory("select_winners") / "selections.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def run_view(store: Store, run_id: str) -> dict[str, Any]:
    """Counts and every selection of a run."""
    run = open_in(store, run_id)
    selections = read_selections(run)
    return {
        "run_id": run_id,
        "request": {name: value for name, value in run.request.items() if value},
        "winners": sum(row["outcome"] == "winner" for row in selections),
        "posts": len(selections),
        "selections": selections,
    }


def post_summary(store: Store, run_id: str, post: str) -> dict[str, Any]:
    """Everything a run knows about one post, ids as strings."""
    import polars as pl

    run = open_in(store, run_id)
    selection = next((row for row in read_selections(run) if row["post_id"] == post), None)
    if selection is None:
        raise InputError(f"Run {run_id} has no post {post!r}. List its posts with: supernotes show {run_id} --json")
    post_id = int(post)

    def rows(stage: str, name: str, key: str = "post_id") -> list[dict[str, Any]]:
        parts = []
        for source in (stage, "revise_candidates"):
            try:
                path = run.directory(source) / name
            except InputError:
                continue
            if path.exists():
                parts.extend(pl.scan_parquet(path).filter(pl.col(key) == post_id).collect().to_dicts())
        return [_plain(row) for row in parts]

    clusters = rows("cluster_notes", "clusters.parquet")
    borrowed = {int(row["note_id"]) for row in clusters if row["borrowed"]}
    notes = (
        pl.scan_parquet(run.directory("ingest") / "notes.parquet")
        .filter((pl.col("tweetId") == post_id) | pl.col("noteId").is_in(sorted(borrowed)))
        .with_columns(borrowed=pl.col("tweetId") != post_id)
        .collect()
        .sort("borrowed", "noteId")
    )
    texts = pl.scan_parquet(run.directory("ingest") / "posts.parquet").filter(pl.col("tweetId") == post_id).collect()
    fitted = pl.read_parquet(run.directory("fit_raters") / "notes.parquet")
    notes = notes.join(fitted.rename({"noteId": "fit_id"}), left_on="noteId", right_on="fit_id", how="left")
    kept = [
        c
        for c in ("noteId", "classification", "summary", "borrowed", "intercept", "factor1", "n_ratings", "status")
        if c in notes.columns
    ]
    return {
        "selection": selection,
        "post": _plain(texts.to_dicts()[0]) if texts.height else {"tweetId": post},
        "notes": [_plain(row) for row in notes.select(kept).to_dicts()],
        "clusters": clusters,
        "candidates": rows("draft_candidates", "candidates.parquet"),
        "checks": [row for row in rows("check_candidates", "checks.parquet") if row["outcome"] != "passed"],
        "verdicts": rows("judge_candidates", "verdicts.parquet"),
        "existing": rows("judge_candidates", "existing.parquet"),
        "losers": rows("select_winners", "losers.parquet"),
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row for JSON: ids as strings, numbers finite or null."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith(("_id", "Id")) and isinstance(value, int):
            value = str(value)
        elif name.endswith("_ids") and isinstance(value, list):
            value = [str(item) for item in value]
        elif isinstance(value, float) and value != value:
            value = None
        out[name] = value
    return out


def printable(text: str) -> str:
    """Untrusted text for a terminal: control characters (escape sequences too) shown, not obeyed."""
    return "".join(c if c == "\n" or (c.isprintable()) else f"\\x{ord(c):02x}" for c in text)


def _score(value: float | None) -> str:
    return "   –  " if value is None else f"{value:+.3f}"


def show_run(store: Store, run_id: str, limit: int = 10) -> None:
    """The run's counts and its best winners, on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    view = run_view(store, run_id)
    console = Console(highlight=False)
    winners = [row for row in view["selections"] if row["outcome"] == "winner"]
    console.print(f"run {run_id}: {view['posts']:,} posts, {len(winners):,} winners\n", markup=False)
    table = Table(show_lines=True, expand=True)
    table.add_column("post", no_wrap=True)
    table.add_column("score [interval]\nappeal | best existing", no_wrap=True)
    table.add_column("supernote (machine-written) and why it won", ratio=1, overflow="fold")
    for row in sorted(winners, key=lambda row: -(row["score"] or 0))[:limit]:
        scores = f"{_score(row['score'])} [{_score(row['lower'])}, {_score(row['upper'])}]\n{_score(row['appeal_score'])} | {_score(row['best_existing_score'])}"
        table.add_row(
            row["post_id"], scores, Text(printable(row["text"]) + "\n") + Text(printable(row["reason"]), style="dim")
        )
    console.print(table)
    abstained: dict[str, int] = {}
    for row in view["selections"]:
        if row["outcome"] != "winner":
            abstained[row["reason_code"]] = abstained.get(row["reason_code"], 0) + 1
    if abstained:
        reasons = Table("abstentions", "posts")
        for reason, number in sorted(abstained.items(), key=lambda item: -item[1]):
            reasons.add_row(reason, f"{number:,}")
        console.print(reasons)


def show_post(store: Store, run_id: str, post: str) -> None:
    """One post on standard output: its notes, the candidates ranked, and the reason."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    view = post_summary(store, run_id, post)
    console = Console(highlight=False)
    selection = view["selection"]
    console.print(f"post {post}: {printable(view['post'].get('text') or 'no text known')}\n", markup=False)
    notes = Table(title="proposed notes", show_lines=True, expand=True)
    notes.add_column("note\nsays the post is\nintercept, factor, ratings", no_wrap=True)
    notes.add_column("text", ratio=1, overflow="fold")
    for row in view["notes"]:
        stance = "misleading" if row["classification"].startswith("MISINFORMED") else "not misleading"
        received = f"{_score(row.get('intercept'))}, {_score(row.get('factor1'))}, {row.get('n_ratings') or 0}"
        told = "\nborrowed: same story,\nother post" if row["borrowed"] else ""
        notes.add_row(f"{row['noteId']}\n{stance}\n{received}{told}", Text(printable(row["summary"])))
    console.print(notes)
    verdicts = {row["candidate_id"]: row for row in view["verdicts"]}
    why = {row["candidate_id"]: row.get("reason", "") for row in view["losers"]}
    table = Table(title="candidates, best first", show_lines=True, expand=True)
    table.add_column("score [interval]\nhelpful –/0/+", no_wrap=True)
    table.add_column("text and fate", ratio=1, overflow="fold")
    ranked = sorted(view["candidates"], key=lambda row: -((verdicts.get(row["candidate_id"]) or {}).get("score") or -9))
    for row in ranked[:20]:
        verdict = verdicts.get(row["candidate_id"]) or {}
        won = row["candidate_id"] == selection.get("candidate_id")
        fate = "It won." if won else why.get(row["candidate_id"], "")
        shares = "/".join(
            "–" if verdict.get(f"helpful_{side}") is None else f"{verdict[f'helpful_{side}']:.0%}"
            for side in ("negative", "middle", "positive")
        )
        table.add_row(
            f"{_score(verdict.get('score'))} [{_score(verdict.get('lower'))}, {_score(verdict.get('upper'))}]\n{shares}",
            Text(f"{row['candidate_id']} {printable(row['writer'])}\n", style="dim")
            + Text(printable(row["text"]) + "\n")
            + Text(printable(fate or ""), style="dim"),
        )
    console.print(table)
    console.print(f"{selection['outcome']}: {printable(selection['reason'] or '')}", markup=False)


def stage_timings(run: Run) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(stage, counts, timing) of every finished stage, in order."""
    rows = []
    for stage in RUN_STAGES:
        try:
            rows.append((stage, run.manifest(stage)["counts"], run.timing(stage)))
        except (InputError, FileNotFoundError):
            continue
    return rows


def report_path(store: Store, run_id: str) -> Path:
    return store.home / "runs" / run_id / "report.html"
