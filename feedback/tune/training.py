"""One training of the writer: data in, LoRA adapter, log and report out. Resumes from its newest checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from feedback.settings import TuneWriterSettings
from feedback.tune.data import CONFIG_OF, fitting, label_smoothing, read_rows, to_dataset
from feedback.tune.probe import probe_rows, probe_warnings, probed
from nouns.errors import InputError

Reward = Callable[..., list[float]]
"""`reward(prompts, completions, **columns) -> one number a completion`, as TRL's GRPO calls it."""

WATCHED = (
    "loss", "logps/chosen", "logps/rejected", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected",
    "reward", "reward_std", "kl",
)  # fmt: skip


def tune(
    out: Path,
    settings: TuneWriterSettings,
    data: Path,
    *,
    reward: Reward | None = None,
    checkpoints: Path | None = None,
    progress: Any = lambda *a, **k: None,
) -> dict[str, Any]:
    """Train a LoRA adapter on the rows of the export folder `data` and write it, log.jsonl and report.json into `out`.

    `reward` is needed by GRPO only: this room knows no jury, so the judge comes as a function. `checkpoints`: where unfinished
    trainings wait to be taken up again, each in a folder named after what it trains (`training_key`), removed when it is done
    (None: a folder in `out`). Equal seeds and inputs on the same machine give equal steps; a training killed and taken up
    again passes the same rows in the same order.
    Raises InputError for a missing model, missing rows, or GRPO without a reward.
    """
    if not settings.base_model:
        raise InputError("tune_writer.base_model is empty; name the directory (or the hub name) of the model to tune.")
    if settings.method == "grpo" and reward is None:
        raise InputError("GRPO needs a reward function, and none was given; use the stage tune_writer with a jury.")
    import os

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import warnings as python_warnings

    import datasets
    import torch
    import transformers

    # What these libraries print while they load is no news to whoever tunes a writer; the log file has the training.
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    python_warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.set_seed(settings.seed)
    frame = read_rows(data, settings.method)
    model, tokenizer = load_writer(settings.base_model, settings.dtype)
    frame, too_long = fitting(frame, settings.method, tokenizer, settings.max_length)
    if too_long:
        progress(f"{too_long} rows longer than {settings.max_length} tokens are left out")
    work = (checkpoints or out / "checkpoints") / training_key(settings, data)
    work.mkdir(parents=True, exist_ok=True)
    smoothing = label_smoothing(frame, settings.label_smoothing) if settings.method == "dpo" else 0.0
    trainer = _TRAINERS[settings.method](model, tokenizer, frame, settings, work, smoothing, reward)
    trainer.remove_callback(
        transformers.PrinterCallback
    )  # standard output belongs to the command line; log.jsonl has it all
    trainer.add_callback(_progress_callback(progress))
    found = transformers.trainer_utils.get_last_checkpoint(str(work))
    again = f", going on from {Path(found).name}" if found else ""
    progress(f"training with {settings.method} on {frame.height} rows{again}")
    trainer.train(resume_from_checkpoint=found)
    probe = probed(trainer.model, tokenizer, probe_rows(data, settings.method), settings.max_length)
    log = [_plain(row) for row in trainer.state.log_history]
    trainer.save_model(str(out / "adapter"))
    tokenizer.save_pretrained(str(out / "adapter"))
    for name in ("training_args.bin",):  # a pickle with paths of this machine; nothing reads it
        (out / "adapter" / name).unlink(missing_ok=True)
    shutil.rmtree(work if checkpoints else work.parent)
    with (out / "log.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in log)
    report = {
        "method": settings.method,
        "base_model": Path(settings.base_model).name,
        "rows": frame.height,
        "too_long": too_long,
        "steps": trainer.state.global_step,
        "label_smoothing": smoothing,
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "device": "cuda" if torch.cuda.is_available() and not settings.use_cpu else "cpu",
        "resumed": found is not None,
        "watched": summary(log),
        "probe": probe,
        "warnings": probe_warnings(probe),
    }
    (out / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _plot(log, out / "training.png")
    return report


def load_writer(name: str, dtype: str = "float32") -> tuple[Any, Any]:
    """Model and tokenizer from a directory or hub name. Raises InputError where there is none or it has no chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise InputError(f"The model {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    if tokenizer.chat_template is None:
        raise InputError(
            f"The tokenizer of {name!r} has no chat template, but prompts are conversations; use a chat model."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def summary(log: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """First, last and mean value of everything watched: the mean log-probabilities of chosen and rejected above all."""
    found = {}
    for name in WATCHED:
        values = [row[name] for row in log if isinstance(row.get(name), (int, float))]
        if values:
            found[name] = {"first": values[0], "last": values[-1], "mean": sum(values) / len(values)}
    return found


def training_key(settings: TuneWriterSettings, data: Path) -> str:
    """16 hex digits of what decides a training: base model, rows and every setting. Another method or another export is another key.

    Of a base model in a directory the small files count in full, larger ones by size and both ends: weights of many
    gigabytes differ there, too.
    """
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(settings), sort_keys=True).encode())
    base = Path(settings.base_model)
    files = [path for path in sorted(base.rglob("*")) if path.is_file()] if base.is_dir() else []
    for path in files + sorted((Path(data) / CONFIG_OF[settings.method]).glob("*.parquet")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as stream:
            if size <= 64 << 20 or path.suffix == ".parquet":
                digest.update(hashlib.file_digest(stream, "sha256").digest())
            else:
                digest.update(stream.read(1 << 20))
                stream.seek(-(1 << 20), 2)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def _progress_callback(progress: Any) -> Any:
    """Tells step, loss and the time left after every step."""
    from transformers import TrainerCallback

    class Told(TrainerCallback):
        began = first = 0.0
        loss = ""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began, self.first = time.monotonic(), state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.loss = f"loss {float(logs['loss']):.4f}, "

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            done = state.global_step - self.first
            left = (time.monotonic() - self.began) / max(done, 1) * (state.max_steps - state.global_step)
            said = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
            progress(f"{self.loss}about {said} left, step", state.global_step, state.max_steps)

    return Told()


# -- the trainers --------------------------------------------------------------------------------------------------


def _common(settings: TuneWriterSettings, work: Path) -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available() and not settings.use_cpu
    return {
        "output_dir": str(work),
        "seed": settings.seed,
        "data_seed": settings.seed,
        "max_steps": settings.max_steps or -1,
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_ratio,  # a share of all steps, as transformers reads numbers below one
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "logging_steps": settings.logging_steps,
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "report_to": [],
        "use_cpu": not cuda,
        "bf16": cuda and settings.dtype == "bfloat16",
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }


def _lora(settings: TuneWriterSettings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        target_modules=settings.lora_targets
        if settings.lora_targets == "all-linear"
        else settings.lora_targets.split(","),
        task_type="CAUSAL_LM",
    )


def _dpo(
    model: Any, tokenizer: Any, frame: pl.DataFrame, s: TuneWriterSettings, work: Path, smoothing: float, _: Any
) -> Any:
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        **_common(s, work),
        beta=s.beta,
        loss_type=["sigmoid", "sft"] if s.sft_weight else ["sigmoid"],
        loss_weights=[1.0, s.sft_weight] if s.sft_weight else None,
        label_smoothing=smoothing,
        max_length=s.max_length,
    )
    return DPOTrainer(
        model=model,
        args=config,
        train_dataset=to_dataset(frame, "dpo"),
        processing_class=tokenizer,
        peft_config=_lora(s),
    )


def _sft(model: Any, tokenizer: Any, frame: pl.DataFrame, s: TuneWriterSettings, work: Path, _: float, __: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=model,
        args=SFTConfig(**_common(s, work), max_length=s.max_length),  # the loss is of the answer alone
        train_dataset=to_dataset(frame, "sft"),
        processing_class=tokenizer,
        peft_config=_lora(s),
    )


def _kto(model: Any, tokenizer: Any, frame: pl.DataFrame, s: TuneWriterSettings, work: Path, _: float, __: Any) -> Any:
    from trl import KTOConfig, KTOTrainer

    good = int(frame["label"].sum())
    bad = frame.height - good
    if not good or not bad:
        raise InputError(f"KTO needs texts of both kinds; the rows hold {good} desirable and {bad} undesirable ones.")
    # The paper keeps desirable and undesirable weight within 1:1 and 4:3 of each other by weighting the rarer kind.
    config = KTOConfig(
        **_common(s, work),
        beta=s.beta,
        max_length=s.max_length,
        desirable_weight=max(1.0, min(bad / good, 20.0)),
        undesirable_weight=max(1.0, min(good / bad, 20.0)),
    )
    return KTOTrainer(
        model=model,
        args=config,
        train_dataset=to_dataset(frame, "kto"),
        processing_class=tokenizer,
        peft_config=_lora(s),
    )


def _grpo(
    model: Any, tokenizer: Any, frame: pl.DataFrame, s: TuneWriterSettings, work: Path, _: float, reward: Any
) -> Any:
    from trl import GRPOConfig, GRPOTrainer

    common = _common(s, work) | {"remove_unused_columns": False}
    config = GRPOConfig(
        **common,
        num_generations=s.num_generations,
        max_completion_length=s.max_new_tokens,
        temperature=s.temperature,
        beta=0.04,  # a little KL to the untuned writer: the jury is a proxy
    )
    return GRPOTrainer(
        model=model,
        args=config,
        reward_funcs=[reward],
        train_dataset=to_dataset(frame, "grpo"),
        processing_class=tokenizer,
        peft_config=_lora(s),
    )


def _stable_alignment(
    model: Any, tokenizer: Any, frame: pl.DataFrame, s: TuneWriterSettings, work: Path, _: float, __: Any
) -> Any:
    from feedback.tune.trainers import contrastive_trainer

    return contrastive_trainer(model, tokenizer, frame, s, _lora(s), _common(s, work))


def _hindsight(
    model: Any, tokenizer: Any, frame: pl.DataFrame, s: TuneWriterSettings, work: Path, _: float, __: Any
) -> Any:
    from feedback.tune.trainers import hindsight_trainer

    return hindsight_trainer(model, tokenizer, frame, s, _lora(s), _common(s, work))


_TRAINERS: dict[str, Callable[..., Any]] = {
    "sft": _sft,
    "dpo": _dpo,
    "kto": _kto,
    "grpo": _grpo,
    "stable_alignment": _stable_alignment,
    "hindsight": _hindsight,
}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A log row as JSON: numbers finite or null, timings left out (they differ between equal trainings)."""
    slow = ("runtime", "per_second", "step_time", "flos")
    return {
        key: (value if not isinstance(value, float) or math.isfinite(value) else None)
        for key, value in row.items()
        if isinstance(value, (int, float)) and not any(word in key for word in slow)
    }


def _plot(log: list[dict[str, Any]], path: Path) -> None:
    """Loss and, where there are any, the mean log-probabilities of chosen and rejected over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [("loss",), ("logps/chosen", "logps/rejected"), ("rewards/margins", "rewards/accuracies", "reward")]
    shown = [[name for name in names if any(name in row for row in log)] for names in panels]
    shown = [names for names in shown if names]
    if not shown:
        return
    figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 3.5), squeeze=False)
    for axis, names in zip(axes[0], shown, strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in log if name in row and row[name] is not None]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set_xlabel("step")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
