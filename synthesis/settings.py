"""Settings of the writing room's stages. Units and sources beside every field; all have a default."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.stage import speed

__all__ = [
    "CheckCandidatesSettings",
    "ClusterNotesSettings",
    "DraftCandidatesSettings",
    "ReviseCandidatesSettings",
]


@dataclass(frozen=True)
class ClusterNotesSettings:
    """Which notes make the same claim, and which posts get a supernote."""

    embedder: str = "minilm"  # minilm | hashing
    cluster_distance: float = (
        0.45  # cosine distance under which notes of one stance make the same claim (average linkage)
    )
    duplicate_distance: float = (
        0.05  # cosine distance under which two notes are one; texts must also overlap in letters
    )
    duplicate_overlap: float = 90.0  # rapidfuzz token-set ratio (0 to 100) that duplicates must reach as well
    stories: bool = True  # find the same claim on several posts, so that a post with one note can borrow evidence
    story_similarity: float = 0.80  # cosine similarity from which notes of different posts belong to one story
    story_neighbours: int = 10  # nearest notes looked at when stories are sought
    max_story_posts: int = 200  # a larger story is a template (spam notices), not a claim, and is refused
    story_days: float = 30.0  # a note is lent only to posts whose note was written within so many days of it
    max_borrowed: int = 4  # notes that a post may borrow from its story
    min_notes: int = 2  # usable notes a post needs, borrowed ones counted (the paper: two)
    min_note_chars: int = 20  # a shorter note says nothing that could be merged
    not_needed_share: float = 0.5  # share of raters ticking "note not needed" from which a post is taken as answered
    not_needed_ratings: int = 5  # ratings that such a share must rest on
    locked_days: float = 14.0  # with --as-of only: X locks statuses after two weeks
    age_window_days: float = (
        0.0  # posts without a note so young, counted from the snapshot's newest, are left; 0: no window
    )
    max_age_days: float = 0.0  # with --as-of only: posts whose newest note is older are left; 0: no limit


@dataclass(frozen=True)
class DraftCandidatesSettings:
    """Who writes, from what, and how much."""

    backend: str = "extractive"  # extractive | openai | transformers | vllm | scripted | recorded
    extractive_always: bool = (
        True  # the extractive writer's candidates beside every other writer's: the baseline to beat
    )
    subsets: int = 4  # sets of source notes tried per post and stance, best first; the paper tries all 2^k
    max_sources: int = 6  # notes in one set at most
    samples: int = 4  # texts asked for per prompt
    extractive_candidates: int = 6  # extractive texts kept per set of sources at most
    temperature: float = 0.8  # of the draws
    top_p: float = 0.95
    max_tokens: int = 400  # of one draw
    shorten: int = (
        1  # drafts per post, written by a language model and too long, that it is asked to shorten, once each
    )
    max_calls: int = (
        10  # calls to a language model for one post: drafts, shortening, revisions and the judged finalists
    )
    prompt: str = "draft-v2"  # file in synthesis/draft/prompts, without .txt
    revise_prompt: str = "revise-v2"
    shorten_prompt: str = "shorten-v2"
    judge_prompt: str = "judge-v2"
    max_length: int = 280  # characters as X counts them (facts.md section 3)
    max_context: int = 0  # tokens the model reads and writes together; prompts are made to fit. 0: no limit known
    judge_base_url: str = speed("")  # a second model that judges, on its own server; '' the writer's
    judge_model: str = ""  # ... and its name there; '' the writing model judges
    base_url: str = speed("http://127.0.0.1:8000/v1")  # OpenAI-compatible server
    model: str = ""  # name the server knows, or a local directory for transformers and vllm; a LoRA adapter's name too
    model_revision: str = ""  # recorded with every call
    api_key_env: str = speed("SUPERNOTES_API_KEY")  # name of the environment variable that holds the key, never the key
    structured: bool = True  # ask for JSON by schema; a server that ignores it is noticed and read as plain text
    concurrency: int = speed(32)  # requests at a time, at most; adapts downwards when the server is overloaded
    timeout: float = speed(120.0)  # seconds for one attempt
    deadline: float = speed(900.0)  # seconds for one request with all its attempts
    attempts: int = speed(6)  # per request
    circuit_failures: int = speed(
        20
    )  # failures in a row after which the server is left alone for the rest of the stage ...
    circuit_seconds: float = speed(30.0)  # ... if they last at least this long: a server that restarts is waited for
    # A LoRA adapter on top of `model`: its directory (one of the workspace: models/writer-ID/adapter); the name a server has given it; or
    # 'current': the writer that was promoted in the workspace, if any. A vLLM server is made to load a directory it does not have yet.
    adapter: str = ""
    adapter_on_server: str = speed("")  # that directory as the model server sees it; '': the same path
    request_extra: str = (
        ""  # JSON object merged into each request, such as {"chat_template_kwargs": {"enable_thinking": false}}
    )
    fresh: str = ""  # any word, such as today's date: calls answered under another word are made again
    kept_days: float = speed(0.0)  # calls answered longer ago than so many days are made again; 0: never
    max_refused: float = speed(0.5)  # share of the draft calls that may give no text before the stage fails
    seeds: bool = True  # send a seed per draw; vLLM's CPU build needs --no-enable-chunked-prefill for them


@dataclass(frozen=True)
class ReviseCandidatesSettings:
    """How often, and which candidates, the writer gets to hear the jury's objections."""

    rounds: int = 1  # 0 switches revision off; 2 at most (Habermas Machine: one critique round)
    finalists: int = 2  # best judged candidates of a post that are revised in a round
    n: int = 1  # revisions asked for each finalist
    objections_per_side: int = 2  # likeliest not-helpful reasons told per side
    minimum_probability: float = 0.05  # a reason likelier than this (share of that side's raters) is told
    minimum_gain: float = (
        0.01  # score gained over the parent, on X's scale, from which a revision is a real improvement
    )
    max_side_loss: float = 0.02  # helpful share that no side may lose against the parent

    def __post_init__(self) -> None:
        if not 0 <= self.rounds <= 2:
            raise ValueError(
                f"rounds = {self.rounds}; revise 0, 1 or 2 times: more rounds fit the jury, not the readers."
            )


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
