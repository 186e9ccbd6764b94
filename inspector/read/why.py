"""What an analyst is told of a text: how likely it is to be shown, what to doubt, and what it has that the best note lacks.

Every sentence is made from the run's own numbers and texts and says no more than they do. Where the selection has left its
own words (`selections.jsonl`, `losers.parquet`), those are said, in plain words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

from markupsafe import Markup, escape

from inspector.read.text import domain, links, prepare_sources, rest_on
from inspector.words import SIDES, per_cent, plain, points, signed, words
from nouns.x import HELPFUL_AT, HELPFUL_FACTOR
from texts.note import without_urls

LOW_SIDE = 0.50  # a side of which fewer find a text helpful is named as a doubt
JURIES_DIFFER = 0.10  # on X's scale; more is named as a doubt
FEW_JURORS = 100  # jurors that count as much as independent ones; fewer are named as a doubt
WIDE = 0.35  # width of an interval that is named as a doubt
SIDE_NAMES = ("negative", "middle", "positive")

_PLAINER = (
    (re.compile(r"\|factor\| (\d\.\d+) is not below (\d\.\d+)\.?"), r"it leans too far to one side (\1; X allows less than \2)."),
    (re.compile(r"The jury learnt from (\d+) notes? in the language '(\w+)'"), r"The jury knows only \1 notes in this language (\2)"),
    (re.compile(r"\b(On the )(negative|positive)( side)"), lambda m: f"On {SIDES[m[2]]}"),
    (re.compile(r"\b(negative|positive) (?:side|end)\b"), lambda m: SIDES[m[1]]),
    (re.compile(r"(?<=\d)%"), " %"),
    (re.compile(r"(?<=[ (])-(?=\d)"), "−"),
    (re.compile(r"It failed (\w+)\."), r"It failed the check “\1”."),
)  # fmt: skip


def colleague(sentence: str) -> str:
    """A stage's sentence as somebody would say it who does not know the code."""
    for pattern, said in _PLAINER:
        sentence = pattern.sub(said, sentence)  # type: ignore[arg-type]
    return sentence[:1].upper() + sentence[1:]


def name_ranks(sentence: str, ranks: Mapping[str, Any]) -> str:
    """The sentence with candidates' ids said as their rank, which is what stands on the page."""
    return re.sub(r"\b[0-9a-z]{12,40}\b", lambda m: f"rank {ranks[m[0]]}" if m[0] in ranks else m[0], sentence)


def name_notes(sentence: str, numbers: Mapping[int, int]) -> Markup:
    """The sentence as markup, with the ids of notes said as their number on the page, each a link to the note."""

    def link(found: re.Match[str]) -> str:
        number = numbers.get(int(found[1]))
        return f'<a href="#note-{found[1]}">note {number}</a>' if number else found[0]

    return Markup(re.sub(r"\bnote (\d{1,20})\b", link, str(escape(sentence))))


def copied_from(text: str, notes: Sequence[Mapping[str, Any]]) -> int | None:
    """The note whose text this is, word for word but for blanks; None if people wrote none like it."""
    same = " ".join(text.split())
    return next((note["note_id"] for note in notes if same and " ".join((note["text"] or "").split()) == same), None)


def doubts(
    row: Mapping[str, Any], appeal: float | None, notes: Sequence[Mapping[str, Any]], jury: Mapping[str, Any]
) -> list[str]:
    """What speaks against a text or against trusting its numbers, the gravest first. [] where nothing does.

    `row`: a candidate with verdict and checks, or an edit's assessment in the same keys. `appeal`: the second jury's score.
    `jury`: what the run says of its jury (`n_jurors`, `effective`).
    """
    found = [
        f"{'Could not be checked' if p['outcome'] == 'unreadable' else 'Contradicts a source' if 'contradict' in p['check'] else 'Fails a check'}: "
        f"{words(p['check'])}{': ' + colleague(p['reason'].rstrip('.')) if p['reason'] else ''}."
        for p in row.get("problems") or ()
    ]
    score, lower, upper, factor = (row.get(name) for name in ("score", "lower", "upper", "factor"))
    if score is None:
        return [*found, row.get("unjudged_reason") or "The jury has not judged it."]
    if score < HELPFUL_AT:
        below = f"{plain(score)}, and" if plain(score) != plain(HELPFUL_AT) else "by less than 0.01;"
        found.append(f"It is below the Helpful line: {below} X shows notes from {plain(HELPFUL_AT)}.")
    elif lower is not None and lower < HELPFUL_AT:
        found.append(
            f"It may be below the Helpful line: the interval begins at {plain(lower)}, the line is {plain(HELPFUL_AT)}."
        )
    if factor is not None and abs(factor) >= HELPFUL_FACTOR:
        found.append(
            f"It leans to {SIDES['positive' if factor > 0 else 'negative']}: X shows no note that leans this far."
        )
    for name in ("negative", "positive"):
        share = row.get(f"helpful_{name}")
        if share is not None and share < LOW_SIDE:
            found.append(f"Only {per_cent(share)} of {SIDES[name]} would find it helpful.")
    if appeal is not None and abs(score - appeal) >= JURIES_DIFFER:
        found.append(
            f"The juries differ: {plain(score)} and {plain(appeal)}. Trust the second, which did not choose the text."
        )
    elif appeal is not None and appeal < HELPFUL_AT <= score:
        found.append(f"The second jury puts it below the Helpful line, at {plain(appeal)}.")
    note = copied_from(str(row.get("text") or ""), notes)
    if note is not None:
        found.append(f"It is copied from note {note}, which people wrote.")
    effective = jury.get("effective")
    if effective is not None and effective < FEW_JURORS:
        found.append(
            f"Few effective jurors: the {jury.get('n_jurors', '')} jurors count as {effective:.0f} independent ones."
        )
    elif (jury.get("n_jurors") or FEW_JURORS) < FEW_JURORS:
        found.append(f"Only {jury['n_jurors']} jurors.")
    if lower is not None and upper is not None and upper - lower > WIDE:
        found.append(f"The jury is unsure: anything from {plain(lower)} to {plain(upper)} is likely.")
    if row.get("text") and not links(str(row["text"])):
        found.append("It names no source.")
    return found


def why_better(row: Mapping[str, Any], best: Mapping[str, Any] | None, notes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a text has that the best existing note lacks, and which side gains by it. `best`: that note, None if there is none."""
    text = str(row.get("text") or "")
    if best is None or not best.get("text"):
        merged = len(row.get("source_note_ids") or ())
        return [f"No note on this post has been judged; the text draws on {merged} of them."] if merged else []
    found = []
    if row.get("score") is not None and best.get("score") is not None:
        moves = [
            f"{SIDES[name]} {points(row[f'helpful_{name}'] - best[f'helpful_{name}'])}"
            f" ({per_cent(best[f'helpful_{name}'])} → {per_cent(row[f'helpful_{name}'])})"
            for name in SIDE_NAMES
            if row.get(f"helpful_{name}") is not None and best.get(f"helpful_{name}") is not None
        ]
        by_side = f": {', '.join(moves)}" if moves else ""
        gain = signed(row["score"] - best["score"])
        found.append(f"{gain} against the best existing note ({plain(best['score'])}){by_side}.")
    new = [domain(url) for url in links(text) if url not in links(best["text"])]
    lost = [domain(url) for url in links(best["text"]) if url not in links(text)]
    if new:
        found.append(f"Adds the source{'s' if len(new) > 1 else ''} {', '.join(dict.fromkeys(new))}.")
    if lost:
        found.append(f"Leaves out the source{'s' if len(lost) > 1 else ''} {', '.join(dict.fromkeys(lost))}.")
    others = prepare_sources([(n["note_id"], n["text"] or "") for n in notes if n["note_id"] != best["note_id"]])
    theirs = prepare_sources([(best["note_id"], best["text"])])
    added = [s for s in rest_on(text, others) if s.source_note_id and rest_on(s.text, theirs)[0].source_note_id is None]
    found += [f"Takes from note {s.source_note_id}: “{_short(s.text)}”" for s in added[:2]]
    gone = [s for s in rest_on(best["text"], prepare_sources([(0, text)])) if s.source_note_id is None]
    found += [f"Drops the best note's words: “{_short(s.text)}”" for s in gone[:2]]
    return found


def _short(text: str) -> str:
    text = " ".join(unescape(without_urls(text)).split())
    return text if len(text) <= 110 else text[:108].rsplit(" ", 1)[0] + " …"


def why_candidate(row: Mapping[str, Any], winner: Mapping[str, Any] | None, post: Mapping[str, Any]) -> str:
    """Why this candidate won or lost; of a note that people wrote, what X and the jury say of it."""
    if row["status"] == "note":
        said = f"the jury scores it {plain(row['score'])}" if row["score"] is not None else "the jury has not scored it"
        own = (
            f"; its own {row['n_ratings']} ratings give it {plain(row['intercept'])}"
            if row["intercept"] is not None
            else ""
        )
        return f"Written by people: {said}{own}."
    score, interval = plain(row["score"]), f"{plain(row['lower'])} to {plain(row['upper'])}"
    if row["status"] == "winner":
        gain = ""
        if post["best_score"] is not None and row["score"] is not None:
            gain = f", {signed(row['score'] - post['best_score'])} against the best existing note's {plain(post['best_score'])}"
        return f"Won: score {score} ({interval}){gain}."
    if row.get("lost_because"):
        return colleague(str(row["lost_because"]))
    if row["problems"]:
        first = row["problems"][0]
        verb = "Could not be checked" if first["outcome"] == "unreadable" else "Failed a check"
        more = f" ({len(row['problems']) - 1} more)" if len(row["problems"]) > 1 else ""
        reason = (first["reason"] or "").strip().rstrip(".")
        return (
            f"{verb}: {words(first['check'])}{': ' + reason if reason else ''}{more}. It was not judged against others."
        )
    if row["score"] is None:
        return f"Not judged: {row['unjudged_reason'] or 'the run holds no verdict for it'}."
    if winner is not None and winner["score"] is not None:
        gap = winner["score"] - row["score"]
        if gap > 0:
            return f"Scored {score}, {gap:.2f} below the winner's {plain(winner['score'])}."
        return f"Scored {score}, not below the winner's {plain(winner['score'])}; another rule than the score decided."
    if post["outcome"] == "abstained":
        return f"Scored {score} ({interval}); refused: {colleague(post['reason'] or words(post['reason_code']))}"
    return f"Scored {score} ({interval}); nothing was selected yet."


def why_post(post: Mapping[str, Any]) -> str:
    """Why the post has a winner or none."""
    if post["outcome"] == "winner":
        if post["reason"]:
            return colleague(str(post["reason"]))
        text = f"The winner scores {plain(post['score'])} ({plain(post['lower'])} to {plain(post['upper'])})"
        if post["best_score"] is not None:
            text += f"; the best existing note {plain(post['best_score'])}"
        return text + (f". A second jury gives it {plain(post['appeal'])}." if post["appeal"] is not None else ".")
    if post["outcome"] == "abstained":
        return colleague(str(post["reason"] or words(post["reason_code"]) or "The run gives no reason."))
    return "Nothing was selected for this post yet: the run has not finished choosing winners."
