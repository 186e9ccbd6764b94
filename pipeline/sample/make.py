"""Writes the bundled sample in X's file format: `python -m pipeline.sample.make --out data/sample`.

The texts are invented and stand in the TOML files beside this module, one `[[post]]` with its `[[post.note]]`s each:

- post: `key` (its name in planted.json), `at` (UTC), `text`; optional `lang` (default en), `slant` (-1 to 1: the side of the
  rater factor that likes the post), `story` (posts that make the same claim), `media`, `alt`, `quoted`, `request` (a
  reader's words when asking for a note), `request_link` (the request carries a link), `case`.
- note: `q` (its intercept on X's scale: 0.40 is where Helpful begins), `lean` (-1 to 1: which side its words please), `why` (which form boxes the author
  ticked), `text`; optional `stance` (`not` = not misleading), `marks` (what raters will complain about), `media`, `lang`,
  `suggestion` (makes it a collaborative note), `case`.

`case` names the hard case that a post or note is there for. Ratings are drawn from the model that the pipeline fits,
`r = mu + i_u + i_n + f_u f_n + noise`, cut into three levels; whoever writes a test knows every parameter (planted.json).
Only the standard library and `random.Random.random` are used, whose stream Python guarantees, and every post, note and rater has a
generator of its own, named after it: editing one text leaves all other rows as they are.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

from nouns.x import CORE_GROUPS, HELPFUL_TAGS, NOT_HELPFUL_TAGS, X_GLOBAL_INTERCEPT

SNOWFLAKE_EPOCH = 1288834974657  # ms; id = (created - epoch) << 22 | 22 low bits (facts.md section 1)
SNAPSHOT = 1781481600000  # 2026-06-15 00:00 UTC in ms: when this "download" was made
HOUR = 3_600_000  # ms
DAY = 24 * HOUR

# The planted model. With X's penalties the mean rating is shared equally by mu, rater and note intercepts, so these
# centres make planted and fitted note intercepts comparable; the cuts make 15 % of the ratings "somewhat helpful".
RATER_INTERCEPT = 0.17
RATER_INTERCEPT_SD = 0.12
NOISE_SD = 0.23
SOMEWHAT_FROM, HELPFUL_FROM = 0.42, 0.60
SIDE_CENTRE, SIDE_SD = 0.70, 0.15  # rater factors: two humps at +-centre
MIDDLE_SHARE = 0.12  # raters who belong to neither side
LEAN_SCALE = 1.5  # note factor for a text of lean 1
SLANT_SHARE = 0.35  # of the post's slant that a correction carries with the other sign: fans dislike it however worded
NOTE_JITTER = 0.02  # sd by which a note's parameters differ from what the TOML says

N_RATERS = 400
N_AUTHORS = 90  # raters who also write
ACTIVITY_SD = 0.75  # log-normal: a few raters rate ten times as much as most
LANGUAGE_SHARE = {"en": 1.0, "es": 0.45, "de": 0.35, "pt": 0.30}  # raters who read it
ENTHUSIASM = 0.098  # expected looks at a post by a rater of average activity
SELECTIVE = 0.5  # log of how much likelier a rater looks at a post of their own side, for slant and factor 1
RATED_SHARE = 0.78  # of the notes under a post that a rater looks at

RATING_COLUMNS = (
    "noteId", "raterParticipantId", "createdAtMillis", "version", "agree", "disagree", "helpful", "notHelpful",
    "helpfulnessLevel", *HELPFUL_TAGS, *NOT_HELPFUL_TAGS, "ratedOnTweetId", "ratingSourceBucketed", "suggestion",
    "suggestionId",
)  # fmt: skip
MISLEADING_FLAGS = {
    "other": "misleadingOther", "factual": "misleadingFactualError", "media": "misleadingManipulatedMedia",
    "outdated": "misleadingOutdatedInformation", "context": "misleadingMissingImportantContext",
    "unverified": "misleadingUnverifiedClaimAsFact", "satire": "misleadingSatire",
}  # fmt: skip
NOT_MISLEADING_FLAGS = {
    "other": "notMisleadingOther", "correct": "notMisleadingFactuallyCorrect",
    "outdated": "notMisleadingOutdatedButNotWhenWritten", "satire": "notMisleadingClearlySatire",
    "opinion": "notMisleadingPersonalOpinion",
}  # fmt: skip
NOTE_COLUMNS = (
    "noteId", "noteAuthorParticipantId", "createdAtMillis", "tweetId", "classification", "believable", "harmful",
    "validationDifficulty", *MISLEADING_FLAGS.values(), *NOT_MISLEADING_FLAGS.values(), "trustworthySources", "summary",
    "isMediaNote", "isCollaborativeNote",
)  # fmt: skip
STATUS_COLUMNS = (
    "noteId", "noteAuthorParticipantId", "createdAtMillis", "timestampMillisOfFirstNonNMRStatus", "firstNonNMRStatus",
    "timestampMillisOfCurrentStatus", "currentStatus", "timestampMillisOfLatestNonNMRStatus", "mostRecentNonNMRStatus",
    "timestampMillisOfStatusLock", "lockedStatus", "timestampMillisOfRetroLock", "currentCoreStatus",
    "currentExpansionStatus", "currentGroupStatus", "currentDecidedBy", "currentModelingGroup",
    "timestampMillisOfMostRecentStatusChange", "timestampMillisOfNmrDueToMinStableCrhTime", "currentMultiGroupStatus",
    "currentModelingMultiGroup", "timestampMinuteOfFinalScoringOutput", "timestampMillisOfFirstNmrDueToMinStableCrhTime",
)  # fmt: skip
ENROLLMENT_COLUMNS = (
    "participantId", "enrollmentState", "successfulRatingNeededToEarnIn", "timestampOfLastStateChange",
    "timestampOfLastEarnOut", "modelingPopulation", "modelingGroup", "numberOfTimesEarnedOut",
)  # fmt: skip
REQUEST_COLUMNS = (
    "tweetId", "sourceLinks", "suggestions", "noteRequestFeedEligibleTimestamp", "apiSmallFeedEligibleTimestamp",
    "apiLargeFeedEligibleTimestamp", "apiXlFeedEligibleTimestamp",
)  # fmt: skip
MARKS = frozenset({"missing", "incorrect", "hard", "spam", "unneeded", "opinion", "irrelevant"})
HELPFUL, NOT_HELPFUL, NEEDS_MORE = "CURRENTLY_RATED_HELPFUL", "CURRENTLY_RATED_NOT_HELPFUL", "NEEDS_MORE_RATINGS"
# The status history is written with a margin of 0.04 around X's 0.40 and -0.05 - 0.8 |f|, so that a fit on the drawn ratings
# does not contradict it by chance.
STATUS_MARGIN = 0.04

_NORMAL = NormalDist()


class Draw:
    """Random numbers of one named thing. Equal names give equal numbers on every machine."""

    def __init__(self, seed: int, name: str):
        self._random = Random(f"{seed}/{name}")

    def uniform(self) -> float:
        return self._random.random()

    def normal(self, sd: float) -> float:
        return sd * _NORMAL.inv_cdf(min(max(self.uniform(), 1e-9), 1 - 1e-9))

    def below(self, n: int) -> int:
        return int(self.uniform() * n)

    def happens(self, probability: float) -> bool:
        return self.uniform() < probability


@dataclass(frozen=True)
class Note:
    key: str
    post_key: str
    text: str
    language: str
    intercept: float
    factor: float
    misleading: bool
    flags: frozenset[str]  # column names
    traits: frozenset[str]
    media: bool
    suggestion: str
    case: str
    note_id: int
    post_id: int
    created: int  # ms
    author: int  # index into the raters


@dataclass(frozen=True)
class Post:
    key: str
    post_id: int
    created: int  # ms
    text: str
    language: str
    slant: float
    attention: float  # how often it is looked at; 1 is average
    story: str
    case: str
    media: str
    alt: str
    quoted: str
    request: str
    request_link: bool
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Rater:
    participant_id: str
    side: int  # -1, 0, 1
    intercept: float
    factor: float
    activity: float
    languages: frozenset[str]


@dataclass(frozen=True)
class Rating:
    note: Note
    rater: Rater
    created: int  # ms
    value: float  # 0, 0.5, 1
    tags: frozenset[str]
    sampled: bool
    suggestion: str


@dataclass(frozen=True)
class Sample:
    """All rows, before they are written."""

    seed: int
    posts: tuple[Post, ...]
    raters: tuple[Rater, ...]
    ratings: tuple[Rating, ...] = field(repr=False)

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(note for post in self.posts for note in post.notes)


def make_sample(seed: int) -> Sample:
    """The whole sample. Equal seeds and TOML files give equal rows."""
    raters = tuple(_rater(seed, index) for index in range(N_RATERS))
    posts = tuple(sorted((_post(seed, entry, raters) for entry in read_entries()), key=lambda post: post.post_id))
    ratings = [rating for rater in raters for rating in _ratings_of(seed, rater, raters, posts)]
    ratings.sort(key=lambda rating: (rating.rater.participant_id, rating.created, rating.note.note_id))
    return Sample(seed, posts, raters, tuple(ratings))


def read_entries() -> list[dict[str, Any]]:
    """The posts of all TOML files beside this module, in file name order. Raises ValueError naming file and key."""
    known_post = {
        "key", "at", "text", "lang", "slant", "story", "media", "alt", "quoted", "request", "request_link", "case", "note",
    }  # fmt: skip
    known_note = {"q", "lean", "why", "text", "stance", "marks", "media", "lang", "suggestion", "case"}
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    for file in sorted(Path(__file__).parent.glob("*.toml")):
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["post"]:
            unknown = set(entry) - known_post | {key for note in entry["note"] for key in set(note) - known_note}
            if unknown or entry["key"] in seen:
                found = f"unknown keys {sorted(unknown)}" if unknown else "the key twice"
                raise ValueError(f"{file.name}, post {entry['key']!r}: {found}. See the docstring of make.py.")
            seen.add(entry["key"])
            entries.append(entry)
    return entries


def _snowflake(created: int, draw: Draw) -> int:
    return (created - SNOWFLAKE_EPOCH) << 22 | draw.below(1 << 22)


def _rater(seed: int, index: int) -> Rater:
    draw = Draw(seed, f"rater/{index}")
    if draw.happens(MIDDLE_SHARE):
        side, factor = 0, draw.normal(SIDE_SD)
    else:
        side = 1 if draw.happens(0.5) else -1
        factor = side * SIDE_CENTRE + draw.normal(SIDE_SD)
    return Rater(
        participant_id=hashlib.sha256(f"supernotes sample {seed} rater {index}".encode()).hexdigest().upper(),
        side=side,
        intercept=round(RATER_INTERCEPT + draw.normal(RATER_INTERCEPT_SD), 4),
        factor=round(max(-1.0, min(1.0, factor)), 4),
        activity=math.exp(draw.normal(ACTIVITY_SD)),
        languages=frozenset(language for language, share in LANGUAGE_SHARE.items() if draw.happens(share)),
    )


def _post(seed: int, entry: dict[str, Any], raters: tuple[Rater, ...]) -> Post:
    draw = Draw(seed, f"post/{entry['key']}")
    at = datetime.strptime(entry["at"], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    created = int(at.timestamp()) * 1000 + draw.below(60_000)
    post_id = _snowflake(created, draw)
    language = entry.get("lang", "en")
    notes: list[Note] = []
    when = created + 20 * 60_000
    for index, raw in enumerate(entry["note"]):
        when += int(HOUR * math.exp(math.log(1.2) + draw.normal(0.9)))
        taken = {note.author for note in notes}
        notes.append(_note(seed, entry, index, raw, post_id, when, taken, raters))
    return Post(
        key=entry["key"],
        post_id=post_id,
        created=created,
        text=_one_line(entry["text"]),
        language=language,
        slant=float(entry.get("slant", 0.0)),
        attention=math.exp(Draw(seed, f"attention/{entry['key']}").normal(0.35)),
        story=entry.get("story", ""),
        case=entry.get("case", ""),
        media=entry.get("media", ""),
        alt=entry.get("alt", ""),
        quoted=entry.get("quoted", ""),
        request=entry.get("request", ""),
        request_link=bool(entry.get("request_link", False)),
        notes=tuple(notes),
    )


def _note(
    seed: int,
    entry: dict[str, Any],
    index: int,
    raw: dict[str, Any],
    post_id: int,
    created: int,
    taken: set[int],
    raters: tuple[Rater, ...],
) -> Note:
    post_key, slant = entry["key"], float(entry.get("slant", 0.0))
    key = f"{post_key}/{index + 1}"
    draw = Draw(seed, f"note/{key}")
    misleading = raw.get("stance", "misleading") == "misleading"
    names = MISLEADING_FLAGS if misleading else NOT_MISLEADING_FLAGS
    text = _one_line(raw["text"])
    marks = set(raw.get("marks", "").split())
    if marks - MARKS:
        raise ValueError(f"Note {key}: unknown marks {sorted(marks - MARKS)}; known are {', '.join(sorted(MARKS))}.")
    quality, lean = float(raw["q"]), float(raw["lean"])
    traits = marks | {"sourced" if "http" in text else "unsourced"}
    traits |= {"argumentative"} if abs(lean) >= 0.4 else set()
    traits |= {"neutral"} if abs(lean) <= 0.2 and quality > 0 else set()
    traits |= {"clear"} if quality >= 0.2 else set()
    traits |= {"context"} if "context" in raw["why"].split() else set()
    language = raw.get("lang", entry.get("lang", "en"))
    return Note(
        key=key,
        post_key=post_key,
        text=text,
        language=language,
        intercept=round(quality + draw.normal(NOTE_JITTER), 4),
        factor=round(LEAN_SCALE * lean + (-slant if misleading else slant) * SLANT_SHARE + draw.normal(NOTE_JITTER), 4),
        misleading=misleading,
        flags=frozenset(names[word] for word in raw["why"].split()),
        traits=frozenset(traits),
        media=bool(raw.get("media", False)),
        suggestion=raw.get("suggestion", ""),
        case=raw.get("case", ""),
        note_id=_snowflake(created, draw),
        post_id=post_id,
        created=created,
        author=_author(draw, quality, lean, language, taken, raters),
    )


def _author(draw: Draw, quality: float, lean: float, language: str, taken: set[int], raters: tuple[Rater, ...]) -> int:
    """An author whose habits resemble the note: people who rant write rants, and nobody notes a post twice.

    Author k of the first N_AUTHORS raters writes at a quality that grows with k; their lean is their own factor.
    """
    weights = []
    for index in range(N_AUTHORS):
        rater = raters[index]
        habit = -0.45 + index / (N_AUTHORS - 1)  # -0.45 to 0.55
        fits = math.exp(-(((quality - habit) / 0.12) ** 2) - ((lean - 0.6 * rater.factor) / 0.35) ** 2)
        weights.append(fits if language in rater.languages and index not in taken else 0.0)
    target = draw.uniform() * sum(weights)
    for index, weight in enumerate(weights):
        target -= weight
        if weight and target <= 0:
            return index
    return max(range(N_AUTHORS), key=lambda index: weights[index])


def _ratings_of(seed: int, rater: Rater, raters: tuple[Rater, ...], posts: tuple[Post, ...]) -> list[Rating]:
    """What one rater rated: posts by activity, attention, language and side; most notes under a post looked at."""
    ratings = []
    for post in posts:
        if post.language not in rater.languages:
            continue
        draw = Draw(seed, f"look/{rater.participant_id}/{post.key}")
        # Few read the smaller languages; those who do meet their posts more often.
        looks = ENTHUSIASM * rater.activity * post.attention / LANGUAGE_SHARE[post.language] ** 0.7
        looks *= math.exp(SELECTIVE * rater.factor * post.slant)
        if not draw.happens(1 - math.exp(-looks)):
            continue
        for note in post.notes:
            own = Draw(seed, f"rating/{rater.participant_id}/{note.key}")
            if (
                not own.happens(RATED_SHARE)
                or note.language not in rater.languages
                or raters[note.author].participant_id == rater.participant_id
            ):
                continue
            ratings.append(_rating(own, rater, note))
    return ratings


def _rating(draw: Draw, rater: Rater, note: Note) -> Rating:
    liking = X_GLOBAL_INTERCEPT + rater.intercept + note.intercept + rater.factor * note.factor + draw.normal(NOISE_SD)
    value = 1.0 if liking >= HELPFUL_FROM else 0.5 if liking >= SOMEWHAT_FROM else 0.0
    wait = int(HOUR * math.exp(math.log(5.0) + draw.normal(1.2)))
    return Rating(
        note=note,
        rater=rater,
        created=note.created + 60_000 + min(wait, 13 * DAY),
        value=value,
        tags=_tags(draw, rater, note, value),
        sampled=draw.happens(0.08),
        suggestion=note.suggestion if note.suggestion and draw.happens(0.12) else "",
    )


def _tags(draw: Draw, rater: Rater, note: Note, value: float) -> frozenset[str]:
    """Tags that follow from the note's traits and from which side the rater stands on; at least one."""
    has = note.traits.__contains__
    opposed = rater.factor * note.factor < -0.1
    praise = {
        "helpfulOther": 0.04,
        "helpfulClear": 0.08 if has("hard") else 0.75 if has("clear") else 0.45,
        "helpfulGoodSources": 0.75 if has("sourced") else 0.02,
        "helpfulAddressesClaim": 0.70 if has("clear") else 0.40,
        "helpfulImportantContext": 0.75 if has("context") else 0.30,
        "helpfulUnbiasedLanguage": 0.05 if has("argumentative") else 0.55 if has("neutral") else 0.20,
    }
    blame = {
        "notHelpfulOther": 0.05,
        "notHelpfulIncorrect": 0.65 if has("incorrect") else 0.45 if opposed else 0.10,
        "notHelpfulSourcesMissingOrUnreliable": 0.75 if has("unsourced") else 0.12,
        "notHelpfulMissingKeyPoints": 0.70 if has("missing") else 0.25,
        "notHelpfulHardToUnderstand": 0.80 if has("hard") else 0.05,
        "notHelpfulArgumentativeOrBiased": (0.75 if opposed else 0.45) if has("argumentative") else 0.05,
        "notHelpfulSpamHarassmentOrAbuse": 0.70 if has("spam") else 0.15 if has("argumentative") and opposed else 0.02,
        "notHelpfulIrrelevantSources": 0.60 if has("irrelevant") else 0.12 if has("sourced") else 0.02,
        "notHelpfulOpinionSpeculation": 0.65 if has("opinion") or has("argumentative") else 0.08,
        "notHelpfulNoteNotNeeded": 0.75 if has("unneeded") else 0.30 if opposed else 0.10,
    }
    share = 0.5 if value == 0.5 else 1.0  # who is half content ticks half as much, from both lists
    chances = (praise if value > 0 else {}) | (blame if value < 1 else {})
    tags = {tag for tag, chance in sorted(chances.items()) if draw.happens(share * chance)}
    return frozenset(tags or {max(sorted(chances), key=chances.__getitem__)})


def status_of(note: Note, ratings: list[Rating]) -> str:
    """X's rules applied to the planted parameters, with a margin (STATUS_MARGIN), for notes with 5 or more ratings."""
    net = {side: sum(2 * r.value - 1 for r in ratings if (r.rater.factor > 0) == (side > 0)) for side in (-1, 1)}
    if len(ratings) < 5:
        return NEEDS_MORE
    if (
        note.misleading
        and note.intercept >= 0.40 + STATUS_MARGIN
        and abs(note.factor) < 0.5 - STATUS_MARGIN
        and min(net.values()) >= 4
    ):
        return HELPFUL
    return NOT_HELPFUL if note.intercept < -0.05 - 0.8 * abs(note.factor) - STATUS_MARGIN else NEEDS_MORE


def _statuses(sample: Sample) -> list[dict[str, Any]]:
    by_note: dict[int, list[Rating]] = defaultdict(list)
    for rating in sample.ratings:
        by_note[rating.note.note_id].append(rating)
    rows = []
    for note in sample.notes:
        ratings = by_note[note.note_id]
        status = status_of(note, ratings)
        lock = note.created + 14 * DAY
        row: dict[str, Any] = {
            "noteId": note.note_id,
            "noteAuthorParticipantId": sample.raters[note.author].participant_id,
            "createdAtMillis": note.created,
            "timestampMillisOfCurrentStatus": SNAPSHOT - 2 * DAY,
            "currentStatus": status,
            "currentCoreStatus": status,
            "currentDecidedBy": "CoreModel (v1.1)",
            "currentModelingGroup": 0,
            "currentModelingMultiGroup": 0,
            "timestampMillisOfStatusLock": lock,  # every post of the sample is older than two weeks
            "lockedStatus": status,
            "timestampMillisOfMostRecentStatusChange": -1,
        }
        if status != NEEDS_MORE:
            # The status came an hour after a third of its ratings, or the fifth, were in.
            times = sorted(rating.created for rating in ratings)
            first = times[max(4, len(times) // 3)] + HOUR
            row |= {
                "timestampMillisOfFirstNonNMRStatus": first,
                "firstNonNMRStatus": status,
                "timestampMillisOfLatestNonNMRStatus": first,
                "mostRecentNonNMRStatus": status,
                "timestampMillisOfMostRecentStatusChange": first,
            }
        rows.append(row)
    # Two notes that their authors deleted: X keeps them in the status history and nowhere else.
    for index in range(2):
        draw = Draw(sample.seed, f"deleted/{index}")
        created = sample.posts[10 + 20 * index].created + 3 * HOUR + draw.below(HOUR)
        rows.append(
            {
                "noteId": _snowflake(created, draw),
                "noteAuthorParticipantId": sample.raters[draw.below(N_AUTHORS)].participant_id,
                "createdAtMillis": created,
                "timestampMillisOfCurrentStatus": created + 2 * DAY,
                "currentStatus": NEEDS_MORE,
                "currentCoreStatus": NEEDS_MORE,
                "currentModelingGroup": 0,
                "currentModelingMultiGroup": 0,
                "timestampMillisOfMostRecentStatusChange": -1,
            }
        )
    return sorted(rows, key=lambda row: row["noteId"])


def _notes(sample: Sample) -> list[dict[str, Any]]:
    flags = (*MISLEADING_FLAGS.values(), *NOT_MISLEADING_FLAGS.values())
    rows = []
    for note in sorted(sample.notes, key=lambda note: note.note_id):
        row: dict[str, Any] = {
            "noteId": note.note_id,
            "noteAuthorParticipantId": sample.raters[note.author].participant_id,
            "createdAtMillis": note.created,
            "tweetId": note.post_id,
            "classification": "MISINFORMED_OR_POTENTIALLY_MISLEADING" if note.misleading else "NOT_MISLEADING",
            "trustworthySources": int("sourced" in note.traits),
            "summary": note.text,
            "isMediaNote": int(note.media),
            "isCollaborativeNote": int(bool(note.suggestion)),
        }
        rows.append(row | {flag: int(flag in note.flags) for flag in flags})
    return rows


def _ratings(sample: Sample) -> list[dict[str, Any]]:
    levels = {1.0: "HELPFUL", 0.5: "SOMEWHAT_HELPFUL", 0.0: "NOT_HELPFUL"}
    zeros: dict[str, Any] = dict.fromkeys(
        ("agree", "disagree", "helpful", "notHelpful", *HELPFUL_TAGS, *NOT_HELPFUL_TAGS), 0
    )
    rows = []
    for rating in sample.ratings:
        row = zeros | {
            "noteId": rating.note.note_id,
            "raterParticipantId": rating.rater.participant_id,
            "createdAtMillis": rating.created,
            "version": 2,
            "helpfulnessLevel": levels[rating.value],
            "ratedOnTweetId": rating.note.post_id,
            "ratingSourceBucketed": "POPULATION_SAMPLED" if rating.sampled else "DEFAULT",
            "suggestion": rating.suggestion,
        }
        if rating.suggestion:
            draw = Draw(sample.seed, f"suggestion/{rating.note.key}/{rating.rater.participant_id}")
            row["suggestionId"] = _snowflake(rating.created, draw)
        rows.append(row | dict.fromkeys(rating.tags, 1))
    return rows


def _enrollment(sample: Sample) -> list[dict[str, Any]]:
    rows = []
    for index, rater in enumerate(sample.raters):
        draw = Draw(sample.seed, f"enrollment/{index}")
        writes = index < N_AUTHORS or draw.happens(0.5)
        rows.append(
            {
                "participantId": rater.participant_id,
                "enrollmentState": "earnedIn" if writes else "newUser",
                "successfulRatingNeededToEarnIn": 5,
                "timestampOfLastStateChange": SNAPSHOT - 110 * DAY - draw.below(400 * DAY),
                "timestampOfLastEarnOut": 1,  # X's value for "never"
                "modelingPopulation": "CORE",
                "modelingGroup": sorted(CORE_GROUPS)[draw.below(len(CORE_GROUPS))],
                "numberOfTimesEarnedOut": 0,
            }
        )
    return sorted(rows, key=lambda row: row["participantId"])


def _requests(sample: Sample) -> list[dict[str, Any]]:
    rows = []
    for post in sample.posts:
        if not (post.request or post.request_link):
            continue
        draw = Draw(sample.seed, f"request/{post.key}")
        at = post.created + HOUR + draw.below(HOUR)
        link = (
            f"https://posts.example/i/status/{_snowflake(post.created - 30 * DAY, draw)}" if post.request_link else ""
        )
        suggestion = {
            "suggestion_id": str(_snowflake(at, draw)),
            "suggestion": post.request,
            "source_link": link,
        }
        rows.append(
            {
                "tweetId": post.post_id,
                "sourceLinks": json.dumps([link] if link else []),
                "suggestions": json.dumps([suggestion] if post.request else [], ensure_ascii=False),
                "noteRequestFeedEligibleTimestamp": at + HOUR,
                "apiSmallFeedEligibleTimestamp": at + 2 * HOUR if draw.happens(0.5) else "",
                "apiLargeFeedEligibleTimestamp": at + HOUR,
                "apiXlFeedEligibleTimestamp": at + HOUR,
            }
        )
    return rows


def _posts(sample: Sample) -> list[dict[str, Any]]:
    rows = []
    for post in sample.posts:
        row = {
            "tweetId": str(post.post_id),
            "text": post.text,
            "language": post.language,
            "createdAtMillis": post.created,
            "mediaTypes": post.media or None,
            "altText": post.alt or None,
            "quotedText": post.quoted or None,
        }
        rows.append({key: value for key, value in row.items() if value is not None})
    return rows


def planted(sample: Sample) -> dict[str, Any]:
    """The truth: model, cases, and the parameters of every note and rater. Ids are strings."""
    cases: dict[str, list[str]] = defaultdict(list)
    stories: dict[str, list[str]] = defaultdict(list)
    status = {row["noteId"]: row["currentStatus"] for row in _statuses(sample)}
    for post in sample.posts:
        if post.story:
            stories[post.story].append(str(post.post_id))
        if post.case:
            cases[post.case].append(str(post.post_id))
        if any(status[note.note_id] == HELPFUL for note in post.notes):
            cases["shows_helpful_note"].append(str(post.post_id))
        for note in post.notes:
            if note.case:
                cases[f"note_{note.case}"].append(str(note.note_id))
    return {
        "seed": sample.seed,
        "snapshot_millis": SNAPSHOT,
        "model": {
            "global_intercept": X_GLOBAL_INTERCEPT,
            "noise_sd": NOISE_SD,
            "somewhat_from": SOMEWHAT_FROM,
            "helpful_from": HELPFUL_FROM,
        },
        "cases": {name: sorted(ids) for name, ids in sorted(cases.items())},
        "stories": {name: sorted(ids) for name, ids in sorted(stories.items())},
        "posts": {
            str(post.post_id): {"key": post.key, "language": post.language, "slant": post.slant}
            for post in sample.posts
        },
        "notes": {
            str(note.note_id): {
                "key": note.key,
                "language": note.language,
                "intercept": note.intercept,
                "factor": note.factor,
                "traits": sorted(note.traits),
            }
            for note in sorted(sample.notes, key=lambda note: note.note_id)
        },
        "raters": {
            rater.participant_id: {"side": rater.side, "intercept": rater.intercept, "factor": rater.factor}
            for rater in sorted(sample.raters, key=lambda rater: rater.participant_id)
        },
    }


def files(sample: Sample) -> dict[str, bytes]:
    """File name -> bytes of the sample directory. `.gz` carries no name and no time."""
    facts = planted(sample)
    lines = ["{"]
    for at, (key, value) in enumerate(facts.items()):
        # One line per note, rater and post keeps differences readable.
        if key in ("posts", "notes", "raters"):
            inner = ",\n".join(
                f"  {json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in value.items()
            )
            body = "{\n" + inner + "\n }"
        else:
            body = json.dumps(value, ensure_ascii=False)
        lines.append(f" {json.dumps(key)}: {body}{',' if at < len(facts) - 1 else ''}")
    lines.append("}\n")
    return {
        "notes-00000.tsv": _tsv(NOTE_COLUMNS, _notes(sample)),
        "ratings-00000.tsv.gz": gzip.compress(_tsv(RATING_COLUMNS, _ratings(sample)), 9, mtime=0),
        "noteStatusHistory-00000.tsv": _tsv(STATUS_COLUMNS, _statuses(sample)),
        "userEnrollment-00000.tsv": _tsv(ENROLLMENT_COLUMNS, _enrollment(sample)),
        "noteRequests-00000.tsv": _tsv(REQUEST_COLUMNS, _requests(sample)),
        "posts.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _posts(sample)).encode(),
        "planted.json": "\n".join(lines).encode(),
    }


def _tsv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> bytes:
    """X's table format: header, tabs, no quoting; what a row does not mention is empty."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row.get(column, "")) for column in columns) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def checksum(name: str, content: bytes) -> str:
    """SHA-256 of a file's content. Of a `.gz` the unpacked content: zlib builds pack differently."""
    return hashlib.sha256(gzip.decompress(content) if name.endswith(".gz") else content).hexdigest()


def describe(name: str, content: bytes) -> str:
    """A line of the table in data/README.md: file, rows without the header, bytes, checksum."""
    plain = gzip.decompress(content) if name.endswith(".gz") else content
    rows = plain.count(b"\n") - (".tsv" in name)
    return f"| `{name}` | {rows:,} | {len(content):,} | `{checksum(name, content)}` |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write into, created if missing")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in files(make_sample(arguments.seed)).items():
        (arguments.out / name).write_bytes(content)
        print(describe(name, content))


if __name__ == "__main__":
    main()
