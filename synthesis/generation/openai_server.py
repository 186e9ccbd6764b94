"""Client of an OpenAI-compatible server; vLLM is the reference.

What goes wrong, and what is done about it:

    429, 503 with Retry-After     wait as long as the server says (seconds or date), with jitter and doubling where it says
                                  nothing; everybody waits, fewer at a time; only the deadline ends this
    5xx, timeout, broken          wait with jitter, doubling, at most `attempts` times; halve the requests in flight
    connection, broken answer
    many of these in a row, or    the circuit opens: the server is left alone for the rest of the stage
    nobody answered for a whole
    deadline
    400, 422, or 200 with an      asked again without what the server may not know (`n`, response_format, max_tokens, long
    error in the body             seeds), one thing at a time and what its words name first; what helped is remembered
    401, 403, 404, redirects      given up for all requests: a wrong key, address or model name does not mend itself
    fewer choices than asked      the missing ones are asked for, with seeds no draw has had; a server that ignores `n` is
                                  then asked one by one
    choices without a text        said with what there was instead: reasoning, tool calls, a refusal, the finish_reason

Seeds: vLLM draws choice i of a request from `seed + i`, so a request with seed s and n choices uses s ... s+n-1, and whatever is
asked for again begins at s+n. An attempt that is repeated because nothing came back repeats its seed.

The key is read from the environment variable that the settings name, when a batch begins; it stands in one header and nowhere
else. Redirects are not followed: they could carry the key away.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import random
import re
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from nouns.errors import InputError
from nouns.post import Completion, Request
from synthesis.generation.base import Finished, adapter_name, request_extra
from synthesis.generation.pacing import Circuit, Pacer, waiting_time
from synthesis.settings import DraftCandidatesSettings

__all__ = ["OpenAIServer", "load_lora_adapter", "retry_after"]

MAX_RESPONSE = 8 << 20  # bytes of one answer; sixteen notes with log-probabilities have about one megabyte
_CONTEXT = ("max_model_len", "context_length", "context_window", "max_context_length")  # vLLM; others
MAX_TEXT = 200_000  # characters of one choice
ROUNDS = 3  # how often choices that are missing are asked for
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_OVERLOADED = frozenset({408, 429, 503, 504, 522, 524, 529})  # a plain 500 says nothing about how busy a server is
_HOPELESS = {401: "unauthorized", 403: "unauthorized", 404: "not_found"}


@dataclass(frozen=True)
class _Answer:
    """What one call, with all its attempts, gave: a body, or a failure 'code: words'."""

    body: Mapping[str, Any] | None
    failure: str | None


@dataclass
class _Tally:
    """What a request has cost so far and how many of its seeds are used up. Its clock starts with its first attempt."""

    rng: random.Random
    began: float = 0.0
    deadline: float = float("inf")
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    next_seed: int = 0
    alone: bool = False  # the server has just answered this request with one choice instead of several
    fingerprint: str | None = None


class OpenAIServer:
    """`TextGenerator` over HTTP. Each `generate` runs its own event loop, in a thread of its own if one is running already.

    What was learnt about the server (it ignores `n`, knows no response_format, bears so many requests, does not answer)
    is kept from batch to batch. `backoff`: seconds before the second attempt; tests shorten it.
    """

    name = "openai"

    def __init__(self, settings: DraftCandidatesSettings, *, backoff: float = 1.0) -> None:
        self.settings = settings
        self.model = adapter_name(settings.adapter) or settings.model
        self._unserved = "/" in settings.adapter  # a directory that the server may have to load first
        self._address, self._login = _split_login(settings.base_url)
        self._extra = request_extra(settings.request_extra)
        self._backoff = backoff
        self._circuit = Circuit(settings.circuit_failures, settings.circuit_seconds)
        self._limit: float | None = None
        self._singles, self._several = 0, False  # answers with one choice where more were asked; whether ever more came
        self.takes = Takes()
        self._hopeless: str | None = None
        self._answered_at = float("-inf")

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]:
        """One completion per request, in order. `finished` hears of each as soon as it is there, in the loop's thread."""
        if not requests:
            return []
        return _run(self._all(requests, finished))

    async def _all(self, requests: Sequence[Request], finished: Finished | None) -> list[Completion]:
        width = max(1, self.settings.concurrency)
        pacer = Pacer(width, self._limit)
        completions: list[Completion | None] = [None] * len(requests)
        queue = iter(enumerate(requests))
        async with self._client(width) as client:
            if not self.model:
                await self._ask_for_model(client, pacer)
            if self._unserved:
                await self._serve_adapter(client, pacer)

            async def work() -> None:
                for row, request in queue:  # shared: each worker takes the next one
                    completion = await self._complete(client, pacer, request)
                    completions[row] = completion
                    if finished:
                        finished(completion)

            async with asyncio.TaskGroup() as workers:
                for _ in range(min(width, len(requests))):
                    workers.create_task(work())
        self._limit = pacer.limit
        return [completion for completion in completions if completion is not None]

    def context(self) -> int:
        """Tokens that the model reads and writes together as the server says, 0 where it says nothing or does not answer."""
        try:
            _, listed = _send("GET", self.settings.base_url, "models", None, self.settings.api_key_env, 10.0)
            entries = json.loads(listed)["data"]
            entry = next((e for e in entries if e.get("id") == self.model), entries[0])
            return next((_count(entry[name]) for name in _CONTEXT if _count(entry.get(name))), 0)
        except (InputError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            return 0

    def loads_adapters(self) -> bool:
        """Whether the server offers to load LoRA adapters while it runs. What rank it takes shows when one is loaded."""
        status, _ = _send("POST", self.settings.base_url, "load_lora_adapter", {}, self.settings.api_key_env, 10.0)
        return status in (400, 422)

    def _client(self, width: int) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", "User-Agent": "supernotes"}
        key = os.environ.get(self.settings.api_key_env, "") if self.settings.api_key_env else ""
        if key:
            try:
                headers["Authorization"] = f"Bearer {key.strip()}".encode("ascii").decode()
            except UnicodeEncodeError:
                raise InputError(
                    f"The key in the environment variable {self.settings.api_key_env} holds characters that no key has."
                ) from None
        host = urlsplit(self._address).hostname or ""
        return httpx.AsyncClient(
            headers=headers,
            auth=None if key else self._login,
            timeout=None,  # one clock for the whole attempt, below
            # uvicorn closes idle connections after five seconds; one that is closed while we write looks like a failure
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=width, keepalive_expiry=4.0),
            follow_redirects=False,
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),  # a proxy never serves one's own machine
        )

    async def _ask_for_model(self, client: httpx.AsyncClient, pacer: Pacer) -> None:
        """The first model the server names, if the settings name none."""
        tally = _Tally(random.Random(0))
        answer = await self._call(client, pacer, "GET", "/models", None, tally)
        try:
            self.model = str((answer.body or {})["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            self._hopeless = (
                f"no_model: settings name no model and the server names none ({answer.failure or 'empty list'})"
            )

    async def _serve_adapter(self, client: httpx.AsyncClient, pacer: Pacer) -> None:
        """Have the server load the adapter if it does not name it among its models. Raises `InputError` where it refuses.

        A server that does not answer at all is left to the requests themselves, which wait and try again.
        """
        served = await self._served(client, pacer)
        if served is None:
            return
        if self.model not in served:
            path = self.settings.adapter_on_server or self.settings.adapter
            try:
                await asyncio.to_thread(
                    load_lora_adapter,
                    self.settings.base_url,
                    self.model,
                    path,
                    api_key_env=self.settings.api_key_env,
                )
            except InputError:
                if self.model not in (await self._served(client, pacer) or ()):  # another process may just have done it
                    raise
        self._unserved = False

    async def _served(self, client: httpx.AsyncClient, pacer: Pacer) -> set[str] | None:
        """Names of the models the server offers, None if it does not say."""
        answer = await self._call(client, pacer, "GET", "/models", None, _Tally(random.Random(0)))
        try:
            return {str(entry["id"]) for entry in (answer.body or {})["data"]}
        except (KeyError, TypeError):
            return None

    # ------------------------------------------------------------------------------------------------- one request

    async def _complete(self, client: httpx.AsyncClient, pacer: Pacer, request: Request) -> Completion:
        """The texts of one request, with what is missing asked for again."""
        began = _now()
        wanted = (
            1 if request.temperature <= 0 else max(1, request.n)
        )  # greedy draws are all alike, and vLLM refuses n > 1
        tally = _Tally(random.Random(request.seed))
        choices: list[tuple[str, str]] = []
        failure: str | None = None
        for _ in range(ROUNDS):
            missing = wanted - len(choices)
            # A server that ignores n is asked for draw 0 from the request's own seed and for the others from s+n on, whether
            # that was known beforehand or is found out now: the same seeds either way.
            alone = tally.alone or self.takes.several is False or (self._singles > 1 and not self._several)
            first_alone = tally.next_seed == 0 and (alone or missing == 1)
            sizes = [1] * missing if alone else [missing]
            asked = []
            for place, size in enumerate(sizes):
                asked.append((request.seed + tally.next_seed, size))
                tally.next_seed += wanted if place == 0 and first_alone else size
            came = await asyncio.gather(*(self._draw(client, pacer, request, s, n, tally) for s, n in asked))
            gained = [choice for found, _ in came for choice in found]
            failure = next((reason for _, reason in came if reason), None)
            choices += gained
            if failure or not gained or len(choices) >= wanted:
                break
        choices = choices[:wanted]
        if len(choices) < wanted and failure is None:
            failure = f"missing_choices: the server gave {len(choices)} of {wanted} texts"
        elif len(choices) == wanted:
            failure = None
        return Completion(
            request_id=request.request_id,
            texts=tuple(text for text, _ in choices),
            model=self.model or "unknown",
            failure=failure,
            finish_reasons=tuple(reason for _, reason in choices),
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            seconds=_now() - began,
            attempts=tally.attempts,
            model_revision=self.settings.model_revision or None,
            raw={"system_fingerprint": tally.fingerprint} if tally.fingerprint else {},
        )

    async def _draw(
        self, client: httpx.AsyncClient, pacer: Pacer, request: Request, seed: int, n: int, tally: _Tally
    ) -> tuple[list[tuple[str, str]], str | None]:
        """Up to `n` texts with their finish reasons from one call, and why there are none."""
        takes = self.takes
        answer = await self._call(
            client, pacer, "POST", "/chat/completions", self._body(request, seed, n, takes), tally
        )
        for other in takes.instead(request, n, answer.failure):
            second = await self._call(
                client, pacer, "POST", "/chat/completions", self._body(request, seed, n, other), tally
            )
            if second.failure is None:  # what was left out is what the server did not like
                answer, takes = second, other
                self.takes = other.merged(self.takes)
                break
        if answer.failure is None:
            self.takes = self.takes.proven(request, n, takes)
        if answer.body is None:
            return [], answer.failure
        usage = answer.body.get("usage")
        if isinstance(usage, dict):
            tally.prompt_tokens += _count(usage.get("prompt_tokens"))
            tally.completion_tokens += _count(usage.get("completion_tokens"))
        fingerprint = answer.body.get("system_fingerprint")
        tally.fingerprint = fingerprint[:200] if isinstance(fingerprint, str) else tally.fingerprint
        found, empty = _choices(answer.body)
        if n > 1:
            tally.alone = len(answer.body["choices"]) == 1
            self._singles += tally.alone
            self._several |= not tally.alone
        return found[:n], None if found or not empty else f"missing_choices: the server gave 0 of {n} texts; {empty}"

    def _body(self, request: Request, seed: int, n: int, takes: Takes) -> bytes:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "temperature": request.temperature,
            "top_p": request.top_p,
            takes.cap: request.max_tokens,
            "n": n if takes.several is not False else 1,
        }
        if self.settings.seeds and request.temperature > 0:
            body["seed"] = seed if takes.long_seeds else seed % (1 << 31)
        if request.schema is not None and takes.structured is not False:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": request.purpose, "schema": request.schema, "strict": True},
            }
        return json.dumps(body | self._extra).encode("ascii")

    # ---------------------------------------------------------------------------------------------------- one call

    async def _call(
        self, client: httpx.AsyncClient, pacer: Pacer, method: str, path: str, body: bytes | None, tally: _Tally
    ) -> _Answer:
        """A JSON answer, after as many attempts as it takes and the settings allow."""
        attempt = 0  # attempts that failed
        refused = 0  # times we were asked to come later: the server's right, and no failure
        while True:
            async with pacer.slot() as began:
                if self._hopeless:
                    return _Answer(None, self._hopeless)
                if self._circuit.open:
                    return _Answer(None, "circuit_open: the server failed too long and is left alone")
                if tally.attempts == 0:
                    tally.began, tally.deadline = began, began + self.settings.deadline
                left = tally.deadline - _now()
                if left <= 0:
                    return self._too_late("deadline: no answer", tally)
                tally.attempts += 1
                outcome = await self._attempt(client, method, path, body, min(self.settings.timeout, left))
                if outcome.body is not None:
                    self._answered_at = _now()
                    self._circuit.answered()
                    pacer.went_well()
                    return _Answer(outcome.body, None)
                if not outcome.again:
                    self._circuit.answered()
                    if outcome.hopeless:
                        self._hopeless = outcome.failure
                    return _Answer(None, outcome.failure)
                if not outcome.careless:
                    pacer.overloaded(began)
                if outcome.wait is not None and _now() + outcome.wait < tally.deadline:
                    pacer.pause(outcome.wait)
            if outcome.alive:
                self._circuit.answered()
                refused += 1
            else:
                self._circuit.failed(_now())
                attempt += 1
                if attempt >= self.settings.attempts:
                    return _Answer(None, f"{outcome.failure}; given up after {attempt} attempts")
            if outcome.wait is not None:
                wait = outcome.wait + tally.rng.uniform(0.0, min(1.0, 0.1 * outcome.wait))
            else:
                wait = waiting_time(attempt + refused, self._backoff, tally.rng)
            if _now() + wait >= tally.deadline:
                return self._too_late(str(outcome.failure), tally)
            await asyncio.sleep(wait)

    def _too_late(self, failure: str, tally: _Tally) -> _Answer:
        """The deadline of a request passes. If meanwhile nobody got an answer, the server is left alone."""
        if self._answered_at < tally.began:
            self._circuit.open = True
        return _Answer(None, f"{failure}; the deadline of {self.settings.deadline:g} s passes")

    async def _attempt(
        self, client: httpx.AsyncClient, method: str, path: str, body: bytes | None, seconds: float
    ) -> _Outcome:
        received = bytearray()
        try:
            async with (
                asyncio.timeout(seconds),
                client.stream(method, self._address + path, content=body) as response,
            ):
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) > MAX_RESPONSE:
                        return _Outcome(failure=f"too_large: an answer of more than {MAX_RESPONSE:,} bytes")
        except TimeoutError:
            return _Outcome(failure=f"timeout: no answer within {seconds:g} s")
        except httpx.TransportError as error:
            return _Outcome(failure=f"connection: {type(error).__name__}")
        except httpx.InvalidURL:
            return _Outcome(failure=f"bad_address: {self._address} is no address", again=False, hopeless=True)
        if response.status_code != 200:
            return self._refusal(response.status_code, response.headers, bytes(received))
        outcome = _read(bytes(received), method)
        return outcome if outcome.status is None else self._refusal(outcome.status, response.headers, bytes(received))

    def _refusal(self, status: int, headers: Mapping[str, str], received: bytes) -> _Outcome:
        told = _told(received)
        if 300 <= status < 400:
            there = urlsplit(headers.get("location") or "")
            words = f"the server redirects to {there._replace(netloc=there.netloc.rpartition('@')[2], query='', fragment='').geturl()[:200] or 'another address'}"
            return _Outcome(failure=f"http_{status}: {words}; give that as base_url", again=False, hopeless=True)
        if status in _RETRIED or status >= 500:
            wait = retry_after(headers, time.time()) if status in (429, 503) else None
            code = "rate_limited" if status == 429 else f"http_{status}"
            alive = status == 429 or wait is not None
            return _Outcome(failure=f"{code}: {told}", alive=alive, wait=wait, careless=status not in _OVERLOADED)
        if status in _HOPELESS:
            words = (
                f"{told} (key from the environment variable {self.settings.api_key_env}, address {self._address})"
                if _HOPELESS[status] == "unauthorized"
                else f"{told} (model {self.model!r}, address {self._address})"
            )
            return _Outcome(failure=f"{_HOPELESS[status]}: {words}", again=False, hopeless=True)
        code = "bad_request" if status in (400, 413, 422) else f"http_{status}"
        return _Outcome(failure=f"{code}: {told}", again=False)


@dataclass(frozen=True)
class _Outcome:
    """One attempt: a body, or a failure and what it means. `careless`: not a sign of overload. `status`: what an error in a
    body with HTTP 200 amounts to."""

    body: Mapping[str, Any] | None = None
    failure: str | None = None
    again: bool = True
    hopeless: bool = False
    alive: bool = False
    careless: bool = False
    wait: float | None = None
    status: int | None = None


@dataclass(frozen=True)
class Takes:
    """What a server is known to take; None: not known yet."""

    several: bool | None = None  # n > 1
    structured: bool | None = None  # response_format
    cap: str = "max_tokens"
    long_seeds: bool = True  # beyond 31 bits

    def instead(self, request: Request, n: int, failure: str | None) -> Iterator[Takes]:
        """What else to try after a refusal, each with one thing left out, at last two; nothing where the prompt is what is wrong."""
        if not (failure or "").startswith("bad_request") or _TOO_LONG.search(failure or ""):
            return
        words = failure or ""
        if self.cap == "max_tokens" and "max_completion_tokens" in words:
            yield replace(self, cap="max_completion_tokens")
            return
        if self.long_seeds and re.search(r"\bseed\b", words):
            yield replace(self, long_seeds=False)
        single = [replace(self, several=False)] if n > 1 and self.several is None else []
        plain = [replace(self, structured=False)] if request.schema is not None and self.structured is None else []
        yield from single + plain if re.search(r"\bn\b", words) else plain + single
        if single and plain:
            yield replace(self, several=False, structured=False)

    def merged(self, known: Takes) -> Takes:
        """With what another request has found out meanwhile."""
        return Takes(
            self.several if self.several is not None else known.several,
            self.structured if self.structured is not None else known.structured,
            self.cap if self.cap != "max_tokens" else known.cap,
            self.long_seeds and known.long_seeds,
        )

    def proven(self, request: Request, n: int, sent: Takes) -> Takes:
        """After an answer to a request sent in the form `sent`."""
        return replace(
            self,
            several=True if n > 1 and sent.several is not False else self.several,
            structured=True if request.schema is not None and sent.structured is not False else self.structured,
        )


_TOO_LONG = re.compile(r"maximum context|context length|max_model_len|too long|too many tokens", flags=re.IGNORECASE)


def _read(received: bytes, method: str) -> _Outcome:
    try:
        body = json.loads(received)
    except (ValueError, RecursionError):
        return _Outcome(
            failure=f"unreadable: {len(received):,} bytes that are not JSON ({_told(received)})", careless=True
        )
    if not isinstance(body, dict):
        return _Outcome(failure="unreadable: JSON, but no object", careless=True)
    if method == "POST" and not (isinstance(body.get("choices"), list) and body["choices"]):
        error = body.get("error", body if body.get("object") == "error" else None)
        if error is not None:
            code = str(error.get("code")) if isinstance(error, dict) else ""
            return _Outcome(status=int(code) if code.isdecimal() and 400 <= int(code) < 600 else 400)
        return _Outcome(failure=f"unreadable: no choices ({_told(received)})", careless=True)
    return _Outcome(body=body)


def _choices(body: Mapping[str, Any]) -> tuple[list[tuple[str, str]], str]:
    """Text and finish reason of each choice that has a text, and what the first choice without one held instead.

    In the order of the server's indices where it gives them.
    """
    rows = [choice for choice in body["choices"] if isinstance(choice, dict)]
    if all(isinstance(choice.get("index"), int) for choice in rows):
        rows.sort(key=lambda choice: choice["index"])
    found, empty = [], ""
    for choice in rows:
        message = choice.get("message")
        message = message if isinstance(message, dict) else {}
        content = message.get("content", choice.get("text"))
        if isinstance(content, list):  # some servers give a list of parts; reasoning may be one
            parts = [
                part for part in content if isinstance(part, dict) and part.get("type") in (None, "text", "output_text")
            ]
            content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
        finish = str(choice.get("finish_reason") or "unknown")[:40]
        if isinstance(content, str) and content.strip():
            text = content[:MAX_TEXT].encode("utf-8", "replace").decode()  # lone surrogates are legal in JSON only
            found.append((text, finish))
        elif not empty:
            empty = f"content was empty, finish_reason {finish!r}{_beside_content(message)}"
    return found, empty or ("" if found else "no choice is an object with a message")


def _beside_content(message: Mapping[str, Any]) -> str:
    """What a message without content holds: reasoning that used up the room, a refusal, tool calls."""
    for name in ("reasoning_content", "reasoning", "refusal"):
        words = message.get(name)
        if isinstance(words, str) and words.strip():
            what = "there was a refusal" if name == "refusal" else f"there was reasoning of {len(words):,} characters"
            return f"; {what}: {' '.join(words.split())[:80]!r}"
    return "; there were tool calls" if message.get("tool_calls") else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def _told(received: bytes) -> str:
    """What a server says about its refusal, in at most 200 characters on one line; of a page its text."""
    text = received[:20_000].decode("utf-8", "replace")
    try:
        value = json.loads(text)
        error = value.get("error", value) if isinstance(value, dict) else value
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    except (ValueError, RecursionError):
        text = re.sub(r"<(script|style)\b.*?(</\1>|$)|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return " ".join(html.unescape(text).split())[:200] or "no reason given"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by the headers `retry-after-ms` and `Retry-After` (seconds or an HTTP date), or None.

    A date is read against the server's own `Date` header where there is one, since its clock may differ from ours; `now` is
    seconds since 1970. Times gone by give 0; nonsense gives None.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = (headers.get(name) or "").strip()
        if text:
            try:
                seconds = float(text) * unit
            except ValueError:
                continue
            return max(0.0, seconds) if seconds == seconds and seconds < 1e9 else None
    then = _timestamp(headers.get("retry-after"))
    if then is None:
        return None
    there = _timestamp(headers.get("date"))
    return max(0.0, then - (there if there is not None else now))


def _timestamp(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError, OverflowError):
        return None


def _now() -> float:
    return time.monotonic()


def _run(work: Coroutine[Any, Any, list[Completion]]) -> list[Completion]:
    """Run a coroutine to its end, in another thread where this one has a loop running (a notebook, an async test)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _unwrapped(work)
    found: list[list[Completion]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(_unwrapped(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="openai-server")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]


def _unwrapped(work: Coroutine[Any, Any, list[Completion]]) -> list[Completion]:
    """A single error out of the task group is raised as itself."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def _split_login(base_url: str) -> tuple[str, httpx.BasicAuth | None]:
    """The address without a trailing slash and without the login that may stand in it."""
    parts = urlsplit(base_url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"settings.draft_candidates.base_url = {_shown(base_url)!r} is no address of a server; give one like 'http://127.0.0.1:8000/v1'."
        )
    login = httpx.BasicAuth(parts.username, parts.password or "") if parts.username else None
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), login


def _shown(base_url: str) -> str:
    return base_url.rpartition("@")[2][:200]


# ------------------------------------------------------------------------------------------------------- LoRA adapters


def load_lora_adapter(
    base_url: str, name: str, path: str, *, api_key_env: str = "SUPERNOTES_API_KEY", timeout: float = 120.0
) -> None:
    """Make a running vLLM server serve the adapter at `path` (a directory the *server* can read) as model `name`.

    Afterwards `settings.model = name` writes with it. Raises `InputError` where the server refuses; it must have been started with
    `--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, in a network that trusts its clients.
    """
    body = {"lora_name": name, "lora_path": path}
    status, received = _send("POST", base_url, "load_lora_adapter", body, api_key_env, timeout)
    if status != 200:
        raise InputError(
            f"The server at {_split_login(base_url)[0]} did not load the adapter {name!r} from {path!r} (HTTP {status}: {_told(received)}). "
            "Start vLLM with --enable-lora --max-lora-rank 32 (or tune_writer.lora_r, if that is higher; 16 is vLLM's default) and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and give a path that it can read."
        )


def _send(
    method: str, base_url: str, verb: str, body: dict[str, str] | None, api_key_env: str, timeout: float
) -> tuple[int, bytes]:
    """Status and bytes of one call beside the drafts. Raises `InputError` where no server answers."""
    address, login = _split_login(base_url)
    key = os.environ.get(api_key_env, "") if api_key_env else ""
    headers = {"Authorization": f"Bearer {key.strip()}"} if key else {}
    host = urlsplit(address).hostname or ""
    try:
        with httpx.Client(
            timeout=timeout, auth=None if key else login, trust_env=host not in ("localhost", "127.0.0.1", "::1")
        ) as client:
            response = client.request(method, f"{address}/{quote(verb, safe='/')}", json=body, headers=headers)
    except httpx.TransportError as error:
        raise InputError(
            f"No server answers at {address} ({type(error).__name__}). Start it, or mend base_url."
        ) from None
    return response.status_code, response.content
