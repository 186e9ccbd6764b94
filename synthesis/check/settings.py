"""Settings of the stage `check_candidates`."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.stage import speed


@dataclass(frozen=True)
class CheckCandidatesSettings:
    """What a candidate has to hold to. Every field changes the output except those marked `speed`."""

    max_length: int = 280  # characters as X counts them (facts.md, section 3)
    require_link: str = "if_available"  # 'if_available': when a source has a link; 'always'; 'never'
    check_liveness: bool = False  # open every link (needs the network; output then depends on it)
    liveness_timeout: float = speed(4.0)  # seconds per link
    min_alignment: float = 0.6  # similarity (0 to 1) from which a place in a source counts as the same place
    alignment_margin: float = 0.1  # how much better (0 to 1) another value must fit for the candidate's to fail
    min_overlap: float = 0.34  # share of a sentence's content words that the sources together must have
    contradiction_overlap: float = 0.6  # shared content from which two sentences are compared for negation
    min_rubric: float = 0.15  # each Gricean score (0 to 1) below this fails; the scores are published either way
    duplicate_similarity: float = 0.92  # 0 to 1; candidates of one post at least this alike are collapsed
    nli_model: str = ""  # local folder of a natural-language-inference cross-encoder; '' = none
    nli_contradiction: float = 0.5  # probability from which a sentence contradicts
    nli_entailment: float = 0.5  # best probability over source sentences below which a sentence is not supported
    judge: str | bool = (
        "auto"  # the spec's questions put to the writing model: auto (where it is a language model) | on | off
    )
    judge_finalists: int = (
        3  # candidates per post put to it after the revisions, best first by the jury; no other can win
    )
    max_findings: int = 5  # failures reported per check and text

    def __post_init__(self) -> None:
        if isinstance(self.judge, bool):  # as older runs have it
            object.__setattr__(self, "judge", "on" if self.judge else "off")
        if self.judge not in JUDGE:
            raise ValueError(f"judge = {self.judge!r} is not known; choose one of {', '.join(JUDGE)}.")


REQUIRE_LINK = ("if_available", "always", "never")
JUDGE = ("auto", "on", "off")
