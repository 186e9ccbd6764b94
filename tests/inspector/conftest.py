"""One invented workspace for the whole session, and apps over it with a clock and a jury that tests can foresee."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from inspector.app import create_app
from inspector.decide import accounts, database
from inspector.read import index
from inspector.read.reading import RunIndex
from inspector.read.runs import Workspace
from inspector.settings import InspectorSettings
from inspector.site import Site
from tests.inspector.worlds import World, write_world

NOON = 1_790_000_000_000  # milliseconds; any moment will do
PASSWORD = "seven quiet herons"


def assess_by_length(workspace: str, run_id: str, post_id: int, text: str) -> dict[str, Any]:
    """A jury one can foresee: 0.10 plus a thousandth a character; texts over 280 characters or with 'LIE' fail."""
    lie = text.find("LIE")
    checks = [
        {
            "check": "length",
            "outcome": "passed" if len(text) <= 280 else "failed",
            "reason": "" if len(text) <= 280 else f"{len(text)} characters; 280 is the most",
            "start": None,
            "end": None,
            "principle": "short",
        },
        {
            "check": "claims_supported",
            "outcome": "failed" if lie >= 0 else "passed",
            "reason": "stands in no source note" if lie >= 0 else "",
            "start": lie if lie >= 0 else None,
            "end": lie + 3 if lie >= 0 else None,
            "principle": "say only what the sources say",
        },
    ]
    score = 0.10 + len(text) / 1000
    return {
        "length": len(text),
        "passed": all(check["outcome"] == "passed" for check in checks),
        "checks": checks,
        "score": score,
        "lower": score - 0.1,
        "upper": score + 0.1,
        "helpful": {"negative": 0.4, "middle": 0.5, "positive": 0.6},
        "reasons": [],
    }


@pytest.fixture(scope="session")
def built_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Written once, with its index and an empty decision store; take `world` where a test writes into the workspace."""
    built = write_world(tmp_path_factory.mktemp("inspected") / "workspace")
    index.build_index(Workspace(str(built.workspace)), built.run_id)
    database.migrate(InspectorSettings(workspace=str(built.workspace)).database)
    return built


@pytest.fixture(autouse=True, scope="session")
def no_waiting() -> Iterator[None]:
    """Argon2 with the least work: hundreds of sign-ins would otherwise take minutes. One test measures the real one."""
    from argon2 import PasswordHasher

    patch = pytest.MonkeyPatch()
    patch.setattr(RunIndex, "patience", 0.0)  # tests look at once for what they have just decided
    patch.setattr(
        accounts, "_hasher", functools.cache(lambda: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    )
    yield
    patch.undo()


@pytest.fixture
def world(built_world: World, tmp_path: Path) -> World:
    """A copy of the workspace that the test may change."""
    target = tmp_path / "workspace"
    shutil.copytree(built_world.workspace, target)
    return World(**{**built_world.__dict__, "workspace": target})


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@dataclass
class Desk:
    """An app over a world, and browsers signed in to it."""

    world: World
    site: Site
    app: Any
    clock: Clock

    def browser(self, name: str | None = None, role: str = "analyst", **kwargs: Any) -> Browser:
        """A fresh browser; with a name it is signed in, the account made if need be."""
        client = Browser(self.app, **kwargs)
        if name is not None:
            if accounts.find_user(self.site.engine, name) is None:
                accounts.add_user(self.site.engine, name, role, PASSWORD, self.clock.now)
            assert client.sign_in(name, PASSWORD).status_code == 303
        return client

    def path(self, post_id: int | None = None, tail: str = "") -> str:
        run = f"/runs/{self.world.run_id}"
        return f"{run}/posts/{post_id}{tail}" if post_id is not None else f"{run}{tail}"


class Browser(TestClient):
    """A client that fills forms in as a browser would: from the page it has just read."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, raise_server_exceptions=False, follow_redirects=False, **kwargs)

    def sign_in(self, name: str, password: str) -> Any:
        fields = hidden(self.get("/login").text)
        return self.post("/login", data={**fields, "name": name, "password": password})

    def decide(self, path: str, kind: str, page: str | None = None, **fields: Any) -> Any:
        """Open the post at `path` (or take `page`, read before) and press a button of its decision form."""
        text = page if page is not None else self.get(path).text
        form = text[text.index('class="decide"') :]
        return self.post(path.partition("?")[0] + "/decisions", data={**hidden(form), "kind": kind, **fields})


def hidden(html: str) -> dict[str, str]:
    """Hidden fields of the first form in a piece of HTML."""
    form = html[: html.find("</form>")] if "<form" not in html[:200] else html
    start = form.find("<form")
    form = form[start if start >= 0 else 0 :]
    end = form.find("</form>")
    form = form[: end if end >= 0 else len(form)]
    return {
        name: unescape(value) for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    }


@pytest.fixture
def desk(world: World, request: pytest.FixtureRequest) -> Desk:
    clock = Clock()
    settings = InspectorSettings(
        workspace=str(world.workspace), assess=assess_by_length, **getattr(request, "param", {})
    )
    app = create_app(settings, now=clock)
    return Desk(world, app.state.site, app, clock)
