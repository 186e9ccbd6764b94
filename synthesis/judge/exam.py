"""A judging model is examined before it judges: questions whose answers are known, and what its answers are worth by them.

The questions are the note spec's own good and bad examples and known corruptions of the sources at hand: a sentence of a
source with a number changed or a negation put in, and the sentence of another post's note. A model that gives one answer to
everything, cannot be read, or is no better than chance is not used; of one that is, only the principles it can tell are asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

from nouns.post import MISLEADING, Completion, Note, Post, Request
from synthesis.judge.judge import Finalist, questions_for, read_answers
from synthesis.settings import DraftCandidatesSettings
from synthesis.spec import NoteSpec, Principle
from texts.note import clean_text, split_sentences, without_urls

OWN_SOURCES = 6  # posts of the run whose sources are corrupted for the exam
MIN_READ = 0.5  # share of the answers that must be readable
BETTER_THAN = 0.5  # balanced accuracy of a model that guesses; its lower bound has to be above
_FIELD = re.compile(r"(Post|post|Source|source|[Nn]ote): '((?:[^']|'(?=\w))*)'")
_DIGITS = re.compile(r"(?<![\w.,/-])\d{1,4}(?![\w/.,-]*\d)")
_VERB = re.compile(r"\b(is|was|are|were|has|have|had|did|does|can|will)\b(?! not|n['’]t)")


@dataclass(frozen=True)
class Question:
    """One text put to the model, and the principle whose answer about it is known."""

    finalist: Finalist
    principle: str
    good: bool


@dataclass
class Marks:
    """What a judge's answers were worth. `by` holds, per principle, right and asked for good texts and for bad ones."""

    asked: int = 0
    read: int = 0
    by: dict[str, list[int]] = field(default_factory=dict)

    def balanced(self, principle: str) -> float:
        """Mean of the shares of good and of bad texts that were told as such, 0 to 1; 0.5 is a guess."""
        good, goods, bad, bads = self.by.get(principle, [0, 0, 0, 0])
        return (good / max(1, goods) + bad / max(1, bads)) / 2

    @property
    def total(self) -> list[int]:
        return [sum(row[i] for row in self.by.values()) for i in range(4)]

    @property
    def accuracy(self) -> float:
        good, goods, bad, bads = self.total
        return (good / max(1, goods) + bad / max(1, bads)) / 2

    @property
    def lower(self) -> float:
        """Lower end of a one-sided 95 % interval of `accuracy`."""
        good, goods, bad, bads = self.total
        shares = ((good / max(1, goods), goods), (bad / max(1, bads), bads))
        spread = sqrt(sum(max(p * (1 - p), 0.25 / (n + 1)) / max(1, n) for p, n in shares)) / 2
        return self.accuracy - 1.645 * spread

    def refused(self) -> str | None:
        """Why the model is not used as a judge, as a sentence; None where it is."""
        good, goods, bad, bads = self.total
        if self.read < MIN_READ * self.asked:
            return f"only {self.read} of its {self.asked} answers could be read"
        if good + bads - bad in (0, goods + bads):
            return "it gave the same verdict on every text, good or bad"
        if self.lower <= BETTER_THAN:
            return f"it told good from bad no better than chance (balanced accuracy {self.accuracy:.2f}, at least {self.lower:.2f})"
        return None

    def principles(self) -> list[str]:
        """The principles it may be asked about: those it tells better than a guess."""
        return sorted(name for name in self.by if self.balanced(name) > BETTER_THAN)

    def counts(self) -> dict[str, object]:
        """Whole numbers that add up over shards: right of asked, by principle."""
        return {
            name: {"good_told": row[0], "good": row[1], "bad_told": row[2], "bad": row[3]}
            for name, row in sorted(self.by.items())
        }


def exam(spec: NoteSpec, finalists: Sequence[Finalist]) -> list[Question]:
    """The questions: of the spec, and of the sources of the first finalists (their order decides, nothing else)."""
    questions: list[Question] = []
    for principle in spec.principles:
        if principle.question:
            questions += _of_spec(principle)
    posts: dict[int, Finalist] = {}
    for finalist in finalists:
        if finalist.notes:
            posts.setdefault(finalist.post.post_id, finalist)
    chosen = list(posts.values())[:OWN_SOURCES]
    for i, finalist in enumerate(chosen):
        other = chosen[(i + 1) % len(chosen)] if len(chosen) > 1 else None
        questions += _of_sources(finalist, other)
    return questions


def _of_spec(principle: Principle) -> list[Question]:
    """The good and bad examples of a principle; what an example leaves out it has from the one before."""
    known = {"post": "", "source": ""}
    questions = []
    for good, example in [*((True, e) for e in principle.good), *((False, e) for e in principle.bad)]:
        fields = {name.lower(): text for name, text in _FIELD.findall(example)}
        note = fields.pop("note", None) or example
        known |= fields
        source = known["source"] or principle.good[0]
        post = Post(0, known["post"] or None)
        finalist = Finalist(_name(note, source), note, post, (Note(1, 0, source, MISLEADING),), "en")
        questions.append(Question(finalist, principle.id, good))
    return questions


def _of_sources(finalist: Finalist, other: Finalist | None) -> list[Question]:
    """A sentence of the first source as it stands, corrupted, and a stranger's."""
    sentence = _telling(finalist)
    if sentence is None:
        return []
    made = [(sentence, "support.entailment", True), (sentence, "support.contradiction", True)]
    digits = _DIGITS.search(sentence)
    if digits:
        wrong = f"{sentence[: digits.start()]}{int(digits.group()) * 2 + 3}{sentence[digits.end() :]}"
        made.append((wrong, "support.entailment", False))
    if _VERB.search(sentence):
        made.append((_VERB.sub(r"\1 not", sentence, count=1), "support.contradiction", False))
    stranger = _telling(other) if other is not None else None
    if stranger is not None and stranger != sentence:
        made.append((stranger, "support.entailment", False))
    notes = finalist.notes[:1]
    return [
        Question(
            Finalist(_name(text, notes[0].text), text, Post(0, finalist.post.text), notes, finalist.language),
            principle,
            good,
        )  # as post 0: no post's budget of calls pays for the exam
        for text, principle, good in made
    ]


def _telling(finalist: Finalist) -> str | None:
    """The first sentence of the first source that says something, without links."""
    for span in split_sentences(clean_text(finalist.notes[0].text), finalist.language):
        text = without_urls(span.text).strip()
        if len(text.split()) >= 6:
            return text
    return None


def _name(text: str, source: str) -> str:
    return "exam-" + hashlib.sha256(f"{text}\x1f{source}".encode()).hexdigest()[:16]


def exam_requests(questions: Sequence[Question], spec: NoteSpec, settings: DraftCandidatesSettings) -> list[Request]:
    """One request per text, equal texts once; each asks all the spec's questions, as judging does."""
    requests = {q.finalist.candidate_id: questions_for(q.finalist, spec, settings) for q in questions}
    return list(requests.values())


def mark(
    questions: Sequence[Question], requests: Sequence[Request], answers: Mapping[str, Completion], spec: NoteSpec
) -> Marks:
    """What the answers to the exam were worth. An answer that cannot be read is neither right nor wrong."""
    by_text = {request.parent_text: answers.get(request.request_id) for request in requests}
    marks = Marks()
    for question in questions:
        completion = by_text.get(question.finalist.text)
        read = read_answers(completion.texts[0]) if completion is not None and completion.texts else None
        answer = (read or {}).get(question.principle)
        marks.asked += 1
        if answer not in ("yes", "no"):
            continue
        marks.read += 1
        said_good = answer == spec[question.principle].good_answer
        row = marks.by.setdefault(question.principle, [0, 0, 0, 0])
        place = 0 if question.good else 2
        row[place] += said_good == question.good
        row[place + 1] += 1
    return marks
