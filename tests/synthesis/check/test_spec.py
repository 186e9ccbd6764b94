"""The note spec: complete, and everything the checks say cites it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nouns.errors import InputError
from synthesis.check.check import CHEAP
from synthesis.spec import note_spec, read_note_spec

CHECKS = Path(__file__).parents[3] / "synthesis" / "check"


def test_every_check_has_a_principle_and_every_principle_a_check():
    checks = {principle.check for principle in note_spec().principles}
    assert checks == set(CHEAP) | {"duplicates"}


def test_every_principle_id_in_the_code_is_in_the_spec_and_the_other_way_round():
    code = "\n".join(path.read_text() for path in CHECKS.glob("*.py"))
    ids = {principle.id for principle in note_spec().principles}
    families = {name.split(".")[0] for name in ids}
    used = set(re.findall(rf"\"((?:{'|'.join(families)})\.[a-z_]+)\"", code))
    assert used <= ids
    assert {name for name in ids if not name.startswith("grice.")} <= used


def test_questions_say_which_answer_is_good():
    asked = [p for p in note_spec().principles if p.question]
    assert len(asked) >= 4
    assert all(p.good_answer in ("yes", "no") for p in asked)


GOOD = 'version = "1.0.0"\n[[principle]]\nid = "a.b"\ncheck = "c"\nwording = "w"\nhow = "h"\ngood = ["g"]\nbad = ["b"]\nsince = "1.0.0"\nwhy = "y"\n'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (GOOD.replace('version = "1.0.0"', ""), "version"),
        (GOOD.replace('wording = "w"\n', ""), "wording"),
        (GOOD + "colour = 1\n", "colour"),
        (GOOD.replace('"a.b"', '"A"'), "'A'"),
        (GOOD + GOOD.split("\n", 1)[1], "two principles"),
        (GOOD + 'question = "q?"\n', "question"),
        (GOOD.replace('["g"]', '"g"'), "good"),
        ('version = "1.0.0"\n', "no \\[\\[principle\\]\\]"),
        ("[[", "cannot be read"),
    ],
)
def test_a_broken_spec_is_refused_with_its_fault_named(tmp_path, text, names):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=names):
        read_note_spec(path)


def test_the_smallest_spec_is_accepted(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(GOOD)
    assert read_note_spec(path)["a.b"].wording == "w"
