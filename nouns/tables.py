"""Every table that a run keeps, declared once: its columns with type and meaning. Writers take their schemas from here.

`docs/tables.md` is made from this file by `python -m pipeline.show.tables`, and a test compares it, and the sample's
files, with it. An export's folders have their own dictionary (`data_dictionary.md`, from `feedback/export/layouts.py`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from nouns.errors import InputError
from nouns.x import MISLEADING_FLAGS, NOT_MISLEADING_FLAGS, RATING_TAGS

if TYPE_CHECKING:
    import pyarrow as pa

AGGREGATORS = ("bridging_intercept", "gaussian", "worst_side", "group_aware", "schulze", "mean")
"""How a jury's answers become one score; each has a column `score_<name>`."""


class Column(NamedTuple):
    """One column. `type` is a word of `_ARROW`; a null says that there is no such value, never zero."""

    name: str
    type: str
    meaning: str
    nullable: bool = True


class Table(NamedTuple):
    """One table: `name`.parquet in each directory of `kept_in`; `row` says what one row is."""

    name: str
    kept_in: tuple[str, ...]
    row: str
    columns: tuple[Column, ...]


# A line starts a table with "name | kept in | what a row is", or gives a column as "name type meaning". "!" after a type: never
# null. "@name" stands for the columns of that group, "*name" for one column of every word in it.
_GROUPS = {
    "reception": """
score double the score of the chosen aggregator: a predicted note intercept, higher is better received by both sides
lower double lower end of the 90 % interval of the score
upper double upper end of the 90 % interval of the score
factor double predicted note factor: below 0 the negative side likes it more, above 0 the positive side
helpful_negative double expected share of the jurors with a negative factor who answer Helpful, 0 to 1
helpful_middle double the same of the jurors in the middle
helpful_positive double the same of the jurors with a positive factor
reasons [reason] X's reason tags the jury is likeliest to give, by side
aggregator string the aggregator behind `score`
n_jurors int32 jurors drawn
unjudged_reason string why there is no score; null where there is one
sd float standard deviation of the score
sd_within float its part that differs between texts of one post: what an order of them rests on
net_helpful_negative float expected Helpful less Not helpful answers of the negative side, as shares
net_helpful_positive float the same of the positive side
*score_ float the score by this aggregator
curve [float] predicted share of Helpful along the factor axis, from the most negative juror to the most positive
helpful_chance double chance of reaching Helpful by X's rule, 0 to 1
""",
    "prompt": """
cluster_id string claim of the post that the texts speak to
request_id string the request that asked for the text
prompt_sha256 string SHA-256 of the messages as they were sent
prompt_version string version of the prompt's wording
prompt [message] the messages as they were sent
""",
    "gap": """
score_gap double difference of the two scores
gap_ci_low double lower end of its 90 % interval
gap_ci_high double upper end of its 90 % interval
p_flip double chance that the true order is the other one, 0 to 0.5
""",
}

_SNAPSHOT = """
ratings | snapshots/ID | one rating: the last one of this rater on this note
noteId int64! id of the note
raterParticipantId string! X's pseudonym of the rater
createdAtMillis int64! when, in milliseconds since 1970
helpfulness float! 1 helpful, 0.5 somewhat, 0 not
ratedOnTweetId int64 post under which it was given
version int8! X's version of the rating form
ratingSourceBucketed string DEFAULT or POPULATION_SAMPLED
*rating_tag bool! box ticked by the rater

notes | snapshots/ID | one note
noteId int64! id of the note
tweetId int64! id of the post
noteAuthorParticipantId string X's pseudonym of the author
createdAtMillis int64! when, in milliseconds since 1970
classification string! MISINFORMED_OR_POTENTIALLY_MISLEADING, NOT_MISLEADING, or a word unknown here
summary string! the note's text
trustworthySources bool box ticked by the author: sources most people would trust
isMediaNote bool it is about the picture or video, wherever that appears
isCollaborativeNote bool written by an AI writer with raters' suggestions
*note_flag bool! box ticked by the author

note_status_history | snapshots/ID | one note's status
noteId int64! id of the note
noteAuthorParticipantId string X's pseudonym of the author
createdAtMillis int64! when the note was written, in milliseconds since 1970
currentStatus string status now: CURRENTLY_RATED_HELPFUL, CURRENTLY_RATED_NOT_HELPFUL or NEEDS_MORE_RATINGS
lockedStatus string status that stays, once X locked it
timestampMillisOfFirstNonNMRStatus int64 when it first had another status than NEEDS_MORE_RATINGS
firstNonNMRStatus string that status
timestampMillisOfCurrentStatus int64 when it got the status it has
timestampMillisOfLatestNonNMRStatus int64 when it last got another one than NEEDS_MORE_RATINGS
mostRecentNonNMRStatus string that status
timestampMillisOfStatusLock int64 when the status was locked
timestampMillisOfRetroLock int64 when it was locked after the fact
timestampMillisOfMostRecentStatusChange int64 when the status last changed
timestampMillisOfNmrDueToMinStableCrhTime int64 since when it waits for Helpful to be stable
timestampMillisOfFirstNmrDueToMinStableCrhTime int64 when it first waited so
currentCoreStatus string verdict of X's Core model
currentExpansionStatus string verdict of X's Expansion model
currentGroupStatus string verdict of the group models
currentMultiGroupStatus string verdict of the multi-group models
currentDecidedBy string the model whose verdict counted
currentModelingGroup int64 group of the group model
currentModelingMultiGroup int64 group of the multi-group model

user_enrollment | snapshots/ID | one rater's standing
participantId string! X's pseudonym of the rater
enrollmentState string X's state: whether they may write notes
successfulRatingNeededToEarnIn int64 rating impact still needed to write
timestampOfLastStateChange int64 when the state changed, in milliseconds since 1970
timestampOfLastEarnOut int64 when writing was last locked
modelingPopulation string CORE or EXPANSION
modelingGroup int64 X's group of the rater
numberOfTimesEarnedOut int64 how often writing was locked

suggestions | snapshots/ID | one suggestion that a rater of a collaborative note made with a rating
noteId int64! id of the note
createdAtMillis int64! when the rating was given, in milliseconds since 1970
raterParticipantId string! X's pseudonym of the rater
suggestionId int64 X's id of the suggestion; null before 28 May 2026
suggestion string! what the rater would change, in their words
helpfulness float! how they rated the note as it stood: 1 helpful, 0.5 somewhat, 0 not

note_requests | snapshots/ID | one post for which people asked for a note
tweetId int64! id of the post
sourceLinks string links that people offered, as X writes them
suggestions string what people suggested, as X writes it
noteRequestFeedEligibleTimestamp int64 since when it is shown to note writers, in milliseconds since 1970
apiSmallFeedEligibleTimestamp int64 since when the API's small feed has it
apiLargeFeedEligibleTimestamp int64 since when the large feed has it
apiXlFeedEligibleTimestamp int64 since when the extra large feed has it

posts | snapshots/ID | one post, as far as the user has its text
tweetId int64! id of the post
text string its text
language string its language, as a two-letter code
createdAtMillis int64 when, in milliseconds since 1970
mediaTypes string photo, video, ... separated by commas
altText string description of its pictures
quotedText string text of the post it quotes
author string name or handle of who wrote it: shown to analysts, part of no prompt and no export

rejects | snapshots/ID | one row or value that ingest refused
table string! table it was meant for
file string! file it came from
line int64! line in that file, from 1
column string column at fault; null for the whole row
reason string! why, as a code
value string! what stood there, shortened
"""

_RUN = """
raters | fit_raters | one rater
raterParticipantId string X's pseudonym of the rater
intercept double how readily they call notes helpful
factor1 double their side and how strongly they take it
n_ratings int64 their ratings in the snapshot
n_ratings_in_fit int64 those the last fit used
source string fitted, folded_in, prior or adopted
intercept_sd double standard error of the intercept
factor1_sd double standard error of the factor
n_valid_ratings int64 ratings by which X judges a rater: early, before the first status
n_agreeing_ratings int64 those that agreed with what the note became
rater_agree_ratio double their share
crh_crnh_ratio_difference double the rater's own notes: share Helpful less five times the share Not helpful
mean_note_score double mean intercept of their own notes
above_helpfulness_threshold bool X's rule on who is counted in the second fit

notes | fit_raters | one rated note
noteId int64 id of the note
intercept double note intercept: how helpful both sides find it
factor1 double note factor: which side likes it
lower double lower end of the 90 % interval of the intercept
upper double upper end of it
n_ratings int64 its ratings in the snapshot
net_helpful_negative int64 Helpful less Not helpful ratings by raters with a negative factor
net_helpful_positive int64 the same by raters with a positive factor
status string status by our rules
active_rules [string] the rules that gave it, in X's order
source string fitted, folded_in, folded_in_twice or adopted
n_ratings_in_fit int64 ratings the last fit used
n_ratings_counted int64 ratings its final parameters rest on
intercept_sd double standard error of the intercept
factor1_sd double standard error of the factor
pseudo_lower double lowest intercept with X's pseudo-ratings added
pseudo_upper double highest intercept with them
mean_helpful_negative double mean rating by the negative side, 0 to 1
mean_helpful_positive double mean rating by the positive side
intercept_without_most_active double intercept without its most active raters
intercept_without_correlated double intercept without raters who rate alike

jury_raters | models/jury-ID | one rater a jury may draw, in `raters.parquet`
raterParticipantId string X's pseudonym of the rater
intercept double rater intercept at training
factor1 double rater factor at training
n_ratings int64 ratings behind them
pool string proxy: judges drafts; gold: kept for the second jury

clustered_posts | cluster_notes | one post with a note, in `posts.parquet`
post_id int64 id of the post
language string language of the supernote to write
n_notes int32 notes on it
n_clusters int32 claims among them
n_ratings int64 ratings of its notes
eligible bool whether a supernote is written
reason_code string why not; null where it is
reason string the same in words
story_id string the story it belongs to

clusters | cluster_notes | one note of a post, or lent to it
post_id int64 id of the post
note_id int64 id of the note
cluster_id string claim it speaks to
stance string misleading or not_misleading
duplicate_of int64 note with nearly the same text that stands for it
borrowed bool lent by another post of the same story
similarity float cosine similarity to the middle of its cluster
language string language of the note

stories | cluster_notes | one note of a story told on several posts
story_id string id of the story
post_id int64 id of the post
note_id int64 id of the note

candidates | draft_candidates, revise_candidates | one text written
candidate_id string hash of what it was asked for and its text
post_id int64 id of the post
cluster_id string claim it speaks to
text string the text
language string its language
classification string stance it takes, in X's words
source_note_ids [int64] notes it was written from
writer string model and revision that wrote it, or extractive
prompt_version string version of the prompt's wording
seed int64 seed of the draw
parent_id string text it revises; null for a draft
round int32 round of revision; 0 for a draft
request_id string request that asked for it

prompts | draft_candidates, revise_candidates | one request to the writer
request_id string id of the request
post_id int64 id of the post
prompt_version string version of the prompt's wording
prompt_sha256 string SHA-256 of the messages
messages [message] the messages as they were sent

ledger | draft_candidates, check_candidates, judge_candidates, revise_candidates, select_winners | one post's key and counts, so that a later day carries an unchanged post over
post_id int64 id of the post
key string digest of all that its rows rest on
counts string its share of the stage's counts, as JSON

failures | draft_candidates, revise_candidates | one reply that became no candidate
request_id string id of the request
post_id int64 id of the post
reason_code string why, as a code
reason string the same in words, the server's own where it refused

checks | check_candidates, revise_candidates | one check of one candidate: passed once, failed once a finding
candidate_id string id of the candidate
post_id int64 id of the post
check string name of the check
outcome string passed, failed or unreadable
reason string what was found
start int32 where it begins in the text, in characters
end int32 where it ends
principle string principle of the note spec behind the check

verdicts | judge_candidates, revise_candidates | what the jury makes of one candidate
candidate_id string id of the candidate
post_id int64 id of the post
@reception

existing | judge_candidates | what the jury makes of one note that is there
note_id int64 id of the note
post_id int64 id of the post
@reception
n_ratings int64 its ratings in the snapshot
fitted_intercept double its fitted intercept, for comparison

lineage | revise_candidates | one revision
candidate_id string the revision
parent_id string text it revises
post_id int64 id of the post
round int32 round of revision, from 1
request_id string request that asked for it
score_before double score of the parent
score_after double score of the revision
kept bool whether it replaced the parent
reason string why not
feedback string what the writer was told

losers | select_winners | one candidate that did not win
candidate_id string id of the candidate
post_id int64 id of the post
decided_by string rule that decided
value double what it had
threshold double what it needed
compared_with string text that beat it
reason string the same in words

baseline | select_winners | the model's best text beside the extractive writer's, of one post
post_id int64 id of the post
writer string the model
model_candidate_id string its best candidate
baseline_candidate_id string the extractive writer's best
model_score double score of the model's
model_appeal double its score by the second jury
baseline_score double score of the extractive one
baseline_appeal double its score by the second jury

pairs | build_pairs | one preference
pair_id string hash of both texts and the rule
post_id int64 id of the post
@prompt
chosen_id string the better text
rejected_id string the worse text
chosen string its wording
rejected string its wording
score_chosen double score of the better
score_rejected double score of the worse
@gap
label_source string jury, check (the worse one failed one), analyst, both (analyst and jury) or raters (of two versions of one note)
pair_rule string rule that proposed the pair
model_id string model that wrote both
language string language of both
chosen_length int32 length of the better as X counts it
rejected_length int32 length of the worse
chosen_links int32 links in the better
rejected_links int32 links in the worse
stance string same or cross: whether both take one stance
why_chosen string what decided, in words
jury_agrees bool whether the jury's scores order them so; null without scores
rejected_failed_checks [string] checks the worse one failed
*pair_side double expected Helpful share of this side for this text, 0 to 1
chosen_reasons [reason] reasons predicted for the better
rejected_reasons [reason] reasons predicted for the worse

ties | build_pairs | two texts that nobody should be taught to order
pair_id string hash of both texts
post_id int64 id of the post
@prompt
text_a string one text
text_b string the other
id_a string its id
id_b string its id
score_a double its score
score_b double its score
@gap
stance string same or cross
language string language of both
tie_reason string why they tie

labels | build_pairs | one candidate, good or bad
candidate_id string id of the candidate
post_id int64 id of the post
@prompt
text string the text
label bool true: wanted
reason string why
label_source string jury, check, analyst or both
score double its score
lower double lower end of the 90 % interval
upper double upper end of it
helpful_negative double expected Helpful share of the negative side, 0 to 1
helpful_middle double of the middle
helpful_positive double of the positive side
reasons [reason] reasons predicted
failed_checks [string] checks it failed
model_id string model that wrote it
language string its language

outcomes | learn_outcomes | one judged text and how it was really received
text_id string candidate or note
post_id int64 id of the post
kind string existing: a person's note that was judged; winner: a supernote found published
note_id int64 id of the note
predicted double score before
lower double lower end of its 90 % interval
upper double upper end of it
real double fitted intercept in the later snapshot
n_ratings int64 ratings by then
n_ratings_before int64 ratings when it was judged
covered bool whether the interval held it
status string its status by then

outcome_pairs | learn_outcomes | two texts ordered by real ratings, in `pairs.parquet`
pair_id string hash of both texts
post_id int64 id of the post
chosen_id string the better received
rejected_id string the worse received
chosen string its wording
rejected string its wording
real_chosen double its real intercept
real_rejected double its real intercept
real_gap double their difference
predicted_gap double difference of the scores before
jury_agreed bool whether the jury had ordered them so
label_source string where the order comes from
"""

_WORDS = {
    "score_": AGGREGATORS,
    "rating_tag": RATING_TAGS,
    "note_flag": MISLEADING_FLAGS + NOT_MISLEADING_FLAGS,
    "pair_side": tuple(
        f"{which}_helpful_{side}" for which in ("chosen", "rejected") for side in ("negative", "middle", "positive")
    ),
}


def _columns(lines: list[str]) -> tuple[Column, ...]:
    found: list[Column] = []
    for line in lines:
        if line.startswith("@"):
            found += _columns(_GROUPS[line[1:]].strip().split("\n"))
            continue
        name, kind, meaning = line.split(" ", 2)
        required, kind = kind.endswith("!"), kind.rstrip("!")
        prefix = name[1:] if name.endswith("_") else ""
        names = [f"{prefix}{word}" for word in _WORDS[name[1:]]] if name.startswith("*") else [name]
        found += [Column(each, kind, meaning, not required) for each in names]
    return tuple(found)


def _tables(text: str) -> dict[str, Table]:
    found = {}
    for block in text.strip().split("\n\n"):
        head, *lines = block.split("\n")
        name, kept_in, row = (part.strip() for part in head.split("|"))
        found[name] = Table(name, tuple(kept_in.split(", ")), row, _columns(lines))
    return found


SNAPSHOT_TABLES, RUN_TABLES = _tables(_SNAPSHOT), _tables(_RUN)


def _types() -> dict[str, Any]:
    import pyarrow as pa

    plain = {
        "string": pa.string(), "bool": pa.bool_(), "double": pa.float64(), "float": pa.float32(),
        "int64": pa.int64(), "int32": pa.int32(), "int8": pa.int8(),
        "message": pa.struct([("role", pa.string()), ("content", pa.string())]),
        "reason": pa.struct([("side", pa.string()), ("tag", pa.string()), ("probability", pa.float32())]),
    }  # fmt: skip
    return plain | {f"[{name}]": pa.list_(kind) for name, kind in plain.items()}


@cache
def arrow(name: str, tables: str = "run") -> pa.Schema:
    """The Arrow schema of a table of a run (`tables="snapshot"`: of a snapshot). Raises InputError for an unknown name."""
    import pyarrow as pa

    known, types = {"run": RUN_TABLES, "snapshot": SNAPSHOT_TABLES}[tables], _types()
    if name not in known:
        raise InputError(f"There is no table {name!r}; the tables are {', '.join(known)}.")
    return pa.schema([pa.field(c.name, types[c.type], nullable=c.nullable) for c in known[name].columns])


@cache
def polars(name: str) -> dict[str, Any]:
    """The same as a Polars schema: column name to data type, in order."""
    import polars as pl

    frame = pl.from_arrow(arrow(name).empty_table())
    assert isinstance(frame, pl.DataFrame)
    return dict(frame.schema)
