"""Pieces of pages that stand on a post's page dozens of times, put together as strings instead of by templates.

A template's every value passes through three calls; a post's page nobody has opened before spent half its time there.
Here every value that comes from data goes through `esc`, everything else is written below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup, escape

from inspector.why import plain

if TYPE_CHECKING:
    from inspector.pages.posts import ShownText
    from inspector.text import Piece

_SPARK = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1l1.6 4.4L14 7l-4.4 1.6L8 13l-1.6-4.4L2 7l4.4-1.6z"/></svg>'


def esc(value: Any) -> str:
    """Text as it may stand in a page, within an element or a quoted attribute."""
    return str(escape(value))


def per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


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
