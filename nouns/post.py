"""The nouns of the writing room: posts, notes, clusters, requests to a writing model, candidates, check results.

All frozen. Ids are 64-bit integers (X's snowflakes) or content hashes; never floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

MISLEADING = "MISINFORMED_OR_POTENTIALLY_MISLEADING"
NOT_MISLEADING = "NOT_MISLEADING"


@dataclass(frozen=True)
class Post:
    """A post on X. The public Community Notes files hold no post text: `text` is None unless a posts table was given."""

    post_id: int
    text: str | None = None
    language: str | None = None
    created_at: int | None = None


@dataclass(frozen=True)
class Note:
    """A proposed note. `status` and the rating summary are what raters said of it, None where unknown."""

    note_id: int
    post_id: int
    text: str
    classification: str
    created_at: int | None = None
    status: str | None = None
    intercept: float | None = None
    factor: float | None = None
    n_ratings: int = 0
    net_helpful_negative: float | None = None
    net_helpful_positive: float | None = None
    borrowed: bool = False


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request:
    """One prompt for a writing model, asking for `n` texts.

    `sources` are the notes the prompt was made from, best first: a server never sees them, the extractive writer works
    on them alone. `schema` asks for structured output where the server has it. `seed` is a 63-bit number derived from
    the content; draws of different requests never share it.
    """

    request_id: str
    post_id: int
    messages: tuple[Message, ...]
    purpose: Literal["draft", "revise", "shorten", "judge"]
    prompt_version: str
    sources: tuple[Note, ...] = ()
    language: str | None = None
    n: int = 1
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 400
    seed: int = 0
    schema: dict | None = None
    parent_text: str | None = None
    feedback: str | None = None


@dataclass(frozen=True)
class Completion:
    """What came back for one request: `texts` (at most n of them), or none and a `failure` saying why.

    Partial failure is a completion with fewer texts and a reason; a completion never carries an exception.
    """

    request_id: str
    texts: tuple[str, ...]
    model: str
    failure: str | None = None
    finish_reasons: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1
    model_revision: str | None = None
    raw: dict = field(default_factory=dict)


class TextGenerator(Protocol):
    """A writing model. One batch in, one completion per request out, in the order of the requests, ids matching."""

    name: str

    def generate(self, requests: Sequence[Request]) -> list[Completion]: ...


@dataclass(frozen=True)
class Candidate:
    """A text that might become the post's supernote, with its provenance."""

    candidate_id: str
    post_id: int
    cluster_id: str
    text: str
    language: str
    classification: str
    source_note_ids: tuple[int, ...]
    writer: str
    prompt_version: str
    seed: int
    request_id: str
    parent_id: str | None = None
    round: int = 0


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check on one text. `start`, `end` delimit the failing span in the text, if there is one."""

    candidate_id: str
    check: str
    outcome: Literal["passed", "failed", "unreadable"]
    reason: str = ""
    start: int | None = None
    end: int | None = None
    principle: str = ""


@dataclass(frozen=True)
class NoteRating:
    """One person's rating of a note: `value` in {0, 0.5, 1}; `not_needed`: ticked that the post needs no note."""

    rater_id: str
    value: float
    created_at: int
    not_needed: bool = False


@dataclass(frozen=True)
class NotedPost:
    """A post with everything that is known of its notes: what the loop works on.

    `notes` were written on this post, `lent` on other posts about the same matter; `ratings` by note id, of both.
    `locked`: notes whose status X no longer changes.
    """

    post: Post
    notes: tuple[Note, ...]
    lent: tuple[Note, ...] = ()
    ratings: Mapping[int, tuple[NoteRating, ...]] = field(default_factory=dict)
    locked: frozenset[int] = frozenset()
    story_id: str | None = None

    def __post_init__(self) -> None:
        if not self.notes:
            raise ValueError(f"post {self.post.post_id} has no note; there is nothing to merge")
        if strangers := [note.note_id for note in self.notes if note.post_id != self.post.post_id]:
            raise ValueError(
                f"post {self.post.post_id}: the notes {strangers} were written on other posts; give them as lent"
            )
