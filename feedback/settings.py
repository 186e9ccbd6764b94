"""Settings of the feedback room's stages. Units and sources beside every field; all have a default."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.x import HELPFUL_AT

__all__ = [
    "BuildPairsSettings",
    "CompareWritersSettings",
    "ExportSettings",
    "LearnOutcomesSettings",
    "TuneWriterSettings",
]


@dataclass(frozen=True)
class BuildPairsSettings:
    """Which comparisons become preference data."""

    rules: tuple[str, ...] = (  # in this order: an earlier rule keeps the pair if two make the same
        "analyst_choice",
        "later_version",
        "winner_vs_loser",
        "best_vs_gate_fail",
        "revised_vs_draft",
        "candidate_vs_existing",
        "matched",
    )
    minimum_gap: float = 0.02  # score difference, X's scale, below which there is no pair
    maximum_p_flip: float = 0.30  # probability that the true order is the other one, above which a pair is a tie
    max_pairs_per_post: int = 16  # a post with many candidates must not outweigh the others
    max_uses_of_text: int = 4  # pairs of one post in which the same text may be the chosen (or the rejected) one
    max_length_ratio: float = 1.5  # longer text / shorter text, in characters as X counts them, links as 1
    max_link_difference: int = 0  # links by which the two texts may differ
    matching: bool = True  # false: no matching in length and links (then the surface report warns)
    minimum_difference: float = 0.15  # share of the wording, links apart, in which the texts of a pair must differ
    near_duplicate: float = 0.90  # likeness of wording from which two texts are one text in two copies
    surface_accuracy: float = (
        0.56  # to which a classifier on surface features is brought by leaving out what it is surest of
    )
    max_one_sided_share: float = 0.25  # pairs of a post in which one side prefers the rejected text, at most
    one_sided: float = 0.05  # helpful share by which a side must prefer the rejected text for that
    max_ties_per_post: int = 4  # ties of one post that are kept, the nearest to even odds first
    kto_desirable: float = HELPFUL_AT  # lower bound of the score from which a text is desirable (X's Helpful)
    kto_desirable_quantile: float = 0.8  # used where no text reaches that bar: best share of judged texts, of this run
    kto_undesirable_quantile: float = 0.2  # worst share of judged texts (failed checks are always undesirable)
    kto_max_ratio: float = 4.0  # texts of the commoner kind for one of the rarer, at most; the rest is left out by hash


@dataclass(frozen=True)
class ExportSettings:
    """What leaves the workspace."""

    formats: tuple[str, ...] = (
        "dpo", "kto", "reward", "grpo", "scored", "sft", "candidates", "jury", "hindsight", "stable_alignment", "ties",
    )  # fmt: skip
    # Also to be had: "h4", and "responses", for which the jury is asked again, juror by juror.
    responses_jurors: int = 100  # jurors of a text in `responses`, spread evenly along the factor line
    h4: bool = False  # also the distilabel/H4 layout (never feed it to TRL >= 1)
    test_share: float = 0.10  # share of the posts, by hash of the post id, in the test split
    include_post_text: bool = False  # texts of posts belong to their posters and carry X's terms
    reward_margin: bool = False  # write TRL's `margin` (z-scaled gap) into the reward rows
    jsonl: bool = True  # a JSONL mirror of every Parquet file
    rows_per_file: int = 200_000  # rows of one Parquet shard
    base_model: str = "Qwen/Qwen3-0.6B"  # named in the YAML files we ship; any causal LM with a chat template
    max_length: int = 2048  # tokens of prompt and text together in the YAML files; more where the longest row needs it
    tokenizer: str = ""  # local directory whose tokenizer counts the rows' lengths; '': base_model's if that is one
    seed: int = 0  # seed written into the YAML files


@dataclass(frozen=True)
class LearnOutcomesSettings:
    """Comparing what the jury said with what raters said later."""

    minimum_ratings: int = 5  # ratings a text needs in the later snapshot before it says anything (X's)
    minimum_gap: float = 0.05  # difference of real intercepts from which two texts make an outcome-labelled pair
    helpful_bar: float = HELPFUL_AT  # X's Helpful
    drift_alarm: float = 0.05  # mean error of the score, in intercept units, that is called drift
    match_similarity: float = 0.90  # word-pair overlap from which a published note is taken for our winner


@dataclass(frozen=True)
class CompareWritersSettings:
    """When the new writer takes the place of the current one."""

    posts: int = 200  # held-out posts compared at most
    n: int = 6  # drafts of each writer for a post: the same budget
    pool: str = "gold"  # raters who never taught the writer
    n_jurors: int = 1000
    draws: int = 2000  # bootstrap draws over posts
    confidence: float = 0.95  # of the intervals
    max_side_loss: float = 0.01  # helpful share a side may lose at most (lower end of the interval)
    minimum_distinct_2: float = 0.95  # distinct-2 of the new writer against the current one's
    max_length_drift: float = 0.15  # relative change of the mean length
    seed: int = 7


METHODS = ("sft", "dpo", "kto", "grpo", "stable_alignment", "hindsight")


@dataclass(frozen=True)
class TuneWriterSettings:
    """Training the writer on preference rows."""

    method: str = "dpo"  # sft | dpo | kto | grpo | stable_alignment | hindsight
    base_model: str = ""  # directory or hub name of the model to tune; empty: an error that says so
    max_steps: int = 0  # optimiser steps; 0: by epochs
    epochs: float = 1.0
    learning_rate: float = 5e-6  # TRL's DPO recommendation; a model of a few million parameters needs about 1e-3
    warmup_ratio: float = 0.05
    batch_size: int = 4  # rows a device
    gradient_accumulation: int = 4
    beta: float = 0.1  # DPO, KTO: strength of the reference
    sft_weight: float = 0.2  # DPO: weight of the sft term beside the sigmoid loss; keeps the chosen text likely
    label_smoothing: float = (
        -1.0
    )  # DPO: share of flipped labels; negative: the rows' mean p_flip, i.e. the jury's error
    lora_r: int = 32
    lora_alpha: int = 16
    lora_targets: str = "all-linear"
    max_length: int = 2048  # tokens of prompt and text together; DPO and KTO leave longer rows out and count them
    num_generations: int = 4  # GRPO: draws of one prompt
    max_new_tokens: int = 128  # GRPO: tokens of one draw
    temperature: float = 0.9  # GRPO: of the draws
    margin: float = 10.0  # Stable Alignment: margin for the full rating scale (Liu et al. 2023)
    ratio: float = 0.2  # Stable Alignment: weight of the contrastive term (Liu et al. 2023)
    comparisons: int = 3  # Stable Alignment: worse texts compared with the best of a prompt (Liu et al. 2023)
    seed: int = 42
    save_steps: int = 50  # steps between checkpoints, from which a killed training goes on
    logging_steps: int = 5
    use_cpu: bool = False  # false: a CUDA device is used if there is one
    dtype: str = "float32"  # float32 | bfloat16

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method = {self.method!r} is not known; choose one of {', '.join(METHODS)}.")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype = {self.dtype!r} is not known; choose float32 or bfloat16.")
