"""Builds the web app: `create_app(InspectorSettings(workspace="workspace"))` is an ASGI application.

It needs no start-up event, so it can be mounted under a prefix of another application (Airflow's API server).
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from inspector import api
from inspector.pages import accounts, posts, queue, reports, runs, texts
from inspector.settings import InspectorSettings
from inspector.site import ROOM, Building, NeedSignIn, Site, Who, allowed_hosts, now_ms, path_of
from nouns.errors import Conflict, Refused

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
MAX_BODY = 256 * 1024  # bytes of a request: a note has 280 characters, a form a few thousand

log = logging.getLogger("supernotes.inspector")


class Guard:
    """Outermost layer: refuses unknown host names and large bodies, adds the safety headers and the server's time."""

    def __init__(self, app: Callable[..., Any], settings: InspectorSettings) -> None:
        self.app = app
        self.hosts = allowed_hosts(settings)
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers(settings).items()]

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        read = 0

        async def counted() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY:
                raise HTTPException(413, "The request is too large.")
            return message

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                extra = [entry for entry in self.headers if entry[0] not in there]
                spent = (time.perf_counter() - started) * 1000
                message = {
                    **message,
                    "headers": [*message["headers"], *extra, (b"server-timing", b"app;dur=%.1f" % spent)],
                }
            await send(message)

        if "*" not in self.hosts and _host(headers.get(b"host", b"").decode("latin-1")) not in self.hosts:
            await JSONResponse({"detail": "This server does not answer to that host name."}, 421)(
                scope, receive, guarded
            )
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await JSONResponse({"detail": "The request is too large."}, 413)(scope, receive, guarded)
            return
        await self.app(scope, counted, guarded)


def _host(value: str) -> str:
    """The name in a Host header without its port, lower case."""
    if value.startswith("["):
        return value.partition("]")[0].lower() + "]"
    return value.rpartition(":")[0].lower() if value.count(":") == 1 else value.lower()


def headers(settings: InspectorSettings) -> dict[str, str]:
    """The safety headers of every answer."""
    found = {**HEADERS, "Content-Security-Policy": f"{CSP}; frame-ancestors {settings.frame_ancestors}"}
    if settings.frame_ancestors in ("'none'", "'self'"):
        found["X-Frame-Options"] = "DENY" if settings.frame_ancestors == "'none'" else "SAMEORIGIN"
    if settings.https:
        found["Strict-Transport-Security"] = "max-age=31536000"
    return found


def create_app(settings: InspectorSettings, now: Callable[[], int] = now_ms, who: Who | None = None) -> FastAPI:
    """The inspector over one workspace. `now` gives milliseconds since 1970 and is there for tests.

    `who`: for an application that mounts this one and has signed people in itself: called with the request, it gives (name,
    role) or None for nobody. Accounts, passwords and the first visit are out of use then.

    Raises `InputError` when the database cannot be opened or a setting does not fit.
    """
    site = Site(settings, now, who)
    app = FastAPI(
        title="Supernotes inspector",
        version="1",
        description="Runs, posts, candidates and decisions. Ids are strings. Send `Authorization: Bearer <API token>`; "
        "tokens are made on the account page and have their user's permissions.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    app.include_router(api.router)
    for module in (accounts, queue, posts, texts, runs, reports):
        app.include_router(module.router, include_in_schema=False)
    app.mount("/static", _Static(directory=ROOM / "static"), name="static")

    @app.get("/api/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        """What the API offers, as a page of this app: FastAPI's own would load scripts from elsewhere."""
        site.require(request)
        described = app.openapi()
        return site.render(request, "api.html", paths=described["paths"], about=described["info"]["description"])

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    _answer_errors(app, site)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)
    app.add_middleware(Guard, settings=settings)
    return app


class _Static(StaticFiles):
    """Style sheet and script; their address carries a digest, so browsers may keep them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _answer_errors(app: FastAPI, site: Site) -> None:
    """Every refusal as a page for people and as JSON for programs; never a traceback."""

    def answer(request: Request, status: int, title: str, message: str, **more: Any) -> Response:
        if path_of(request).startswith("/api/"):
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            return JSONResponse({"detail": message}, status, headers=headers)
        return site.render(
            request, "message.html", status, title=title, message=message, **({"reload": "", "details": ""} | more)
        )

    @app.exception_handler(NeedSignIn)
    def sign_in(request: Request, _error: NeedSignIn) -> Response:
        path = path_of(request)
        if path.startswith("/api/"):
            return answer(request, 401, "", "Sign in, or send an API token.")
        if site.who:
            return answer(
                request, 401, "Not signed in", "Sign in to the application around this one, then open it again."
            )
        if site.settings.proxy_user_header:
            return answer(
                request, 401, "Not signed in", "The reverse proxy in front of this app names no user. Sign in there."
            )
        back = f"{path}?{request.url.query}" if request.url.query else path
        return site.redirect(request, "/login", next=back if request.method == "GET" and path != "/" else "")

    @app.exception_handler(Building)
    def building(request: Request, error: Building) -> Response:
        message = f"The index of run {error.run_id} is being built. This takes about a minute per 100,000 posts."
        if path_of(request).startswith("/api/"):
            return JSONResponse({"detail": message}, 503, headers={"Retry-After": "5"})
        response = site.render(request, "building.html", 503, run_id=error.run_id, message=message)
        response.headers["Refresh"] = "3"
        response.headers["Retry-After"] = "5"
        return response

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        titles = {
            403: "Not allowed",
            404: "Not found",
            409: "Not stored",
            422: "Something is missing",
            429: "Please wait",
            503: "Not available",
        }
        reload = ""
        if isinstance(error, Conflict):
            reload = path_of(request).removesuffix("/decisions")
        response = answer(request, error.status, titles.get(error.status, "Not possible"), error.message, reload=reload)
        if error.status == 429:
            response.headers["Retry-After"] = str(site.settings.login_window)
        return response

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        messages = {404: "There is no such page.", 405: "This address does not take that kind of request."}
        message = messages.get(error.status_code, str(error.detail))
        response = answer(
            request, error.status_code, "Not found" if error.status_code == 404 else "Not possible", message
        )
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        if path_of(request).startswith("/api/"):
            problems = [{"where": [str(part) for part in e["loc"]], "message": e["msg"]} for e in error.errors()]
            return JSONResponse({"detail": "The request does not fit.", "problems": problems}, 422)
        return answer(request, 404, "Not found", "There is no such page.")

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        number = secrets.token_hex(4)
        # The path only: a query may hold search words, and forms may hold texts.
        log.error("incident %s at %s %s", number, request.method, json.dumps(request.url.path), exc_info=error)
        response = answer(
            request,
            500,
            "Something went wrong",
            f"The inspector made a mistake and wrote it down as incident {number}. Nothing was stored.",
        )
        for name, value in headers(site.settings).items():
            response.headers.setdefault(name, value)
        return response


def first_visit(settings: InspectorSettings) -> str:
    """What the terminal says when the server starts: where it is and, before the first account, the link for the first visit."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host
    shown = f"[{host}]" if ":" in host else host
    address = f"{'https' if settings.https else 'http'}://{shown}:{settings.port}/"
    code = Site(settings).setup_code()
    if code:
        return f"Open this link to begin (it works once):\n\n    {address}setup?code={code}\n\nStop with Ctrl-C."
    return f"Inspector on {address} (stop with Ctrl-C)"
