"""The JSON API: its permissions, its ids, and answers to whatever Schemathesis thinks of."""

from __future__ import annotations

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from inspector.decide import accounts, decisions
from tests.inspector.conftest import PASSWORD, Browser, Desk


def token(desk: Desk, name: str, role: str) -> dict[str, str]:
    user = accounts.add_user(desk.site.engine, name, role, PASSWORD, desk.clock.now)
    return {"Authorization": "Bearer " + accounts.make_api_token(desk.site.engine, user, "test", desk.clock.now)}


def api(desk: Desk, tail: str = "") -> str:
    return f"/api/v1/runs/{desk.world.run_id}{tail}"


def test_ids_are_strings_and_numbers_finite(desk):
    client = Browser(desk.app, headers=token(desk, "vi", "viewer"))
    detail = client.get(api(desk, f"/posts/{desk.world.winner_post}")).json()
    assert detail["post"]["post_id"] == str(desk.world.winner_post)

    def look(value: object) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                if key.endswith("_id") and entry is not None:
                    assert isinstance(entry, str), key
                look(entry)
        elif isinstance(value, list):
            for entry in value:
                look(entry)
        elif isinstance(value, int):
            assert abs(value) < 2**53

    look(detail)
    assert all(row["generated"] for row in detail["candidates"])


def test_the_queue_pages_through_all_posts(desk):
    client = Browser(desk.app, headers=token(desk, "vi", "viewer"))
    found, after = [], None
    while True:
        page = client.get(api(desk, "/posts"), params={"limit": 7, **({"after": after} if after else {})}).json()
        found += [row["post_id"] for row in page["posts"]]
        after = page["after"]
        if after is None:
            break
    assert sorted(found) == sorted(str(post) for post in desk.world.posts)


def test_a_decision_by_api_has_the_same_rules_as_one_by_form(desk):
    ana = Browser(desk.app, headers=token(desk, "ana", "analyst"))
    path = api(desk, f"/posts/{desk.world.winner_post}")
    detail = ana.get(path).json()
    body = {
        "kind": "accept",
        "candidate_id": detail["candidates"][0]["candidate_id"],
        "text_sha256": detail["candidates"][0]["text_sha256"],
        "based_on": detail["newest_decision"],
        "client_key": "my-own-key-1",
    }
    first = ana.post(path + "/decisions", json=body)
    assert first.status_code == 201
    assert ana.post(path + "/decisions", json=body).json() == first.json()
    assert ana.post(path + "/decisions", json=body | {"client_key": "my-own-key-2"}).status_code == 409
    assert (
        ana.post(
            path + "/decisions", json=body | {"client_key": "my-own-key-3", "text_sha256": "0" * 64, "based_on": "1"}
        ).status_code
        == 409
    )
    undone = ana.post(f"/api/v1/decisions/{first.json()['decision_id']}/undo")
    assert undone.json()["undoes"] == first.json()["decision_id"]
    assert [row["kind"] for row in ana.get("/api/v1/decisions").json()] == ["accept", "undo"]


def test_viewers_and_revoked_tokens_cannot_write(desk):
    headers = token(desk, "vi", "viewer")
    vi = Browser(desk.app, headers=headers)
    path = api(desk, f"/posts/{desk.world.winner_post}/decisions")
    assert vi.post(path, json={"kind": "not_needed"}).status_code == 403
    user = accounts.find_user(desk.site.engine, "vi")
    accounts.revoke_api_token(
        desk.site.engine, user, accounts.list_api_tokens(desk.site.engine, user)[0]["id"], desk.clock.now
    )
    assert vi.get("/api/v1/runs").status_code == 401
    assert decisions.history(desk.site.engine) == []


def test_with_a_cookie_the_api_wants_the_form_token_in_a_header(desk):
    ana = desk.browser("ana")
    path = api(desk, f"/posts/{desk.world.winner_post}/decisions")
    assert ana.post(path, json={"kind": "not_needed"}).status_code == 403
    csrf = re.search(r'name="csrf" content="(\w+)"', ana.get("/runs").text).group(1)
    assert ana.post(path, json={"kind": "not_needed"}, headers={"X-CSRF-Token": csrf}).status_code == 201


def test_an_assessment_is_the_jurys_and_stores_nothing(desk):
    ana = Browser(desk.app, headers=token(desk, "ana", "analyst"))
    found = ana.post(api(desk, f"/posts/{desk.world.winner_post}/assess"), json={"text": "A calm LIE."}).json()
    assert found["score"] == pytest.approx(0.111)
    assert not found["passed"]
    assert ana.get("/api/v1/decisions").json() == []


def test_no_request_that_fits_or_not_makes_the_api_fail(desk):
    """Schemathesis makes requests from the app's own description, with a run and a post that exist among the ids."""
    described = desk.app.openapi()
    known = {"run_id": [desk.world.run_id, "nope"], "post_id": [str(desk.world.winner_post), "1"]}
    for path in described["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in known:
                    parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
    schema = schemathesis.openapi.from_dict(described)
    schema.app = desk.app
    client = Browser(desk.app, headers=token(desk, "fuzz", "admin"))
    reached: set[tuple[str, int]] = set()
    for found in schema.get_all_operations():
        ask_all(found.ok(), client, reached)
    labels = {label for label, _ in reached}
    assert len(labels) == sum(len(path) for path in described["paths"].values())
    assert all((label, 2) in reached for label in labels if label.startswith("GET")), reached


def ask_all(operation, client: Browser, reached: set[tuple[str, int]]) -> None:
    """Requests that fit the description and requests that do not; none may end in a mistake of ours."""
    fits = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    does_not = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @given(case=fits | does_not)
    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def ask(case):
        answer = case.call(session=client)
        reached.add((operation.label, answer.status_code // 100))
        assert answer.status_code < 500, f"{operation.label}: {answer.status_code} {answer.text}"

    ask()
