"""Downloading against a real HTTP server on this machine that behaves, and misbehaves, as servers do."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ingest.fetch import FetchSettings, fetch_snapshot
from ingest.settings import IngestSettings
from nouns.errors import InputError, StageFailed
from tests.calling import ingest
from tests.ingest.test_ingest import NOTE_HEADER, RATING_HEADER, note_rows, rating_rows, tsv


def archive(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr(name, text)
    return buffer.getvalue()


class Server:
    """Files by path; `trouble` holds, for a path, what to do wrong on the next requests, one entry each."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.trouble: dict[str, list[str]] = {}
        self.absent: dict[str, int] = {}
        self.absent_code = 404
        self.requests: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers.items())))
                wrong = outer.trouble.get(self.path, [])
                trouble = wrong.pop(0) if wrong else ""
                data = outer.files.get(self.path)
                if trouble == "error":
                    self.answer(503, b"try later", {})
                elif trouble == "error page":
                    self.answer(200, b"<html>maintenance</html>", {})
                elif data is None:
                    self.answer(outer.absent.get(self.path, outer.absent_code), b"no", {})
                else:
                    self.send_file(data, trouble)

            def send_file(self, data: bytes, trouble: str) -> None:
                etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
                if self.headers.get("If-None-Match") == etag:
                    self.answer(304, b"", {"ETag": etag})
                    return
                start = 0
                asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if asked and self.headers.get("If-Range") == etag and trouble != "ignore range":
                    start = int(asked[1])
                headers = {"ETag": etag}
                if start:
                    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                body = data[start:]
                if trouble == "drop":
                    headers["Content-Length"] = str(len(body))
                    self.answer(206 if start else 200, body[: len(body) // 2], headers)
                    self.close_connection = True
                else:
                    self.answer(206 if start else 200, body, headers)

            def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(code)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.root = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, path: str) -> int:
        return sum(1 for asked, _ in self.requests if asked == path)


DAY = "/2026/11/19"
RATINGS_1 = f"{DAY}/noteRatings/ratings-00001.zip"


@pytest.fixture
def server():
    server = Server()
    table = rating_rows()
    server.files = {
        f"{DAY}/notes/notes-00000.zip": archive("notes-00000.tsv", tsv(NOTE_HEADER, *note_rows())),
        f"{DAY}/noteRatings/ratings-00000.zip": archive("ratings-00000.tsv", tsv(RATING_HEADER, *table[:30])),
        RATINGS_1: archive("ratings-00001.tsv", tsv(RATING_HEADER, *table[30:])),
        f"{DAY}/noteStatusHistory/noteStatusHistory-00000.zip": archive(
            "noteStatusHistory-00000.tsv", tsv("noteId currentStatus", (note_rows()[0][0], "NEEDS_MORE_RATINGS"))
        ),
        f"{DAY}/userEnrollment/userEnrollment-00000.zip": archive(
            "userEnrollment-00000.tsv", tsv("participantId modelingGroup", ("A", 1))
        ),
    }
    yield server
    server.close()


def settings(server: Server, **changes) -> FetchSettings:
    return FetchSettings(
        **{"url": server.root + "/{date}/{folder}/{table}-{shard}.zip", "backoff_seconds": 0.001, **changes}
    )


def fetch(server: Server, out: Path, **changes) -> dict:
    return fetch_snapshot(out, settings(server, **changes), date="2026-11-19", rng=random.Random(1))


def test_a_day_is_fetched_whole_and_can_be_ingested(server, tmp_path):
    counts = fetch(server, tmp_path / "day")
    assert counts["in"] == counts["out"] == counts["fetched"] == 5
    for path, data in server.files.items():
        assert (tmp_path / "day" / path.rsplit("/", 1)[1]).read_bytes() == data
    manifest = json.loads((tmp_path / "day" / "fetch.json").read_text())
    assert manifest["date"] == "2026-11-19"
    for entry in manifest["files"]:
        data = (tmp_path / "day" / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["bytes"] == len(data)
    (tmp_path / "out").mkdir()
    ingested = ingest(tmp_path / "out", IngestSettings(), source=tmp_path / "day")
    assert ingested["tables"]["ratings"]["out"] == 60


def test_a_gap_in_a_tables_shards_is_no_end(server, tmp_path):
    """Two thirds of the ratings would be lost in silence."""
    server.files[f"{DAY}/noteRatings/ratings-00003.zip"] = server.files[RATINGS_1]
    with pytest.raises(StageFailed, match=r"ratings has no shard 2 .* but shard 3 is: the day is incomplete"):
        fetch(server, tmp_path)
    del server.files[f"{DAY}/noteRatings/ratings-00003.zip"]
    server.absent[f"{DAY}/noteRatings/ratings-00002.zip"] = 403
    with pytest.raises(
        StageFailed, match=r"refuses .*ratings-00002.zip with 403, while it answers 404 to files it does not"
    ):
        fetch(server, tmp_path)
    server.absent.clear()
    assert fetch(server, tmp_path)["kept"] == 3


def test_a_server_that_answers_403_to_all_it_does_not_have_is_understood(server, tmp_path):
    server.absent_code = 403
    assert fetch(server, tmp_path)["in"] == 5


@pytest.mark.parametrize("fetched_before", [True, False])
def test_a_day_that_shrank_is_refused_with_the_numbers(server, tmp_path, fetched_before):
    """The day before is known from the folder beside, or asked for on the server."""
    server.files |= {path.replace("/19/", "/18/"): data for path, data in server.files.items()}
    if fetched_before:
        fetch_snapshot(tmp_path / "2026-11-18", settings(server), date="2026-11-18")
        server.files = {path: data for path, data in server.files.items() if "/18/" not in path}
    lost = server.files.pop(RATINGS_1)
    with pytest.raises(
        StageFailed, match=r"ratings of 2026-11-19 has 1 shards with [\d,]+ bytes; 2026-11-18 had 2 with"
    ):
        fetch(server, tmp_path / "2026-11-19")
    assert "tables" not in json.loads((tmp_path / "2026-11-19" / "fetch.json").read_text())
    assert fetch(server, tmp_path / "2026-11-19", max_shrink=1.0)["compared_with"] == "2026-11-18"
    server.files[RATINGS_1] = lost
    assert fetch(server, tmp_path / "2026-11-19")["in"] == 5


def test_a_day_without_a_day_before_is_told_so(server, tmp_path):
    assert fetch(server, tmp_path)["compared_with"] is None


def test_a_second_fetch_asks_but_downloads_nothing(server, tmp_path):
    fetch(server, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    counts = fetch(server, tmp_path)
    assert (counts["kept"], counts["fetched"], counts["continued"]) == (5, 0, 0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_changed_on_the_server_is_fetched_again(server, tmp_path):
    fetch(server, tmp_path)
    server.files[RATINGS_1] = archive("ratings-00001.tsv", "other")
    assert fetch(server, tmp_path)["fetched"] == 1
    assert (tmp_path / "ratings-00001.zip").read_bytes() == server.files[RATINGS_1]


def test_a_dropped_connection_is_continued_where_it_broke(server, tmp_path):
    server.trouble[RATINGS_1] = ["drop", "drop"]
    counts = fetch(server, tmp_path)
    assert counts["continued"] == 1
    assert (tmp_path / "ratings-00001.zip").read_bytes() == server.files[RATINGS_1]
    ranges = [headers.get("Range") for path, headers in server.requests if path == RATINGS_1]
    half = len(server.files[RATINGS_1]) // 2
    assert ranges[:2] == [None, f"bytes={half}-"]
    assert len(set(ranges)) == 3


def test_a_server_that_ignores_ranges_sends_the_file_from_its_start(server, tmp_path):
    server.trouble[RATINGS_1] = ["drop", "ignore range"]
    fetch(server, tmp_path)
    assert (tmp_path / "ratings-00001.zip").read_bytes() == server.files[RATINGS_1]


def test_a_file_that_changed_between_two_halves_is_not_mixed(server, tmp_path):
    server.trouble[RATINGS_1] = ["drop"] * 2
    with pytest.raises(RuntimeError, match="will be continued"):
        fetch(server, tmp_path, attempts=2)
    assert (tmp_path / "ratings-00001.zip.part").exists()
    assert not (tmp_path / "ratings-00001.zip").exists()
    server.files[RATINGS_1] = archive("ratings-00001.tsv", "x" * 5000)
    fetch(server, tmp_path)
    assert (tmp_path / "ratings-00001.zip").read_bytes() == server.files[RATINGS_1]
    assert not list(tmp_path.glob("*.part*"))


def test_server_errors_are_waited_out_and_then_reported(server, tmp_path):
    server.trouble[RATINGS_1] = ["error", "error", "error page"]
    waits: list[str] = []
    fetch_snapshot(tmp_path, settings(server), date="2026-11-19", progress=lambda message, *_: waits.append(message))
    assert (tmp_path / "ratings-00001.zip").read_bytes() == server.files[RATINGS_1]
    assert sum("trying again" in message for message in waits) == 3
    server.trouble[RATINGS_1] = ["error"] * 10
    with pytest.raises(RuntimeError, match="in 3 attempts; the last one ended with the server answered 503"):
        fetch(server, tmp_path / "other", attempts=3)


def test_a_day_that_is_not_published_is_named(server, tmp_path):
    with pytest.raises(InputError, match="no files of notes for 2026-11-20"):
        fetch_snapshot(tmp_path, settings(server), date="2026-11-20")


@pytest.mark.parametrize("date", ["20261119", "2026-13-01", "yesterday", "2026-11-19T00:00", ""])
def test_a_date_must_be_a_day(server, tmp_path, date):
    with pytest.raises(InputError, match="year-month-day"):
        fetch_snapshot(tmp_path, settings(server), date=date)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/{tables}", "http://127.0.0.1:1/file.zip"])
def test_a_pattern_that_cannot_be_filled_in_is_refused(tmp_path, url):
    with pytest.raises(InputError, match=r"fetch\.url"):
        fetch_snapshot(tmp_path, FetchSettings(url=url), date="2026-11-19")
