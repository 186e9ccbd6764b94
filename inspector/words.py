"""What stands on pages for codes and numbers: the words that a colleague would say, and numbers as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from markupsafe import Markup

from nouns.words import words as words

KINDS = {
    "accept": "accepted",
    "reject": "rejected",
    "edit": "edited",
    "not_needed": "note not needed",
    "publish_none": "none published",
    "prefer": "preferred",
    "flag": "flagged",
    "undo": "undone",
}
"""Kinds of decisions, as what somebody did."""

SIDES = {"negative": "side A", "middle": "middle", "positive": "side B"}
"""The two ends of the factor line have no meaning of their own, so they bear letters; the glossary explains them."""

STATUSES = {
    "CURRENTLY_RATED_HELPFUL": "shown on X: rated Helpful",
    "CURRENTLY_RATED_NOT_HELPFUL": "rated Not Helpful",
    "NEEDS_MORE_RATINGS": "not shown: needs more ratings",
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


RULE_WORDS = {
    "InitialNMR": "needs more ratings",
    "GeneralCRH": "Helpful",
    "GeneralCRHInertia": "stays Helpful",
    "ElevatedCRHInertia": "stays Helpful",
    "GeneralCRNH": "Not Helpful",
    "UcbCRNH": "surely Not Helpful",
    "RatioCRNH": "mostly rated Not Helpful",
    "NmCRNH": "finds the post right, Not Helpful",
    "CRHSuperThreshold": "Helpful by a wide margin",
    "FilterLargeFactor": "leans too far",
    "MinMinorityRaters": "too few helpful ratings from one side",
    "RaterBalance": "one side hardly rated it",
    "NoHighVolIntercept": "rests on the most active raters",
    "NoCorrelatedIntercept": "rests on raters who rate alike",
    "InsufficientExplanation": "raters name no common reason",
    "TagFilter": "raters name the same fault too often",
    "NmrDueToMinStableCrhTime": "Helpful, not yet for long enough",
    "Locked": "status locked",
}
"""Rules by which X gives a note its status, as this project names them."""


def rule_words(rule: str) -> str:
    """A rule's name as a reader would say it: known ones in words, others split at their capitals."""
    return RULE_WORDS.get(rule) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", rule).lower()


def tag_words(tag: str) -> str:
    """A rater's reason as a reader would say it."""
    return TAG_WORDS.get(tag, tag)


def slice_words(label: str) -> str:
    """A slice of a jury's report, with the sides of the raters by their names here."""
    what, colon, value = label.partition(": ")
    return f"{what}{colon}{SIDES.get(value, value)}"


def side(name: str) -> str:
    return SIDES.get(name, name)


def signed(value: float) -> str:
    """A number with its sign and a real minus: '+0.04', '−0.12'; '±0.00' where two decimals show no difference."""
    shown = f"{value:+.2f}".replace("-", "−")
    return "±0.00" if shown[1:] == "0.00" else shown


def points(value: float) -> str:
    """A difference of two shares in percentage points: '+12 points', '−3 points'."""
    n = round(100 * value)
    return f"{n:+d} point{'' if abs(n) == 1 else 's'}".replace("-", "−").replace("+0", "±0")


def plain(value: float | None) -> str:
    """A number in two decimals with a real minus; an en dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def per_cent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def thousands(value: float | int | None) -> str:
    """1234567 as '1 234 567' with narrow spaces."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}".replace(",", "\u202f")
    return f"{int(value):,}".replace(",", "\u202f")


def show_time(ms: int | None) -> Markup:
    """A moment in UTC; the script, where it runs, writes it in the reader's zone."""
    if ms is None or not -62_000_000_000_000 < ms < 250_000_000_000_000:
        return Markup("–")
    when = datetime.fromtimestamp(ms // 1000, UTC).isoformat()  # digits, '-', ':' and a 'T': nothing to escape
    return Markup(f'<time datetime="{when[:19]}Z">{when[:10]} {when[11:16]} UTC</time>')
