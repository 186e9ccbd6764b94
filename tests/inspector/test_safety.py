"""Attempts that must fail: stored scripts, forged forms, paths that climb, guessed passwords, forged headers."""

from __future__ import annotations

import logging
import re
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient

from inspector.app import MAX_BODY, create_app, first_visit
from inspector.decide import accounts, decisions
from inspector.settings import InspectorSettings
from inspector.site import COOKIE, safe_next
from nouns.errors import InputError
from tests.inspector.conftest import PASSWORD, Browser, assess_by_length, hidden

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}</textarea></title>"


class Elements(HTMLParser):
    """Reads a page as a browser would and notes every element with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def assert_harmless(html: str) -> None:
    """No element runs script: none inline, no handlers, no script addresses, no element that the templates lack."""
    reader = Elements()
    reader.feed(html)
    for tag, attributes in reader.found:
        assert tag not in ("img", "iframe", "object", "embed", "base") or "/juries/" in attributes.get("src", ""), (
            attributes
        )
        assert tag != "script" or attributes.get("src", "").startswith("/static/"), attributes
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "srcdoc"), (tag, name)
            if name in ("href", "src", "action", "formaction", "xlink:href"):
                assert not re.match(r"\s*(javascript|data|vbscript):", value, re.IGNORECASE), value
    assert sum(tag == "script" for tag, _ in reader.found) == 1
    assert ">49<" not in html


def test_hostile_texts_in_the_run_stay_texts(desk):
    ana = desk.browser("ana")
    post_id = desk.world.hostile_post
    for path in (
        desk.path(post_id),
        desk.path(tail=f"/posts?q={post_id}"),
        desk.path(post_id, "/edit"),
        desk.path(post_id, "/blind"),
        desk.path(post_id, "/compare"),
    ):
        page = ana.get(path).text
        assert "&lt;script" in page or "?q=" in path  # the queue shows the post's first words only
        assert_harmless(page)


def test_hostile_texts_in_forms_and_addresses_stay_texts(desk):
    ana = desk.browser("ana", role="admin")
    path = desk.path(desk.world.winner_post)
    fields = hidden(ana.get(path + "/edit").text.split('id="main"')[1])
    assert_harmless(ana.post(path + "/edit", data={**fields, "action": "check", "text": HOSTILE}).text)
    ana.post(path + "/decisions", data={**fields, "kind": "edit", "text": HOSTILE, "comment": HOSTILE})
    ana.post("/account/tokens", data={"csrf": fields["csrf"], "label": HOSTILE[:80]})
    assert decisions.history(desk.site.engine)[0].text == HOSTILE
    for page in (
        path,
        "/history",
        "/account",
        desk.path(tail="/misses"),
        desk.path(tail="/publication"),
        "/reports/agreement",
    ):
        assert_harmless(ana.get(page).text)
    for query in (f"?q={HOSTILE}", f"?story={HOSTILE}", f"?after={HOSTILE}"):
        assert_harmless(ana.get(desk.path(tail="/posts") + query).text)
    assert_harmless(ana.get(f"/login?next={HOSTILE}").text)
    assert_harmless(ana.get(f"/history?analyst={HOSTILE}&run={HOSTILE}").text)
    assert_harmless(ana.get(f"/runs/{HOSTILE}").text)


def test_every_answer_carries_a_strict_policy(desk):
    ana = desk.browser("ana")
    for path in (
        "/login",
        "/runs",
        desk.path(desk.world.winner_post),
        "/nope",
        "/api/v1/runs",
        "/static/app.js",
        desk.path(tail="/publication.csv"),
    ):
        answer = ana.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_pages_use_no_inline_script_or_style(desk):
    ana = desk.browser("ana", role="admin")
    for path in (
        "/runs",
        desk.path(),
        desk.path(tail="/posts"),
        desk.path(desk.world.winner_post),
        desk.path(desk.world.winner_post, "/edit"),
        "/users",
    ):
        assert_harmless(ana.get(path).text)


POSTS = (
    "/decisions/0123456789abcdef/undo",
    "/account/tokens",
    "/account/password",
    "/account/tokens/1/revoke",
    "/users",
    "/users/change",
    "/logout",
)


def test_no_form_works_without_its_token(desk):
    ana = desk.browser("ana", role="admin")
    paths = [*POSTS, desk.path(desk.world.winner_post, "/decisions"), desk.path(desk.world.winner_post, "/edit")]
    for path in paths:
        for data in (
            {"kind": "not_needed", "client_key": "k" * 16},
            {"csrf": "0" * 64, "kind": "not_needed", "client_key": "k" * 16},
        ):
            assert ana.post(path, data=data).status_code == 403, path
    assert decisions.history(desk.site.engine) == []
    assert ana.get("/account").status_code == 200


def test_a_right_token_from_another_site_is_refused(desk):
    ana = desk.browser("ana")
    fields = hidden(ana.get(desk.path(desk.world.winner_post)).text.split('class="decide"')[1])
    answer = ana.post(
        desk.path(desk.world.winner_post, "/decisions"),
        data={**fields, "kind": "not_needed"},
        headers={"sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == 403


def test_a_token_of_another_session_is_refused(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    fields = hidden(bo.get(desk.path(desk.world.winner_post)).text.split('class="decide"')[1])
    assert (
        ana.post(desk.path(desk.world.winner_post, "/decisions"), data={**fields, "kind": "not_needed"}).status_code
        == 403
    )


def test_signing_in_needs_the_pages_own_token(desk):
    desk.browser("ana")
    stranger = Browser(desk.app)
    assert stranger.post("/login", data={"name": "ana", "password": PASSWORD}).status_code == 403
    assert COOKIE not in stranger.cookies


def test_json_sent_as_a_form_by_another_site_is_refused(desk):
    ana = desk.browser("ana")
    answer = ana.post(
        f"/api/v1/runs/{desk.world.run_id}/posts/{desk.world.winner_post}/decisions",
        content='{"kind": "not_needed"}',
        headers={"content-type": "text/plain"},
    )
    assert answer.status_code in (403, 415, 422)
    assert decisions.history(desk.site.engine) == []


CLIMBS = [
    "..%2f..%2fetc%2fpasswd",
    "....//",
    "%2e%2e",
    "..",
    "..%5c..",
    "report.json%00.png",
    "../../../runs/x/run.json",
    "/etc/passwd",
    "raters.parquet",
    "manifest.json.bak",
    ".hidden",
]


@pytest.mark.parametrize("climb", CLIMBS)
def test_no_path_leads_out_of_a_directory(desk, climb):
    ana = desk.browser("ana")
    jury = f"jury-{desk.world.run_id[:8]}"
    (desk.world.workspace / "models" / "secret.png").write_bytes(b"secret")
    for path in (
        f"/juries/{jury}/files/{climb}",
        f"/juries/{climb}",
        f"/runs/{climb}",
        f"/runs/{climb}/posts",
        f"/runs/{desk.world.run_id}/files/fit_raters/{climb}",
        f"/static/{climb}",
        f"/runs/{desk.world.run_id}/files/{climb}/x.png",
    ):
        answer = ana.get(path)
        # The test client itself resolves a bare '..' before it asks: then it is another page, not a way out.
        assert answer.status_code in ((200, 303, 404) if climb == ".." else (404, 405)), (path, answer.status_code)
        assert "root:" not in answer.text
        assert "secret" not in answer.text


def test_a_link_inside_a_jury_leads_nowhere(desk):
    jury = desk.world.workspace / "models" / f"jury-{desk.world.run_id[:8]}"
    (jury / "plot.png").symlink_to("/etc/hostname")
    assert desk.browser("ana").get(f"/juries/{jury.name}/files/plot.png").status_code == 404


def test_a_jurys_own_report_is_shown_in_a_sandbox_without_script(desk):
    answer = desk.browser("ana").get(f"/juries/jury-{desk.world.run_id[:8]}/files/report.html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "allow-scripts" not in policy
    assert "script-src" not in policy


PRIVATE = [
    "/runs",
    "/history",
    "/account",
    "/users",
    "/juries",
    "/reports/agreement",
    "/decisions.csv",
    "/decisions.parquet",
    "/runs/compare",
]


def test_strangers_see_the_sign_in_page_and_nothing_else(desk):
    desk.browser("ana")
    stranger = Browser(desk.app)
    paths = [
        *PRIVATE,
        desk.path(),
        desk.path(tail="/posts"),
        desk.path(desk.world.winner_post),
        desk.path(tail="/publication.csv"),
    ]
    for path in paths:
        answer = stranger.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/login")
    assert stranger.get("/api/v1/runs").status_code == 401


def test_viewers_look_but_do_not_decide(desk):
    vi = desk.browser("vi", role="viewer")
    page = vi.get(desk.path(desk.world.winner_post))
    assert page.status_code == 200
    assert 'class="decide"' not in page.text
    csrf = re.search(r'name="csrf" content="(\w+)"', page.text).group(1)
    answer = vi.post(
        desk.path(desk.world.winner_post, "/decisions"),
        data={"csrf": csrf, "kind": "not_needed", "client_key": "k" * 16},
    )
    assert answer.status_code == 403
    for path in (desk.path(desk.world.winner_post, "/edit"), desk.path(desk.world.winner_post, "/blind"), "/users"):
        assert vi.get(path).status_code == 403
    assert decisions.history(desk.site.engine) == []


def test_analysts_do_not_manage_users_and_do_not_undo_each_other(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    csrf = re.search(r'name="csrf" content="(\w+)"', bo.get("/runs").text).group(1)
    assert (
        bo.post("/users", data={"csrf": csrf, "name": "eve", "role": "admin", "password": PASSWORD}).status_code == 403
    )
    ana.decide(desk.path(desk.world.winner_post), "accept")
    row = decisions.history(desk.site.engine)[0]
    assert bo.post(f"/decisions/{row.decision_id}/undo", data={"csrf": csrf}).status_code == 403


def test_guessing_a_password_is_braked_and_the_right_one_waits_too(desk):
    desk.browser("ana")
    stranger = Browser(desk.app)
    assert [stranger.sign_in("ana", f"guess number {i}").status_code for i in range(6)] == [401] * 5 + [429]
    assert stranger.sign_in("ana", PASSWORD).status_code == 429
    desk.clock.now += 301_000
    assert stranger.sign_in("ana", PASSWORD).status_code == 303


def test_guessing_many_names_from_one_address_is_braked(desk):
    desk.browser("ana")
    stranger = Browser(desk.app)
    codes = [stranger.sign_in(f"name{i}", "guess a password").status_code for i in range(21)]
    assert codes[-1] == 429


def test_wrong_name_and_wrong_password_sound_the_same(desk):
    desk.browser("ana")
    stranger = Browser(desk.app)
    answers = [
        re.sub(r'value="[^"]*"', "", stranger.sign_in(name, "not the password").text) for name in ("ana", "nobody")
    ]
    assert answers[0] == answers[1]


def test_sessions_end_after_hours_on_signing_out_and_with_a_new_password(desk):
    ana = desk.browser("ana")
    desk.clock.now += 13 * 3_600_000
    assert ana.get("/runs").status_code == 303
    ana = desk.browser("ana")
    token = ana.cookies[COOKIE]
    csrf = re.search(r'name="csrf" content="(\w+)"', ana.get("/runs").text).group(1)
    ana.post("/logout", data={"csrf": csrf})
    assert accounts.read_session(desk.site.engine, token, desk.clock.now) is None
    bo = desk.browser("bo")
    accounts.change_user(desk.site.engine, "bo", password="another long password")
    assert bo.get("/runs").status_code == 303


def test_signing_in_makes_a_new_session(desk):
    """A token planted before signing in is worth nothing afterwards."""
    desk.browser("ana")
    victim = Browser(desk.app)
    victim.cookies.set(COOKIE, "planted-by-the-attacker")
    victim.sign_in("ana", PASSWORD)
    assert accounts.read_session(desk.site.engine, "planted-by-the-attacker", desk.clock.now) is None


def test_the_store_keeps_no_password_and_no_token(desk):
    ana = desk.browser("ana")
    csrf = re.search(r'name="csrf" content="(\w+)"', ana.get("/runs").text).group(1)
    page = ana.post("/account/tokens", data={"csrf": csrf, "label": "script"}).text
    token = re.search(r"sn_[\w-]+", page).group(0)
    raw = b"".join(path.read_bytes() for path in desk.world.workspace.glob("decisions.sqlite*"))
    for secret in (PASSWORD, ana.cookies[COOKIE], token):
        assert secret.encode() not in raw
    assert b"$argon2id$" in raw


def test_no_secret_stands_in_a_log_or_an_address(desk, caplog):
    with caplog.at_level(logging.DEBUG):
        ana = desk.browser("ana")
        answer = ana.decide(desk.path(desk.world.winner_post), "accept")
    for secret in (PASSWORD, ana.cookies[COOKIE]):
        assert secret not in caplog.text
        assert secret not in answer.headers["location"]


def test_cookies_are_kept_from_scripts_and_other_sites(desk):
    desk.browser("ana")
    answer = Browser(desk.app).sign_in("ana", PASSWORD)
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith(COOKIE))
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()


@pytest.mark.parametrize("desk", [{"https": True}], indirect=True)
def test_behind_tls_cookies_are_secure(desk):
    answer = Browser(desk.app, base_url="https://testserver").get("/setup")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    "bad",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "",
        "/\t/evil.example",
        "/ok\r\nSet-Cookie: x=1",
    ],
)
def test_after_signing_in_one_never_lands_elsewhere(bad):
    assert safe_next(bad) == "/"


def test_after_signing_in_one_lands_where_one_wanted():
    assert safe_next("/runs/abc/posts?q=x") == "/runs/abc/posts?q=x"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8765", "", "[::2]"])
def test_a_rebound_host_name_is_not_answered(desk, host):
    assert Browser(desk.app).get("/login", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "[::1]:8765"])
def test_loopback_names_are_answered(desk, host):
    assert Browser(desk.app).get("/healthz", headers={"host": host}).status_code == 200


def test_huge_bodies_are_refused_before_they_are_read(desk):
    ana = desk.browser("ana")
    assert ana.post(desk.path(desk.world.winner_post, "/decisions"), content=b"x" * (MAX_BODY + 1)).status_code == 413

    def endless():
        for _ in range(40):
            yield b"a=" + b"x" * 10_000 + b"&"

    answer = ana.post(
        desk.path(desk.world.winner_post, "/decisions"),
        content=endless(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code in (400, 413)


def test_downloads_are_files_whose_cells_do_not_calculate(desk):
    ana = desk.browser("ana")
    ana.decide(
        desk.path(desk.world.winner_post),
        "reject",
        reasons=["notHelpfulOther"],
        comment='=HYPERLINK("http://evil.example")',
    )
    answer = ana.get("/decisions.csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "\"'=HYPERLINK" in answer.text
    assert f'"\'{desk.world.winner_post}"' in answer.text


@pytest.mark.parametrize(
    "desk",
    [{"proxy_user_header": "X-Forwarded-User", "proxy_addresses": ("testclient",), "proxy_default_role": "analyst"}],
    indirect=True,
)
def test_a_trusted_proxy_names_the_user_and_nobody_else_can(desk):
    via = Browser(desk.app, headers={"X-Forwarded-User": "pia"})
    page = via.get(desk.path(desk.world.winner_post))
    assert page.status_code == 200
    assert via.decide(desk.path(desk.world.winner_post), "accept").status_code == 303
    assert decisions.history(desk.site.engine)[0].analyst == "pia"
    assert Browser(desk.app).get("/runs").status_code == 401
    elsewhere = Browser(desk.app, client=("203.0.113.9", 4000), headers={"X-Forwarded-User": "pia"})
    assert elsewhere.get("/runs").status_code == 401


@pytest.mark.parametrize(
    "desk", [{"proxy_user_header": "X-Forwarded-User", "proxy_addresses": ("testclient",)}], indirect=True
)
def test_a_cookie_does_not_outlive_the_proxys_word(desk):
    via = Browser(desk.app, headers={"X-Forwarded-User": "pia"})
    via.get("/runs")
    assert via.get("/runs", headers={"X-Forwarded-User": ""}).status_code == 401


def test_a_header_means_nothing_unless_it_was_configured(desk):
    desk.browser("ana")
    assert Browser(desk.app, headers={"X-Forwarded-User": "ana"}).get("/runs").status_code == 303


def test_the_first_account_needs_the_link_that_the_terminal_printed(desk):
    stranger = Browser(desk.app)
    assert stranger.get("/runs").headers["location"].startswith("/login")
    assert stranger.get("/login").headers["location"] == "/setup"
    fields = hidden(stranger.get("/setup").text) | {"alone": ""}
    wrong = stranger.post("/setup", data={**fields, "code": "0000-0000-0000-0000", "name": "eve", "password": PASSWORD})
    assert wrong.status_code == 403
    link = re.search(r"http://127.0.0.1:8765(/setup\?code=(\S+))", first_visit(desk.site.settings))
    page = stranger.get(link[1])
    assert link[2] in page.text
    right = stranger.post("/setup", data={**fields, "code": link[2], "name": "ana", "password": PASSWORD})
    assert right.status_code == 303
    assert stranger.get("/users").status_code == 200
    assert Browser(desk.app).get(link[1]).headers["location"] == "/login"
    assert "setup" not in first_visit(desk.site.settings)


def test_one_person_on_this_computer_begins_without_a_password_by_a_link_that_works_once(desk):
    for _ in range(2):  # the next start prints a new link, for the same account
        code = re.search(r"code=(\S+)", first_visit(desk.site.settings))[1]
        me = Browser(desk.app)
        fields = hidden(me.get(f"/setup?code={code}").text)
        assert fields["alone"] == "yes"
        assert me.post("/setup", data=fields).status_code == 303
        assert me.get("/runs").status_code == 200
        again = Browser(desk.app)
        assert again.post("/setup", data={**hidden(again.get("/setup").text), "code": code}).status_code == 403
    assert len(accounts.list_users(desk.site.engine)) == 1


def test_nobody_begins_without_a_password_from_elsewhere(world):
    app = create_app(InspectorSettings(workspace=str(world.workspace), host="0.0.0.0"))
    stranger = Browser(app)
    code = app.state.site.setup_code()
    page = stranger.get(f"/setup?code={code}").text
    assert 'name="alone"' not in page
    answer = stranger.post("/setup", data={**hidden(page), "code": code, "alone": "yes", "name": "eve"})
    assert answer.status_code == 422


def test_single_user_mode_lets_nobody_in_from_elsewhere(tmp_path):
    with pytest.raises(InputError, match="loopback only"):
        InspectorSettings(workspace=str(tmp_path), single_user="ana", host="0.0.0.0")


def test_single_user_mode_still_checks_form_tokens(world):
    app = create_app(InspectorSettings(workspace=str(world.workspace), single_user="ana", assess=assess_by_length))
    client = TestClient(app, follow_redirects=False)
    path = f"/runs/{world.run_id}/posts/{world.winner_post}/decisions"
    assert client.post(path, data={"kind": "not_needed", "client_key": "k" * 16}).status_code == 403
    assert decisions.history(app.state.site.engine) == []


def test_the_last_admin_cannot_be_removed(desk):
    admin = desk.browser("root", role="admin")
    csrf = re.search(r'name="csrf" content="(\w+)"', admin.get("/users").text).group(1)
    answer = admin.post("/users/change", data={"csrf": csrf, "name": "root", "role": "viewer", "active": "on"})
    assert answer.status_code == 409
    assert "last admin" in answer.text


def test_a_mistake_of_ours_shows_a_number_and_no_traceback(desk, monkeypatch):
    ana = desk.browser("ana")
    monkeypatch.setattr("inspector.pages.posts.why_post", lambda post: 1 / 0)
    answer = ana.get(desk.path(desk.world.winner_post))
    assert answer.status_code == 500
    assert "incident" in answer.text
    assert "ZeroDivision" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_real_passwords_are_hashed_with_argon2id_at_full_strength():
    from argon2 import extract_parameters

    parameters = extract_parameters(accounts.make_hasher().hash("x" * 12))
    assert parameters.type.name == "ID"
    assert parameters.memory_cost >= 64 * 1024  # KiB: the second recommended option of RFC 9106


def test_an_application_around_this_one_says_who_is_asking_and_what_they_may(world):
    people = {"airflow-ana": ("ana", "analyst"), "airflow-vic": ("vic", "viewer")}
    settings = InspectorSettings(workspace=str(world.workspace), assess=assess_by_length, frame_ancestors="'self'")
    app = create_app(settings, who=lambda request: people.get(request.headers.get("x-airflow", "")))
    ana, vic, nobody = (Browser(app, headers={"x-airflow": name}) for name in ("airflow-ana", "airflow-vic", "?"))
    path = f"/runs/{world.run_id}/posts/{world.winner_post}"
    assert nobody.get(path).status_code == 401
    assert 'class="decide"' not in vic.get(path).text
    page = ana.get(path)
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert ana.decide(path, "accept").status_code == 303
    people["airflow-ana"] = ("ana", "viewer")
    assert ana.decide(path, "flag", page=page.text).status_code == 403
