"""The configs of an export: for each its Arrow schema and, where it is made from pairs or labels, how a frame becomes its rows.

Names follow TRL 1.16 (`docs/source/dataset_formats.md`) and what its trainers read; ids are strings because 64-bit
numbers lose digits in JSON readers; one format per config, because TRL reads mixed ones by chance (research P1). Nothing
is called `margin`, `messages`, `label` (outside KTO), `tools`, `images`, `text` or `ref_...`: those names mean something to a trainer.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_S, _F, _B = pa.string(), pa.float64(), pa.bool_()

_SIDES = ("negative", "middle", "positive")

# Columns that are no strings, by their type. A name has one type in all configs (but `prompt` in `h4`, which is a string).
_TYPES: dict[pa.DataType, str] = {
    MESSAGES: "prompt chosen rejected completion response_a response_b",
    _F: """score_chosen score_rejected score_gap gap_ci_low gap_ci_high p_flip @helpful_chosen @helpful_rejected @helpful real_chosen
        real_rejected score score_lower score_upper note_factor score_bridging_intercept score_gaussian score_worst_side
        score_group_aware score_schulze score_mean score_before score_after rating rating_before rating_after score_a score_b
        juror_factor juror_intercept p_not_helpful p_somewhat_helpful p_helpful chosen_rating rejected_rating margin""",
    _B: "jury_agrees prompt_redacted label",
    pa.int64(): "round n_jurors",
    pa.list_(pa.struct([("side", _S), ("tag", _S), ("probability", _F)])): "chosen_reasons rejected_reasons reasons",
    pa.list_(_S): "rejected_failed_checks failed_checks source_note_ids completions candidate_ids",
    pa.list_(_F): "scores curve",
    pa.list_(_B): "gate_pass",
    pa.list_(pa.int64()): "ranks",
}

_GROUPS = {
    "helpful": "helpful_negative helpful_middle helpful_positive",
    "helpful_chosen": "chosen_helpful_negative chosen_helpful_middle chosen_helpful_positive",
    "helpful_rejected": "rejected_helpful_negative rejected_helpful_middle rejected_helpful_positive",
    "gap": "score_gap gap_ci_low gap_ci_high p_flip",
    "evidence": """score_chosen score_rejected @gap label_source pair_rule why_chosen stance jury_agrees @helpful_chosen
        @helpful_rejected chosen_reasons rejected_reasons rejected_failed_checks real_chosen real_rejected pair_id cluster_id
        post_id chosen_id rejected_id run_id jury_id prompt_sha256 prompt_version prompt_redacted reply_form model_id
        model_revision language split_key""",
    "about": """post_id cluster_id request_id run_id jury_id prompt_sha256 prompt_version prompt_redacted reply_form language
        split_key""",
}

_COLUMNS = {
    "dpo": "prompt chosen rejected @evidence",
    "kto": """prompt completion label label_reason label_source score score_lower score_upper @helpful reasons failed_checks
        candidate_id model_id model_revision @about""",
    "reward": "chosen rejected @evidence",
    "grpo": "prompt classification source_note_ids @about",
    "scored": "prompt completions scores ranks gate_pass candidate_ids @about",
    "sft": "prompt completion decision_id decision_kind candidate_id @about",
    "candidates": """candidate_id post_id cluster_id note language classification source_note_ids parent_id round model_id
        prompt_version request_id outcome decided_by decided_why failed_checks score score_lower score_upper note_factor
        unjudged_reason run_id jury_id split_key""",
    "jury": """text_id post_id kind aggregator n_jurors score score_lower score_upper note_factor @helpful
        score_bridging_intercept score_gaussian score_worst_side score_group_aware score_schulze score_mean curve reasons run_id
        jury_id split_key""",
    "hindsight": """prompt response feedback improved feedback_source score_before score_after response_id improved_id @about""",
    "stable_alignment": """kind prompt draft feedback response rating rating_before rating_after draft_id response_id @about""",
    "ties": "prompt response_a response_b tie_reason score_a score_b @gap stance pair_id id_a id_b @about",
    "responses": """text_id post_id juror_id juror_factor juror_intercept p_not_helpful p_somewhat_helpful p_helpful run_id jury_id
        split_key""",
    "h4": "prompt prompt_id chosen rejected chosen_rating rejected_rating chosen_model rejected_model post_id split_key",
}


def _names(words: str) -> list[str]:
    """The column names in a line, groups (`@name`) taken apart."""
    return [name for word in words.split() for name in (_names(_GROUPS[word[1:]]) if word[0] == "@" else [word])]


_TYPE_OF = {name: kind for kind, words in _TYPES.items() for name in _names(words)}

SCHEMAS: dict[str, pa.Schema] = {
    config: pa.schema([(name, _TYPE_OF.get(name, _S)) for name in _names(words)]) for config, words in _COLUMNS.items()
}
SCHEMAS["h4"] = SCHEMAS["h4"].set(0, pa.field("prompt", _S))

WITH_PROMPT = ("dpo", "kto", "reward", "grpo", "scored", "sft", "hindsight", "stable_alignment", "ties", "h4")
"""Configs whose rows hold a prompt."""

DICTIONARY: dict[str, str] = {
    "prompt": "The messages the writer was sent (system, user). Same bytes as sent unless `prompt_redacted`.",
    "chosen": "The preferred note: one assistant message (in `reward` and `h4`: the whole conversation).",
    "rejected": "The other note, in the same form; never equal to `chosen` after normalising case and blanks.",
    "completion": "One note as one assistant message.",
    "label": "KTO: true for a desirable note, false for an undesirable one; the grey zone between is left out.",
    "label_reason": "Which absolute rule gave the label (bar reached, check failed, Not-helpful line, analyst).",
    "label_source": "`jury`: predicted; `raters`: the real ratings of two versions of one note; `check`: the rejected note failed a check; `analyst`: a person; `both`: a person, and the jury's order agrees.",
    "why_chosen": "Why the chosen note is the better one, in words.",
    "stance": "`same` if both notes say the same of the post (misleading or not), `cross` if not.",
    "jury_agrees": "Whether the jury's score has the same order as the label; null where it judged only one of the two.",
    **{
        f"{which}_helpful_{side}": f"Predicted share of helpful ratings of the {which} note on the {side} third of the rater factor line."
        for which in ("chosen", "rejected")
        for side in _SIDES
    },
    "chosen_reasons": "Likeliest reasons raters of each side would tick for the chosen note, in X's vocabulary.",
    "rejected_reasons": "The same for the rejected note.",
    "rejected_failed_checks": "Checks that the rejected note failed, each with the reason.",
    "real_chosen": "Intercept the chosen note really got in a later snapshot, where `learn_outcomes` has seen it.",
    "real_rejected": "The same of the rejected note.",
    "response_a": "One of two notes that neither people nor jury can order; the order of `a` and `b` means nothing.",
    "response_b": "The other one.",
    "tie_reason": "equal_scores, gap_too_small, order_uncertain (the limit on `p_flip`) or analysts_disagree.",
    "score_a": "Score of `response_a`.",
    "score_b": "Score of `response_b`.",
    "id_a": "Id of `response_a`.",
    "id_b": "Id of `response_b`.",
    "juror_id": "Seat on the simulated jury, the same for all texts of a jury; no rater's id.",
    "juror_factor": "The juror's place on the factor line.",
    "juror_intercept": "How lenient the juror is.",
    "p_not_helpful": "Predicted probability that this juror rates the text not helpful.",
    "p_somewhat_helpful": "The same for somewhat helpful.",
    "p_helpful": "The same for helpful.",
    "margin": "Optional, only in `reward` and only if asked for: z-scaled gap that TRL subtracts inside its loss.",
    "score": "Predicted bridging intercept on X's scale, where 0.40 means Helpful (another aggregator: its own scale).",
    "score_lower": "Lower end of the score's 90 % interval.",
    "score_upper": "Upper end of the score's 90 % interval.",
    "score_chosen": "Predicted bridging intercept of `chosen`, for `raters` the fitted one; null if it was never judged (an analyst's edit).",
    "score_rejected": "The same of `rejected`; null for a note that failed a check and was never judged.",
    "score_gap": "score_chosen - score_rejected, negative where an analyst chose against the jury; null where one was never judged. In `ties` a less b.",
    "gap_ci_low": "Lower end of the gap's 95 % interval, from the model's error within a post.",
    "gap_ci_high": "Upper end of the same interval.",
    "p_flip": "Probability that the true order is the other one, by the same error; null without a gap.",
    "pair_rule": "Which rule made the pair: analyst_choice, later_version (two versions of one note that people wrote), winner_vs_loser, best_vs_gate_fail, revised_vs_draft, candidate_vs_existing, matched.",
    "pair_id": "Hash of post, prompt and the two text ids.",
    "cluster_id": "The cluster of notes (one claim, one stance) the note was written for.",
    "post_id": "X's id of the post, as a string.",
    "chosen_id": "Candidate id, `note-<id>` for a person's note, `<id>-edited-<hash>` for an analyst's edit.",
    "rejected_id": "The same of the rejected note.",
    "run_id": "The run of the pipeline.",
    "jury_id": "The trained jury whose predictions these are.",
    "prompt_sha256": "SHA-256 of the prompt as it was sent (before anything was left out).",
    "prompt_version": "Version of the prompt template.",
    "prompt_redacted": "True where the post's text was in the prompt and was left out of this export.",
    "reply_form": "Form the prompt asks for and every answer to it has: `json` is one object with the key `note`, `text` the bare note.",
    "model_id": "The writer of the (chosen) note; `human` for a person's.",
    "model_revision": "Revision of that model, null where the server did not tell.",
    "language": "Language of the note, BCP 47.",
    "split_key": "What the split is made by: the story of the post, or the post. All rows of a key are in one split.",
    "classification": "X's: whether the note says the post is misleading.",
    "source_note_ids": "X's ids of the notes that were merged.",
    "request_id": "Id of the model call.",
    "completions": "All notes written for this prompt, as replies in `reply_form`.",
    "scores": "Their scores, null if never judged; same order and length as `completions`.",
    "ranks": "1 is best; ties share a rank; null if never judged.",
    "gate_pass": "Whether the note passed every check and X's gates.",
    "candidate_ids": "Their ids.",
    "candidate_id": "Content hash of the candidate.",
    "decision_id": "The analyst's decision.",
    "decision_kind": "accept or edit.",
    "note": "The candidate's text.",
    "parent_id": "The draft this is a revision of.",
    "round": "0 for a draft, 1 or 2 for a revision.",
    "outcome": "winner, loser, or abstained (no note won on that post).",
    "decided_by": "Which gate or comparison decided against it.",
    "decided_why": "The same as a sentence.",
    "failed_checks": "Names of the checks it failed.",
    "note_factor": "Predicted factor: which side of the raters likes it better. The sign is a convention of the fit.",
    "unjudged_reason": "Why there is no verdict.",
    "text_id": "Candidate id or `note-<id>`.",
    "kind": "jury: candidate, revision or existing; stable_alignment: imitation, self_critic or realignment.",
    "aggregator": "Whose score `score` is.",
    "n_jurors": "How many simulated raters.",
    "helpful_negative": "Predicted share of helpful ratings on the negative third of the rater factor line.",
    "helpful_middle": "The same in the middle third.",
    "helpful_positive": "The same on the positive third.",
    "score_bridging_intercept": "Ridge intercept with frozen raters and X's regularisation.",
    "score_gaussian": "Geometric mean over the factor line (X's 2025 pilot).",
    "score_worst_side": "Mean expected rating on the side that likes it least.",
    "score_group_aware": "Product of smoothed helpful shares of the sides.",
    "score_schulze": "Share of the post's other texts it beats under Schulze's method; null for revisions.",
    "score_mean": "Mean expected rating.",
    "curve": "Helpful probability at 21 points of the factor line from -1 to 1.",
    "reasons": "Likeliest reasons per side, in X's vocabulary.",
    "response": "The note the feedback is on; stable_alignment: the text that was rated, or the revision.",
    "feedback": "What the simulated jury's objections, the analyst's reasons or the raters' suggestions say, in words.",
    "improved": "The better note written in answer to the feedback, null where none was a real improvement. The prompt may show versions that people wrote.",
    "feedback_source": "`jury`, `analyst`, or `raters`: what raters of a collaborative note suggested for that version.",
    "score_before": "Score of `response`; for `raters` its intercept from the real ratings.",
    "score_after": "Score of `improved`.",
    "response_id": "Id of the response.",
    "improved_id": "Id of the improved note.",
    "draft": "The draft that was criticised.",
    "rating": "1 to 7: the jury's mean expected rating, stretched.",
    "rating_before": "Rating of the draft.",
    "rating_after": "Rating of the revision.",
    "draft_id": "Id of the draft.",
    "prompt_id": "SHA-256 of `prompt`.",
    "chosen_rating": "Score of the chosen note.",
    "rejected_rating": "Score of the rejected note.",
    "chosen_model": "Writer of the chosen note.",
    "rejected_model": "Writer of the rejected note (same prompt, same writer) or `human`.",
}
"""What every column means; `data_dictionary.md` of an export is made from it and a test asks that none is missing."""


def assistant(column: str) -> pl.Expr:
    """A column of texts as message lists with one assistant message each."""
    return pl.concat_list(pl.struct(role=pl.lit("assistant", dtype=pl.String), content=pl.col(column)))


def conversation(column: str) -> pl.Expr:
    """Prompt and text as one conversation."""
    return pl.col("prompt").list.concat(assistant(column))


def _dpo(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(chosen=assistant("chosen"), rejected=assistant("rejected"))


def _reward(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(chosen=conversation("chosen"), rejected=conversation("rejected"))


def _h4(frame: pl.DataFrame) -> pl.DataFrame:
    """distilabel's and H4's layout: a string prompt beside conversations. TRL reads this mixture by chance: never feed it there."""
    last = pl.col("prompt").list.last().struct.field("content")
    return frame.with_columns(
        prompt=last,
        prompt_id=pl.col("prompt_sha256"),
        chosen=conversation("chosen"),
        rejected=conversation("rejected"),
        chosen_rating=pl.col("score_chosen"),
        rejected_rating=pl.col("score_rejected"),
        chosen_model=pl.when(pl.col("chosen_id").str.starts_with("note-")).then(pl.lit("human")).otherwise("model_id"),
        rejected_model=pl.when(pl.col("rejected_id").str.starts_with("note-"))
        .then(pl.lit("human"))
        .otherwise("model_id"),
    )


def _kto(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        completion=assistant("text"),
        label_reason=pl.col("reason"),
        score_lower=pl.col("lower"),
        score_upper=pl.col("upper"),
    )


FROM_PAIRS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {"dpo": _dpo, "reward": _reward, "h4": _h4}


def _ties(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(response_a=assistant("text_a"), response_b=assistant("text_b"))


FROM_TIES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {"ties": _ties}
FROM_LABELS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {"kto": _kto}


def schema_of(config: str, reward_margin: bool = False) -> pa.Schema:
    """The schema of a config; `reward_margin` adds TRL's `margin` to the reward rows."""
    schema = SCHEMAS[config]
    return schema.append(pa.field("margin", _F)) if config == "reward" and reward_margin else schema


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame with exactly the schema's columns, order and types; columns the frame lacks become null."""
    missing = [pl.lit(None).alias(name) for name in schema.names if name not in frame.columns]
    return frame.with_columns(missing).select(schema.names).to_arrow().cast(schema)
