"""Stage `build_pairs`: judged candidates and analysts' decisions become preference pairs and absolute labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.pairs import versions
from feedback.pairs.pairs import (
    RULES,
    SURFACE,
    Bars,
    Pair,
    PostMaterial,
    Text,
    absolute_label,
    balanced,
    bars_of_run,
    drop_telltale,
    length_of,
    links_of,
    pairs_of_post,
    stance_of,
    surface_features,
    why_chosen,
)
from feedback.settings import BuildPairsSettings
from jury.records import SIDES
from jury.tables import model_answers, read_jsonl
from nouns.decisions import Decision, Rules, agreed, by_post, counting_in, effective, text_sha256
from nouns.decisions import read_rows as read_decision_rows
from nouns.errors import InputError
from nouns.run import Run, read_rows
from nouns.snapshot import read_table
from nouns.stage import Counts, Tools
from nouns.tables import arrow

POSTS_AT_ONCE = 500

PAIRS, TIES, LABELS = arrow("pairs"), arrow("ties"), arrow("labels")


def build_pairs(
    run: Run,
    settings: BuildPairsSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Write pairs.parquet, ties.parquet, labels.parquet and report.json.

    Counted in possible pairs that the rules proposed: out = written, rejected = refused by reason. Posts are read a few
    hundred at a time; texts of the pairs kept are in memory until the surface test has had its say, prompts never are.
    """
    clusters, candidates, verdicts = (run.path(s) for s in ("cluster_notes", "draft_candidates", "judge_candidates"))
    selections = run.directories.get("select_winners")
    decisions = run.given.get("decisions")
    unknown = sorted(set(settings.rules) - set(RULES))
    if unknown:
        raise InputError(f"build_pairs.rules names {unknown[0]!r}, which is no rule; choose from {', '.join(RULES)}.")
    history = read_history(decisions)
    decided = decisions_that_count(history, read_rules(decisions), run.run_id)
    bars = _bars(verdicts, settings)
    pairs: list[Pair] = []
    ties: list[tuple[Pair, str]] = []
    labels: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    posts = _posts(clusters)
    winners = _winners(selections)
    series = versions.series_of(run.path("ingest"), posts=posts, fit=run.directories.get("fit_raters"))
    steps: dict[int, list[tuple[versions.Version, versions.Version]]] = {}
    for of_note in series:
        steps.setdefault(of_note[0].post_id, []).extend(pairwise(of_note))
    for start in range(0, len(posts), POSTS_AT_ONCE):
        tools.progress("pairing", start, len(posts))
        for material in materials(run, posts[start : start + POSTS_AT_ONCE], winners, decided, steps):
            refused["receptions_disagree"] += sum(versions.contradictory(*s) for s in steps.get(material.post_id, ()))
            made = pairs_of_post(material, settings)
            pairs += made.pairs
            ties += made.ties
            refused += made.refused
            labels += _labels(material, bars)
    difference = np.array(
        [np.subtract(surface_features(pair.chosen.text), surface_features(pair.rejected.text)) for pair in pairs]
    ).reshape(len(pairs), len(SURFACE))
    keep, before, after = drop_telltale(
        difference,
        [pair.chosen.post_id for pair in pairs],
        target=settings.surface_accuracy,
        most=0.5 if settings.matching else 0.0,
    )
    telltale = int((~keep).sum())
    pairs = [pair for pair, stays in zip(pairs, keep, strict=True) if stays]
    if telltale:
        refused["surface_gives_it_away"] += telltale
    labels, unbalanced = balanced(labels, settings.kto_max_ratio)
    prompts = _Prompts(candidates)
    _write(out / "pairs.parquet", PAIRS, [_pair_row(pair) for pair in pairs], prompts)
    _write(out / "ties.parquet", TIES, [_tie_row(pair, why) for pair, why in ties], prompts)
    _write(out / "labels.parquet", LABELS, labels, prompts)
    report = _report(pairs, labels, refused, bars, before, after, settings)
    report["versions"] = versions.report(series)
    report["decisions_waiting_for_reviews"] = len(effective(history)) - sum(map(len, decided.values()))
    report["ties"] = dict(sorted(Counter(why for _, why in ties).items()))
    report["labels"]["left_out_for_balance"] = unbalanced
    (out / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    refused = +refused
    return {
        "in": len(pairs) + sum(refused.values()),
        "out": len(pairs),
        "rejected": dict(sorted(refused.items())),
        "labels": len(labels),
        "ties": len(ties),
    }


def read_history(path: Path | None) -> list[Decision]:
    """The whole history of analysts' decisions in the order of `seq`, from the Parquet file that the inspector writes.

    `path` is the file or a directory that holds decisions.parquet; None: no decisions. Older files are read, too.
    """
    if path is None:
        return []
    file = _decisions_file(path)
    frame = pl.read_parquet(file)
    needed = {"post_id", "kind", "candidate_id", "other_id", "text", "text_sha256", "created_at", "decision_id"}
    if missing := sorted(needed - set(frame.columns)):
        raise InputError(f"{file} lacks the column {missing[0]}; it has {', '.join(frame.columns)}.")
    return read_decision_rows(frame.iter_rows(named=True))


def read_rules(path: Path | None) -> Rules:
    """How many people were to decide, and whether decisions of other runs count: from the metadata of the same file.

    The defaults without a file, and for files from before it said so.
    """
    if path is None:
        return Rules()
    file = _decisions_file(path)
    try:
        return Rules.from_metadata(pl.read_parquet_metadata(file))
    except ValueError as error:
        raise InputError(f"The metadata of {file} hold no rules of deciding: {error} Write the file again.") from None


def _decisions_file(path: Path) -> Path:
    file = Path(path) / "decisions.parquet" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise InputError(f"{file} does not exist; write the decisions from the inspector, or leave --decisions out.")
    return file


def decisions_that_count(history: Sequence[Decision], rules: Rules, run_id: str) -> dict[int, list[dict[str, Any]]]:
    """By post, oldest first, the decisions of analysts that may teach: by the rules that hold for publishing, as dictionaries."""
    found = {}
    for post, rows in by_post(effective(history)).items():
        if counting := agreed(counting_in(rows, run_id, rules.carry), rules.reviews):
            found[post] = [row.__dict__ for row in counting]
    return found


def _posts(clusters: Path) -> list[int]:
    return read_rows(clusters, "posts", None).filter(pl.col("eligible"))["post_id"].sort().to_list()


def _bars(verdicts: Path, settings: BuildPairsSettings) -> Bars:
    """The bars from the drafts: only they are labelled."""
    judged = read_rows(verdicts, "verdicts", None).select("score_bridging_intercept", "sd").drop_nulls()
    score, sd = judged["score_bridging_intercept"].to_numpy(), judged["sd"].to_numpy()
    return bars_of_run(score - 1.645 * sd, score + 1.645 * sd, settings)


def materials(
    run: Run,
    posts: Sequence[int],
    winners: Mapping[int, str] | None = None,
    decided: Mapping[int, list[dict[str, Any]]] | None = None,
    steps: Mapping[int, Sequence[tuple[versions.Version, versions.Version]]] | None = None,
) -> Iterator[PostMaterial]:
    """The texts of some posts with what is known of them, post by post.

    `winners`: the winning text's id by post, read from the run where not given. `decided`: analysts' decisions by post.
    `steps`: by post from one version of a collaborative note to the next.
    """
    snapshot, mine = run.path("ingest"), run.with_posts(posts)
    selections = run.directories.get("select_winners")
    winners = _winners(selections) if winners is None else winners
    texts: dict[int, list[Text]] = {post: [] for post in posts}
    parents: dict[int, dict[str, str]] = {post: {} for post in posts}
    gates = _gates(selections, posts)
    same_prompt = _same_prompts(run.path("draft_candidates"), posts)
    answers = model_answers(run.directories.get("revise_candidates"), posts)
    refused = dict.fromkeys(answers.filter(pl.col("outcome") == "failed")["candidate_id"], "judge")
    rows = {row["candidate_id"]: row for row in mine.verdicts().iter_rows(named=True)}
    failures = _failures(mine.checks())
    for row in mine.candidates().sort(pl.col("parent_id").is_not_null(), "candidate_id").iter_rows(named=True):
        name = row["candidate_id"]
        row["request_id"] = same_prompt.get(row["request_id"], row["request_id"])
        failed, doubtful = failures.get(name, ((), False))
        gate = (failed[0][0] if failed else "") or refused.get(name) or gates.get(name)
        text = _text(row, rows.get(name), gate, row["parent_id"] is not None)
        if doubtful and text.status == "judged":
            text = replace(text, status="unknown")  # a check that could not tell: neither good nor bad
        said = tuple(f"{check}: {reason}" for check, reason in failed)
        texts[row["post_id"]].append(replace(text, failed_checks=said))
        if row["parent_id"] is not None:
            parents[row["post_id"]][name] = row["parent_id"]
    existing = mine.table("judge_candidates", "existing").sort("note_id")
    table = read_table(snapshot, "notes", ["noteId", "summary", "classification"])
    notes = table.filter(pl.col("noteId").is_in(existing["note_id"].implode())).collect()
    words = {note: (summary, stance) for note, summary, stance in notes.iter_rows()}
    about = dict(
        read_table(snapshot, "posts", ["tweetId", "text"])
        .filter(pl.col("tweetId").is_in(list(posts)))
        .collect()
        .iter_rows()
    )
    languages = {post: next((text.language for text in texts[post]), "") for post in posts}
    for row in existing.iter_rows(named=True):
        post, note = row["post_id"], row["note_id"]
        if note in words:
            shown = {
                "candidate_id": f"note-{note}",
                "post_id": post,
                "text": words[note][0],
                "classification": words[note][1],
                "request_id": "",
                "cluster_id": "",
            }
            text = _text(shown | {"writer": "human", "language": languages[post]}, row, None, False)
            texts[post].append(replace(text, kind="existing"))
    for post in posts:
        yield PostMaterial(
            post,
            tuple(texts[post]),
            winners.get(post),
            parents[post],
            tuple(bound for d in (decided or {}).get(post, ()) if (bound := _bound(d, texts[post]))),
            _versions(texts[post], (steps or {}).get(post, ())),
            _fit(texts[post], about.get(post)),
        )


def _versions(
    texts: Sequence[Text], steps: Sequence[tuple[versions.Version, versions.Version]]
) -> tuple[tuple[Text, Text], ...]:
    """Steps whose two versions were rated enough and whose measures agree, as texts scored by the fit of the ratings themselves."""
    known = {text.text_id: text for text in texts if text.kind == "existing"}
    drafts = [(text.request_id, text.stance) for text in texts if text.kind == "candidate"]
    found = []
    for step in steps:
        prompt = versions.prompt_for(step[0].stance, drafts)
        there = [known.get(f"note-{version.note_id}") for version in step]
        if (
            prompt is None
            or None in [version.intercept_sd for version in step]
            or versions.gain_of_intercept(*step) is None
            or versions.contradictory(*step)
        ):
            continue
        scored = [
            replace(text, request_id=prompt, score=v.intercept, sd_within=v.intercept_sd, lower=None, upper=None, helpful=(None,) * 3, reasons=())
            for text, v in zip(there, step, strict=True)
            if text is not None
        ]  # fmt: skip
        if len(scored) == 2:
            found.append((scored[0], scored[1]))
    return tuple(found)


def _failures(checks: pl.DataFrame) -> dict[str, tuple[list[tuple[str, str]], bool]]:
    """Per candidate the checks it failed, each with its reason, and whether it is in doubt: a check could not tell, or it is a copy.

    A near-copy of another candidate is no bad text, and a check that could not be made says nothing.
    """
    found: dict[str, tuple[list[tuple[str, str]], bool]] = {}
    rows = checks.filter(pl.col("outcome") != "passed").select("candidate_id", "check", "outcome", "reason")
    for name, check, outcome, reason in rows.iter_rows():
        failed, doubtful = found.get(name, ([], False))
        if outcome == "failed" and check != "duplicates":
            failed = [*failed, (check, reason or "")]
        else:
            doubtful = True
        found[name] = failed, doubtful
    return found


def _fit(texts: Sequence[Text], post_text: str | None) -> Callable[[Text], bool]:
    """Whether a person's note would pass the checks a candidate passes, so that a writer may be shown it as an example."""
    sources = tuple(text.text for text in texts if text.kind == "existing")

    def fit(text: Text) -> bool:
        from synthesis.check.check import check_text, passed

        return passed(check_text(text.text, sources, post_text=post_text, language=text.language or None))

    return fit


def _same_prompts(candidates: Path, posts: Sequence[int]) -> dict[str, str]:
    """For each request the first one of its post that sent the same bytes: writers that got the same prompt can be paired."""
    frame = read_rows(candidates, "prompts", posts).sort("post_id", "request_id")
    first = frame.select("request_id", pl.col("request_id").first().over("post_id", "prompt_sha256").alias("first"))
    return dict(first.iter_rows())


def _bound(decision: Mapping[str, Any], texts: Sequence[Text]) -> Mapping[str, Any] | None:
    """The decision on this run's texts, None where the text that the analyst saw is not among them.

    Texts are found by their id if it still has that text, else by the text itself: in which run a decision was made does not matter.
    """
    edit = decision["kind"] == "edit"

    def name_of(text_id: str | None, sha256: str | None) -> str | None:
        there = next((text for text in texts if text.text_id == text_id), None)
        if there is not None and sha256 in (None, "", text_sha256(there.text)):
            return text_id
        return next((text.text_id for text in texts if sha256 and text_sha256(text.text) == sha256), None)

    if decision["kind"] == "flag":
        return decision
    chosen = name_of(decision["candidate_id"], decision.get("other_sha256") if edit else decision["text_sha256"])
    if chosen is None or (edit and decision["text_sha256"] not in (None, "", text_sha256(decision["text"] or ""))):
        return None
    other = None if edit else name_of(decision["other_id"], decision.get("other_sha256"))
    return {**decision, "candidate_id": chosen, "other_id": other}


def _text(row: Mapping[str, Any], verdict: Mapping[str, Any] | None, gate: str | None, revision: bool) -> Text:
    """A row of candidates (or an existing note in its shape) with its verdict as a `Text`; scores are bridging intercepts."""
    shared = Text(
        row["candidate_id"],
        row["post_id"],
        row["text"],
        row["request_id"] or "",
        row["cluster_id"] or "",
        row["writer"] or "",
        "failed" if gate else "unknown",
        gate=gate or "",
        kind="revision" if revision else "candidate",
        language=row["language"] or "",
        stance=row["classification"] or "",
    )
    if verdict is None or verdict["unjudged_reason"] is not None:
        return shared
    score, sd = float(verdict["score_bridging_intercept"]), float(verdict["sd"])
    return replace(
        shared,
        status="failed" if gate else "judged",
        score=score,
        lower=score - 1.645 * sd,
        upper=score + 1.645 * sd,
        factor=verdict["factor"],
        sd_within=float(verdict["sd_within"]),
        helpful=tuple(verdict[f"helpful_{side}"] for side in SIDES),
        reasons=tuple(verdict["reasons"] or ()),
    )


def _gates(selections: Path | None, posts: Sequence[int]) -> dict[str, str]:
    """Candidates that failed one of X's gates, by id, from losers.parquet."""
    losers = read_rows(selections, "losers", posts, optional=True)
    if not losers.height:
        return {}
    return dict(
        losers.filter(pl.col("decided_by").is_in(["factor_gate", "net_helpful_gate"]))
        .select("candidate_id", "decided_by")
        .iter_rows()
    )


def _winners(selections: Path | None) -> dict[int, str]:
    if selections is None:
        return {}
    lines = read_jsonl(Path(selections) / "selections.jsonl")
    return {int(line["post_id"]): line["candidate_id"] for line in lines if line["outcome"] == "winner"}


def _labels(material: PostMaterial, bars: Bars) -> list[dict[str, Any]]:
    """Absolute labels of a post's drafts; revisions and people's notes answered no prompt of ours."""
    rows = []
    for text in sorted(material.texts, key=lambda text: text.text_id):
        if text.kind != "candidate" or not text.request_id:
            continue
        said = absolute_label(text, bars, material.decisions)
        if said is not None:
            rows.append(
                {
                    "candidate_id": text.text_id,
                    "post_id": text.post_id,
                    "cluster_id": text.cluster_id,
                    "request_id": text.request_id,
                    "text": text.text,
                    "label": said[0],
                    "reason": said[1],
                    "label_source": said[2],
                    "score": text.score,
                    "lower": text.lower,
                    "upper": text.upper,
                    "reasons": list(text.reasons),
                    "failed_checks": list(text.failed_checks),
                    "model_id": text.writer,
                    "language": text.language,
                }
                | {f"helpful_{side}": share for side, share in zip(SIDES, text.helpful, strict=True)}
            )
    return rows


def _pair_row(pair: Pair) -> dict[str, Any]:
    chosen, rejected = pair.chosen, pair.rejected
    return {
        "pair_id": pair.pair_id,
        "post_id": chosen.post_id,
        "cluster_id": chosen.cluster_id or rejected.cluster_id,
        "request_id": pair.request_id,
        "chosen_id": chosen.text_id,
        "rejected_id": rejected.text_id,
        "chosen": chosen.text,
        "rejected": rejected.text,
        "score_chosen": chosen.score,
        "score_rejected": rejected.score,
        "score_gap": pair.gap,
        "gap_ci_low": pair.gap_low,
        "gap_ci_high": pair.gap_high,
        "p_flip": pair.p_flip,
        "label_source": pair.label_source,
        "pair_rule": pair.rule,
        "model_id": chosen.writer,
        "language": chosen.language,
        "chosen_length": length_of(chosen.text),
        "rejected_length": length_of(rejected.text),
        "chosen_links": links_of(chosen.text),
        "rejected_links": links_of(rejected.text),
        "stance": stance_of(pair),
        "why_chosen": why_chosen(pair),
        "jury_agrees": None if not pair.gap or pair.label_source == "raters" else pair.gap > 0,
        "rejected_failed_checks": list(rejected.failed_checks),
        "chosen_reasons": list(chosen.reasons),
        "rejected_reasons": list(rejected.reasons),
    } | {
        f"{which}_helpful_{side}": share
        for which, text in (("chosen", chosen), ("rejected", rejected))
        for side, share in zip(SIDES, text.helpful, strict=True)
    }


def _tie_row(pair: Pair, why: str) -> dict[str, Any]:
    """A tie, its texts in the order of their ids: neither is first because it is better."""
    first, second = sorted((pair.chosen, pair.rejected), key=lambda text: text.text_id)
    turned = first is pair.rejected
    gap, low, high = pair.gap, pair.gap_low, pair.gap_high
    if turned and gap is not None and low is not None and high is not None:
        gap, low, high = -gap, -high, -low
    shared = _pair_row(pair) | {"score_gap": gap, "gap_ci_low": low, "gap_ci_high": high, "tie_reason": why}
    return shared | {
        f"{name}_{which}": value
        for which, text in (("a", first), ("b", second))
        for name, value in (("text", text.text), ("id", text.text_id), ("score", text.score))
    }


class _Prompts:
    """The prompts as they were sent, looked up for a few hundred posts at a time."""

    def __init__(self, candidates: Path) -> None:
        self._frame = pl.scan_parquet(candidates / "prompts.parquet")

    def of_posts(self, posts: Sequence[int]) -> dict[str, dict[str, Any]]:
        frame = self._frame.filter(pl.col("post_id").is_in(list(posts))).collect()
        return {row["request_id"]: row for row in frame.iter_rows(named=True)}


def _write(path: Path, schema: pa.Schema, rows: Sequence[dict[str, Any]], prompts: _Prompts) -> None:
    """Rows with their prompts, in the order given; rows of the same post stand together."""
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        at = 0
        while at < len(rows):
            part = rows[at : at + 2000]
            known = prompts.of_posts(sorted({row["post_id"] for row in part}))
            full = []
            for row in part:
                prompt = known.get(row["request_id"])
                if prompt is None:
                    raise InputError(
                        f"prompts.parquet holds no request {row['request_id']!r} of post {row['post_id']}, but a candidate "
                        "names it; candidates.parquet and prompts.parquet must come from the same run."
                    )
                full.append(
                    row
                    | {
                        "prompt": prompt["messages"],
                        "prompt_sha256": prompt["prompt_sha256"],
                        "prompt_version": prompt["prompt_version"],
                    }
                )
            # Absent keys are null, further ones are not written.
            writer.write_table(
                pa.Table.from_pylist([{n: row.get(n) for n in schema.names} for row in full], schema=schema)
            )
            at += len(part)


def _report(
    pairs: Sequence[Pair],
    labels: Sequence[Mapping[str, Any]],
    refused: Counter[str],
    bars: Bars,
    before: Any,
    after: Any,
    settings: BuildPairsSettings,
) -> dict[str, Any]:
    flips = [pair.p_flip for pair in pairs if pair.p_flip is not None]
    gaps = [pair.gap for pair in pairs if pair.gap is not None]
    people = [pair.gap > 0 for pair in pairs if pair.label_source in ("analyst", "both") and pair.gap]
    return {
        "pairs": len(pairs),
        "posts": len({pair.chosen.post_id for pair in pairs}),
        "by_rule": dict(sorted(Counter(pair.rule for pair in pairs).items())),
        "by_label_source": dict(sorted(Counter(pair.label_source for pair in pairs).items())),
        "by_stance": dict(sorted(Counter(stance_of(pair) or "unknown" for pair in pairs).items())),
        "analysts_and_jury": {"both_said": len(people), "agree": sum(people)},
        "refused": dict(sorted(refused.items())),
        "mean_gap": None if not gaps else round(float(np.mean(gaps)), 6),
        "mean_p_flip": None if not flips else round(float(np.mean(flips)), 6),
        "chosen_longer": None
        if not pairs
        else round(float(np.mean([length_of(p.chosen.text) > length_of(p.rejected.text) for p in pairs])), 6),
        "surface_classifier": {
            "features": list(SURFACE),
            "accuracy_before": _round(before.accuracy),
            "accuracy": _round(after.accuracy),
            "pairs": after.n,
            "target": 0.57,
            "met": None if after.accuracy is None else bool(after.accuracy <= 0.57),
            "matching": settings.matching,
        },
        "labels": {
            "desirable": sum(bool(row["label"]) for row in labels),
            "undesirable": sum(not row["label"] for row in labels),
            "bar_lower": _round(bars.desirable),
            "bar_upper": _round(bars.undesirable) if np.isfinite(bars.undesirable) else None,
            "bar_is_relative": bars.relative,
        },
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
