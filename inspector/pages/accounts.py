"""Signing in and out, the first account, one's own account, and the list of users."""

from __future__ import annotations

import getpass
import hmac
import secrets

from fastapi import APIRouter, Request, Response

from inspector.decide import accounts, decisions
from inspector.pages import Form, Here, PlainForm, field, number
from inspector.settings import LOOPBACK
from inspector.site import COOKIE, SIGN_IN_COOKIE, Site, base_of, client_address, safe_next
from nouns.errors import Refused

router = APIRouter()


def _sign_in_page(site: Site, request: Request, template: str, status: int = 200, **context: object) -> Response:
    """A form for somebody who has no session: its CSRF token belongs to a cookie made for it."""
    secret = request.cookies.get(SIGN_IN_COOKIE) or secrets.token_urlsafe(24)
    response = site.render(request, template, status, token=accounts.csrf_token(secret), **context)
    site.set_cookie(request, response, SIGN_IN_COOKIE, secret, 3600)
    return response


def _check_sign_in_token(request: Request, form: PlainForm) -> None:
    secret = request.cookies.get(SIGN_IN_COOKIE, "")
    given = field(form, "csrf", 200)
    elsewhere = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if elsewhere or not secret or not hmac.compare_digest(accounts.csrf_token(secret).encode(), given.encode()):
        raise Refused("The sign-in form is out of date. Open it again; cookies must be allowed.", 403)


@router.get("/login")
def login_page(request: Request, site: Here) -> Response:
    if site.vouched:
        return site.redirect(request, "/")
    if not accounts.has_passwords(site.engine):
        return site.redirect(request, "/setup")
    back = safe_next(request.query_params.get("next", ""))
    return _sign_in_page(site, request, "login.html", next=back, message="", name="")


@router.post("/login")
def login(request: Request, site: Here, form: PlainForm) -> Response:
    name, back = field(form, "name", 200), safe_next(field(form, "next"))
    try:
        _check_sign_in_token(request, form)
        user = accounts.sign_in(
            site.engine,
            name,
            field(form, "password"),
            client_address(request),
            site.now(),
            brake=site.settings.brake,
        )
    except Refused as error:
        response = _sign_in_page(site, request, "login.html", error.status, next=back, message=error.message, name=name)
        if error.status == 429:
            response.headers["Retry-After"] = str(site.settings.login_window)
        return response
    return _enter(site, request, user, back)


def _enter(site: Site, request: Request, user: accounts.User, back: str) -> Response:
    """Start a fresh session (an old one in this browser ends) and go on."""
    old = request.cookies.get(COOKIE)
    if old:
        accounts.close_session(site.engine, old)
    request.state.cookie = accounts.open_session(site.engine, user, site.now(), site.settings.session_hours)
    response = site.redirect(request, back)
    response.delete_cookie(SIGN_IN_COOKIE, path=base_of(request) or "/")
    return response


@router.get("/setup")
def setup_page(request: Request, site: Here) -> Response:
    if site.vouched or accounts.has_passwords(site.engine):
        return site.redirect(request, "/login")
    return _setup_page(site, request, request.query_params.get("code", "")[:100])


def _setup_page(
    site: Site, request: Request, code: str, status: int = 200, message: str = "", name: str = ""
) -> Response:
    alone = getpass.getuser() if site.settings.host in LOOPBACK else ""
    more = {"code": code, "message": message, "name": name, "alone": alone, "minimum": accounts.MIN_PASSWORD}
    return _sign_in_page(site, request, "setup.html", status, **more)


@router.post("/setup")
def setup(request: Request, site: Here, form: PlainForm) -> Response:
    """The first account: with a password, or, on this computer only, one that comes in by the terminal's link."""
    alone = bool(field(form, "alone", 5)) and site.settings.host in LOOPBACK
    name = getpass.getuser() if alone else field(form, "name", 200)
    try:
        _check_sign_in_token(request, form)
        user = accounts.set_up(
            site.engine,
            field(form, "code", 100),
            name,
            None if alone else field(form, "password"),
            client_address(request),
            site.now(),
            brake=site.settings.brake,
        )
    except Refused as error:
        return _setup_page(site, request, field(form, "code", 100), error.status, error.message, name)
    return _enter(site, request, user, "/")


@router.post("/logout")
def logout(request: Request, site: Here, form: Form) -> Response:
    accounts.close_session(site.engine, request.cookies.get(COOKIE, ""))
    response = site.redirect(request, "/login")
    response.delete_cookie(COOKIE, path=base_of(request) or "/")
    return response


def _account_page(site: Site, request: Request, status: int = 200, message: str = "", token: str = "") -> Response:
    user = site.require(request)
    return site.render(
        request,
        "account.html",
        status,
        tokens=accounts.list_api_tokens(site.engine, user),
        drafts=decisions.list_drafts(site.engine, user.name),
        recent=decisions.history(site.engine, analyst=user.name, limit=20, descending=True),
        message=message,
        token=token,
        minimum=accounts.MIN_PASSWORD,
        has_password=not site.vouched,
    )


@router.get("/account")
def account(request: Request, site: Here) -> Response:
    return _account_page(site, request)


@router.post("/account/password")
def change_password(request: Request, site: Here, form: Form) -> Response:
    user = site.require(request)
    try:
        accounts.sign_in(
            site.engine,
            user.name,
            field(form, "old"),
            client_address(request),
            site.now(),
            brake=site.settings.brake,
        )
        if field(form, "new") != field(form, "again"):
            raise Refused("The new password and its repetition differ.", 422)
        accounts.change_user(site.engine, user.name, password=field(form, "new"))
    except Refused as error:
        return _account_page(site, request, 403 if error.status == 401 else error.status, error.message)
    return _enter(site, request, user, "/account")


@router.post("/account/tokens")
def make_token(request: Request, site: Here, form: Form) -> Response:
    user = site.require(request)
    token = accounts.make_api_token(site.engine, user, field(form, "label", 80), site.now())
    # Shown in the answer to this form only: it stands in no address and is not kept.
    return _account_page(site, request, token=token)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(request: Request, site: Here, form: Form, token_id: str) -> Response:
    accounts.revoke_api_token(site.engine, site.require(request), number(token_id), site.now())
    return site.redirect(request, "/account")


@router.get("/users")
def users_page(request: Request, site: Here) -> Response:
    site.require(request, "admin")
    return _users_page(site, request)


def _users_page(site: Site, request: Request, status: int = 200, message: str = "") -> Response:
    return site.render(
        request,
        "users.html",
        status,
        users=accounts.list_users(site.engine),
        roles=accounts.ROLES,
        rules=decisions.rules(site.engine),
        message=message,
        minimum=accounts.MIN_PASSWORD,
    )


@router.post("/users")
def add_user(request: Request, site: Here, form: Form) -> Response:
    site.require(request, "admin")
    try:
        accounts.add_user(
            site.engine, field(form, "name", 200), field(form, "role", 20), field(form, "password"), site.now()
        )
    except Refused as error:
        return _users_page(site, request, error.status, error.message)
    return site.redirect(request, "/users")


@router.post("/users/rules")
def change_rules(request: Request, site: Here, form: Form) -> Response:
    site.require(request, "admin")
    decisions.set_rules(site.engine, number(field(form, "reviews", 2) or "0"), field(form, "carry", 10))
    return site.redirect(request, "/users")


@router.post("/users/change")
def change_user(request: Request, site: Here, form: Form) -> Response:
    site.require(request, "admin")
    password = field(form, "password")
    active = {"on": True, "off": False}.get(field(form, "active", 5))
    try:
        accounts.change_user(
            site.engine,
            field(form, "name", 200),
            role=field(form, "role", 20) or None,
            active=active,
            password=password or None,
        )
    except Refused as error:
        return _users_page(site, request, error.status, error.message)
    return site.redirect(request, "/users")
