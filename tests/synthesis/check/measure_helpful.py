"""How many real notes that X showed as Helpful fail a check that is not about length or links. Prints numbers, no texts.

    python -m tests.synthesis.check.measure_helpful DATA [--show]

DATA: a folder with birdwatch-2021, posts-2025 and notes-2021-23 as the project's local data has them. Each Helpful note is checked with
its siblings and itself as sources and with the post's text where there is one. `--show` prints the failing texts: for the screen only.
The last line is of all of them; exit code 1 where more than 3 % fail.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl

from synthesis.check.check import check_text
from texts.language import detect_language
from texts.note import find_urls, split_sentences, without_urls

LIMIT = 0.03
NOT_COUNTED = ("length.", "links.", "language.", "grice.quantity")


def read_tsv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, separator="\t", quote_char=None, infer_schema_length=0)


def helpful_notes(data: Path) -> dict[str, list[tuple[str, list[str], str | None, list[str]]]]:
    """By dataset: (note, its siblings and itself, post text, other notes of the post that X showed) of the notes that X showed."""
    found: dict[str, list[tuple[str, list[str], str | None, list[str]]]] = {}

    def enter(name: str, notes: pl.DataFrame, shown: set[str], posts: dict[str, str]) -> None:
        by_post: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for note_id, post, text in notes.select("noteId", "tweetId", "summary").drop_nulls().iter_rows():
            by_post[post].append((note_id, text))
        found[name] = [
            (
                text,
                [text, *(t for n, t in by_post[post] if n != note_id)][:12],
                posts.get(post),
                [t for n, t in by_post[post] if n != note_id and n in shown],
            )
            for post in sorted(by_post)
            for note_id, text in by_post[post]
            if note_id in shown
        ]

    def texts(folder: str) -> dict[str, str]:
        table = pl.read_parquet(data / folder / "posts.parquet")
        key = next(c for c in table.columns if c.lower() in ("tweetid", "tweet_id", "post_id"))
        return {str(post): text for post, text in table.select(key, "text").iter_rows() if text}

    notes = read_tsv(data / "birdwatch-2021" / "notes-00000.tsv")
    history = read_tsv(data / "birdwatch-2021" / "noteStatusHistory-00000.tsv")
    shown = set(history.filter(pl.col("currentStatus") == "CURRENTLY_RATED_HELPFUL")["noteId"])
    enter("birdwatch-2021", notes, shown, texts("birdwatch-2021"))
    notes = read_tsv(data / "posts-2025" / "notes-00000.tsv")
    enter("posts-2025", notes, set(notes.filter(pl.col("shownAt").fill_null("") != "")["noteId"]), texts("posts-2025"))
    notes = read_tsv(data / "notes-2021-23" / "notes_scored.tsv")
    shown = set(notes.filter(pl.col("ratingStatus") == "CURRENTLY_RATED_HELPFUL")["noteId"])
    enter("notes-2021-23", notes, shown, texts("notes-2021-23"))
    return found


def failures(text: str, sources: list[str], post: str | None, received: list[str]) -> list[tuple[str, str]]:
    language = detect_language(text)
    results = check_text(text, sources, post_text=post, language=language, own_notes=sources, received=received)
    return [
        (r.principle, r.reason)
        for r in results
        if r.outcome != "passed" and not r.principle.startswith(NOT_COUNTED) and "more than twice" not in r.reason
    ]


OPINIONS = (
    "Whoever wrote this has clearly never opened a book.", "Any voter knows better than that.", "It is embarrassing that this needs saying.", "Nice try.", "Honestly, what a ridiculous claim.",
    "This is why nobody takes them seriously, and rightly so.", "You should be ashamed.", "I find that hard to believe.", "The author wants to scare people.", "This was done to mislead voters.",
)  # fmt: skip


def twins(text: str, sources: list[str], post: str | None, rng: random.Random) -> dict[str, str]:
    """Unfaithful twins of a real note, by what is wrong with them; only kinds the note allows."""
    bare = without_urls(text).strip()
    links = " ".join(url.text for url in find_urls(text)[:1])
    sentences = [s.text for s in split_sentences(bare) if len(s.text.split()) >= 6]
    made: dict[str, str] = {}
    if not sentences or detect_language(text) != "en":
        return {}
    first = sentences[0]
    words = first.split()
    made["cut"] = " ".join(words[: rng.randrange(4, len(words))])
    if len(words) > 7 and words[-1][-1] in ".!?":
        made["cut in a word"] = " ".join(words[:-1]) + " " + words[-1][: max(1, len(words[-1]) // 2)]
    made["doubled"] = (
        " ".join([*words[:3], words[2], *words[3:]]) + f" {links}" if words[2].isalpha() and words[2].islower() else ""
    )
    small = [i for i, w in enumerate(words[1:-1], 1) if w in ("is", "was", "of", "to", "in", "the", "are", "has")]
    if small:
        i = rng.choice(small)
        made["dropped"] = " ".join([*words[:i], *words[i + 1 :]]) + f" {links}"
    made["opinion"] = f"{first} {rng.choice(OPINIONS)} {links}"
    verb = re.search(r"\b(is|was|are|were|has|have|did|does|can|will)\b(?! not|n['’]t)", first)
    if verb:
        turned = first[: verb.end()] + " not" + first[verb.end() :]
        made["turned round"] = f"{turned} {links}"
        made["yes and no"] = f"{first} {turned} {links}"
    if post:
        claims = [
            s.text
            for s in split_sentences(without_urls(post).strip(), "en")
            if 6 <= len(s.text.split()) <= 25 and s.text[-1] == "."
        ]
        if claims:
            made["claim as fact"] = f"{claims[0]} {links}"
            made["claim, then note"] = f"{claims[0]} {first} {links}"
    return {kind: twin.strip() for kind, twin in made.items() if twin}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--twins", action="store_true", help="corrupt each note that passes, and count what is caught")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    all_notes = all_failed = 0
    for name, notes in helpful_notes(arguments.data).items():
        failed, by = 0, Counter[str]()
        tried, caught, rng = Counter[str](), Counter[str](), random.Random(5)
        for text, sources, post, received in notes:
            found = failures(text, sources, post, received)
            failed += bool(found)
            for kind, twin in (twins(text, sources, post, rng) if not found and arguments.twins else {}).items():
                tried[kind] += 1
                missed = not failures(twin, sources, post, received)
                caught[kind] += not missed
                if missed and arguments.show:
                    print(f"MISSED {kind}: {twin!r}\n  POST {post!r}\n  NOTE {text[:300]!r}")
            by.update({principle for principle, _ in found})
            if found and arguments.show:
                print(f"\n{found}\n  POST {post and post[:200]!r}\n  NOTE {text!r}")
        share = round(failed / max(1, len(notes)), 4)
        with_post = sum(post is not None for _, _, post, _ in notes)
        row = {"data": name, "notes": len(notes), "with_post": with_post, "failed": failed, "share": share}
        print(json.dumps(row | {"by": dict(by.most_common())}))
        for kind in tried:
            print(json.dumps({"twin": kind, "n": tried[kind], "caught": round(caught[kind] / tried[kind], 3)}))
        all_notes, all_failed = all_notes + len(notes), all_failed + failed
    share = all_failed / max(1, all_notes)
    print(
        json.dumps({"data": "all", "notes": all_notes, "failed": all_failed, "share": round(share, 4), "limit": LIMIT})
    )
    raise SystemExit(share > LIMIT)


if __name__ == "__main__":
    main()
