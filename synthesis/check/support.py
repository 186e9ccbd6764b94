"""Every sentence rests on the sources, none says their opposite.

Always: shared content, negation and opposites against the best-fitting source sentences. Where a local
natural-language-inference model is configured, it is asked too, contradiction before entailment (peers.md, P19).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import Evidence, Sentence, evidence_of
from synthesis.check.patterns import QUOTATION, WordList, own_words
from synthesis.check.stance import DENIAL, NEGATION, claimed, verdicts
from texts.names import names_agree
from texts.note import find_urls, without_urls
from texts.values import Number
from texts.words import mask, overlap, stem, word_set

Nli = Callable[
    [Sequence[tuple[str, str]]], list[tuple[float, float, float]]
]  # (premise, hypothesis) -> (contradiction, entailment, neutral)

_OPPOSITES_TEXT = (
    "true false, real fake, genuine fake, authentic fabricated, legal illegal, lawful unlawful, guilty innocent, won lost, win lose, increase decrease, increased decreased, rose fell, rise fall, "
    "higher lower, more fewer, more less, before after, approved rejected, accept reject, accepted rejected, confirmed denied, confirm deny, alive dead, survived died, safe dangerous, "
    "effective ineffective, support oppose, supported opposed, allowed banned, allow ban, legalised banned, opened closed, open closed, first last, included excluded, old new, passed failed, "
    "acquitted convicted, convicted cleared, arrested released, hired fired, best worst, largest smallest, highest lowest, majority minority, proven unproven, possible impossible, "
    "accurate inaccurate, correct incorrect, raised cut, expanded reduced, gained lost, joined left, men women, male female, public private, domestic foreign, vaccinated unvaccinated, "
    "verdadero falso, legal ilegal, aumentó disminuyó, subió bajó, antes después, aprobado rechazado, verdadeiro falso, aumentou diminuiu, vrai faux, légal illégal, avant après, hausse baisse, "
    "wahr falsch, echt gefälscht, legal illegal, gestiegen gesunken, vorher nachher, schuldig unschuldig, vero falso, prima dopo"
)
_OPPOSITES: dict[str, frozenset[str]] = {}
for _pair in _OPPOSITES_TEXT.split(","):
    _a, _b = (stem(word) for word in _pair.split())
    _OPPOSITES[_a] = _OPPOSITES.get(_a, frozenset()) | {_b}
    _OPPOSITES[_b] = _OPPOSITES.get(_b, frozenset()) | {_a}
MAX_PAIRS = 200  # sentence pairs put to an inference model per draft


def check_support(draft: Draft, nli: Nli | None = None) -> list[Finding]:
    """Sentences whose content the sources do not have, sentences that turn a source sentence round."""
    evidence = evidence_of(draft)
    findings: list[Finding] = []
    for sentence in evidence.draft:
        if len(sentence.content) >= 4:
            share = overlap(sentence.content, evidence.content)
            if share < draft.settings.min_overlap:
                reason = f"Only {share:.0%} of what this sentence speaks of occurs in the sources."
                findings.append(Finding("support.entailment", reason, sentence.span.start, sentence.span.end))
                continue
        findings += _turned_round(draft, evidence, sentence) or _none_of_some(evidence, sentence)
    if nli is not None:
        findings += _inferred(draft, evidence, nli)
    return findings + check_checkable(draft)


# What a reader could look up though no link leads there: who found, ruled, keeps or shows it.
_RECORDS = WordList(
    "according to", "study", "studies", "survey", "census", "poll", "report", "reports", "reported", "reporting", "court", "courts", "ruling", "ruled", "law", "laws", "statute", "constitution", "amendment",
    "agency", "ministry", "police", "records", "document", "documents", "transcript", "interview", "confirmed", "announced", "article", "website", "archive", "press release", "screenshot", "another post", "another tweet", "earlier post", "earlier tweet", "label", "watermark", "satir*", "parod*", "comedian*", "skit", "sátira", "paródia", "humorista*", "humoriste*", "satirisch*",
    "según", "estudio", "encuesta", "informe", "tribunal", "ley", "ministerio", "policía", "documento*", "entrevista", "confirmó", "anunció", "artículo", "archivo", "segundo", "pesquisa", "relatório", "lei", "ministério", "polícia", "confirmou", "anunciou", "artigo",
    "selon", "étude", "sondage", "rapport", "loi", "ministère", "entretien", "confirmé", "annoncé", "laut", "studie", "umfrage", "bericht*", "gericht*", "gesetz*", "ministerium", "polizei", "dokument*", "bestätigt*", "artikel", "archiv*", "secondo", "rapporto", "legge", "ministero", "polizia",
)  # fmt: skip
_GENERAL = frozenset(["breaking", "trending", "tweet", "twitter", "birdwatch", "news", "ill", "god", "internet"])
_CASED = frozenset(["en", "es", "pt", "fr", "it", "nl", "sv", "da", "no", "pl", "ro", "ca", "de"])


def check_checkable(draft: Draft) -> list[Finding]:
    """A text without a link in which there is no number, date, quotation, record or name that the post has not: an opinion or a bare assertion.

    Where names cannot be told by their capitals, or no word is known of the language, nobody can tell.
    """
    evidence = evidence_of(draft)
    spoken = [s for s in evidence.draft if s.words]
    if draft.urls or not spoken or (evidence.language or "")[:2] not in _CASED:
        return []
    if any(s.numbers or s.dates for s in spoken) or QUOTATION.search(draft.text) or _RECORDS.search(own_words(draft)):
        return []
    posts = [name for s in evidence.all if s.source < 0 for name in s.names]
    told = (n for s in spoken for n in s.names if n.sure and not _GENERAL & set(n.words))
    if any(not any(names_agree(name, other) for other in posts) for name in told):
        return []
    reason = "The text has neither a source nor anything that could be looked up: no number, date, name, quotation or record."
    return [Finding("support.checkable", reason, spoken[0].span.start, spoken[-1].span.end)]


_VERDICTS = frozenset(
    stem(w) for w in word_set("true correct accurate right case cierto verdad verdade vrai wahr richtig vero")
)


def negations(sentence: Sentence, other: Sentence, reach: int = 1) -> int:
    """How many negations of a sentence bear on something the other sentence speaks of too.

    What a negation bears on is the next content word (the next `reach` of them; 'true' in 'not true that' is passed over), or the one before where none follows (or the script puts it after). 'In
    2019, not 2020' against 'In 2019' negates nothing the second one says.
    """
    text = mask(sentence.span.text, find_urls(sentence.span.text))[:1000]
    words = [t for t in sentence.words if t.stem in sentence.content]
    live = 0
    for negation in NEGATION.finditer(text):
        start, end = negation.start + sentence.span.start, negation.end + sentence.span.start
        following = [t.stem for t in words if t.start >= end and t.stem not in _VERDICTS][:reach]
        before = next((t.stem for t in reversed(words) if t.end <= start), None)
        targets = [before] if not following or not negation.text.isascii() else following
        live += any(target is None or target in other.content for target in targets)
    return live


_NOBODY = WordList(
    "nobody", "no one", "none", "nothing", "not a single", "not one", "zero", "no", "nadie", "ninguno", "ningún", "ninguna", "nada", "ninguém", "nenhum", "nenhuma", "personne", "aucun", "aucune", "rien",
    "niemand", "niemanden", "kein", "keine", "keinen", "keiner", "nichts", "nessuno", "nessuna", "niente",
)  # fmt: skip


def _none_of_some(evidence: Evidence, sentence: Sentence) -> list[Finding]:
    """'... and sent nobody' where a source says that 31 were sent: none of what a source counts, with nothing denied there."""
    text = mask(sentence.span.text, find_urls(sentence.span.text))[:1000]
    words = [t for t in sentence.words if t.stem in sentence.content]
    if DENIAL.search(text) is not None or claimed(sentence):
        return []
    for found in _NOBODY.finditer(text):
        start, end = found.start + sentence.span.start, found.end + sentence.span.start
        near = {t.stem for t in [t for t in words if t.end <= start][-1:] + [t for t in words if t.start >= end][:2]}
        counting = [
            s
            for s in evidence.notes
            if near & s.content and any(_counts(n, s, near) for n in s.numbers) and not NEGATION.search(s.span.text)
        ]
        if counting and not any(near & s.content and _NOBODY.search(s.span.text) for s in evidence.notes):
            reason = f"'{found.text}', where source {counting[0].source + 1} has '{counting[0].span.text[:100]}'."
            return [Finding("support.contradiction", reason, start, end)]
    return []


def _counts(number: Number, sentence: Sentence, near: set[str]) -> bool:
    """Whether a number that is no year stands within a few words of one of `near`."""
    if max(number.values, default=0) <= 0 or (len(number.text.strip()) == 4 and not number.unit):
        return False
    place = [i for i, t in enumerate(sentence.words) if number.start <= t.start < number.end] or [0]
    return any(t.stem in near and abs(i - place[0]) <= 5 for i, t in enumerate(sentence.words))


def _turned_round(draft: Draft, evidence: Evidence, sentence: Sentence) -> list[Finding]:
    """The sentence against the source sentences that share most with it: one negation more or less, or an opposite word.

    A single source sentence that fits as well and agrees is enough to let it pass: sources may differ among themselves.
    """
    if len(sentence.content) < 3:
        return []
    negation_free = sentence.content - verdicts(sentence)
    rows = []
    for other in evidence.notes:
        # Compared without the words of the verdict: "It is false that ..." speaks of the same things as "...".
        there = other.content - verdicts(other)
        shared = len(negation_free & there) / max(1, min(len(negation_free), len(there) + 2))
        if shared >= draft.settings.contradiction_overlap:
            rows.append((shared, other))
    if not rows:
        return []
    best = max(shared for shared, _ in rows)
    near = [other for shared, other in rows if shared >= best - 0.1]
    mine = {t.stem for t in sentence.words}
    reasons: list[str] = []
    for other in near:
        if claimed(sentence) and not claimed(other):
            return []  # whose claim it is says nothing on whether it is so
        theirs = {t.stem for t in other.words}
        denied = bool(verdicts(sentence)) - bool(verdicts(other))
        flips = (negations(sentence, other) - negations(other, sentence)) % 2
        turned = sorted(w for w in mine - theirs if _OPPOSITES.get(w, frozenset()) & (theirs - mine))
        if flips and not denied and not turned:
            reasons.append(
                f"One negates what the other states: source {other.source + 1} has '{other.span.text[:100]}'."
            )
        elif turned and not flips and not (set(turned) & verdicts(sentence) and denied):
            opposite = sorted(_OPPOSITES[turned[0]] & theirs)[0]
            reasons.append(f"'{turned[0]}' stands where source {other.source + 1} has '{opposite}'.")
        else:
            return []
    return [Finding("support.contradiction", reasons[0], sentence.span.start, sentence.span.end)]


def _inferred(draft: Draft, evidence: Evidence, nli: Nli) -> list[Finding]:
    """What the inference model says of each sentence against the source sentences closest to it."""
    settings = draft.settings
    pairs: list[tuple[Sentence, str, str]] = []
    for sentence in evidence.draft:
        if len(sentence.content) < 2:
            continue
        ranked = sorted(evidence.notes, key=lambda s: (-overlap(sentence.content, s.content), s.source, s.span.start))[
            :6
        ]
        pairs += [(sentence, _bare(other.span.text), _bare(sentence.span.text)) for other in ranked]
    pairs = pairs[:MAX_PAIRS]
    scores = nli([(premise, hypothesis) for _, premise, hypothesis in pairs])
    if len(scores) != len(pairs):
        raise RuntimeError(f"The inference model answered {len(scores)} of {len(pairs)} sentence pairs.")
    findings: list[Finding] = []
    for sentence in evidence.draft:
        mine = [(score, premise) for (s, premise, _), score in zip(pairs, scores, strict=True) if s is sentence]
        if not mine:
            continue
        contradiction, premise = max((score[0], premise) for score, premise in mine)
        entailment = max(score[1] for score, _ in mine)
        span = sentence.span
        # Contradiction first: asked the other way round most real contradictions pass as consistent.
        if contradiction >= settings.nli_contradiction and contradiction > entailment:
            findings.append(
                Finding(
                    "support.contradiction",
                    f"Contradicts '{premise[:100]}' (probability {contradiction:.2f}).",
                    span.start,
                    span.end,
                )
            )
        elif entailment < settings.nli_entailment:
            findings.append(
                Finding(
                    "support.entailment",
                    f"No source sentence entails it (best probability {entailment:.2f}).",
                    span.start,
                    span.end,
                )
            )
    return findings


def _bare(text: str) -> str:
    return without_urls(text).strip()


def load_nli(folder: str) -> Nli:
    """A natural-language-inference cross-encoder from a local folder, as a function of (premise, hypothesis) pairs.

    The order of its three classes is read from its configuration (`id2label`); a model without the three raises `InputError`.
    Nothing is downloaded.
    """
    from pathlib import Path

    from nouns.errors import InputError

    if not Path(folder).is_dir():
        raise InputError(
            f"settings.check_candidates.nli_model = {folder!r} is no folder; give a local cross-encoder or ''."
        )
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, local_files_only=True, device="cpu")
    labels = {str(name).lower(): int(i) for i, name in model.config.id2label.items()}
    order = [
        next((i for name, i in labels.items() if name.startswith(wanted)), None)
        for wanted in ("contradict", "entail", "neutral")
    ]
    if None in order:
        raise InputError(
            f"The model in {folder!r} has the classes {sorted(labels)}; expected contradiction, entailment and neutral."
        )

    def infer(pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float, float]]:
        if not pairs:
            return []
        rows = model.predict(list(pairs), apply_softmax=True, show_progress_bar=False, batch_size=16)
        return [(float(row[order[0]]), float(row[order[1]]), float(row[order[2]])) for row in rows]

    return infer
