"""The loop shown to work, or not: does a writer tuned on a proxy jury's preferences get better before another jury?

`python -m benchmarks.loop [--seeds 5] [--rounds 2] [--out FOLDER]` - JSON lines, one for each measurement, and plots.

A small world in which the truth is known. Notes are put together from parts (opening, claim, evidence, closing); every part has a
true effect on how good the note is and on which side likes it. Raters with planted parameters rate notes of mixed quality.
Two rater models are trained on *disjoint* raters: the proxy on words, the gold one on hashed letter triples. A language
model is trained from scratch on the same mixed notes; then, for some rounds: it drafts, the proxy jury judges, pairs are built by
`feedback.pairs.pairs`, DPO with LoRA by `feedback.tune`, and the tuned writer is compared with the untuned one on topics neither
training saw, before the gold jury (`feedback.compare.compare`) and against the planted truth. The over-optimisation guard stops when
the proxy's score rises and the gold one's falls. Best-of-N up to 1,024 shows what pure selection by the proxy does.

What a model this small can show: that the plumbing pushes in the right direction and whether proxy gains are real gains.
It can't show anything about facts, sources or prose.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feedback.compare.compare import Draft, compare, distinct, pick
from feedback.pairs.pairs import PostMaterial, Text, pairs_of_post
from feedback.settings import BuildPairsSettings, CompareWritersSettings, TuneWriterSettings
from jury.judge.aggregate import BridgingIntercept, receive
from jury.judge.draw import Raters, draw_two, split_pools
from jury.records import JudgedText, Jury, RatedTexts
from nouns.x import X_GLOBAL_INTERCEPT

MISLEADING = "MISINFORMED_OR_POTENTIALLY_MISLEADING"
SUBJECTS = ("bridge", "harbour", "school", "budget", "river", "museum", "station", "market", "clinic", "forest")
EVENTS = ("fire", "vote", "price", "count", "photo", "strike", "flood", "opening", "study", "law")
TOPICS = [f"{subject} {event}" for event in EVENTS for subject in SUBJECTS]  # the last four events are held out

# text, effect on quality, effect on the factor
OPENINGS = [
    ("", 0.0, 0.0), ("for context :", 0.04, 0.0), ("actually ,", -0.03, 0.0), ("the left lies again :", -0.10, 0.35),
    ("the right lies again :", -0.10, -0.35), ("wake up people :", -0.12, 0.05), ("to be precise ,", 0.02, 0.0),
]  # fmt: skip
CLAIMS = [
    ("this claim is false .", 0.02, 0.0), ("the report on it says something else .", 0.06, 0.02),
    ("the picture is from another year .", 0.05, -0.02), ("it never happened like this .", -0.02, 0.04),
    ("the figures on it leave out half of them .", 0.03, -0.05), ("everybody knows the truth .", -0.08, 0.0),
]  # fmt: skip
EVIDENCE = [
    ("", -0.08, 0.0), ("the full record is public https://records.example.org/file", 0.14, 0.0),
    ("two newspapers of both camps confirm it https://news.example.org/file", 0.16, 0.0),
    ("a blog explains it https://blog.example.org/file", -0.02, -0.04), ("a partisan site has more https://camp.example.org/file", -0.06, 0.25),
    ("the other camp has more https://rival.example.org/file", -0.06, -0.25), ("the office counted it https://office.example.org/file", 0.12, 0.03),
]  # fmt: skip
CLOSINGS = [
    ("", 0.0, 0.0), ("shame on them .", -0.10, 0.10), ("do not be fooled .", -0.06, -0.02),
    ("the date and the place are named there .", 0.05, 0.0), ("this is my opinion .", -0.07, 0.0), ("numbers differ by year .", 0.02, 0.02),
]  # fmt: skip
SLOTS = (OPENINGS, CLAIMS, EVIDENCE, CLOSINGS)


class World:
    """Raters, rated notes of mixed quality, and the truth of any text."""

    def __init__(self, seed: int, n_raters: int = 400, n_notes: int = 1200, ratings_per_note: int = 12) -> None:
        rng = np.random.default_rng(seed)
        self.pairs = {  # what two parts do together: no sum of parts knows it
            (i, j, a, b): float(rng.normal(0, 0.02))
            for i in range(4)
            for j in range(i + 1, 4)
            for a in range(len(SLOTS[i]))
            for b in range(len(SLOTS[j]))
        }
        self.of_subject = {  # what a part does on one subject: neither rater model sees the subject
            (subject, i, part): float(rng.normal(0, 0.03))
            for subject in SUBJECTS
            for i in range(4)
            for part in range(len(SLOTS[i]))
        }
        ids = tuple(f"r{i:04d}" for i in range(n_raters))
        side = np.where(rng.random(n_raters) < 0.5, -0.6, 0.6)
        self.raters = Raters(
            ids,
            rng.normal(0.28, 0.1, n_raters),
            side + rng.normal(0, 0.15, n_raters),
            rng.integers(5, 60, n_raters),
            split_pools(ids),
        )
        self.train_topics, self.test_topics = TOPICS[:60], TOPICS[60:]
        self.notes, self.truth = [], []
        rater, note, value = [], [], []
        for k in range(n_notes):
            topic = self.train_topics[int(rng.integers(len(self.train_topics)))]
            parts = tuple(int(rng.integers(len(slot))) for slot in SLOTS)
            q, f = self.effect(topic, parts)
            self.notes.append((topic, self.write(parts)))
            self.truth.append((q, f))
            for u in rng.choice(
                n_raters, ratings_per_note, replace=False, p=self.raters.n_ratings / self.raters.n_ratings.sum()
            ):
                r = X_GLOBAL_INTERCEPT + self.raters.intercept[u] + q + f * self.raters.factor[u] + rng.normal(0, 0.3)
                rater.append(int(u))
                note.append(k)
                value.append(float(np.clip(round(2 * r) / 2, 0, 1)))
        self.rater, self.note, self.value = np.array(rater), np.array(note), np.array(value)

    def write(self, parts: Sequence[int]) -> str:
        return " ".join(SLOTS[i][part][0] for i, part in enumerate(parts) if SLOTS[i][part][0])

    def effect(self, topic: str, parts: Sequence[int]) -> tuple[float, float]:
        q = sum(SLOTS[i][part][1] for i, part in enumerate(parts))
        q += sum(self.pairs[i, j, parts[i], parts[j]] for i in range(4) for j in range(i + 1, 4))
        q += sum(self.of_subject[topic.split()[0], i, part] for i, part in enumerate(parts))
        return q, sum(SLOTS[i][part][2] for i, part in enumerate(parts))

    def read(self, topic: str, text: str) -> tuple[float, float] | None:
        """The true quality and factor of a text, None for one that is not put together from the parts on its topic."""
        parts = []
        rest = " ".join(text.split())
        for slot in SLOTS:
            fits = [(len(words), i) for i, (raw, _, _) in enumerate(slot) if rest.startswith(words := raw)]
            length, part = max(fits, default=(-1, -1))
            if part < 0:
                return None
            parts.append(part)
            rest = rest[length:].strip()
        return self.effect(topic, parts) if not rest else None


class LinearRater:
    """Ridge on features x of a text: r - mu - i_u = x·w + f_u x·v, from the ratings of one pool of raters."""

    def __init__(self, name: str, world: World, pool: str, features: str, ridge: float = 6.0) -> None:
        from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

        self.name = name
        if features == "words":
            self.vectoriser: Any = CountVectorizer(token_pattern=r"\S+", binary=True, max_features=300)
        else:
            self.vectoriser = HashingVectorizer(
                analyzer="char", ngram_range=(3, 3), n_features=1024, norm=None, binary=True, alternate_sign=False
            )
        texts = [text for _, text in world.notes]
        x = self.vectoriser.fit_transform(texts).toarray().astype(float)
        mine = np.array(world.raters.pool)[world.rater] == pool
        u, n = world.rater[mine], world.note[mine]
        left = world.value[mine] - X_GLOBAL_INTERCEPT - world.raters.intercept[u]
        design = np.hstack([x[n], world.raters.factor[u][:, None] * x[n]])
        gram = design.T @ design + ridge * np.eye(design.shape[1])
        self.weights = np.linalg.solve(gram, design.T @ left)
        self.sd = 0.05

    def seat(self, jury: Jury) -> SeatedLinear:
        return SeatedLinear(self, jury)


class SeatedLinear:
    def __init__(self, model: LinearRater, jury: Jury) -> None:
        self.model, self.jury = model, jury

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts:
        words = [text.text for text in texts]
        x = self.model.vectoriser.transform(words).toarray().astype(float)
        k = x.shape[1]
        mean = x @ self.model.weights[:k] + np.outer(self.jury.factor, x @ self.model.weights[k:])
        e = np.clip(X_GLOBAL_INTERCEPT + self.jury.intercept[:, None] + mean, 0.0, 1.0)
        somewhat = 0.4 * np.minimum(e, 1 - e)
        helpful = e - 0.5 * somewhat
        p = np.stack([1 - helpful - somewhat, somewhat, helpful], axis=2).astype(np.float32)
        sd = np.full(len(texts), self.model.sd)
        return RatedTexts(p, sd, sd, np.zeros((len(texts), 3, 0), np.float32), ())


class Benches:
    """The proxy and the gold jury: other raters, other model."""

    def __init__(self, world: World, seed: int) -> None:
        main, appeal = draw_two(
            world.raters, 150, 150, composition="electorate", seed=seed, global_intercept=X_GLOBAL_INTERCEPT
        )
        assert appeal is not None
        self.world = world
        self.proxy = (LinearRater("proxy", world, "proxy", "words").seat(main.jury), main.jury)
        self.gold = (LinearRater("gold", world, "gold", "letters").seat(appeal.jury), appeal.jury)
        self.scale = BridgingIntercept(ratings_per_note=12.0)

    def judge(self, topic: str, texts: Sequence[str]) -> list[Draft]:
        """Drafts with both juries' scores. What is not put together from the parts on its topic failed its check."""
        judged = [JudgedText(str(i), text, MISLEADING, 1, topic) for i, text in enumerate(texts)]
        found = []
        for seated, jury in (self.proxy, self.gold):
            rated = seated.rate(judged)
            found.append((self.scale.aggregate(rated, jury), receive(rated, jury)))
        (proxy, _), (gold, reception) = found
        return [
            Draft(
                text,
                self.world.read(topic, text) is not None,
                float(proxy.score[i]),
                float(gold.score[i]),
                tuple(float(h) for h in reception.helpful[i]),
            )  # type: ignore[arg-type]
            for i, text in enumerate(texts)
        ]


def ask(topic: str) -> str:
    return f"write a note on {topic}"


def drafts_of(folder: Path, benches: Benches, topics: Sequence[str], n: int, seed: int) -> dict[int, list[Draft]]:
    """`n` drafts of the writer in `folder` for each topic, judged by both juries; posts are numbers of topics."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from benchmarks.tiny_writer import sample

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    written = sample(model, tokenizer, [ask(topic) for topic in topics], n, seed=seed)
    return {TOPICS.index(topic): benches.judge(topic, texts) for topic, texts in zip(topics, written, strict=True)}


def build(drafted: dict[int, list[Draft]], out: Path) -> tuple[int, float]:
    """Pairs of all topics by the pipeline's own rules, written as the `dpo` config; how many, and the mean p_flip."""
    rows, flips = [], []
    settings = BuildPairsSettings(
        rules=("winner_vs_loser", "best_vs_gate_fail", "matched"),
        max_length_ratio=1.6,
        max_link_difference=1,
        max_pairs_per_post=10,
    )
    for post, drafts in drafted.items():
        texts, seen = [], set()
        for i, draft in enumerate(drafts):
            if draft.text in seen:
                continue
            seen.add(draft.text)
            status = "judged" if draft.passed else "failed"
            score = (
                {
                    "score": draft.proxy,
                    "lower": None,
                    "upper": None,
                    "factor": 0.0,
                    "sd_within": 0.05,
                    "helpful": (None, None, None),
                }
                if draft.passed
                else {}
            )
            texts.append(Text(f"t{i}", post, draft.text, "q", "", "tiny", status, **score))  # type: ignore[arg-type]
        best = max((t for t in texts if t.status == "judged"), key=lambda t: t.score or 0, default=None)
        pairs, _ = pairs_of_post(PostMaterial(post, tuple(texts), best.text_id if best else None), settings)
        for pair in pairs:
            prompt = [{"role": "user", "content": ask(TOPICS[post])}]
            flips.append(pair.p_flip or 0.0)
            rows.append(
                {
                    "prompt": prompt,
                    "chosen": [{"role": "assistant", "content": pair.chosen.text}],
                    "rejected": [{"role": "assistant", "content": pair.rejected.text}],
                    "p_flip": pair.p_flip or 0.0,
                }
            )
    (out / "dpo").mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(out / "dpo" / "train-00000-of-00001.parquet")
    return len(rows), float(np.mean(flips))


def tuned(base: Path, data: Path, out: Path, steps: int, seed: int) -> dict[str, Any]:
    """DPO with LoRA on `base`; the merged model is saved in `out / 'merged'`."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from feedback.tune.training import tune

    out.mkdir(parents=True)
    settings = TuneWriterSettings(
        base_model=str(base), max_steps=steps, learning_rate=7e-4, batch_size=16, gradient_accumulation=1, lora_r=16,
        lora_alpha=32, max_length=128, seed=seed, use_cpu=True, save_steps=10_000, sft_weight=1.0,
    )  # fmt: skip
    report = tune(out, settings, data)
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out / "adapter").merge_and_unload()
    merged.save_pretrained(out / "merged")
    AutoTokenizer.from_pretrained(base).save_pretrained(out / "merged")
    return report


def level(drafted: dict[int, list[Draft]], world: World, n: int) -> dict[str, float]:
    """Means over posts of the pick among the first `n` drafts: proxy, gold, truth; and of a single draft."""
    picks = {post: pick(drafts[:n]) for post, drafts in drafted.items()}
    chosen = [(TOPICS[post], draft) for post, draft in picks.items() if draft is not None]
    true = [q for topic, draft in chosen if (q := (world.read(topic, draft.text) or (None,))[0]) is not None]
    single = [draft.gold for drafts in drafted.values() for draft in drafts if draft.passed]
    return {
        "proxy": float(np.mean([d.proxy for _, d in chosen])), "gold": float(np.mean([d.gold for _, d in chosen])),
        "truth": float(np.mean(true)), "gold_of_one_draft": float(np.mean(single)),
        "posts_with_a_pick": len(chosen) / len(picks),
        "pass_rate": float(np.mean([d.passed for drafts in drafted.values() for d in drafts])),
        "distinct_2": distinct([d.text for drafts in drafted.values() for d in drafts], 2),
    }  # fmt: skip


def one_seed(seed: int, rounds: int, steps: int, n: int, work: Path) -> list[dict[str, Any]]:
    """One world, one writer, some rounds; a line for each round."""
    from benchmarks.tiny_writer import make_writer, pretrain

    world = World(seed)
    benches = Benches(world, seed)
    vocabulary = " ".join(f"{ask(topic)} {raw}" for topic in TOPICS for slot in SLOTS for raw, _, _ in slot)
    base = make_writer(work / "base", vocabulary.split(), hidden=64, layers=2, positions=256, seed=seed)
    # The untuned writer has seen every topic named, with notes of the same mixed quality: only then can it write on new ones.
    rng = np.random.default_rng(seed + 1000)
    corpus = [(ask(topic), text) for topic, text in world.notes]
    corpus += [
        (ask(t), world.write([int(rng.integers(len(slot))) for slot in SLOTS]))
        for t in world.test_topics
        for _ in range(20)
    ]
    started = time.perf_counter()
    loss = pretrain(base, corpus, steps=500, batch=32, seed=seed)
    lines = []
    untuned = drafts_of(base, benches, world.test_topics, n, seed)
    before = level(untuned, world, n)
    common = {"benchmark": "loop", "machine": platform.machine(), "seed": seed, "drafts": n}
    lines.append(common | {"round": 0, "pretraining_loss": round(loss, 4)} | _rounded(before))
    writer, previous = base, before
    for round_ in range(1, rounds + 1):
        drafted = drafts_of(writer, benches, world.train_topics, n, seed * 100 + round_)
        data = work / f"data-{round_}"
        n_pairs, flip = build(drafted, data)
        report = tuned(writer, data, work / f"round-{round_}", steps, seed)
        writer = work / f"round-{round_}" / "merged"
        now = drafts_of(writer, benches, world.test_topics, n, seed + 17 * round_)
        found = compare(untuned, now, CompareWritersSettings(draws=500), np.random.default_rng(seed))
        reached = level(now, world, n)
        stop = reached["proxy"] > previous["proxy"] and reached["gold"] < previous["gold"]
        measured = {
            key: found.measures[key]
            for key in ("score_difference", "win_rate", "proxy_difference", "gain_negative", "gain_positive")
        }
        lines.append(
            common
            | {"round": round_, "pairs": n_pairs, "mean_p_flip": round(flip, 4), "steps": report["steps"]}
            | _rounded(reached)
            | {"distinct_2_ratio": round(reached["distinct_2"] / before["distinct_2"], 4)}
            | {
                key: {k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}
                for key, entry in measured.items()
            }
            | {
                "logps_chosen": report["watched"].get("logps/chosen"),
                "decision": found.decision,
                "why": list(found.refusals),
                "guard_stops": stop,
            }
            | {"seconds": round(time.perf_counter() - started, 1)}
        )
        if stop:
            break
        previous = reached
    return lines


def best_of_n(seed: int, most: int, work: Path, topics: int = 6) -> list[dict[str, Any]]:
    """Selection alone: proxy, gold and true score of the proxy's pick among N drafts of the untuned writer."""
    world = World(seed)
    benches = Benches(world, seed)
    drafted = drafts_of(work / "base", benches, world.test_topics[:topics], most, seed + 5)
    lines = []
    n = 1
    while n <= most:
        chunks = {
            post * 10_000 + i: drafts[i * n : (i + 1) * n]
            for post, drafts in drafted.items()
            for i in range(min(most // n, 64))
        }
        picks = [
            (TOPICS[key // 10_000], draft) for key, drafts in chunks.items() if (draft := pick(drafts)) is not None
        ]
        truth = [(world.read(topic, draft.text) or (0.0, 0.0))[0] for topic, draft in picks]
        lines.append(
            {
                "benchmark": "best_of_n",
                "seed": seed,
                "n": n,
                "proxy": float(np.mean([d.proxy for _, d in picks])),
                "gold": float(np.mean([d.gold for _, d in picks])),
                "truth": float(np.mean(truth)),
                "picks": len(picks),
            }
        )
        n *= 2
    peak = max(line["gold"] for line in lines)
    lines.append(
        {"benchmark": "best_of_n", "seed": seed, "gold_lost_after_peak": round(peak - lines[-1]["gold"], 4), "n": most}
    )
    return [_rounded(line) for line in lines]


def over_seeds(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per round the mean over seeds of the gain over the untuned writer at the same budget, with a 95 % t interval."""
    from scipy.stats import t

    found = []
    for round_ in sorted({line["round"] for line in lines if line["round"] > 0}):
        rows = [line for line in lines if line["round"] == round_]
        base = {line["seed"]: line for line in lines if line["round"] == 0}
        entry: dict[str, Any] = {"benchmark": "loop_over_seeds", "round": round_, "seeds": len(rows)}
        for name in ("proxy", "gold", "truth", "gold_of_one_draft", "distinct_2_ratio"):
            gains = np.array([row[name] - (0 if name.endswith("ratio") else base[row["seed"]][name]) for row in rows])
            half = (
                float(t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
                if len(gains) > 1
                else float("nan")
            )
            entry[name] = {
                "value": round(float(gains.mean()), 4),
                "lo": _or_none(gains.mean() - half),
                "hi": _or_none(gains.mean() + half),
                "n": len(gains),
            }
        found.append(entry)
    return found


def _or_none(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: _or_none(value) if isinstance(value, float) else value for key, value in row.items()}


def plot(lines: Sequence[dict[str, Any]], curve: Sequence[dict[str, Any]], path: Path) -> None:
    """Gold against proxy over the rounds, seed by seed, and the best-of-N curve."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for seed in sorted({line["seed"] for line in lines}):
        rows = sorted((line for line in lines if line["seed"] == seed), key=lambda line: line["round"])
        left.plot([row["proxy"] for row in rows], [row["gold"] for row in rows], marker="o", label=f"seed {seed}")
        left.annotate("untuned", (rows[0]["proxy"], rows[0]["gold"]), fontsize=7)
    left.set_xlabel("proxy score of the pick")
    left.set_ylabel("gold score of the pick")
    left.set_title("rounds of tuning, best of 6 drafts")
    left.legend(fontsize=7)
    shown = [row for row in curve if "proxy" in row]
    for name in ("proxy", "gold", "truth"):
        right.plot([row["n"] for row in shown], [row[name] for row in shown], marker=".", label=name)
    right.set_xscale("log", base=2)
    right.set_xlabel("N drafts of the untuned writer")
    right.set_title("best of N by the proxy")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of a round")
    parser.add_argument("--drafts", type=int, default=6)
    parser.add_argument("--most", type=int, default=1024, help="largest N of best-of-N; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=None, help="folder for loop.jsonl and loop.png")
    parser.add_argument(
        "--join", type=Path, nargs="*", default=[], help="loop.jsonl files of other runs, put together; runs nothing"
    )
    given = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)  # matrices this small only wait for each other on more
    lines: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    for file in given.join:
        known = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        lines += [line for line in known if line["benchmark"] == "loop"]
        curve += [line for line in known if line["benchmark"] == "best_of_n"]
    lines.sort(key=lambda line: (line["seed"], line["round"]))
    for seed in () if given.join else range(given.first_seed, given.first_seed + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for line in one_seed(seed, given.rounds, given.steps, given.drafts, Path(folder)):
                lines.append(line)
                print(json.dumps(line), flush=True)
            if seed == given.first_seed and given.most:
                curve = best_of_n(seed, given.most, Path(folder))
                for line in curve:
                    print(json.dumps(line), flush=True)
    summary = over_seeds(lines)
    for line in summary:
        print(json.dumps(line), flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        with (given.out / "loop.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in [*lines, *curve, *summary])
        plot(lines, curve, given.out / "loop.png")


if __name__ == "__main__":
    main()
