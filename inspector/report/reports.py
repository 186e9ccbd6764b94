"""What the decisions say as a whole: agreement, misses both ways, how the funnel lost posts, what analysts will publish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import Engine

from inspector.decide.decisions import history
from inspector.read.reading import NOTE, RunIndex
from inspector.read.runs import Workspace
from inspector.read.text import links
from inspector.report.agreement import Alpha, Estimate, Unit, alpha_with_interval, bootstrap_mean
from inspector.report.downloads import json_lines
from nouns.decisions import (
    PUBLISHING_KINDS,
    Decision,
    HeldText,
    by_post,
    effective,
    last_word,
    last_words,
    publishable,
    says,
)

SEED = 20241109  # of the bootstrap: the same decisions give the same interval


@dataclass(frozen=True)
class Agreement:
    """Agreement over one run or several. `matrix[a][b]`: (share of equal words, posts both settled)."""

    between_analysts: Alpha
    with_machine: Alpha
    machine_right: Estimate  # share of winners that analysts would publish
    abstentions_confirmed: Estimate  # share of abstentions looked at that analysts left unpublished
    preference: Estimate  # share of preferences that go to the text the jury scored higher
    preference_blind: Estimate  # the same, blind ones only
    over_notes: Estimate  # share of preferences between a candidate and a note that go to the candidate
    over_notes_blind: Estimate  # the same, blind ones only
    matrix: dict[str, dict[str, tuple[float, int]]]
    per_analyst: list[dict[str, Any]]
    by_machine: dict[str, dict[tuple[str, str], int]]  # analyst -> (machine's outcome, analyst's word) -> posts


def last_word_by_analyst(rows: Sequence[Decision]) -> dict[tuple[str, int], dict[str, Decision]]:
    """(run, post) -> analyst -> that analyst's own last settling decision."""
    found: dict[tuple[str, int], list[Decision]] = defaultdict(list)
    for row in effective(rows):
        found[(row.run_id, row.post_id)].append(row)
    return {place: words for place, mine in found.items() if (words := last_words(mine))}


def measure_agreement(indexes: Sequence[RunIndex], rows: Sequence[Decision]) -> Agreement:
    """Agreement of analysts with each other and with the machine over the given runs' decisions (whole history).

    Unit: a post of a run. Values: publish, reject, not needed. The machine counts as one more coder who says 'publish'
    for a winner and 'do not publish' for an abstention; against it, reject and not needed are one value.
    """
    outcomes = {index.run_id: {row["post_id"]: row["outcome"] for row in index.selections()} for index in indexes}
    units: list[Unit] = []
    machine_units: list[Unit] = []
    winners: list[bool] = []
    abstentions: list[bool] = []
    pairs: dict[tuple[str, str], list[bool]] = defaultdict(list)
    by_machine: dict[str, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for (run_id, post_id), words in sorted(last_word_by_analyst(rows).items()):
        values = {analyst: says(row.kind) for analyst, row in sorted(words.items())}
        units.append(values)
        names = list(values)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                pairs[(a, b)].append(values[a] == values[b])
        outcome = outcomes.get(run_id, {}).get(post_id)
        if outcome in ("winner", "abstained"):
            yes = {f"analyst {name}": value == "publish" for name, value in values.items()}
            machine_units.append(yes | {"machine": outcome == "winner"})
            for name, value in values.items():
                by_machine[name][(outcome, value)] += 1
            (winners if outcome == "winner" else abstentions).extend(yes.values())
    matrix: dict[str, dict[str, tuple[float, int]]] = defaultdict(dict)
    for (a, b), same in sorted(pairs.items()):
        matrix[a][b] = matrix[b][a] = (float(np.mean(same)), len(same))
    preferences = list(_preferences(indexes, rows))
    runs = {index.run_id for index in indexes}
    over_notes = [
        (float((row.other_id or "").startswith(NOTE)), row.blind)
        for row in effective(rows)
        if row.kind == "prefer"
        and row.run_id in runs
        and (row.other_id or "").startswith(NOTE) != (row.candidate_id or "").startswith(NOTE)
    ]
    rng = np.random.default_rng(SEED)
    per_analyst = []
    for name in sorted({row.analyst for row in rows}):
        mine = [row for row in effective(rows) if row.analyst == name]
        kinds: dict[str, int] = defaultdict(int)
        for row in mine:
            kinds[row.kind] += 1
        per_analyst.append(
            {
                "analyst": name,
                "n": len(mine),
                "kinds": dict(kinds),
                "last": max((r.created_at for r in mine), default=None),
            }
        )
    return Agreement(
        alpha_with_interval(units, rng),
        alpha_with_interval(machine_units, rng),
        bootstrap_mean([float(v) for v in winners], rng),
        bootstrap_mean([float(not v) for v in abstentions], rng),
        bootstrap_mean([agrees for agrees, _ in preferences], rng),
        bootstrap_mean([agrees for agrees, blind in preferences if blind], rng),
        bootstrap_mean([won for won, _ in over_notes], rng),
        bootstrap_mean([won for won, blind in over_notes if blind], rng),
        dict(matrix),
        per_analyst,
        by_machine,
    )


def _preferences(indexes: Sequence[RunIndex], rows: Sequence[Decision]) -> Iterator[tuple[float, bool]]:
    """For each preference between two judged texts: 1 if the jury scored the preferred one higher (½ at a tie), and blind."""
    by_run = {index.run_id: index for index in indexes}
    for row in effective(rows):
        if row.kind != "prefer" or row.run_id not in by_run:
            continue
        scores = candidate_scores(by_run[row.run_id], row.post_id)
        a, b = scores.get(row.candidate_id or ""), scores.get(row.other_id or "")
        if a is not None and b is not None:
            yield (1.0 if a > b else 0.5 if a == b else 0.0), row.blind


def candidate_scores(index: RunIndex, post_id: int) -> dict[str, float | None]:
    """The jury's score of every candidate of a post, and of every note under `note-<id>`; empty for an unknown post."""
    from nouns.errors import Refused

    try:
        post = index.post(post_id)
    except Refused:
        return {}
    scores = {row["candidate_id"]: row["score"] for row in index.candidates(post, ("candidate_id", "score"))}
    return scores | {f"{NOTE}{note['note_id']}": note["score"] for note in index.notes(post)}


def bad_misses(index: RunIndex, rows: Sequence[Decision], limit: int = 50) -> dict[str, list[dict[str, Any]]]:
    """Where machine and analysts are furthest apart, worst first.

    published: winners that the last word rejects or finds not needed, highest lower bound first.
    withheld: abstentions that the last word publishes. preferred: preferences against the jury, largest gap first.
    """
    selections = {row["post_id"]: row for row in index.selections()}
    by_post: dict[int, list[Decision]] = defaultdict(list)
    for row in rows:
        by_post[row.post_id].append(row)
    published: list[dict[str, Any]] = []
    withheld: list[dict[str, Any]] = []
    preferred: list[dict[str, Any]] = []
    for post_id, mine in by_post.items():
        machine = selections.get(post_id)
        word = last_word(mine)
        if machine and word:
            entry = {"post_id": post_id, "machine": machine, "decision": word}
            if machine["outcome"] == "winner" and word.kind not in PUBLISHING_KINDS:
                published.append(entry)
            elif machine["outcome"] == "abstained" and word.kind in PUBLISHING_KINDS:
                withheld.append(entry)
        for row in effective(mine):
            if row.kind == "prefer":
                scores = candidate_scores(index, post_id)
                a, b = scores.get(row.candidate_id or ""), scores.get(row.other_id or "")
                if a is not None and b is not None and a < b:
                    preferred.append({"post_id": post_id, "decision": row, "gap": b - a})
    published.sort(key=lambda e: (-(e["machine"]["lower"] if e["machine"]["lower"] is not None else -9), e["post_id"]))
    withheld.sort(key=lambda e: (-(e["machine"]["best_score"] or 0), e["post_id"]))
    preferred.sort(key=lambda e: (-e["gap"], e["post_id"]))
    return {"published": published[:limit], "withheld": withheld[:limit], "preferred": preferred[:limit]}


def publication(
    workspace: Workspace, index: RunIndex, rows: Sequence[Decision]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of a run's `publication.jsonl` and `withheld.jsonl`, by post id; see `nouns.decisions.publishable`.

    `rows`: the whole history of every run; decisions bind to posts and texts.
    """
    from nouns.errors import Refused

    texts: dict[int, list[HeldText]] = {}
    for post_id, mine in by_post(rows).items():
        if any(row.kind in PUBLISHING_KINDS for row in mine):
            try:
                post = index.post(post_id)
            except Refused:  # a post of another run
                if any(row.run_id == index.run_id for row in mine):
                    texts[post_id] = []
                continue
            texts[post_id] = [_held(row) for row in index.candidates(post)]
    notes = {note for held in texts.values() for text in held for note in text.source_note_ids}
    published, withheld = publishable(
        rows,
        texts,
        workspace.deleted_notes(notes),
        run_id=index.run_id,
        reviews=index.rules.reviews,
        carry=index.rules.carry,
    )
    lines = [entry.to_json(links(entry.text), run_id=index.run_id) for entry in published]
    return lines, [entry.to_json() for entry in withheld]


def write_publication(workspace: Workspace, engine: Engine, run_id: str, out: Path) -> dict[str, int]:
    """Write `publication` of a run to `out`, and beside it `withheld.jsonl`; gives how many lines each has."""
    from inspector.read.index import build_index

    run = RunIndex(build_index(workspace, workspace.require(run_id)), run_id, engine)
    run.sync(now=True)
    published, withheld = publication(workspace, run, history(engine))
    out.write_text("".join(json_lines(published)), encoding="utf-8")
    (out.parent / "withheld.jsonl").write_text("".join(json_lines(withheld)), encoding="utf-8")
    return {"published": len(published), "withheld": len(withheld)}


def _held(row: dict[str, Any]) -> HeldText:
    said = ("parent_id", "writer", "prompt_version", "score", "lower", "upper")
    problem = row["problems"][0] if row["problems"] else None
    return HeldText(
        row["candidate_id"],
        row["text"] or "",
        row["classification"],
        row["language"],
        tuple(row["source_note_ids"] or ()),
        f"{problem['check'].replace('_', ' ')}: {problem['reason']}" if problem else "",
        {name: row[name] for name in said} | {"seed": str(row["seed"]) if row["seed"] is not None else None},
    )


def compare_runs(a: RunIndex, b: RunIndex) -> dict[str, Any]:
    """Two runs over the posts both have: how outcomes moved, and the winners' score difference (b less a)."""
    first = {row["post_id"]: row for row in a.selections()}
    second = {row["post_id"]: row for row in b.selections()}
    common = sorted(set(first) & set(second))
    moves: dict[tuple[str, str], int] = defaultdict(int)
    differences, gains = [], []
    changed = []
    for post_id in common:
        left, right = first[post_id], second[post_id]
        moves[(left["outcome"], right["outcome"])] += 1
        if left["score"] is not None and right["score"] is not None:
            differences.append(right["score"] - left["score"])
        if left["gain"] is not None and right["gain"] is not None:
            gains.append(right["gain"] - left["gain"])
        size = abs((right["score"] or 0) - (left["score"] or 0))
        if left["outcome"] != right["outcome"] or size >= 0.005:  # less does not show in two decimals
            changed.append((size, post_id, left, right))
    rng = np.random.default_rng(SEED)
    changed.sort(key=lambda entry: (-(entry[2]["outcome"] != entry[3]["outcome"]), -entry[0], entry[1]))
    return {
        "n_common": len(common),
        "only_a": len(first) - len(common),
        "only_b": len(second) - len(common),
        "moves": sorted(((x, y, n) for (x, y), n in moves.items()), key=lambda m: (-m[2], m[0], m[1])),
        "score": bootstrap_mean(differences, rng),
        "gain": bootstrap_mean(gains, rng),
        "wins_b": bootstrap_mean([1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences], rng),
        "changed": [{"post_id": post_id, "a": left, "b": right} for _, post_id, left, right in changed[:30]],
    }


def setting_differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Settings in which two runs differ, as dotted names with both values; None where one lacks it."""
    found = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) or isinstance(right, dict):
            found += setting_differences(
                left if isinstance(left, dict) else {}, right if isinstance(right, dict) else {}, f"{prefix}{key}."
            )
        elif left != right:
            found.append((prefix + key, left, right))
    return found
