"""Airflow's Connections, read into the environment of a task's own process; a variable that is set already wins.

| Connection | Gives |
|---|---|
| `supernotes_model_server` | host, port, schema (or `base_url` in extra), password: the writing model's server; extra `model` |
| `supernotes_object_store` | login, password, extra `endpoint_url`, `region_name`: S3 |
| `supernotes_database` | analysts' accounts and decisions |
| `supernotes_x` | extra `url`: the pattern of X's daily files |
| `supernotes_posts` | extra `table`: path or URL of the table of post texts |
"""

from __future__ import annotations

import logging
import os
from typing import Any

PREFIX = "supernotes_"
NAMES = ("model_server", "object_store", "database", "x", "posts")


def use_connections() -> None:
    """Read the Connections that exist, once per process. Without any, and outside a task, nothing happens."""
    if os.environ.get("SUPERNOTES_CONNECTIONS_READ") == str(os.getpid()):
        return
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    for name in NAMES:
        try:
            found = Connection.get(PREFIX + name)
        except AirflowNotFoundException:
            continue
        for variable, value in variables(name, found).items():
            if value and not os.environ.get(variable):
                os.environ[variable] = value
                logging.getLogger("supernotes").info("%s comes from the Connection %s%s", variable, PREFIX, name)
    os.environ["SUPERNOTES_CONNECTIONS_READ"] = str(os.getpid())


def variables(name: str, found: Any) -> dict[str, str | None]:
    """The variables of the environment that a Connection stands for."""
    extra = found.extra_dejson
    if name == "model_server":
        port = f":{found.port}" if found.port else ""
        address = extra.get("base_url") or (f"{found.schema or 'http'}://{found.host}{port}/v1" if found.host else None)
        return {
            "SUPERNOTES_DRAFT_CANDIDATES__BACKEND": "openai" if address else None,
            "SUPERNOTES_DRAFT_CANDIDATES__BASE_URL": address,
            "SUPERNOTES_DRAFT_CANDIDATES__MODEL": extra.get("model"),
            "SUPERNOTES_API_KEY": found.password,
        }
    if name == "object_store":
        return {
            "AWS_ACCESS_KEY_ID": found.login,
            "AWS_SECRET_ACCESS_KEY": found.password,
            "AWS_ENDPOINT_URL": extra.get("endpoint_url"),
            "AWS_DEFAULT_REGION": extra.get("region_name"),
        }
    if name == "database":
        address = found.get_uri()
        scheme, sign, rest = address.partition("://")
        return {
            "SUPERNOTES_DATABASE_URL": {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}.get(
                scheme, scheme
            )
            + sign
            + rest
        }
    return (
        {"SUPERNOTES_FETCH_SNAPSHOT__URL": extra.get("url")}
        if name == "x"
        else {"SUPERNOTES_POSTS": extra.get("table")}
    )
