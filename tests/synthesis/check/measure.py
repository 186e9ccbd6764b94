"""How often the checks fail what is faithful and catch what is corrupted, on a file of real notes. Prints numbers, no texts.

    python -m tests.synthesis.check.measure NOTES.tsv [--posts 100] [--seed 77]

NOTES.tsv: X's notes table, or any TSV with the columns tweetId and summary. Per post with several notes the first note, its sentences and its
paraphrases are candidates, the post's first six notes the sources. Rows: extract (whole notes, whole sentences, two sentences of two
notes), para (mechanical paraphrases): share failed, should be near 0; absent, swap (twins of whole notes), para-absent, para-swap (twins of
paraphrases): share caught. Checks counted: facts, links, support; a missing link, and having nothing to look up, is not counted.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl

from synthesis.check.base import make_draft
from synthesis.check.facts import check_facts
from synthesis.check.links import check_links
from synthesis.check.support import check_support
from tests.synthesis.check.twins import absent_twins, paraphrases, swapped_twins
from texts.note import canonical_urls, clean_text, find_urls, split_sentences, without_urls


def failed(text: str, sources: list[str]) -> bool:
    draft = make_draft(text, tuple(sources))
    findings = check_facts(draft) + check_links(draft) + check_support(draft)
    return any(f.principle not in ("links.present", "support.checkable") for f in findings)


def measure(notes_by_post: dict[str, list[str]], posts: int, seed: int) -> dict[str, dict[str, float]]:
    """Counts by kind: n, failed, share."""
    rng = random.Random(seed)
    order = sorted(post for post, notes in notes_by_post.items() if len(notes) >= 2)
    rng.shuffle(order)
    n: Counter[str] = Counter()
    bad: Counter[str] = Counter()

    def count(kind: str, text: str, sources: list[str]) -> bool:
        result = failed(text, sources)
        n[kind] += 1
        bad[kind] += result
        return result

    def twins(prefix: str, text: str, sources: list[str]) -> None:
        for twin in absent_twins(text, sources, rng):
            count(f"{prefix}absent:{twin.kind}", twin.text, sources)
        for twin in swapped_twins(text, sources, rng) if len(without_urls(text).split()) > 2 else ():
            count(f"{prefix}swap:{twin.kind}", twin.text, sources)

    for post in order[:posts]:
        sources = notes_by_post[post][:6]
        note, other = sources[0], rng.choice(sources[1:])
        linked = any(find_urls(source) for source in sources)
        sentences = [s.text for s in split_sentences(note)]
        if not sentences or "NNN" in note:
            continue
        whole_passed = not count("extract:note", note, sources)
        one = rng.choice(sentences)
        if find_urls(one) or not linked:
            count("extract:sentence", one, sources)
        two = rng.choice([s.text for s in split_sentences(other)] or [note])
        first = (
            without_urls(one).strip() if not find_urls(one) or canonical_urls([one]) & canonical_urls([two]) else one
        )
        if find_urls(first + " " + two):
            count("extract:two", first + " " + two, sources)
        if whole_passed:
            twins("", note, sources)
        for how, text in paraphrases(note, sentences, rng):
            if (find_urls(text) or not linked) and not count(f"para:{how}", text, sources):
                twins("para-", text, sources)
    for kind in list(n):
        n[kind.split(":")[0]] += n[kind]
        bad[kind.split(":")[0]] += bad[kind]
    return {kind: {"n": n[kind], "failed": bad[kind], "share": round(bad[kind] / n[kind], 4)} for kind in sorted(n)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("notes", type=Path)
    parser.add_argument("--posts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args()
    table = pl.read_csv(arguments.notes, separator="\t", quote_char=None, infer_schema_length=0)
    by_post: dict[str, list[str]] = defaultdict(list)
    for post, text in table.select("tweetId", "summary").drop_nulls().iter_rows():
        by_post[post].append(clean_text(text))
    for kind, row in measure(by_post, arguments.posts, arguments.seed).items():
        print(json.dumps({"kind": kind} | row))


if __name__ == "__main__":
    main()
