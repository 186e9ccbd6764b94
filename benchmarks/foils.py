"""What edits without information do to a trained jury: `python -m benchmarks.foils --jury DIR --notes FILE [--ratings FILE] [--posts FILE]`.

One JSON line a language and kind of edit (jury/train/foils.py): mean change of the predicted intercept and share of notes raised, with intervals from
resampling posts, the share that passes the checks, and how often the edit puts a note ahead of the best note there is.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

from jury.model.store import load_model
from jury.opened import open_jury
from jury.train.evaluate import foils_of, read_evaluation_set, standard_jury
from pipeline.cli.alone import passes_checks
from texts.language import detect_language


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jury", type=Path, required=True, help="the directory train_jury wrote")
    parser.add_argument("--model", default="model", help="model, proxy or gold")
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--ratings", type=Path)
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--cache", type=Path, help="where embeddings are remembered")
    parser.add_argument("--edited", type=int, default=100, help="notes edited in each language, one a post")
    parser.add_argument("--languages", nargs="+", default=["en", "es", "pt", "de"])
    args = parser.parse_args()
    directory = open_jury(args.jury)
    evaluation = read_evaluation_set(
        args.notes, args.ratings, args.posts, global_intercept=directory.global_intercept
    )  # fmt: skip
    model = load_model(directory.path, args.model, args.cache)
    seats = standard_jury(directory.raters, directory.global_intercept)
    spoken: dict[str | None, list[int]] = defaultdict(list)
    for note, text in zip(evaluation.data.note_id.tolist(), evaluation.data.text, strict=True):
        spoken[detect_language(text)].append(note)
    for language in args.languages:
        for row in foils_of(evaluation, model, seats, args.edited, passes_checks, spoken[language]):
            print(json.dumps({"name": "foils", "language": language} | row), flush=True)


if __name__ == "__main__":
    main()
