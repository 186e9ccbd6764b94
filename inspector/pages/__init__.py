"""The pages: each module is a router; what they share is in `inspector.site`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import FormData

from inspector.report.downloads import csv_rows, json_lines
from inspector.site import Site
from nouns.errors import Refused


async def get_site(request: Request) -> Site:
    """The app's site. Asynchronous, though it waits for nothing: FastAPI would send a plain function to a thread."""
    return request.app.state.site


async def read_form(request: Request) -> FormData:
    """The posted form, after its CSRF token was found right. At most 60 fields, no files."""
    form = await plain_form(request)
    request.app.state.site.check_csrf(request, form)
    return form


async def plain_form(request: Request) -> FormData:
    """The posted form, unchecked: for signing in, which has its own token."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Refused("Send the page's own form.", 415)
    return await request.form(max_files=0, max_fields=60)


Here = Annotated[Site, Depends(get_site)]
Form = Annotated[FormData, Depends(read_form)]
PlainForm = Annotated[FormData, Depends(plain_form)]


def table_file(kind: str, name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Response:
    """Rows as a file to keep: never shown in the page, whatever they hold. `kind`: jsonl, or csv with these columns only."""
    if kind == "jsonl":
        lines, media_type = json_lines(rows), "application/x-ndjson"
    elif kind == "csv":
        lines, media_type = csv_rows(columns, rows), "text/csv; charset=utf-8"
    else:
        raise Refused("Downloads are .jsonl or .csv.", 404)
    return StreamingResponse(
        (line.encode("utf-8", "replace") for line in lines),
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'},
    )


def field(form: FormData, name: str, limit: int = 4_000) -> str:
    """One text field with line ends as '\\n'; '' if it is missing. Raises `Refused` for something absurdly long."""
    value = form.get(name)
    text = value.replace("\r\n", "\n") if isinstance(value, str) else ""
    if len(text) > limit:
        raise Refused(f"The field {name!r} has {len(text)} characters; {limit} is the most.", 422)
    return text


def number(text: str) -> int:
    """A whole number from a form or a path; Refused 404 for anything else (an id that cannot exist)."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise Refused("There is no such post in this run.", 404)
    return int(text)
