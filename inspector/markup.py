"""Pieces of pages that stand on a post's page dozens of times, put together as strings instead of by templates.

A template's every value passes through three calls; a post's page nobody has opened before spent half its time there.
Here every value that comes from data goes through `esc`, everything else is written below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from inspector.why import plain, signed

if TYPE_CHECKING:
    from inspector.pages.posts import ShownText
    from inspector.text import Piece

_SPARK = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1l1.6 4.4L14 7l-4.4 1.6L8 13l-1.6-4.4L2 7l4.4-1.6z"/></svg>'


_UNSAFE = re.compile("[&<>\"']")


def esc(value: Any) -> str:
    """Text as it may stand in a page, within an element or a quoted attribute."""
    text = value if type(value) is str else str(value)
    if _UNSAFE.search(text) is None:
        return text
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&#34;").replace("'", "&#39;")


def per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


STATUS_WORDS = {
    "CURRENTLY_RATED_HELPFUL": "Helpful",
    "CURRENTLY_RATED_NOT_HELPFUL": "Not helpful",
    "NEEDS_MORE_RATINGS": "Needs more ratings",
}


TAG_WORDS = {
    "helpfulClear": "clear",
    "helpfulGoodSources": "good sources",
    "helpfulAddressesClaim": "addresses the claim",
    "helpfulImportantContext": "important context",
    "helpfulUnbiasedLanguage": "unbiased language",
    "helpfulInformative": "informative",
    "helpfulEmpathetic": "empathetic",
    "helpfulUniqueContext": "unique context",
    "helpfulOther": "other (helpful)",
    "notHelpfulIncorrect": "incorrect",
    "notHelpfulSourcesMissingOrUnreliable": "sources missing or unreliable",
    "notHelpfulMissingKeyPoints": "misses key points",
    "notHelpfulHardToUnderstand": "hard to understand",
    "notHelpfulArgumentativeOrBiased": "argumentative or biased",
    "notHelpfulSpamHarassmentOrAbuse": "spam, harassment or abuse",
    "notHelpfulIrrelevantSources": "sources do not support it",
    "notHelpfulOpinionSpeculation": "opinion or speculation",
    "notHelpfulOpinionSpeculationOrBias": "opinion, speculation or bias",
    "notHelpfulOutdated": "outdated",
    "notHelpfulOffTopic": "off topic",
    "notHelpfulNoteNotNeeded": "note not needed",
    "notHelpfulOther": "other (not helpful)",
}


def tag_words(tag: str) -> str:
    """A rater's reason as a reader would say it."""
    return TAG_WORDS.get(tag, tag)


def words(code: str | None) -> str:
    """A code as a reader would say it: 'already_helpful' becomes 'already helpful'."""
    return (code or "").replace("_", " ")


def status_words(code: str | None) -> str:
    """X's status of a note as a reader would say it."""
    return STATUS_WORDS.get(code or "", "no status")


def show_time(ms: int | None) -> Markup:
    """A moment in UTC; the script, where it runs, writes it in the reader's zone."""
    if ms is None or not -62_000_000_000_000 < ms < 250_000_000_000_000:
        return Markup("–")
    when = datetime.fromtimestamp(ms // 1000, UTC).isoformat()  # digits, '-', ':' and a 'T': nothing to escape
    return Markup(f'<time datetime="{when[:19]}Z">{when[:10]} {when[11:16]} UTC</time>')


def generated(kind: str | None = "") -> Markup:
    """The sign that a program wrote a text, with which one."""
    return Markup(f'<span class="generated">{_SPARK}generated{f" · {esc(kind)}" if kind else ""}</span>')


def score(row: dict[str, Any]) -> Markup:
    """A text's score with its interval."""
    if row["score"] is None:
        return Markup('<span class="muted">not judged</span>')
    interval = f"[{plain(row['lower'])}, {plain(row['upper'])}]"
    return Markup(f'<span class="score"><b>{plain(row["score"])}</b> <span class="interval">{interval}</span></span>')


def _link(piece: Piece) -> str:
    return f'<a href="{esc(piece.href)}" rel="noreferrer noopener nofollow" target="_blank">{esc(piece.text)}</a>'


def plain_pieces(pieces: Sequence[Piece]) -> Markup:
    """A text with links and marked spans."""
    shown = [
        f'<mark title="{esc(piece.mark)}">{esc(piece.text)}</mark>'
        if piece.mark
        else _link(piece)
        if piece.href
        else esc(piece.text)
        for piece in pieces
    ]
    return Markup(f'<span class="note-text">{"".join(shown)}</span>')


def text_pieces(shown: ShownText, prefix: str, refs: bool = True) -> Markup:
    """A text with links, marked spans and, with `refs`, a number after each sentence that opens what it rests on."""
    body = []
    for piece in shown.pieces:
        if piece.mark:
            mark = esc(piece.mark)
            hidden = f'<span class="visually-hidden"> (failed: {mark})</span>'
            body.append(f'<mark title="{mark}">{esc(piece.text)}{hidden}</mark>')
        else:
            body.append(_link(piece) if piece.href else esc(piece.text))
        if refs and piece.ends and piece.sentence is not None and shown.sentences[piece.sentence].source_note_id:
            n = piece.sentence
            body.append(
                f'<button type="button" class="ref" popovertarget="{prefix}-s{n}" '
                f'aria-label="What sentence {n + 1} rests on">{n + 1}</button>'
            )
    text = f'<span class="note-text">{"".join(body)}</span>'
    if not refs:
        return Markup(text)
    sources = [
        f'<div popover id="{prefix}-s{k}" class="source-pop" role="note"><p class="small muted">Sentence {k + 1} shares '
        f"{per_cent(sentence.share)} of its words with this sentence of "
        f'<a href="#note-{sentence.source_note_id}">note {sentence.source_note_id}</a>:</p>'
        f"<p>{esc(sentence.source_text)}</p></div>"
        for k, sentence in shown.supported
    ]
    return Markup(text + "\n" + "\n".join(sources))


_STATUS = {
    "winner": '<span class="badge ok">winner</span>',
    "failed": '<span class="badge d-reject">failed a check</span>',
    "unjudged": '<span class="badge">not judged</span>',
}


def candidate_card(shown: ShownText, number: int, current: bool, url: str, query: Callable[..., str]) -> str:
    """One candidate in the list of a post's page. `url` ends at the post's id, `query` is `Filters.query`."""
    row = shown.row
    helpful = links = ""
    if row["helpful_negative"] is not None:
        helpful = (
            f'<p class="small">helpful: negative {per_cent(row["helpful_negative"])}, '
            f"middle {per_cent(row['helpful_middle'])}, positive {per_cent(row['helpful_positive'])}</p>"
        )
    if not current:
        links = f'<a href="{url}?{esc(query(candidate=row["candidate_id"]))}">Decide on this text</a> · '
    links += f'<a href="{url}/candidates/{quote(row["candidate_id"], safe="")}?{esc(query())}">details</a>'
    if row["rank"] > 1:
        links += f' · <a href="{url}/compare?{esc(query(a=row["candidate_id"]))}">compare with rank 1</a>'
    revision = f'<span class="badge">revision {row["round"]}</span>' if row["round"] else ""
    return (
        f'<li class="card candidate {esc(row["status"])}{" current" if current else ""}">'
        f'<header><span class="rank">{row["rank"]}</span>{_STATUS.get(row["status"], "")}{score(row)}'
        f"{generated(row['writer'])}{revision}</header>"
        f"<p>{text_pieces(shown, f'l{number}')}</p>"
        f'{helpful}<p class="why small">{esc(shown.why)}</p><p class="small links">{links}</p></li>'
    )


_X_STATUS = {"CURRENTLY_RATED_HELPFUL": " ok", "CURRENTLY_RATED_NOT_HELPFUL": " d-reject"}


def note_card(
    note: dict[str, Any],
    body: str,
    ratings: str,
    cluster: tuple[str, int],
    best: bool,
    against: tuple[dict[str, Any], str] | None,
    query: Callable[..., str],
) -> str:
    """One note that people wrote, in the list of a post's page.

    `against`: the candidate to compare it with and the address of the comparison. `cluster`: letter and colour.
    """
    letter, colour = cluster
    number = int(note["note_id"])
    badges = f'<span class="badge{_X_STATUS.get(note["status"], "")}">{status_words(note["status"])}</span>'
    if note["stance"] == "not_misleading" or note["classification"] == "NOT_MISLEADING":
        badges += '<span class="badge">says not misleading</span>'
    if best:
        badges += '<span class="badge existing">best existing</span>'
    if note["borrowed"]:
        badges += '<span class="badge">from another post of the story</span>'
    if note["duplicate_of"]:
        badges += f'<span class="badge">same text as {int(note["duplicate_of"])}</span>'
    facts = links = ""
    if note["intercept"] is not None:
        facts = f"intercept <b>{plain(note['intercept'])}</b>"
        if note["note_lower"] is not None:
            facts += f' <span class="interval">[{plain(note["note_lower"])}, {plain(note["note_upper"])}]</span>'
        facts += f", factor {plain(note['factor1'])}"
    if facts and (note["score"] is not None or note["unjudged_reason"]):
        facts += "<br>"
    if note["score"] is not None:
        facts += f'jury {plain(note["score"])} <span class="interval">[{plain(note["lower"])}, {plain(note["upper"])}]</span>'
    elif note["unjudged_reason"]:
        facts += f'<span class="muted">{esc(note["unjudged_reason"])}</span>'
    if note["active_rules"]:
        facts += f"{'<br>' if facts else ''}{esc(', '.join(note['active_rules']))}"
    if against is not None and note["text"]:
        row, url = against
        whom = "the winner" if row["status"] == "winner" else f"rank {row['rank']}"
        address = esc(query(a=row["candidate_id"], b=f"note-{number}"))
        links = f' · <a href="{url}?{address}">compare with {whom}</a>'
    if note["created_at"]:
        links += f" · {show_time(note['created_at'])}"
    return (
        f'<li class="card note c{colour}" id="note-{number}"><header>'
        f'<span class="cluster" title="cluster {esc(note["cluster_id"] or "none")}">{esc(letter)}</span>{badges}</header>'
        f"<p>{body}</p>"
        f'<div class="note-facts"><p class="small">{facts}</p>'
        f'<div>{ratings}<p class="small muted">{note["n_ratings"]} ratings</p></div></div>'
        f'<p class="small muted links">{number}{links}</p></li>'
    )


def post_card(post: dict[str, Any], posts_url: str) -> str:
    """The post itself. `posts_url` is where the run's posts are listed."""
    facts = [str(int(post["post_id"]))]
    if post["created_at"]:
        facts.append(str(show_time(post["created_at"])))
    if post["language"]:
        facts.append(esc(post["language"]))
    if post["story_id"]:
        facts.append(f'<a href="{posts_url}?story={quote(post["story_id"], safe="")}">{esc(post["story_id"])}</a>')
    body = '<p class="muted">The text of this post is not in the snapshot; X\'s public files hold none.</p>'
    if post["post_text"]:
        body = f'<p class="post-text">{esc(post["post_text"])}</p>'
    if post["quoted_text"]:
        body += f'<blockquote class="quoted"><span class="muted small">Quotes:</span> {esc(post["quoted_text"])}</blockquote>'
    if post["alt_text"]:
        body += f'<p class="small muted">Picture described as: {esc(post["alt_text"])}</p>'
    return (
        '<article class="card the-post" aria-label="The post">\n'
        f'<h1 class="kicker">Post <span class="muted">{" · ".join(facts)}</span></h1>\n{body}\n</article>\n'
    )


def chosen_card(
    shown: ShownText | None,
    post: dict[str, Any],
    why: str,
    n_candidates: int,
    rival: str | None,
    url: str,
    query: Callable[..., str],
) -> str:
    """The text to decide on. `why` says why the post has a winner or none, `rival` names the best note to compare with."""
    if shown is None:
        why = f'<p class="why"><b>Why:</b> {esc(why)}</p>'
        return f'<section class="card"><h2 class="kicker">No candidates</h2>{why}</section>\n'
    row = shown.row
    won = row["status"] == "winner"
    gain = jurors = reasons = checks = ""
    if post["best_score"] is not None and row["score"] is not None:
        more = row["score"] - post["best_score"]
        gain = f'<span class="{"up" if more > 0 else "down"}">{signed(more)} against the best existing note</span>\n'
    if row["n_jurors"]:
        jurors = f", {row['n_jurors']} jurors"
    if sides := shown.reasons:
        said = []
        for side in ("negative", "middle", "positive"):
            if side in sides:
                tags = [
                    f'<span class="tag {"bad" if tag.startswith("notHelpful") else "good"}">{esc(tag_words(tag))} '
                    f"{per_cent(p)}</span>"
                    for tag, p in sides[side]
                ]
                said.append(f"<dt>{side}</dt><dd>{''.join(tags)}</dd>")
        label = "Reasons the jury is predicted to give, by side"
        reasons = f'<dl class="reasons" aria-label="{label}">{"".join(said)}</dl>'
    if row["problems"]:
        listed = []
        for problem in row["problems"]:
            principle = f' <span class="muted">({esc(problem["principle"])})</span>' if problem["principle"] else ""
            listed.append(
                f'<li class="bad"><b>{esc(words(problem["check"]))}</b> {esc(problem["outcome"])}: '
                f"{esc(problem['reason'])}{principle}</li>"
            )
        checks = f'<ul class="checks">{"".join(listed)}</ul>\n'
    me, title = row["candidate_id"], "Winner" if won else f"Candidate, rank {row['rank']}"
    links = f'<a href="{url}/candidates/{quote(me, safe="")}?{esc(query())}">Prompt, checks, lineage</a>'
    if n_candidates > 1:
        other = "the runner-up" if row["rank"] == 1 else "rank 1"
        links += f' · <a href="{url}/compare?{esc(query(a=me))}">compare with {other}</a>'
    if rival:
        both = esc(query(a=me, b=rival))
        links += (
            f' · <a href="{url}/compare?{both}">with the best note</a> · <a data-key="h" href="{url}/blind?{both}">'
            'blind against the best note<kbd aria-hidden="true">h</kbd></a>'
        )
    return (
        f'<article class="card chosen {esc(row["status"])}" aria-labelledby="chosen-title">\n'
        f'<header><h2 id="chosen-title" class="kicker">{title}</h2>'
        f"{generated(row['writer'])}</header>\n"
        f'<p class="supernote">{text_pieces(shown, "c")}</p>\n'
        f'<div class="under"><span class="score big">{score(row)}</span>\n{gain}'
        f'<span class="muted small">{esc(words(row["aggregator"]))}{jurors}</span></div>\n'
        f'<div class="sides">\n<div>{shown.shares}</div>\n{reasons}\n</div>\n{checks}'
        f'<p class="why"><b>Why:</b> {esc(why if won else shown.why)}</p>\n'
        f'<p class="small links">{links} · {len(row["passed"])} checks passed</p>\n</article>\n'
    )


def pictures_part(
    curves: str,
    strip: str,
    plane: str,
    aggregators: Sequence[tuple[str, float | None]],
    disagreement: float | None,
    there: dict[str, bool],
) -> str:
    """The two cards of pictures. `there` says which of winner, runner and existing the post has."""
    runner = '<span class="key runner">runner-up</span>' if there["runner"] else ""
    existing = '<span class="key existing">best existing note</span>' if there["existing"] else ""
    others = ""
    if aggregators:
        values = ", ".join(f"{esc(words(name))} {plain(value)}" for name, value in aggregators)
        share = f" · {per_cent(disagreement)} of them prefer another text" if disagreement else ""
        others = f'<p class="small muted">Other aggregators: {values}{share}</p>\n'
    diamond = '<span class="key diamond">runner-up</span>' if there["runner"] else ""
    return (
        '<div class="pictures">\n<section class="card" aria-labelledby="curve-title">\n'
        f'<h2 id="curve-title">Who would find it helpful</h2>\n{curves}\n'
        f'<p class="legend"><span class="key winner">{"winner" if there["winner"] else "best candidate"}</span>{runner}'
        f'{existing}<span class="key rugged">jurors</span></p>\n{strip}\n{others}</section>\n'
        '<section class="card" aria-labelledby="plane-title">\n<h2 id="plane-title">Where texts lie</h2>\n'
        f'{plane}\n<p class="legend"><span class="key star">winner</span>{diamond}'
        '<span class="key dot">candidate</span><span class="key square">note, by cluster</span></p>\n</section>\n</div>\n'
    )


def lists_part(
    cards: Sequence[str],
    notes: Sequence[str],
    start: int,
    per_page: int,
    n_candidates: int,
    url: str,
    query: Callable[..., str],
) -> str:
    """Candidates from the start-th with the way to the others, and the notes that people wrote."""
    candidates = '<p class="muted">No candidate was written for this post.</p>'
    if cards:
        candidates = f'<ol class="candidates" start="{start + 1}">\n' + "\n".join(cards) + "\n</ol>\n"
    if cards and n_candidates > per_page:
        nothing = "<span></span>"

        def to(there: int, text: str) -> str:
            return f'<a class="button" href="{url}?{esc(query(**{"from": there}))}#candidates-title">{text}</a>'

        last = min(start + per_page, n_candidates)
        candidates += (
            f'<nav class="pager" aria-label="Candidates">\n{to(start - per_page, "← Better ranked") if start else nothing}\n'
            f'<span class="muted">{start + 1} to {last} of {n_candidates}</span>\n'
            f"{to(start + per_page, 'Lower ranked →') if start + per_page < n_candidates else nothing}\n</nav>\n"
        )
    return (
        '<section aria-labelledby="candidates-title" class="wide-section">\n<div class="head"><h2 id="candidates-title">'
        f'Candidates <span class="muted">{n_candidates}</span></h2></div>\n{candidates}</section>\n\n'
        '<section aria-labelledby="notes-title" class="wide-section">\n<h2 id="notes-title">Notes people proposed '
        f'<span class="muted">{len(notes)}</span></h2>\n<ul class="notes">\n'
        + "\n".join(notes)
        + "\n</ul>\n</section>\n"
    )
