"""What stands beside the rows: dataset card, data dictionary, schemas, TRL's YAML files, licence and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from feedback.export.layouts import DICTIONARY
from feedback.export.metadata import configs
from feedback.settings import ExportSettings

LICENCE = """\
Notes, ratings and their ids come from X's public Community Notes download and stay under X's terms for that data; this
folder is therefore marked `license: other`. Written notes, scores and labels were made by machines (and, where
`label_source` says so, by analysts) and may be used under the terms of whoever ran the pipeline. Posts belong to their
posters: their texts are {post_text}. Notes that were deleted in the snapshot at hand are left out, with
everything made from them; export again from a newer snapshot to honour later deletions. Training a model on content that
was obtained through X's API may not be allowed; the public download is not that API."""


def card(
    facts: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, int]],
    settings: ExportSettings,
    languages: Sequence[str],
    schemas: Mapping[str, pa.Schema],
) -> str:
    """The dataset card: YAML head that `datasets` reads, then what a person wants to know first."""
    n_rows = sum(sum(split.values()) for split in rows.values())
    head = [
        "---",
        "license: other",
        "license_name: x-community-notes-data-terms",
        "license_link: LICENSE.md",
        f"language: [{', '.join(json.dumps(code) for code in languages)}]",  # YAML takes a bare no for false
    ]
    head += [
        "pretty_name: Supernotes jury preferences",
        "task_categories: [text-generation, summarization]",
        "tags: [dpo, preference, community-notes, synthetic, simulated-jury, trl]",
        "annotations_creators: [machine-generated]",
        "language_creators: [machine-generated]",
        "source_datasets: [original]",
        f"size_categories: [{_size(n_rows)}]",
        *configs(rows, schemas, "{config}/{split}-*.parquet", next((c for c in rows if any(rows[c].values())), None)),
        "---",
        "",
    ]
    table = ["| config | train | test | for |", "|---|---:|---:|---|"]
    table += [f"| `{config}` | {n['train']} | {n['test']} | {_USE[config]} |" for config, n in rows.items()]
    text = [
        "# Supernotes jury preferences",
        "",
        "Candidate Community Notes for posts whose proposed notes never reached agreement, and how a *simulated* jury of real",
        "raters' parameters received them. Labels are predictions of a model unless `label_source` says `analyst` or `both`,",
        "or `raters` (two versions of one note that people rated);",
        "a simulated jury is not people.",
        "",
        *table,
        "",
        "```python",
        "from datasets import load_dataset",
        f'pairs = load_dataset("<this folder>", "{next(iter(rows))}")',
        "```",
        "",
        "Ready to run from inside this folder: `trl dpo --config trl_dpo.yaml`, `trl kto --config trl_kto.yaml`,",
        "`trl reward --config trl_reward.yaml` (TRL 1.16; put your base model into the first line). `grpo` goes with the rewards of",
        "`feedback.tune.reward` (checks, then jury), see `trl_grpo.yaml`; their run is found by `SUPERNOTES_REWARD_RUN`. Columns are explained in `data_dictionary.md`.",
        "",
        f"Prompts ask for {_FORMS[facts['reply_form']]}, and so every answer (`chosen`, `rejected`, `completion`, `completions`,",
        "`response`, `improved`, `draft`) is one: column `reply_form`.",
        "",
        "## How it was made",
        "",
        f"Run `{facts['run_id']}`, jury `{facts['jury_id']}`; writers {', '.join(f'`{w}`' for w in facts['writers']) or 'none'}.",
        f"Split by {facts['split_by']}: {settings.test_share:.0%} of them, by hash, are `test`; a key keeps its split in every later export.",
        f"Prompts: {facts['prompt_note']}",
        f"Left out: {_left_out(facts['left_out'])}.",
        "",
        f"Lengths: {_lengths(facts.get('lengths') or {})}",
        "",
        "## How right the jury is",
        "",
        *_jury(facts["jury"], facts["pairs"]),
        "",
        "## What not to train on it",
        "",
        "- A judge of truth: the labels say how raters receive a note, not whether it is right.",
        "- Anything that addresses one side: `chosen_helpful_negative` and `_positive` are there to keep both, not to please one.",
        "- A reward without the checks: the jury alone can be raised by what tells nobody anything (table above).",
        f"- Languages beyond {', '.join(languages)}; of a language with few notes the jury knows little.",
        "- `kto` as if its bar were X's, where `label_reason` says `among_best_of_run`: that is relative to this run.",
        "- Order where there is none: what is too close to call is in `ties`, not in `dpo`.",
        "",
        "## Beside other preference data",
        "",
        *_OTHERS,
        "",
        "## What it can't show",
        "",
        "The score predicts how raters with known parameters would have rated; it knows no truth. Half of the interval comes",
        "from what the model can't see. Do not judge a model trained on this data with the same jury: hold out another one.",
        "",
        "## Licence and origin",
        "",
        LICENCE.format(post_text="in the prompts, as was asked for" if settings.include_post_text else "left out"),
        "",
    ]
    return "\n".join([*head, *text])


_FORMS = {"json": 'one JSON object `{"note": ...}`', "text": "the bare text of the note"}

_OTHERS = [
    "| what is told of a row | Community Alignment | PRISM | HelpSteer3 | here |",
    "|---|---|---|---|---|",
    "| who judged | people, by id | people, by id, with a survey | up to three people a pair | a simulated jury (`responses`: its seats); analysts where `label_source` says so |",
    "| strength | choice among four | 1 to 100 | -3 to 3 | `score_gap` with interval, `p_flip` |",
    "| no preference | no | equal ratings | 0 | config `ties` |",
    "| each judge's answer | yes | yes | yes | `responses`: three probabilities a seat, with its factor and intercept |",
    "| who disagrees | by annotator's country and traits | by participant's traits | spread of the three | helpful share by side for both notes |",
    "| reasons | own words, for a part | own words | own words | predicted reasons by side, failed checks, `why_chosen`; analysts' reasons in `hindsight` |",
    "| what became of it | no | no | no | `real_chosen`, `real_rejected`, where a later snapshot knows |",
]


def _share(measure: Mapping[str, Any] | None) -> str:
    if not measure or measure.get("value") is None:
        return "not measured"
    span = f" [{measure['lo']:.2f}, {measure['hi']:.2f}]" if measure.get("lo") is not None else ""
    return f"{measure['value']:.2f}{span} (n = {measure['n']:,})"


def _jury(jury: Mapping[str, Any], pairs: Mapping[str, Any]) -> list[str]:
    """The jury's accuracy on real pairs it had not seen, its calibration, its foils, and the analysts."""
    metrics = jury.get("metrics") or {}
    lines = [
        "Measured on real notes that it had not seen (95 % intervals, clustered by post):",
        "",
        f"- order of two notes that say the same of their post: {_share(metrics.get('pair_same_stance'))}",
        f"- order of two notes that say the opposite: {_share(metrics.get('pair_cross_stance'))}",
        f"- calibration error of single ratings: {_share(metrics.get('ece'))}; 90 % intervals hold the truth in {_share(metrics.get('coverage_90'))}",
    ]
    if jury.get("p_flip"):
        lines += ["", "| `p_flip` | pairs | predicted wrong | really wrong |", "|---|---:|---:|---:|"]
        for row in jury["p_flip"]:
            shown = ["-" if row[name] is None else f"{row[name]:.2f}" for name in ("predicted", "observed")]
            lines += [f"| {row['lo']:.2f} to {row['hi']:.2f} | {row['n']} | {shown[0]} | {shown[1]} |"]
    if jury.get("foils"):
        lines += ["", "Edits that tell nobody anything, and what they do to the jury's score:", ""]
        lines += ["| edit | mean change | share raised | pass the checks |", "|---|---:|---:|---:|"]
        for row in jury["foils"]:
            passes = "-" if row.get("passes_checks") is None else f"{row['passes_checks']:.2f}"
            lines += [f"| {row['foil']} | {row['mean']:+.3f} | {row['raised']:.2f} | {passes} |"]
    surface = (pairs.get("surface_classifier") or {}).get("accuracy")
    people = pairs.get("analysts_and_jury") or {}
    if surface is not None:
        lines += ["", f"A classifier that sees only surface (length, links, punctuation) tells chosen from rejected in {surface:.2f} of the pairs."]  # fmt: skip
    if people.get("both_said"):
        lines += ["", f"Where analysts said which is better, the jury had the same order in {people['agree']} of {people['both_said']} pairs."]  # fmt: skip
    return lines


_USE = {
    "dpo": "preference pairs with explicit prompt (TRL `DPOTrainer`)",
    "kto": "single notes, desirable or not (TRL `KTOTrainer`)",
    "reward": "preference pairs, prompt inside (TRL `RewardTrainer`)",
    "grpo": "prompts with what the jury's reward function needs (TRL `GRPOTrainer`, `RLOOTrainer`)",
    "scored": "all notes of a prompt with scores and ranks (listwise losses)",
    "sft": "notes that analysts accepted or edited (TRL `SFTTrainer`)",
    "candidates": "every candidate, also the losers, and why",
    "jury": "how the jury received every note: aggregates, no rater ids",
    "hindsight": "prompt, response, feedback, improved (self-distillation from feedback, arXiv 2603.12273)",
    "stable_alignment": "imitation, self-critic and realignment records (arXiv 2305.16960)",
    "ties": "pairs of notes that neither people nor jury can order",
    "responses": "how each seat of the jury would rate each note of a pair",
    "h4": "distilabel/H4 layout; not for TRL 1 and later, which reads mixed formats by chance",
}


def _size(n: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if n < limit:
            return name
    return "1M<n<10M"


def _lengths(report: Mapping[str, Any]) -> str:
    """How long rows are: tokens where they were counted, bytes otherwise."""
    told = []
    for config, entry in report.items():
        unit, sizes = ("tokens", entry["tokens"]) if entry["tokens"] else ("bytes", entry["bytes"])
        told.append(
            f"`{config}` median {sizes['p50']:,}, 99 % at most {sizes['p99']:,}, longest {sizes['max']:,} {unit}"
        )
    by = "prompt and longer answer together (`lengths.json`)"
    return "; ".join(told) + f": {by}." if told else "no rows."


def _left_out(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} rows ({why.replace('_', ' ')})" for why, n in sorted(counts.items()) if n) or "nothing"


def data_dictionary(schemas: Mapping[str, pa.Schema]) -> str:
    """Every column of every config with its type and meaning, as Markdown."""
    lines = ["# Data dictionary", "", "Ids are strings. A null says that there is no such value, never zero.", ""]
    for config, schema in schemas.items():
        lines += [f"## {config}", "", "| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{field.name}` | {_type(field.type)} | {DICTIONARY[field.name]} |" for field in schema]
        lines += [""]
    return "\n".join(lines)


def _type(kind: pa.DataType) -> str:
    return str(kind).replace("element: ", "").replace("item: ", "")


def schema_json(schemas: Mapping[str, pa.Schema]) -> str:
    """The schemas as JSON: config -> list of {name, type}."""
    described = {
        config: [{"name": field.name, "type": _type(field.type)} for field in schema]
        for config, schema in schemas.items()
    }
    return json.dumps(described, indent=1) + "\n"


def kto_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """Weights under which both kinds count about alike: the rarer one's is raised to the middle of what TRL asks for (1 to 1.33)."""
    if desirable >= undesirable:
        return 1.0, round(max(desirable / max(undesirable, 1) / 1.15, 1.0), 3)
    return round(max(undesirable / max(desirable, 1) * 1.15, 1.0), 3), 1.0


def trl_yaml(
    method: str,
    settings: ExportSettings,
    label_smoothing: float = 0.0,
    max_length: int | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
) -> str:
    """A config file for `trl dpo|kto|reward|grpo` (TRL 1.16), to be started from inside the export folder.

    Rows of the test split are the evaluation set only if `eval_strategy` is switched on: training reads `train` alone.
    """
    max_length = max_length or settings.max_length
    lines = [
        f"# trl {method} --config trl_{method}.yaml      (TRL 1.16; start it inside this folder)",
        f"model_name_or_path: {settings.base_model}",
        "datasets:",
        "  - path: parquet",
        f"    data_files: {method}/train-*.parquet",
        "    split: train",
        "# Settings of the training; the source of each default stands beside it.",
    ]
    common = {
        "output_dir": f"out/{method}",
        "seed": settings.seed,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "logging_steps": 10,
        "report_to": "none",
        "use_peft": "true",
        "lora_r": 32,
        "lora_alpha": 16,
    }
    specific: dict[str, dict[str, Any]] = {
        "dpo": {
            "max_length": f"{max_length}  # prompt and note; longer pairs would be cut (TRL's default is 1024); see lengths.json",
            "loss_type": "[sigmoid, sft]  # the sft term keeps the chosen note likely (research P4)",
            "loss_weights": "[1.0, 0.2]",
            "beta": "0.1",
            "label_smoothing": f"{label_smoothing:.3f}  # the jury's error: mean p_flip of the training rows",
            "learning_rate": "5.0e-6",
        },
        "kto": {
            "max_length": max_length,
            "beta": "0.1",
            "desirable_weight": f"{weights[0]}  # the rarer kind counts more, so that both count about alike",
            "undesirable_weight": weights[1],
            "learning_rate": "5.0e-6  # KTO paper: 5e-7 to 5e-6 for full fine-tuning",
        },
        "reward": {
            "max_length": max_length,
            "learning_rate": "1.0e-4  # TRL's recommendation for LoRA reward models",
        },
        "grpo": {
            "reward_funcs": "[feedback.tune.reward.jury_reward, feedback.tune.reward.sides_reward, feedback.tune.reward.checks_reward, feedback.tune.reward.length_reward]  # read SUPERNOTES_REWARD_*; see that module",
            "reward_weights": "[1.0, 0.0, 0.0, 0.0]  # the first is the total; its parts are logged, not added again",
            "num_generations": 8,
            "max_completion_length": 256,
            "learning_rate": "1.0e-6",
            "remove_unused_columns": "false  # the reward function needs post_id and source_note_ids",
        },
    }
    lines += [f"{key}: {value}" for key, value in (common | specific[method]).items()]
    if method == "reward":
        lines += ["lora_task_type: SEQ_CLS"]
    return "\n".join(lines) + "\n"
