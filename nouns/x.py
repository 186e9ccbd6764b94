"""Facts about X's programme that several rooms rest on, each once, with its source.

Source, unless said otherwise: the public repository twitter/communitynotes at 17 July 2026.
"""

from __future__ import annotations

X_RATINGS_PER_NOTE = 36.9
"""Ratings per note of X's core model: 29,377,568 ratings / 795,977 notes, the only production count in its code (`diligence_model.py`)."""

X_RATINGS_PER_RATER = 110.8
"""Of the same model: 29,377,568 ratings / 265,214 raters."""

X_GLOBAL_INTERCEPT = 0.17
"""Global intercept of X's core model, as the authors of Supernotes (arXiv 2411.06116) quote it."""

X_RESIDUAL_VARIANCE = 0.08
"""About what an X-like fit leaves of one rating's variance (measured on the pilot data: 0.065)."""

HELPFUL_AT = 0.40
HELPFUL_FACTOR = 0.50
"""X's status rule: a note is Helpful from this intercept on, while its factor stays within this (`note_status` thresholds; facts.md, section 2)."""

SIDE_EDGES = (-1 / 3, 1 / 3)
"""Where the line of rater factors is cut into negative, middle and positive: X's lie in about [-1, 1]; its thirds."""

CORE_GROUPS = frozenset({1, 2, 3, 6, 8, 9, 10, 11, 13, 14, 19, 21, 25})
EXPANSION_GROUPS = frozenset({0, 4, 5, 7, 12, 15, 16, 20, 22, 23, 24, 26, 27, 28, 29, 33})
EXPANSION_PLUS_GROUPS = frozenset({17, 18, 30, 31, 32})
"""Modelling groups of raters by the population that is fitted together (`constants.py`)."""

CAPTURE_SHARE = 0.5
"""Share of a note's ratings that must come from the population for its model to give the note a status (`mf_core_scorer.py`)."""

# X's order (communitynotes constants.py, helpfulTagsTSVOrder and notHelpfulTagsTSVOrder), newest names.
HELPFUL_TAGS: tuple[str, ...] = (
    "helpfulOther",
    "helpfulInformative",
    "helpfulClear",
    "helpfulEmpathetic",
    "helpfulGoodSources",
    "helpfulUniqueContext",
    "helpfulAddressesClaim",
    "helpfulImportantContext",
    "helpfulUnbiasedLanguage",
)
NOT_HELPFUL_TAGS: tuple[str, ...] = (
    "notHelpfulOther",
    "notHelpfulIncorrect",
    "notHelpfulSourcesMissingOrUnreliable",
    "notHelpfulOpinionSpeculationOrBias",
    "notHelpfulMissingKeyPoints",
    "notHelpfulOutdated",
    "notHelpfulHardToUnderstand",
    "notHelpfulArgumentativeOrBiased",
    "notHelpfulOffTopic",
    "notHelpfulSpamHarassmentOrAbuse",
    "notHelpfulIrrelevantSources",
    "notHelpfulOpinionSpeculation",
    "notHelpfulNoteNotNeeded",
)
RATING_TAGS: tuple[str, ...] = HELPFUL_TAGS + NOT_HELPFUL_TAGS

MISLEADING_FLAGS: tuple[str, ...] = (
    "misleadingOther",
    "misleadingFactualError",
    "misleadingManipulatedMedia",
    "misleadingOutdatedInformation",
    "misleadingMissingImportantContext",
    "misleadingUnverifiedClaimAsFact",
    "misleadingSatire",
)
NOT_MISLEADING_FLAGS: tuple[str, ...] = (
    "notMisleadingOther",
    "notMisleadingFactuallyCorrect",
    "notMisleadingOutdatedButNotWhenWritten",
    "notMisleadingClearlySatire",
    "notMisleadingPersonalOpinion",
)
