"""The client of OpenAI-compatible servers, against a real HTTP server that misbehaves to order."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from nouns.errors import InputError
from nouns.post import Completion, Message, Request
from synthesis.generation import open_generator
from synthesis.generation.base import failure_code
from synthesis.generation.openai_server import (
    OpenAIServer,
    load_lora_adapter,
    retry_after,
)
from synthesis.generation.pacing import Circuit, Pacer
from synthesis.settings import DraftCandidatesSettings
from tests.servers import ChaosServer, Do, free_port, troubled

SCHEMA = {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}


def request(number: int = 0, n: int = 4, **changes) -> Request:
    asked = Request(f"r{number}", number, (Message("user", f"Prompt {number}"),), "draft", "draft-v1", n=n)
    return replace(asked, **({"seed": (number + 1) << 12} | changes))


def client(server: ChaosServer, **changes) -> OpenAIServer:
    settings = DraftCandidatesSettings(base_url=server.base_url, model="tiny", timeout=5, deadline=20)
    return OpenAIServer(replace(settings, **changes), backoff=0.02)


def draws(completion: Completion) -> list[int]:
    return [int(text.removeprefix("draw ")) for text in completion.texts]


class TestWell:
    def test_every_request_gets_its_own_answer_in_order(self):
        def later_ones_first(body, number):
            return Do(delay=0.1 - 0.01 * int(body["messages"][0]["content"].split()[-1]))

        with ChaosServer(later_ones_first) as server:
            completions = client(server).generate([request(i) for i in range(10)])
        assert [c.request_id for c in completions] == [f"r{i}" for i in range(10)]
        for i, completion in enumerate(completions):
            assert draws(completion) == [((i + 1) << 12) + draw for draw in range(4)]
            assert completion.failure is None
            assert completion.finish_reasons == ("stop",) * 4
            assert (completion.prompt_tokens, completion.completion_tokens, completion.attempts) == (10, 12, 1)
            assert completion.model == "tiny"
            assert completion.seconds > 0

    def test_what_is_sent_is_what_was_asked(self):
        asked = request(n=3, temperature=0.7, top_p=0.9, max_tokens=77, schema=SCHEMA, seed=1 << 61)
        with ChaosServer() as server:
            client(server, request_extra='{"chat_template_kwargs": {"enable_thinking": false}}').generate([asked])
        assert server.seen[0].body == {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Prompt 0"}],
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 77,
            "n": 3,
            "seed": 1 << 61,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "draft", "schema": SCHEMA, "strict": True},
            },
            "chat_template_kwargs": {"enable_thinking": False},
        }

    def test_an_empty_batch_calls_nobody(self):
        assert OpenAIServer(DraftCandidatesSettings(base_url="http://127.0.0.1:9/v1")).generate([]) == []

    def test_at_most_concurrency_requests_are_in_flight_and_that_many_are(self):
        with ChaosServer(lambda body, number: Do(delay=0.5 if number < 5 else 0.0)) as server:
            client(server, concurrency=5).generate([request(i, n=1) for i in range(30)])
        assert server.most_in_flight == 5

    def test_each_finished_call_is_told_of_before_the_batch_ends(self):
        told: list[str] = []
        with ChaosServer(lambda body, number: Do(delay=0.02 * number)) as server:
            done = client(server, concurrency=1).generate(
                [request(i) for i in range(3)], finished=lambda c: told.append(c.request_id)
            )
        assert told == [c.request_id for c in done]

    def test_without_a_model_in_the_settings_the_server_is_asked(self):
        with ChaosServer(models=("served", "other")) as server:
            completion = client(server, model="").generate([request()])[0]
        assert completion.model == "served"
        assert server.seen[0].body["model"] == "served"

    def test_it_works_inside_a_running_event_loop(self):
        async def notebook() -> list[Completion]:
            return client(server).generate([request()])

        with ChaosServer() as server:
            assert len(asyncio.run(notebook())[0].texts) == 4

    def test_a_greedy_request_asks_for_one_text_without_a_seed(self):
        with ChaosServer() as server:
            completion = client(server).generate([request(n=4, temperature=0.0)])[0]
        assert server.seen[0].body["n"] == 1
        assert "seed" not in server.seen[0].body
        assert completion.failure is None


class TestDraws:
    def test_a_server_that_ignores_n_is_asked_one_by_one_and_no_draw_repeats(self):
        with ChaosServer(lambda body, number: Do(choices=1)) as server:
            completions = client(server, concurrency=2).generate([request(i) for i in range(12)])
        assert all(c.failure is None and len(set(c.texts)) == 4 for c in completions)
        seeds = Counter(call.body["seed"] for call in server.seen)
        assert max(seeds.values()) == 1
        # Once found out, it is asked for one text at a time.
        assert {call.body["n"] for call in server.seen[12:]} == {1}

    def test_the_draws_are_the_same_whether_that_was_known_or_not(self):
        with ChaosServer(lambda body, number: Do(choices=1)) as server:
            knows = client(server, concurrency=1)
            first = knows.generate([request(0), request(1), request(2)])
            again = knows.generate([request(0), request(1), request(2)])
        assert [c.texts for c in first] == [c.texts for c in again]

    def test_missing_choices_are_asked_for_with_seeds_no_draw_has_had(self):
        with ChaosServer(lambda body, number: Do(choices=3 if number == 0 else None)) as server:
            completion = client(server).generate([request(n=5)])[0]
        assert len(draws(completion)) == len(set(draws(completion))) == 5
        assert [(call.body["seed"], call.body["n"]) for call in server.seen] == [(4096, 5), (4101, 2)]
        assert (completion.failure, completion.prompt_tokens) == (None, 20)

    def test_too_many_choices_are_cut(self):
        with ChaosServer(lambda body, number: Do(choices=9)) as server:
            assert len(client(server).generate([request(n=2)])[0].texts) == 2

    def test_empty_choices_are_missing_and_in_the_end_said_to_be(self):
        with ChaosServer(lambda body, number: Do(content=lambda asked, i: None if i else "only one")) as server:
            completion = client(server).generate([request(n=2)])[0]
        assert completion.texts == ("only one", "only one")
        with ChaosServer(lambda body, number: Do(content=lambda asked, i: "  ")) as server:
            completion = client(server).generate([request(n=2)])[0]
        assert completion.texts == ()
        assert (
            completion.failure
            == "missing_choices: the server gave 0 of 2 texts; content was empty, finish_reason 'stop'"
        )

    def test_a_failure_in_the_middle_keeps_what_had_come(self):
        with ChaosServer(lambda body, number: Do(choices=1) if number == 0 else Do(400)) as server:
            completion = client(server).generate([request(n=3)])[0]
        assert completion.texts == ("draw 4096",)
        assert failure_code(completion.failure) == "bad_request"

    @pytest.mark.parametrize(
        "content", [[{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}], "in parts"]
    )
    def test_content_may_come_in_parts(self, content):
        with ChaosServer(lambda body, number: Do(content=lambda asked, i: content)) as server:
            assert client(server).generate([request(n=1)])[0].texts == ("in parts",)

    def test_seeds_can_be_left_out(self):
        with ChaosServer() as server:
            client(server, seeds=False).generate([request()])
        assert "seed" not in server.seen[0].body


class TestTrouble:
    def test_a_troubled_server_still_gives_every_text_once(self):
        with ChaosServer(troubled(0.005, 0.25, seed=3)) as server:
            completions = client(server, concurrency=8).generate([request(i) for i in range(60)])
        assert [c.failure for c in completions] == [None] * 60
        texts = [text for c in completions for text in c.texts]
        assert len(texts) == len(set(texts)) == 240
        assert sum(c.attempts for c in completions) == len(server.seen)

    @pytest.mark.parametrize(
        "fault",
        [Do(500), Do(502), Do(429), Do(drop=True), Do(body="{"), Do(body="[]"), Do(body='{"choices": []}'), Do(body="x" * (9 << 20)), Do(delay=5.0)],
        ids=["500", "502", "429", "dropped", "cut", "list", "no choices", "huge", "slow"],
    )  # fmt: skip
    def test_one_fault_is_got_over(self, fault):
        with ChaosServer(lambda body, number: fault if number == 0 else Do()) as server:
            completion = client(server, timeout=0.3 if fault.delay else 5.0).generate([request()])[0]
        assert draws(completion) == [4096, 4097, 4098, 4099]
        assert completion.attempts == 2
        assert server.seen[0].body["seed"] == server.seen[1].body["seed"]

    @pytest.mark.parametrize(
        ("fault", "code"),
        [(Do(500), "http_500"), (Do(drop=True), "connection"), (Do(body="{"), "unreadable"), (Do(body="x" * (9 << 20)), "too_large")],
    )  # fmt: skip
    def test_a_lasting_fault_is_a_reason_after_so_many_attempts(self, fault, code):
        with ChaosServer(lambda body, number: fault) as server:
            completion = client(server, attempts=3).generate([request()])[0]
        assert failure_code(completion.failure) == code
        assert (completion.texts, completion.attempts, len(server.seen)) == ((), 3, 3)

    def test_no_server_at_all_is_a_reason(self):
        settings = DraftCandidatesSettings(base_url=f"http://127.0.0.1:{free_port()}/v1", model="tiny", attempts=2)
        completion = OpenAIServer(settings, backoff=0.01).generate([request()])[0]
        assert completion.failure == "connection: ConnectError; given up after 2 attempts"

    def test_the_deadline_ends_a_request(self):
        with ChaosServer(lambda body, number: Do(delay=3.0)) as server:
            began = time.monotonic()
            completion = client(server, timeout=0.2, deadline=0.5, attempts=99).generate([request()])[0]
        assert failure_code(completion.failure) == "timeout"
        assert "deadline of 0.5 s" in completion.failure
        assert time.monotonic() - began < 3.0

    def test_a_dripping_answer_is_timed_out_as_a_whole(self):
        # Bytes that keep coming satisfy a timeout between bytes; the attempt as a whole has to end.
        async def drip(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(200):
                writer.write(b" ")
                await asyncio.sleep(0.02)

        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(drip, "127.0.0.1", 0))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        port = server.sockets[0].getsockname()[1]
        settings = DraftCandidatesSettings(base_url=f"http://127.0.0.1:{port}", model="m", timeout=0.3, attempts=1)
        completion = OpenAIServer(settings).generate([request()])[0]
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        assert failure_code(completion.failure) == "timeout"

    def test_a_circuit_opens_and_the_server_is_left_alone_afterwards(self):
        with ChaosServer(lambda body, number: Do(500)) as server:
            writer = client(server, circuit_failures=5, circuit_seconds=0.0, concurrency=2)
            completions = writer.generate([request(i) for i in range(40)])
            calls = len(server.seen)
            later = writer.generate([request(100)])[0]
        assert calls < 10
        assert len(server.seen) == calls
        assert failure_code(later.failure) == "circuit_open"
        assert {failure_code(c.failure) for c in completions} <= {"circuit_open", "http_500"}

    def test_a_server_that_only_ever_says_later_is_left_alone_after_one_deadline(self):
        with ChaosServer(lambda body, number: Do(429, {"retry-after": "0.05"})) as server:
            began = time.monotonic()
            completions = client(server, deadline=0.5, concurrency=4).generate([request(i) for i in range(50)])
        codes = {failure_code(c.failure) for c in completions}
        # Where the machine is busy, the deadline may pass while an answer is on its way instead of between two.
        assert codes in (
            {"rate_limited", "circuit_open"},
            {"timeout", "circuit_open"},
            {"rate_limited", "timeout", "circuit_open"},
        )
        assert time.monotonic() - began < 5

    def test_nobody_waits_for_a_time_beyond_the_deadline(self):
        with ChaosServer(lambda body, number: Do(429, {"retry-after": "3600"})) as server:
            completions = client(server, concurrency=2).generate([request(i) for i in range(10)])
        assert {failure_code(c.failure) for c in completions} == {"rate_limited", "circuit_open"}
        assert len(server.seen) <= 2

    @pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "unauthorized"), (404, "not_found")])
    def test_what_no_retry_can_mend_is_asked_once(self, status, code):
        with ChaosServer(lambda body, number: Do(status)) as server:
            completions = client(server, concurrency=1).generate([request(i) for i in range(20)])
        assert len(server.seen) == 1
        assert {failure_code(c.failure) for c in completions} == {code}

    def test_one_refused_prompt_does_not_stop_the_others(self):
        def plan(body, number):
            return Do(400) if body["messages"][0]["content"] == "Prompt 1" else Do()

        with ChaosServer(plan) as server:
            completions = client(server).generate([request(i) for i in range(3)])
        assert [failure_code(c.failure) for c in completions] == [None, "bad_request", None]


class TestStructure:
    def test_a_server_without_response_format_is_asked_without_from_then_on(self):
        def plan(body, number):
            return Do(400) if "response_format" in body else Do()

        with ChaosServer(plan) as server:
            completions = client(server, concurrency=1).generate([request(i, schema=SCHEMA) for i in range(3)])
        assert [c.failure for c in completions] == [None] * 3
        assert ["response_format" in call.body for call in server.seen] == [True, False, False, False]

    def test_a_bad_prompt_does_not_make_us_think_so(self):
        def plan(body, number):
            return Do(400) if body["messages"][0]["content"] == "Prompt 0" else Do()

        with ChaosServer(plan) as server:
            writer = client(server, concurrency=1)
            writer.generate([request(i, schema=SCHEMA) for i in range(3)])
        # Asked for less, one thing at a time, and when nothing helped the next prompt is asked as well as ever.
        assert [("response_format" in call.body, call.body["n"]) for call in server.seen] == [
            (True, 4), (False, 4), (True, 1), (False, 1), (True, 4), (True, 4),
        ]  # fmt: skip


class TestContext:
    """What the server says it reads decides how long a prompt may be, and a run repeated from its record has the same prompts."""

    @pytest.mark.parametrize(
        ("entry", "tokens"),
        [({"max_model_len": 4096}, 4096), ({"context_length": 8192}, 8192), ({}, 0), ({"max_model_len": "many"}, 0)],
    )
    def test_it_is_asked_of_the_server(self, entry, tokens):
        with ChaosServer(about=entry) as server:
            assert client(server).context() == tokens
        assert client(server).context() == 0  # gone: nothing is known, and nothing fails

    def test_it_is_recorded_with_the_calls_and_never_overrules_the_settings(self, tmp_path):
        calls = tmp_path / "calls.jsonl.zst"
        with ChaosServer(about={"max_model_len": 4096}) as server:
            settings = DraftCandidatesSettings(backend="openai", base_url=server.base_url, model="tiny")
            writer = open_generator(settings, calls=calls)
            assert writer.fitted(settings).max_context == 4096
            assert writer.fitted(replace(settings, max_context=900)).max_context == 900
            writer.generate([request()])
        assert open_generator(settings, recorded=calls).fitted(settings).max_context == 4096


class TestReplyShapes:
    """What servers have been seen to send: the text is found, or the reason says what was there instead."""

    @staticmethod
    def body(message=None, **more):
        choice = {"index": 0, "finish_reason": "stop", "message": message} | more
        return Do(body=json.dumps({"id": "x", "object": "chat.completion", "choices": [choice]}))

    @pytest.mark.parametrize(
        ("message", "more", "told"),
        [
            ({"content": None, "reasoning_content": "Okay. So."}, {"finish_reason": "length"}, ("content was empty", "finish_reason 'length'", "reasoning of 9 characters: 'Okay. So.'")),
            ({"content": "", "reasoning": "Let me see"}, {}, ("content was empty", "reasoning of 10")),
            ({"content": None, "tool_calls": [{"id": "1"}]}, {"finish_reason": "tool_calls"}, ("tool calls", "finish_reason 'tool_calls'")),
            ({"content": None, "refusal": "I can't help."}, {}, ("refusal", "I can't help.")),
            ({"content": None}, {"finish_reason": "content_filter"}, ("finish_reason 'content_filter'",)),
            ({"content": [{"type": "thinking", "text": "hm"}]}, {}, ("content was empty",)),
            (None, {}, ("content was empty",)),
            ("a string", {}, ("content was empty",)),
        ],
    )  # fmt: skip
    def test_a_choice_without_a_text_says_what_it_held(self, message, more, told):
        with ChaosServer(lambda body, number: self.body(message, **more)) as server:
            completion = client(server).generate([request(n=1)])[0]
        assert (completion.texts, failure_code(completion.failure)) == ((), "missing_choices")
        for words in told:
            assert words in completion.failure
        assert len(server.seen) == 1

    @pytest.mark.parametrize(
        "error",
        [
            {"object": "error", "message": "maximum context length is 4096 tokens", "type": "BadRequestError", "code": 400},
            {"error": {"message": "maximum context length is 4096 tokens", "code": "context_length_exceeded"}},
            {"error": "maximum context length is 4096 tokens", "choices": None},
        ],
    )  # fmt: skip
    def test_an_error_told_with_status_200_is_a_refusal_in_the_servers_words_and_asked_once(self, error):
        with ChaosServer(lambda body, number: Do(body=json.dumps(error))) as server:
            completion = client(server).generate([request()])[0]
        assert completion.failure == "bad_request: maximum context length is 4096 tokens"
        assert len(server.seen) == 1

    def test_an_overload_told_with_status_200_is_waited_for(self):
        busy = Do(body=json.dumps({"error": {"message": "busy", "code": 503}}))
        with ChaosServer(lambda body, number: busy if number < 2 else Do()) as server:
            assert client(server).generate([request()])[0].failure is None

    def test_a_page_is_told_by_its_text(self):
        page = "<html><head><style>b{}</style><title>502 Bad Gateway</title></head><body><h1>Upstream &amp; down</h1></body></html>"
        with ChaosServer(lambda body, number: Do(502, body=page)) as server:
            completion = client(server, attempts=2).generate([request()])[0]
        assert completion.failure.startswith("http_502: 502 Bad Gateway Upstream & down;")
        with ChaosServer(lambda body, number: Do(body=page)) as server:
            completion = client(server, attempts=2).generate([request()])[0]
        assert "not JSON (502 Bad Gateway Upstream & down)" in completion.failure

    def test_a_redirect_names_the_place_and_is_asked_once(self):
        there = "https://me:secret@elsewhere.example/v1/chat/completions?key=secret"
        with ChaosServer(lambda body, number: Do(308, {"location": there})) as server:
            completions = client(server, concurrency=1).generate([request(i) for i in range(5)])
        assert len(server.seen) == 1
        assert "https://elsewhere.example/v1/chat/completions; give that" in completions[4].failure
        assert "secret" not in completions[0].failure


class TestWhatAServerTakes:
    def test_several_texts_are_asked_for_one_by_one_where_n_is_refused(self):
        def plan(body, number):
            return Do(400, body='{"error": {"message": "n > 1 is not supported"}}') if body["n"] > 1 else Do()

        with ChaosServer(plan) as server:
            completions = client(server, concurrency=1).generate([request(i, schema=SCHEMA) for i in range(2)])
        assert [c.failure for c in completions] == [None, None]
        assert [len(set(c.texts)) for c in completions] == [4, 4]
        assert [call.body["n"] for call in server.seen] == [4] + [1] * 8
        assert all("response_format" in call.body for call in server.seen)

    def test_neither_n_nor_response_format(self):
        def plan(body, number):
            return Do(400) if body["n"] > 1 or "response_format" in body else Do()

        with ChaosServer(plan) as server:
            completions = client(server, concurrency=1).generate([request(i, schema=SCHEMA) for i in range(2)])
        assert [(c.failure, len(c.texts)) for c in completions] == [(None, 4), (None, 4)]
        assert len(server.seen) == 3 + 4 + 4  # what helped is remembered

    def test_the_other_name_of_max_tokens(self):
        def plan(body, number):
            words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return Do(400, body=json.dumps({"error": {"message": words}})) if "max_tokens" in body else Do()

        with ChaosServer(plan) as server:
            completions = client(server, concurrency=1).generate([request(i) for i in range(3)])
        assert [c.failure for c in completions] == [None] * 3
        assert len(server.seen) == 4

    def test_seeds_that_are_too_long_are_folded(self):
        def plan(body, number):
            too_long = body["seed"] >= 1 << 31
            return Do(400, body='{"error": {"message": "seed must be in int32"}}') if too_long else Do()

        with ChaosServer(plan) as server:
            completions = client(server, concurrency=1).generate(
                [request(i, seed=(1 << 40) + (i << 12)) for i in range(3)]
            )
        assert [c.failure for c in completions] == [None] * 3
        assert len(server.seen) == 4


class TestWaiting:
    def test_retry_after_is_honoured_and_everybody_waits(self):
        with ChaosServer(lambda body, number: Do(429, {"retry-after": "1"}) if number == 0 else Do()) as server:
            client(server, concurrency=1).generate([request(0), request(1)])
        assert server.seen[1].at - server.seen[0].at >= 1.0

    def test_being_asked_to_wait_uses_up_no_attempts(self):
        with ChaosServer(lambda body, number: Do(429, {"retry-after-ms": "10"}) if number < 6 else Do()) as server:
            completion = client(server, attempts=2).generate([request()])[0]
        assert (completion.failure, completion.attempts) == (None, 7)

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "7"}, 7.0),
            ({"retry-after": " 0.5 "}, 0.5),
            ({"retry-after": "-3"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
            ({"retry-after": "Sat, 21 Nov 2026 03:00:30 GMT"}, 30.0),
            ({"retry-after": "Sat, 21 Nov 2026 02:00:00 GMT"}, 0.0),
            # The server's clock is an hour ahead: its own Date header says how long it means.
            ({"retry-after": "Sat, 21 Nov 2026 04:00:05 GMT", "date": "Sat, 21 Nov 2026 04:00:00 GMT"}, 5.0),
        ],
    )
    def test_retry_after_in_its_forms(self, headers, seconds):
        now = 1795230000.0  # Sat, 21 Nov 2026 03:00:00 GMT
        assert retry_after(headers, now) == seconds

    def test_overload_halves_the_requests_in_flight_once_and_answers_bring_them_back(self):
        async def play() -> list[float]:
            pacer = Pacer(16)
            limits = []
            async with pacer.slot() as first, pacer.slot() as second:
                await asyncio.sleep(0.01)
                pacer.overloaded(first)
                pacer.overloaded(second)  # was under way already: the same piece of news
                limits.append(pacer.limit)
            async with pacer.slot() as third:
                pacer.overloaded(third)
            limits.append(pacer.limit)
            for _ in range(1000):
                pacer.went_well()
            return [*limits, pacer.limit]

        assert asyncio.run(play()) == [8.0, 4.0, 16.0]

    def test_a_cancelled_waiter_leaves_no_hole(self):
        async def play() -> int:
            pacer = Pacer(1)

            async def hold() -> None:
                async with pacer.slot():
                    await asyncio.sleep(0.01)

            tasks = [asyncio.create_task(hold()) for _ in range(5)]
            await asyncio.sleep(0)
            tasks[2].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return pacer.in_flight

        assert asyncio.run(play()) == 0

    def test_a_circuit_needs_failures_that_last(self):
        circuit = Circuit(3, seconds=10.0)
        for at in (0.0, 0.1, 0.2, 0.3):
            circuit.failed(at)
        assert not circuit.open  # thirty dropped connections in one moment are one event
        circuit.answered()
        circuit.failed(5.0)
        circuit.failed(12.0)
        assert not circuit.open
        circuit.failed(15.0)
        assert circuit.open


class TestSecrets:
    def test_the_key_goes_into_one_header_and_nowhere_else(self, monkeypatch, caplog):
        monkeypatch.setenv("OUR_KEY", "top-secret-key")
        with caplog.at_level(logging.DEBUG), ChaosServer(lambda body, number: Do(401)) as server:
            completion = client(server, api_key_env="OUR_KEY").generate([request()])[0]
        assert server.seen[0].headers["authorization"] == "Bearer top-secret-key"
        assert "top-secret-key" not in caplog.text
        assert "top-secret-key" not in json.dumps(completion.__dict__)
        assert "OUR_KEY" in completion.failure

    def test_without_a_key_there_is_no_header(self, monkeypatch):
        monkeypatch.delenv("SUPERNOTES_API_KEY", raising=False)
        with ChaosServer() as server:
            client(server).generate([request()])
        assert "authorization" not in server.seen[0].headers

    def test_a_login_in_the_address_is_sent_and_never_shown(self, monkeypatch, caplog):
        monkeypatch.delenv("SUPERNOTES_API_KEY", raising=False)
        with caplog.at_level(logging.DEBUG), ChaosServer(lambda body, number: Do(404)) as server:
            address = server.base_url.replace("http://", "http://me:hidden@")
            completion = client(server, base_url=address).generate([request()])[0]
        assert server.seen[0].headers["authorization"].startswith("Basic ")
        assert "hidden" not in caplog.text + str(completion)

    def test_redirects_are_not_followed(self):
        with (
            ChaosServer() as other,
            ChaosServer(lambda b, k: Do(307, {"location": f"{other.base_url}/chat/completions"})) as server,
        ):
            completion = client(server).generate([request()])[0]
            assert other.seen == []
        assert failure_code(completion.failure) == "http_307"

    @pytest.mark.parametrize("address", ["", "localhost:8000", "ftp://x/v1", "http://"])
    def test_an_address_that_is_none_is_refused_at_once(self, address):
        with pytest.raises(InputError, match="base_url"):
            OpenAIServer(DraftCandidatesSettings(base_url=address))

    def test_extra_that_is_no_object_is_refused_at_once(self):
        with pytest.raises(InputError, match="request_extra"):
            OpenAIServer(DraftCandidatesSettings(request_extra="[1]"))


class TestAdapters:
    def test_an_adapter_is_loaded_by_name(self):
        with ChaosServer() as server:
            load_lora_adapter(server.base_url, "tuned", "/models/tuned")
            assert server.adapters == {"tuned": "/models/tuned"}

    def test_a_directory_is_loaded_once_as_the_server_sees_it_and_asked_for_by_the_writers_name(self):
        with ChaosServer() as server:
            writer = OpenAIServer(
                DraftCandidatesSettings(
                    base_url=server.base_url,
                    model="tiny",
                    adapter="/here/models/writer-7/adapter",
                    adapter_on_server="/there/writer-7/adapter",
                )
            )
            assert [c.failure for c in writer.generate([request(), request()])] == [None, None]
            assert server.adapters == {"writer-7": "/there/writer-7/adapter"}
            assert {seen.body["model"] for seen in server.seen} == {"writer-7"}

    def test_a_bare_name_is_one_that_the_server_knows_already(self):
        with ChaosServer() as server:
            named = DraftCandidatesSettings(base_url=server.base_url, model="tiny", adapter="tuned")
            OpenAIServer(named).generate([request()])
            assert (server.adapters, server.seen[0].body["model"]) == ({}, "tuned")

    def test_a_server_that_is_not_there_is_said_to_be_missing(self):
        with pytest.raises(InputError, match="No server answers"):
            load_lora_adapter(f"http://127.0.0.1:{free_port()}/v1", "tuned", "/models/tuned")
