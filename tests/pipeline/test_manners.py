"""Manners of the command line: versions, help, one JSON object whatever happens, Ctrl-C, broken pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.cli.app import main
from tests.ingest.test_ingest import MISLEADING, RATING_HEADER, folder, rating_rows, tsv


def called(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_version_and_the_help_of_every_verb(capsys):
    code, out, _ = called(capsys, "--version")
    assert (code, out.split()[0]) == (0, "supernotes")
    for arguments in (["-h"], ["ingest", "-h"], ["diff", "-h"]):
        code, out, _ = called(capsys, *arguments)
        assert (code, out.startswith("Usage: supernotes")) == (0, True)


@pytest.mark.parametrize(
    "arguments", [["show", "--nope", "--json"], ["runs", "x", "--json"], ["ingest", "-i", "nowhere", "--json"]]
)
def test_an_error_is_one_json_object_too(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = called(capsys, *arguments)
    assert code == 2
    assert json.loads(out)["exit_code"] == 2
    assert json.loads(out)["error"] in err


def test_notices_reach_the_terminal_and_json_and_a_refusal_names_its_setting(capsys, tmp_path):
    source = folder(tmp_path / "in", ratings__00002=tsv(RATING_HEADER, *rating_rows()))
    arguments = ["ingest", "-i", str(source), "-w", str(tmp_path / "w")]
    code, out, err = called(capsys, *arguments, "--json")
    assert code == 2
    assert "--set ingest.shard_gap=warned" in err
    assert json.loads(out)["notices"][-1]["level"] == "refused"
    code, out, err = called(capsys, *arguments, "--set", "ingest.shard_gap=warned")
    assert code == 0
    assert "warned: ratings-00001 of ratings is missing" in err
    assert "left out: duplicate 60" in err
    _, out, _ = called(capsys, *arguments, "--set", "ingest.shard_gap=warned", "--json")
    assert {"level", "stage", "text"} == set(json.loads(out)["notices"][0])


def test_a_setting_that_a_finished_run_does_not_use_is_said(capsys, tmp_path):
    source = folder(tmp_path / "in")
    arguments = ["ingest", "-w", str(tmp_path / "w")]
    called(capsys, *arguments, "-i", str(source))
    _, _, err = called(capsys, *arguments, "--set", "ingest.max_rejected_share=0.3")
    assert "ingest.max_rejected_share = 0.3 is not used" in err
    assert "here 0.2" in err
    assert "is not used" not in called(capsys, *arguments)[2]


def test_missing_ratings_are_explained_by_the_file_that_was_left_alone(capsys, tmp_path):
    source = folder(tmp_path / "in", ratings__00000="")
    (source / "ratings-00000.csv").write_text("x")
    code, out, err = called(capsys, "run", "-i", str(source), "-w", str(tmp_path / "w"), "--json")
    assert code == 2
    assert "ratings-00000.csv was left alone" in json.loads(out)["error"]
    assert "ratings-00000.csv was left alone" in err


def test_a_reader_that_has_enough_ends_the_command_without_a_word():
    done = subprocess.run(
        f"{sys.executable} -m pipeline settings | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split()[-1] in ("0", "141")
    assert done.stderr == ""


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(capsys, monkeypatch, flags):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    monkeypatch.setattr("pipeline.cli.app._settings", lambda *_: os.kill(os.getpid(), signal.SIGINT) or time.sleep(5))
    try:
        code, out, err = called(capsys, "settings", *flags)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert "finished stages are kept" in err
    assert "supernotes settings" in err
    assert not flags or json.loads(out)["status"] == "stopped"


def test_a_later_snapshot_that_lost_notes_is_warned_of_or_refused_as_set(capsys, tmp_path):
    start, note, post = 1_700_000_000_000, 1_724_000_000_000_000_123, 1_723_000_000_000_000_123
    columns = "noteId noteAuthorParticipantId createdAtMillis tweetId classification summary"
    rows = [(note + k, "A" * 64, start + k, post + k % 9, MISLEADING, f"Text {k}") for k in range(90)]
    history = tsv("noteId createdAtMillis currentStatus", *[(*row[0:3:2], "NEEDS_MORE_RATINGS") for row in rows])
    workspace = ["-w", str(tmp_path / "w")]
    for name, n in (("before", 90), ("after", 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes-00000.tsv").write_text(tsv(columns, *rows[:n]))
        (tmp_path / name / "noteStatusHistory-00000.tsv").write_text(history)
    assert called(capsys, "ingest", "-i", str(tmp_path / "before"), *workspace)[0] == 0
    later = ["ingest", "-i", str(tmp_path / "after"), *workspace, "--json"]
    code, out, _ = called(capsys, *later)
    assert code == 0
    assert any(
        "50 of 90 notes (56%) are gone at once" in entry["text"] and entry["level"] == "warned"
        for entry in json.loads(out)["notices"]
    )
    code, out, _ = called(capsys, *later, "--set", "ingest.shrunk=refused", "--set", "ingest.max_rejected_share=0.1")
    assert code == 2
    assert "--set ingest.shrunk=warned" in json.loads(out)["error"]


def test_requests_are_told_in_words_and_as_one_json_object(sample_run, capsys):
    words = ["requests", "--workspace", str(sample_run[0]), "--limit", "2"]
    _, told, _ = called(capsys, *words)
    assert "asked for in" in told
    found = json.loads(called(capsys, *words, "--json")[1])["requests"]
    assert [row["post_id"] in told for row in found] == [True, True]
