"""Settings of `tune_writer`. Kept apart from the training code: reading settings must not load torch."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("dpo", "kto", "grpo", "stable_alignment", "hindsight")


@dataclass(frozen=True)
class TuneWriterSettings:
    """Training the writer on preference rows."""

    method: str = "dpo"  # dpo | kto | grpo | stable_alignment | hindsight
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
