"""The snapshot as it would have been at an earlier time: what each table can tell about that time, and what it can't."""

from __future__ import annotations

import polars as pl

_NMR = "NEEDS_MORE_RATINGS"


def statuses_as_of(history: pl.DataFrame, as_of: int) -> tuple[pl.DataFrame, int]:
    """The status history as of `as_of` (milliseconds; events at or after it have not happened), and unknown statuses.

    X publishes for each note its first and its latest status other than "needs more ratings", the current status and
    the time of the last change. The status at a time is the one of the latest of these events before it; before the
    first, "needs more ratings". Changes between the first and the latest event are not published, so a note that
    changed more often may be given its first status for too long. Where an event has no time at all (X wrote -1 in
    2022), the status at `as_of` is unknown: null, and counted. Everything that happened later becomes null.
    """
    first, latest, current, change = (
        pl.col("timestampMillisOfFirstNonNMRStatus"),
        pl.col("timestampMillisOfLatestNonNMRStatus"),
        pl.col("timestampMillisOfCurrentStatus"),
        pl.col("timestampMillisOfMostRecentStatusChange"),
    )
    # "Current" is the time of the last scoring run; the change itself is earlier where X gives it.
    is_latest = pl.col("currentStatus") == pl.col("mostRecentNonNMRStatus")
    changed = pl.coalesce(change, pl.when(is_latest).then(latest), current)

    def before(time: pl.Expr) -> pl.Expr:
        return (time < as_of).fill_null(False)

    never_left = first.is_null() & pl.col("firstNonNMRStatus").is_null()
    status = (
        pl.when(before(changed))
        .then(pl.col("currentStatus"))
        .when(before(latest))
        .then(pl.col("mostRecentNonNMRStatus"))
        .when(before(first))
        .then(pl.col("firstNonNMRStatus"))
        .when(pl.col("currentStatus").is_null())
        .then(None)
        .when((first >= as_of).fill_null(False))
        .then(pl.lit(_NMR))
        .when(never_left & (pl.col("currentStatus") == _NMR))
        .then(pl.lit(_NMR))
        .otherwise(None)
    )
    unknown = history.select((status.is_null() & pl.col("currentStatus").is_not_null()).sum()).item()
    after_latest = ~before(latest)
    # A run after `as_of` overwrote what the submodels said before it.
    stale = ~before(current)
    locked = before(pl.coalesce("timestampMillisOfStatusLock", "timestampMillisOfRetroLock"))
    result = history.with_columns(
        status.alias("currentStatus"),
        pl.when(before(changed))
        .then(changed)
        .when(before(latest))
        .then(latest)
        .when(before(first))
        .then(first)
        .alias("timestampMillisOfCurrentStatus"),
        pl.when(before(first)).then(first).alias("timestampMillisOfFirstNonNMRStatus"),
        pl.when(before(first)).then(pl.col("firstNonNMRStatus")).alias("firstNonNMRStatus"),
        pl.when(~after_latest)
        .then(latest)
        .when(before(first))
        .then(first)
        .alias("timestampMillisOfLatestNonNMRStatus"),
        pl.when(~after_latest)
        .then(pl.col("mostRecentNonNMRStatus"))
        .when(before(first))
        .then(pl.col("firstNonNMRStatus"))
        .alias("mostRecentNonNMRStatus"),
        pl.when(locked).then(pl.col("lockedStatus")).alias("lockedStatus"),
        *(
            pl.when(before(pl.col(name))).then(pl.col(name)).alias(name)
            for name in (
                "timestampMillisOfStatusLock",
                "timestampMillisOfRetroLock",
                "timestampMillisOfMostRecentStatusChange",
                "timestampMillisOfNmrDueToMinStableCrhTime",
                "timestampMillisOfFirstNmrDueToMinStableCrhTime",
            )
        ),
        *(
            pl.when(~stale).then(pl.col(name)).alias(name)
            for name in (
                "currentCoreStatus",
                "currentExpansionStatus",
                "currentGroupStatus",
                "currentMultiGroupStatus",
                "currentDecidedBy",
                "currentModelingGroup",
                "currentModelingMultiGroup",
            )
        ),
    )
    return result, int(unknown)


def enrollment_as_of(enrollment: pl.DataFrame, as_of: int) -> tuple[pl.DataFrame, int]:
    """Enrolment as of a time: a state entered at or after it is unknown (null). Returns the number of those."""
    later = (pl.col("timestampOfLastStateChange") >= as_of).fill_null(False)
    n = enrollment.select(later.sum()).item()
    return (
        enrollment.with_columns(
            pl.when(~later).then(pl.col("enrollmentState")).alias("enrollmentState"),
            pl.when(~later).then(pl.col("timestampOfLastStateChange")).alias("timestampOfLastStateChange"),
            pl.when(pl.col("timestampOfLastEarnOut") < as_of)
            .then(pl.col("timestampOfLastEarnOut"))
            .alias("timestampOfLastEarnOut"),
        ),
        int(n),
    )
