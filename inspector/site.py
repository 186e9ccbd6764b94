"""What every page shares: the stores, who is asking, forms with their CSRF token, rendering, safe redirects."""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import FormData

from inspector.decide import accounts, decisions
from inspector.decide.accounts import Session, User
from inspector.decide.database import open_database
from inspector.read.reading import DECIDED, OUTCOMES, SORTS, Library, RunIndex
from inspector.read.runs import Workspace
from inspector.settings import LOOPBACK, InspectorSettings
from inspector.words import (
    KINDS,
    SIDES,
    STATUSES,
    per_cent,
    plain,
    points,
    rule_words,
    show_time,
    side,
    signed,
    slice_words,
    tag_words,
    thousands,
    words,
)
from nouns.decisions import text_sha256
from nouns.errors import Refused

COOKIE = "sn_session"
SIGN_IN_COOKIE = "sn_signin"
ROOM = Path(__file__).parent
log = logging.getLogger("supernotes.inspector")


Who = Callable[[Request], tuple[str, str] | None]
"""Name and role (viewer, analyst, admin) of whoever asks, as the application knows in which this one is mounted."""


class NeedSignIn(Exception):
    """Nobody is signed in; pages lead to the sign-in form, the API answers 401."""


class Building(Exception):
    """The run's index is being built; the page asks for patience and tries again."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Site:
    """The stores behind one app. `now` (milliseconds) is a function so that tests can set the clock."""

    def __init__(self, settings: InspectorSettings, now: Callable[[], int] = now_ms, who: Who | None = None) -> None:
        self.settings = settings
        self.now = now
        self.who = who
        self.engine = open_database(settings.database)
        self.workspace = Workspace(settings.workspace)
        self.indexes = Library(self.workspace, self.engine, settings.index_threshold)
        self.templates = make_templates()
        self._assess = settings.assess
        self._assessed: OrderedDict[tuple[str, int, str], dict[str, Any]] = OrderedDict()
        self._assess_lock = threading.Lock()
        self._assess_slots = threading.BoundedSemaphore(2)  # the jury is heavy; further edits wait their turn
        self.local_user: User | None = None
        if settings.single_user:
            name = accounts.require_name(settings.single_user)
            self.local_user = accounts.ensure_user(self.engine, name, "admin", now(), "local")

    @property
    def vouched(self) -> bool:
        """Whether somebody else says who is asking, so that nobody signs in here."""
        return bool(self.who or self.settings.single_user or self.settings.proxy_user_header)

    def setup_code(self) -> str | None:
        """A fresh code for the first visit; None where accounts exist or somebody else says who is asking."""
        return None if self.vouched else accounts.make_setup_code(self.engine)

    def run_name(self, run_id: str) -> str:
        """What people call a run: the name they gave it, else its day and writer, with its id where several share them."""
        given = decisions.names_of_runs(self.engine).get(run_id)
        return given or self.workspace.titles().get(run_id, run_id)

    # -- runs ------------------------------------------------------------------------------------------------------

    def index(self, run_id: str) -> RunIndex:
        """The run's read model, up to the newest decision. Raises `Refused` 404 or `Building`."""
        index = self.indexes.get(run_id)
        if index is None:
            raise Building(run_id)
        index.sync()
        return index

    def assess(self, run_id: str, post_id: int, text: str) -> dict[str, Any]:
        """Checks and jury on a text, remembered by its hash. Raises `Refused` 503 where they cannot be run."""
        key = (run_id, post_id, text_sha256(text))
        with self._assess_lock:
            if key in self._assessed:
                self._assessed.move_to_end(key)
                return self._assessed[key]
        if self._assess is None:
            raise Refused("Checks and jury are not available here, so the text cannot be scored live.", 503)
        try:
            with self._assess_slots:
                found = self._assess(self.settings.workspace, run_id, post_id, text)
        except (ImportError, AttributeError) as error:
            log.warning("live assessment is not installed: %s", type(error).__name__)
            raise Refused("Checks and jury are not installed here, so the text cannot be scored live.", 503) from error
        except Exception as error:
            log.exception("live assessment failed")
            known = isinstance(error, ValueError) or hasattr(error, "exit_code")
            reason = f" {str(error)[:300]}" if known else ""
            raise Refused(f"The text could not be checked and scored.{reason}", 503) from error
        with self._assess_lock:
            self._assessed[key] = found
            while len(self._assessed) > 256:
                self._assessed.popitem(last=False)
        return found

    def try_assess(self, run_id: str, post_id: int, text: str) -> tuple[dict[str, Any] | None, str]:
        """An assessment, or None and why there is none."""
        try:
            return self.assess(run_id, post_id, text), ""
        except Refused as error:
            return None, error.message

    # -- who is asking ---------------------------------------------------------------------------------------------

    def session(self, request: Request) -> Session:
        """The signed-in session. Raises `NeedSignIn`. A new cookie to set, if any, is left in `request.state.cookie`."""
        found = getattr(request.state, "session", None)
        if found is None:
            found = request.state.session = self._find_session(request)
        return found

    def _find_session(self, request: Request) -> Session:
        bearer = request.headers.get("authorization", "")
        if bearer[:7].lower() == "bearer ":
            session = accounts.read_api_token(self.engine, bearer[7:].strip())
            if session is None:
                raise NeedSignIn
            return session
        token = request.cookies.get(COOKIE, "")
        session = accounts.read_session(self.engine, token, self.now()) if token else None
        if not self.vouched:
            if session is None:
                raise NeedSignIn
            return session
        vouched = self.local_user or self._proxy_user(request) or self._host_user(request)
        if vouched is None:
            raise NeedSignIn
        if session is None or session.user.name != vouched.name:
            request.state.cookie = token = accounts.open_session(
                self.engine, vouched, self.now(), self.settings.session_hours
            )
        return Session(vouched, accounts.csrf_token(token))

    def _proxy_user(self, request: Request) -> User | None:
        """The user a trusted reverse proxy vouches for; headers of anybody else are ignored."""
        header = self.settings.proxy_user_header
        if not header or client_address(request) not in self.settings.proxy_addresses:
            return None
        name = request.headers.get(header, "").strip()
        if not name or not accounts.NAME.fullmatch(name):
            return None
        return accounts.ensure_user(self.engine, name, self.settings.proxy_default_role, self.now(), "proxy")

    def _host_user(self, request: Request) -> User | None:
        """The user that the application around this one vouches for, with the role it gives today."""
        named = self.who(request) if self.who else None
        if named is None or not accounts.NAME.fullmatch(named[0]):
            return None
        user = accounts.ensure_user(self.engine, named[0], named[1], self.now(), "proxy")
        if user.role != named[1]:
            accounts.change_user(self.engine, user.name, role=named[1])
        return User(user.id, user.name, named[1])

    def require(self, request: Request, role: str = "viewer") -> User:
        """The asking user, if the role suffices. Raises `NeedSignIn` or `Refused` 403."""
        user = self.session(request).user
        if not user.may(role):
            raise Refused(f"This needs the role {role}; you are signed in as {user.name} ({user.role}).", 403)
        return user

    def check_csrf(self, request: Request, form: FormData | None) -> None:
        """Raises `Refused` 403 unless the request carries the session's form token. API tokens need none."""
        session = self.session(request)
        if session.csrf is None:
            return
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused("This form was sent from another site and was not accepted.", 403)
        given = request.headers.get("x-csrf-token") or str((form.get("csrf") if form else "") or "")
        if not hmac.compare_digest(given.encode(), session.csrf.encode()) or hasattr(request.state, "cookie"):
            raise Refused("The form is out of date or was sent from another site. Load the page again and repeat.", 403)

    # -- answering -------------------------------------------------------------------------------------------------

    def render(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        shared = self._shared(request)
        html = self.templates.get_template(template).render(**shared, **context)
        return self.with_cookie(request, HTMLResponse(html, status_code=status))

    def _shared(self, request: Request) -> dict[str, Any]:
        """What every template is given."""
        base = base_of(request)
        session = getattr(request.state, "session", None)
        return {
            "run_name": self.run_name,
            "base": base,
            "user": session.user if session else None,
            "csrf": session.csrf if session else "",
            "here": path_of(request),
            "version": _static_version(),
        }

    def with_cookie(self, request: Request, response: Response) -> Response:
        token = getattr(request.state, "cookie", None)
        if token:
            self.set_cookie(request, response, COOKIE, token, self.settings.session_hours * 3600)
        return response

    def set_cookie(self, request: Request, response: Response, name: str, value: str, seconds: int) -> None:
        path = base_of(request) or "/"
        response.set_cookie(
            name, value, max_age=seconds, path=path, httponly=True, samesite="lax", secure=self.settings.https
        )

    def redirect(self, request: Request, path: str, **query: Any) -> Response:
        """Go to a page of this app after a form (303). `path` begins with '/' and never leaves the app."""
        values = {key: value for key, value in query.items() if value not in ("", None)}
        path = path.rstrip("?")
        joint = "&" if "?" in path else "?"
        target = f"{base_of(request)}{path}{joint + urlencode(values) if values else ''}"
        return self.with_cookie(request, RedirectResponse(target, status_code=303))


def base_of(request: Request) -> str:
    """The prefix under which another application has mounted this one; '' if none has."""
    return request.scope.get("root_path", "").rstrip("/")


def path_of(request: Request) -> str:
    """The path within this app."""
    return request.url.path.removeprefix(base_of(request))


def client_address(request: Request) -> str:
    """The peer's address as the server sees it; forwarded-for headers are not believed."""
    host = request.client.host if request.client else ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host[:80]


def safe_next(value: str) -> str:
    """A path of this app to return to after signing in; anything that could lead elsewhere becomes '/'."""
    if (
        value.startswith("/")
        and not value.startswith(("//", "/\\"))
        and not any(ord(ch) < 33 or ch == "\\" for ch in value)
    ):
        return value[:2000]
    return "/"


def allowed_hosts(settings: InspectorSettings) -> frozenset[str]:
    """Host names the app answers to. A rebound DNS name is not among them."""
    names = {*LOOPBACK, "[::1]", "testserver", settings.host, *settings.allowed_hosts}
    return frozenset(name.lower() for name in names)


def new_key() -> str:
    """A form's one-time key: the same form sent twice is stored once."""
    return secrets.token_hex(16)


# -- templates ------------------------------------------------------------------------------------------------------


@functools.cache
def make_templates() -> Environment:
    """One per process, since compiling takes a second: Jinja with escaping everywhere and no undefined names."""
    environment = Environment(
        loader=FileSystemLoader(ROOM / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "num": plain,
        "signed": signed,
        "points": points,
        "time": show_time,
        "thousands": thousands,
        "percent": per_cent,
        "words": words,
        "tag_words": tag_words,
        "rule_words": rule_words,
        "side": side,
        "slice_words": slice_words,
        "path": lambda value: quote(str(value), safe=""),
    }
    environment.globals |= {
        "REASONS": decisions.REASONS,
        "KINDS": KINDS,
        "STATUSES": STATUSES,
        "SORTS": SORTS,
        "DECIDED": DECIDED,
        "OUTCOMES": OUTCOMES,
        "SIDES": SIDES,
    }
    return environment


@functools.cache
def _static_version() -> str:
    """A short digest of the static files, so that browsers may keep them for ever."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted((ROOM / "static").iterdir()))).hexdigest()[:10]
