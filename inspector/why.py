"""One true sentence for every post and every candidate: which gate or comparison decided.

The selection's own words (`selections.jsonl`, `losers.parquet`) come first; where a run has none, the sentence is made from
the numbers of checks and verdicts, and never says more than they do.
"""

from __future__ import annotations

import re
from typing import Any


def signed(value: float) -> str:
    """A number with its sign and a real minus: '+0.04', '−0.12'; '±0.00' where two decimals show no difference."""
    shown = f"{value:+.2f}".replace("-", "−")
    return "±0.00" if shown[1:] == "0.00" else shown


def plain(value: float | None) -> str:
    """A number in two decimals with a real minus; an en dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def why_candidate(row: dict[str, Any], winner: dict[str, Any] | None, post: dict[str, Any]) -> str:
    """Why this candidate won or lost; of a note that people wrote, what X and the jury say of it."""
    if row["status"] == "note":
        said = f"the jury scores it {plain(row['score'])}" if row["score"] is not None else "the jury has not scored it"
        fitted = (
            f"; its own {row['n_ratings']} ratings give it {plain(row['intercept'])}"
            if row["intercept"] is not None
            else ""
        )
        return f"Written by people: {said}{fitted}."
    if row["status"] == "winner":
        text = f"Won: score {plain(row['score'])} [{plain(row['lower'])}, {plain(row['upper'])}]"
        if post["best_score"] is not None and row["score"] is not None:
            text += f", {signed(row['score'] - post['best_score'])} against the best existing note's {plain(post['best_score'])}"
        return text + "."
    if row.get("lost_because"):
        return str(row["lost_because"])
    problems = row["problems"]
    if problems:
        first = problems[0]
        verb = "Could not be checked" if first["outcome"] == "unreadable" else "Failed a check"
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        reason = (first["reason"] or "").strip().rstrip(".")
        return f"{verb}: {first['check'].replace('_', ' ')}{': ' + reason if reason else ''}{more}. It was not judged against others."
    if row["score"] is None:
        return f"Not judged: {row['unjudged_reason'] or 'the run holds no verdict for it'}."
    if winner is not None and winner["score"] is not None:
        gap = winner["score"] - row["score"]
        if gap > 0:
            return f"Scored {plain(row['score'])}, {gap:.2f} below the winner's {plain(winner['score'])}."
        return f"Scored {plain(row['score'])}, not below the winner's {plain(winner['score'])}; another rule than the score decided."
    if post["outcome"] == "abstained":
        return f"Scored {plain(row['score'])} [{plain(row['lower'])}, {plain(row['upper'])}]; the post was abstained from: {post['reason'] or post['reason_code'] or 'no reason is recorded'}"
    return f"Scored {plain(row['score'])} [{plain(row['lower'])}, {plain(row['upper'])}]; nothing was selected yet."


def why_post(post: dict[str, Any]) -> str:
    """Why the post has a winner or none."""
    if post["outcome"] == "winner":
        if post["reason"]:
            return str(post["reason"])
        text = f"The winner scores {plain(post['score'])} [{plain(post['lower'])}, {plain(post['upper'])}]"
        if post["best_score"] is not None:
            text += f"; the best existing note {plain(post['best_score'])}"
        if post["appeal"] is not None:
            text += f". A second jury gives it {plain(post['appeal'])}"
        return text + "."
    if post["outcome"] == "abstained":
        return str(post["reason"] or post["reason_code"] or "Abstained; the run gives no reason.")
    return "Nothing was selected for this post yet: the run has not finished select_winners."


def name_ranks(sentence: str, ranks: dict[str, Any]) -> str:
    """The sentence with candidates' ids said as their rank, which is what stands on the page."""
    return re.sub(r"\b[0-9a-z]{12,40}\b", lambda m: f"rank {ranks[m[0]]}" if m[0] in ranks else m[0], sentence)
