"""`python -m inspector`: serve, add a user, build an index, write decisions or the publication file."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from pathlib import Path

from nouns.errors import InputError, Refused


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inspector", description="The analysts' web app over a workspace's runs."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("--workspace", default="workspace", help="directory with the runs")
        sub.add_argument(
            "--database", default=None, help="SQLAlchemy URL of the decisions; default: SQLite in the workspace"
        )
        return sub

    serving = verb("serve", "Serve the app until stopped.")
    serving.add_argument("--host", default="127.0.0.1")
    serving.add_argument("--port", type=int, default=8765)
    serving.add_argument("--single-user", default=None, metavar="NAME", help="no sign-in; loopback only")
    serving.add_argument(
        "--proxy-user-header", default=None, metavar="HEADER", help="trust this header of a reverse proxy on loopback"
    )
    serving.add_argument("--https", action="store_true", help="behind TLS: cookies are marked Secure")
    serving.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="further Host names to answer to"
    )
    serving.add_argument("--workers", type=int, default=2, help="server processes")
    adding = verb("add-user", "Add an account; the password is asked for, or read from standard input.")
    adding.add_argument("name")
    adding.add_argument("--role", default="analyst")
    indexing = verb("index", "Build the read model of a run.")
    indexing.add_argument("run")
    indexing.add_argument(
        "--pages", action="store_true", help="also render what never changes of every post's page, for many readers"
    )
    writing = verb("decisions", "Write the effective decisions as Parquet for build_pairs.")
    writing.add_argument("out", type=Path)
    writing.add_argument("--run", default=None)
    publishing = verb("publication", "Write a run's accepted notes as JSON lines.")
    publishing.add_argument("run")
    publishing.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    try:
        return _do(given)
    except (InputError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _do(given: argparse.Namespace) -> int:
    import sqlalchemy as sa

    from inspector import accounts, decisions, index, reports
    from inspector.database import open_database
    from inspector.reading import RunIndex
    from inspector.runs import Workspace
    from inspector.settings import InspectorSettings
    from inspector.site import now_ms

    settings = InspectorSettings(workspace=given.workspace, database_url=given.database)
    if given.verb == "serve":
        from inspector.app import serve

        serve(
            InspectorSettings(
                workspace=given.workspace,
                database_url=given.database,
                host=given.host,
                port=given.port,
                single_user=given.single_user,
                proxy_user_header=given.proxy_user_header,
                https=given.https,
                allowed_hosts=tuple(given.allow_host),
                workers=given.workers,
            )
        )
    elif given.verb == "add-user":
        password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        accounts.add_user(open_database(settings.database), given.name, given.role, password, now_ms())
    elif given.verb == "index":
        workspace = Workspace(given.workspace)
        path = index.build_index(workspace, workspace.require(given.run), _say)
        if given.pages:
            os.nice(15)  # whoever reads meanwhile comes first
            from inspector.pages.posts import prepare_pages

            # What is made depends on the run alone: the engine is never connected.
            prepare_pages(workspace, RunIndex(path, given.run, sa.create_engine("sqlite://")), _say)
        print(path)
    elif given.verb == "decisions":
        print(decisions.write_decisions(given.out, settings.database, given.run))
    elif given.verb == "publication":
        workspace = Workspace(given.workspace)
        engine = open_database(settings.database)
        run = RunIndex(index.build_index(workspace, workspace.require(given.run)), given.run, engine)
        published, withheld = reports.publication(workspace, run, decisions.history(engine))
        with given.out.open("w", encoding="utf-8") as stream:
            for entry in published:
                stream.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
        print(json.dumps({"published": len(published), "withheld": len(withheld)}))
    return 0


def _say(message: str, done: int, total: int) -> None:
    print(f"index: {message} {done}/{total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
