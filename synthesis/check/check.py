"""All checks on a text: cheap ones first, every outcome passed, failed or unreadable.

A check that raises is `unreadable`, and unreadable never counts as passed (peers.md, P12: filters that fail open let the
worst texts through, those that break the filter).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from nouns.errors import InputError
from nouns.post import CheckResult
from synthesis.check.base import Draft, Finding, make_draft
from synthesis.check.claim import check_claim
from synthesis.check.conduct import check_conduct, check_denial
from synthesis.check.consistency import check_consistency
from synthesis.check.facts import check_facts
from synthesis.check.injection import check_injection
from synthesis.check.language import check_language
from synthesis.check.length import check_length
from synthesis.check.lent import check_lent
from synthesis.check.links import check_links, check_liveness
from synthesis.check.neutrality import check_neutrality
from synthesis.check.rubric import check_rubric
from synthesis.check.style import check_style
from synthesis.check.support import Nli, check_support
from synthesis.check.whole import check_whole
from synthesis.settings import REQUIRE_LINK, CheckCandidatesSettings
from synthesis.spec import note_spec
from texts.note import note_length

CHEAP = (
    "length", "links", "injection", "style", "neutrality", "language", "facts", "support", "whole", "claim", "consistency", "conduct", "lent", "rubric",
)  # fmt: skip
"""The names of the checks every text goes through, in order."""


@dataclass(frozen=True)
class Tools:
    """What some checks need beside the text; None where it is not configured."""

    nli: Nli | None = None
    fetch_status: Callable[[str], int | None] | None = None


def check_text(
    text: str,
    sources: Sequence[str],
    *,
    post_text: str | None = None,
    language: str | None = None,
    settings: CheckCandidatesSettings | None = None,
    candidate_id: str = "",
    tools: Tools | None = None,
    lent: Sequence[bool] = (),
    own_notes: Sequence[str] = (),
    received: Sequence[str] = (),
) -> list[CheckResult]:
    """The outcome of every check on one text, in the order of `CHEAP`: one row per check that passed, one per finding otherwise.

    `sources` are the texts of the notes it may rest on; the post's text is the claim it speaks to, and `lent`
    says of each source whether it was written under another post (none, where it is empty); `own_notes` are all notes of this post, which
    say what it is about and what is disputed, `received` those of them that raters found helpful. `start`, `end` are
    offsets into `text` as given (None where cleaning moved them beyond recognition). Never raises for what the text contains.
    The rubric's scores stand in its rows' reasons, one row per maxim.
    """
    settings = settings or CheckCandidatesSettings()
    if settings.require_link not in REQUIRE_LINK:
        raise InputError(
            f"settings.check_candidates.require_link = {settings.require_link!r} is not known; choose one of {', '.join(REQUIRE_LINK)}."
        )
    tools = tools or Tools()
    try:
        draft = make_draft(
            text,
            tuple(sources),
            post_text=post_text,
            language=language,
            settings=settings,
            lent=lent,
            own_notes=own_notes,
            received=received,
        )
    except Exception as error:
        return [
            CheckResult(candidate_id, check, "unreadable", _sentence(error), principle=_first_principle(check))
            for check in CHEAP
        ]
    runners: dict[str, Callable[[Draft], list[Finding]]] = {
        "length": check_length,
        "links": check_links,
        "injection": check_injection,
        "style": lambda d: check_style(d) + _hidden(text, d),
        "neutrality": check_neutrality,
        "language": check_language,
        "facts": lambda d: check_facts(_readable(d)),
        "support": lambda d: check_support(_readable(d), tools.nli),
        "whole": lambda d: check_whole(_readable(d)),
        "claim": lambda d: check_claim(_readable(d)),
        "consistency": lambda d: check_consistency(_readable(d)),
        "conduct": lambda d: check_conduct(_readable(d)) + check_denial(d),
        "lent": lambda d: check_lent(_readable(d)),
    }
    results: list[CheckResult] = []
    for check in CHEAP:
        if check == "rubric":
            results += _rubric(draft, candidate_id)
            continue
        results += _run(check, runners[check], draft, text, candidate_id)
    if settings.check_liveness:
        fetch = tools.fetch_status or http_status(settings.liveness_timeout)
        results += _run("liveness", lambda d: check_liveness(d, fetch), draft, text, candidate_id)
    return results


def passed(results: Sequence[CheckResult]) -> bool:
    """Whether a text passed: at least one check was made and every outcome is 'passed'."""
    return bool(results) and all(result.outcome == "passed" for result in results)


def _run(
    check: str, runner: Callable[[Draft], list[Finding]], draft: Draft, original: str, candidate_id: str
) -> list[CheckResult]:
    try:
        findings = runner(draft)
        rows = [
            _result(candidate_id, check, finding, draft, original)
            for finding in findings[: draft.settings.max_findings]
        ]
    except Exception as error:
        return [CheckResult(candidate_id, check, "unreadable", _sentence(error), principle=_first_principle(check))]
    return rows or [CheckResult(candidate_id, check, "passed", principle=_first_principle(check))]


def _rubric(draft: Draft, candidate_id: str) -> list[CheckResult]:
    try:
        findings, rubric = check_rubric(_readable(draft))
    except Exception as error:
        return [
            CheckResult(candidate_id, "rubric", "unreadable", _sentence(error), principle=_first_principle("rubric"))
        ]
    failed = {finding.principle: finding.reason for finding in findings}
    rows = []
    for maxim, score in asdict(rubric).items():
        principle = f"grice.{maxim}"
        rows.append(
            CheckResult(
                candidate_id,
                "rubric",
                "failed" if principle in failed else "passed",
                f"{maxim} {score:.2f}",
                principle=principle,
            )
        )
    return rows


def _result(candidate_id: str, check: str, finding: Finding, draft: Draft, original: str) -> CheckResult:
    note_spec()[finding.principle]  # a failure without a principle is a mistake of ours: unreadable, not passed
    start, end = _original_span(draft.text, original, finding.start, finding.end)
    return CheckResult(candidate_id, check, "failed", finding.reason, start, end, finding.principle)


def _original_span(cleaned: str, original: str, start: int | None, end: int | None) -> tuple[int | None, int | None]:
    """Offsets into the text as it was given; None where the place cannot be found again."""
    if start is None or end is None or cleaned == original:
        return start, end
    piece = cleaned[start:end]
    occurrence = cleaned[:start].count(piece) if piece else 0
    position = -1
    for _ in range(min(occurrence, 50) + 1):
        position = original.find(piece, position + 1)
        if position < 0:
            return None, None
    return position, position + len(piece)


class TooLong(RuntimeError):
    """A text far over the limit is not read for what it says: it fails anyway, and reading costs."""


def _readable(draft: Draft) -> Draft:
    length = note_length(draft.text)
    if length > 2 * draft.settings.max_length:
        raise TooLong(f"{length} characters are more than twice what a note may have")
    return draft


def _hidden(original: str, draft: Draft) -> list[Finding]:
    """Characters nobody sees: they are removed for checking, and a text that has them is not plain."""
    import regex

    found = regex.search(
        r"[\p{Cc}\p{Cs}\p{Co}--[\n\r\t]]|[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]",
        original[:20_000],
        flags=regex.V1,
    )
    if found is None:
        return []
    return [Finding("style.plain", f"An invisible or direction-changing character (U+{ord(found.group()):04X}).")]


def _sentence(error: Exception) -> str:
    return f"The check could not be made: {type(error).__name__}: {str(error)[:200]}"


def _first_principle(check: str) -> str:
    if check == "liveness":
        return "links.alive"
    principles = note_spec().of_check(check)
    return principles[0].id if principles else ""


def http_status(timeout: float) -> Callable[[str], int | None]:
    """A function that asks a server for the status of an address, following redirects; None when nothing answers."""
    import httpx

    def fetch(url: str) -> int | None:
        try:
            with httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5) as client:
                response = client.head(url)
                if response.status_code in (403, 405, 501):
                    with client.stream("GET", url) as streamed:  # some servers refuse HEAD; the body is never read
                        return streamed.status_code
                return response.status_code
        except httpx.HTTPError:
            return None

    return fetch


# ------------------------------------------------------------------------------------------------- the command's line


def check_text_json(line: Mapping, settings: CheckCandidatesSettings | None = None, tools: Tools | None = None) -> dict:
    """One line of `supernotes check-text`: `{"id", "text", "sources", "post_text"?, "language"?}` in, the verdict out.

    Raises `InputError` naming the line's id and field if it has not this shape.
    """
    if not isinstance(line, Mapping):
        raise InputError(
            f"A line of check-text is {type(line).__name__}; expected an object with id, text and sources."
        )
    name = line.get("id")
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        raise InputError(f"A line of check-text has id = {name!r}; expected a string.")
    unknown = sorted(set(map(str, line)) - {"id", "text", "sources", "post_text", "language"})
    if unknown:
        raise InputError(f"Line {name}: unknown fields {unknown}; expected id, text, sources, post_text, language.")
    text, sources = line.get("text"), line.get("sources", [])
    if not isinstance(text, str):
        raise InputError(f"Line {name}: text is {type(text).__name__}; expected a string.")
    if not isinstance(sources, (list, tuple)) or not all(isinstance(s, str) for s in sources):
        raise InputError(f"Line {name}: sources is {str(sources)[:60]!r}; expected a list of strings.")
    for key in ("post_text", "language"):
        if line.get(key) is not None and not isinstance(line[key], str):
            raise InputError(f"Line {name}: {key} is {type(line[key]).__name__}; expected a string or null.")
    results = check_text(
        text, sources, post_text=line.get("post_text"), language=line.get("language"), settings=settings, tools=tools
    )
    return {
        "id": str(name),
        "passed": passed(results),
        "length": note_length(text),
        "checks": [
            {
                "check": r.check,
                "outcome": r.outcome,
                "reason": r.reason,
                "start": r.start,
                "end": r.end,
                "principle": r.principle,
            }
            for r in results
        ],
    }
