"""Which columns X's files have had over the years, how each is read, and how a file's header is matched to them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ingest.parse import (
    ANYTHING,
    FLAG,
    ID,
    NUMBER,
    OPTIONAL_ID,
    OPTIONAL_PARTICIPANT,
    OPTIONAL_TIME,
    PARTICIPANT,
    SKIP,
    TEXT,
    TIME,
    WORD,
    Layout,
)
from nouns.errors import InputError
from nouns.snapshot import MISLEADING, NOT_MISLEADING
from nouns.x import MISLEADING_FLAGS, NOT_MISLEADING_FLAGS, RATING_TAGS

HELPFULNESS_LEVELS = ("HELPFUL", "SOMEWHAT_HELPFUL", "NOT_HELPFUL")
CLASSIFICATIONS = (MISLEADING, NOT_MISLEADING)
# FIRM_REJECT and NEEDS_YOUR_HELP are X's internal labels (communitynotes constants.py); tolerated.
STATUSES = (
    "CURRENTLY_RATED_HELPFUL",
    "CURRENTLY_RATED_NOT_HELPFUL",
    "NEEDS_MORE_RATINGS",
    "FIRM_REJECT",
    "NEEDS_YOUR_HELP",
)

# Columns whose words are kept as they stand, with the words that X's code knows (communitynotes constants.py).
KEPT_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "note_status_history": dict.fromkeys(
        ("currentCoreStatus", "currentExpansionStatus", "currentGroupStatus", "currentMultiGroupStatus"), STATUSES
    ),
    "user_enrollment": {
        "enrollmentState": (
            "newUser", "earnedIn", "atRisk", "earnedOutNoAcknowledge", "earnedOutAcknowledged", "removed", "apiTestUser", "apiEarnedIn",
            "apiEarnedOut",
        ),
        "modelingPopulation": ("CORE", "EXPANSION", "EXPANSION_PLUS"),
    },
    "ratings": {"ratingSourceBucketed": ("DEFAULT", "POPULATION_SAMPLED")},
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    name: str
    kind: int
    aliases: tuple[str, ...] = ()
    required: bool = False
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableSpec:
    """What may stand in a file of one table. `unused`: columns X is known to publish and the snapshot leaves out."""

    name: str
    columns: tuple[Column, ...]
    unused: tuple[str, ...] = ()

    @property
    def flag_bits(self) -> dict[str, int]:
        """The bit of each check box, in the order of `columns`: rating tags have the bits 0 to 21."""
        return {name: bit for bit, name in enumerate(column.name for column in self.columns if column.kind == FLAG)}

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)


def _flags(names: tuple[str, ...], aliases: dict[str, tuple[str, ...]] | None = None) -> tuple[Column, ...]:
    return tuple(Column(name, FLAG, (aliases or {}).get(name, ())) for name in names)


SPECS: dict[str, TableSpec] = {
    "ratings": TableSpec(
        "ratings",
        (
            Column("noteId", ID, required=True),
            Column("raterParticipantId", PARTICIPANT, ("participantId",), required=True),
            Column("createdAtMillis", TIME),
            Column("version", NUMBER),
            Column("helpfulnessLevel", WORD, vocabulary=HELPFULNESS_LEVELS),
            Column("ratedOnTweetId", OPTIONAL_ID),
            Column("ratingSourceBucketed", TEXT),
            Column("suggestion", ANYTHING),
            Column("suggestionId", ANYTHING),
            # The tags come first among the check boxes: their bits go into the records as they are.
            # One of them was renamed on 15 December 2021.
            *_flags(RATING_TAGS, {"notHelpfulArgumentativeOrBiased": ("notHelpfulArgumentativeOrInflammatory",)}),
            Column("helpful", FLAG),
            Column("notHelpful", FLAG),
        ),
        unused=("agree", "disagree"),
    ),
    "notes": TableSpec(
        "notes",
        (
            Column("noteId", ID, required=True),
            Column("tweetId", ID, required=True),
            Column("noteAuthorParticipantId", OPTIONAL_PARTICIPANT, ("participantId",)),
            Column("createdAtMillis", OPTIONAL_TIME),
            Column("classification", WORD, vocabulary=CLASSIFICATIONS),
            Column("summary", TEXT, required=True),
            Column("trustworthySources", FLAG),
            Column("isMediaNote", FLAG),
            Column("isCollaborativeNote", FLAG),
            *_flags(MISLEADING_FLAGS + NOT_MISLEADING_FLAGS),
        ),
        unused=("believable", "harmful", "validationDifficulty"),
    ),
    "note_status_history": TableSpec(
        "note_status_history",
        (
            Column("noteId", ID, required=True),
            Column("noteAuthorParticipantId", OPTIONAL_PARTICIPANT, ("participantId",)),
            Column("createdAtMillis", OPTIONAL_TIME),
            Column("currentStatus", WORD, required=True, vocabulary=STATUSES),
            Column("lockedStatus", WORD, vocabulary=STATUSES),
            Column("timestampMillisOfFirstNonNMRStatus", OPTIONAL_TIME),
            Column("firstNonNMRStatus", WORD, vocabulary=STATUSES),
            Column("timestampMillisOfCurrentStatus", OPTIONAL_TIME),
            Column("timestampMillisOfLatestNonNMRStatus", OPTIONAL_TIME, ("timestampMillisOfMostRecentNonNMRStatus",)),
            Column("mostRecentNonNMRStatus", WORD, ("latestNonNMRStatus",), vocabulary=STATUSES),
            Column("timestampMillisOfStatusLock", OPTIONAL_TIME),
            Column("timestampMillisOfRetroLock", OPTIONAL_TIME),
            Column("timestampMillisOfMostRecentStatusChange", OPTIONAL_TIME),
            Column("timestampMillisOfNmrDueToMinStableCrhTime", OPTIONAL_TIME),
            Column("timestampMillisOfFirstNmrDueToMinStableCrhTime", OPTIONAL_TIME),
            Column("currentCoreStatus", TEXT),
            Column("currentExpansionStatus", TEXT),
            Column("currentGroupStatus", TEXT),
            Column("currentMultiGroupStatus", TEXT),
            Column("currentDecidedBy", TEXT, ("currentDecidedByKey",)),
            Column("currentModelingGroup", NUMBER),
            Column("currentModelingMultiGroup", NUMBER),
        ),
        unused=(
            "timestampMinuteOfFinalScoringOutput",
            "updatedTimestampMillisOfNmrDueToMinStableCrhTime",
            "pcrhAboveThresholdTime",
        ),
    ),
    "user_enrollment": TableSpec(
        "user_enrollment",
        (
            Column("participantId", PARTICIPANT, required=True),
            Column("enrollmentState", TEXT),
            Column("successfulRatingNeededToEarnIn", NUMBER),
            Column("timestampOfLastStateChange", OPTIONAL_TIME),
            Column("timestampOfLastEarnOut", OPTIONAL_TIME),
            Column("modelingPopulation", TEXT),
            Column("modelingGroup", NUMBER),
            Column("numberOfTimesEarnedOut", NUMBER),
        ),
        unused=("authorTopNotHelpfulTagValues",),
    ),
    "note_requests": TableSpec(
        "note_requests",
        (
            Column("tweetId", ID, required=True),
            Column("sourceLinks", TEXT),
            Column("suggestions", TEXT),
            # Documented as ...Timestamp, published as ...AtMillis.
            Column("noteRequestFeedEligibleTimestamp", OPTIONAL_TIME, ("noteRequestFeedEligibleAtMillis",)),
            Column("apiSmallFeedEligibleTimestamp", OPTIONAL_TIME, ("apiSmallFeedEligibleAtMillis",)),
            Column("apiLargeFeedEligibleTimestamp", OPTIONAL_TIME, ("apiLargeFeedEligibleAtMillis",)),
            Column("apiXlFeedEligibleTimestamp", OPTIONAL_TIME, ("apiXlFeedEligibleAtMillis",)),
        ),
    ),
}


@dataclass(frozen=True)
class Matching:
    """How the columns of one file were understood."""

    layout: Layout
    names: tuple[str, ...]  # (n_columns,) as in the file, for reports
    kept: tuple[str, ...]  # names of the snapshot that the file provides
    absent: tuple[str, ...]
    renamed: dict[str, str]
    unused: tuple[str, ...]
    unknown: tuple[str, ...]


def match_columns(spec: TableSpec, header: tuple[str, ...], label: str) -> Matching:
    """Find the columns of `spec` in a header, in any order, under any of the names X has used.

    Unknown columns are left out and reported. Raises InputError if a required column is missing.
    """
    lowered = {name.lower(): name for name in header}
    file_name: dict[str, str] = {}
    for column in spec.columns:
        for name in (column.name, *column.aliases):
            if name.lower() in lowered:
                file_name[column.name] = lowered[name.lower()]
                break
    missing = [name for name in spec.required if name not in file_name]
    if spec.name == "ratings" and not {"helpfulnessLevel", "helpful", "notHelpful"} & set(file_name):
        missing.append("helpfulnessLevel (or helpful and notHelpful)")
    if missing:
        near = {name: difflib.get_close_matches(name, header, 1) for name in missing}
        hints = "; ".join(f"{found[0]!r} resembles {name}" for name, found in near.items() if found)
        raise InputError(
            f"{label} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. It was taken for the table "
            f"{spec.name} by its name; its first line has {len(header)} columns: {', '.join(header)[:300]!r}"
            f"{' (' + hints + ')' if hints else ''}. Expected X's tab-separated file with a header that names at least "
            f"{', '.join(spec.required)}. Restore the header or remove the file."
        )
    by_file_name = {found: column for column in spec.columns if (found := file_name.get(column.name))}
    kinds, vocabularies, names = [], [], []
    for name in header:
        known = by_file_name.get(name)
        kinds.append(known.kind if known else SKIP)
        vocabularies.append(known.vocabulary if known else ())
        names.append(known.name if known else f" {name}")  # a space in front: no clash with the snapshot's names
    rest = [name for name in header if name not in by_file_name]
    unused = tuple(name for name in rest if name in spec.unused)
    return Matching(
        layout=Layout.build(names, kinds, vocabularies, spec.flag_bits),
        names=header,
        kept=tuple(column.name for column in spec.columns if column.name in file_name),
        absent=tuple(column.name for column in spec.columns if column.name not in file_name),
        renamed={old: new for new, old in file_name.items() if old != new},
        unused=unused,
        unknown=tuple(name for name in rest if name not in unused),
    )
