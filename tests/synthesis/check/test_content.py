"""Checks that see content: faithful texts pass, their unfaithful twins do not, in three languages."""

from __future__ import annotations

import json

import pytest

from synthesis.check.check import check_text, check_text_json, passed
from tests.synthesis.check.content_twins import L1, L2, MATTERS, Matter

KINDS = sorted({kind for matter in MATTERS for kind in matter.unfaithful})


def outcome(text: str, matter: Matter):
    return check_text(text, matter.sources, post_text=matter.post, language=matter.language, lent=matter.lent)


def why(text: str, matter: Matter) -> list[tuple[str, str]]:
    return [(r.principle, r.reason) for r in outcome(text, matter) if r.outcome != "passed"]


@pytest.mark.parametrize("matter", MATTERS, ids=lambda m: m.post[:20])
def test_faithful_texts_pass(matter):
    assert {text: found for text in matter.faithful if (found := why(text, matter))} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_unfaithful_twins_fail(kind):
    twins = [(text, matter) for matter in MATTERS for text in matter.unfaithful.get(kind, ())]
    assert twins
    assert [text for text, matter in twins if passed(outcome(text, matter))] == []


def test_the_council_that_sent_nobody_fails_beside_the_source_that_counts_31():
    source = f"City records show that 31 firefighters were sent within the hour. {L2}"
    for text in ("The council knew and sent nobody.", "Nobody was sent.", "The council sent no firefighters at all."):
        for post in ("The council knew and sent nobody!", None):
            assert not passed(check_text(f"{text} {L2}", [source], post_text=post, language="en"))


def test_a_number_or_name_of_the_post_may_be_denied_or_told_as_claimed_but_not_given():
    matter = MATTERS[0]
    for text in (
        f"The council of Lindow sent 31 firefighters. It is not true that 90 people lost their homes. {L1}",
        f"The post claims that 90 people lost their homes; the report gives 12. {L1}",
    ):
        assert why(text, matter) == []
    assert "facts.numbers" in dict(why(f"90 people lost their homes, not 12. {L1}", matter))


def test_a_text_that_one_source_gives_whole_does_not_contradict_itself():
    source = f"Exports fell by 32 % to Norway. Exports fell by 45 % to Chile. {L1}"
    assert passed(check_text(source, [source], language="en"))


@pytest.mark.parametrize(
    ("language", "bad", "good"),
    [
        ("en", "There was no ban.", f"There was no ban: the order lapsed in March. {L1}"),
        ("es", "No hubo ninguna prohibición.", f"No hubo ninguna prohibición, según el ministerio. {L1}"),
        ("de", "Es gab kein Verbot.", f"Es gab kein Verbot, sondern eine Empfehlung. {L1}"),
        ("en", "killed 82 people in Lindow.", f"In the siege of 1993 agents killed 82 people in Lindow. {L1}"),
        ("es", "mató a 82 personas en Lindow.", f"La explosión mató a 82 personas en Lindow. {L1}"),
        ("de", "tötete 82 Menschen in Lindow.", f"Die Explosion tötete 82 Menschen in Lindow. {L1}"),
        ("en", "The figure is 12, as stated in this tweet.", f"The figure is 12, as stated in this report. {L1}"),
        ("es", "La cifra es 12, como se indica en este hilo.", f"La cifra es 12, como se indica en este hilo. {L1}"),
        ("de", "Es sind 12, wie in diesem Artikel steht.", f"Es sind 12, wie in diesem Artikel steht. {L1}"),
        ("en", "The raid killed 82 innocent people.", f"The raid killed 82 people. {L1}"),
        ("en", "The figure is 12. A lie of the left, as always.", f"The figure is 12, not 90. {L1}"),
        ("es", "La cifra es 12. Mentira de la izquierda, como siempre.", f"La cifra es 12, no 90. {L1}"),
        ("de", "Es sind 12. Eine Lüge der Linken, wie immer.", f"Es sind 12, nicht 90. {L1}"),
    ],
)
def test_bare_denials_pieces_of_sentences_pointers_into_nothing_and_charged_words_fail(language, bad, good):
    """The first of each pair, though its source is its own words; the second says the same as a note may."""
    source = bad if bad[0].isupper() else good
    refused = {r.principle for r in check_text(bad, [source], language=language) if r.outcome != "passed"}
    assert refused & {"conduct.disputed", "style.finished", "neutral.wording"}
    assert [r for r in check_text(good, [good], language=language) if r.outcome != "passed"] == []


def test_one_event_told_by_two_sources_is_told_once():
    first = f"Mara Hale in fact won the vote in Lindow and was sworn in on May 20th, 2021. {L1}"
    second = f"The vote was certified and she was later sworn in on May 20, 2021, in Lindow. {L2}"

    def refused(sources):
        results = check_text(f"{first} {second}", sources, language="en")
        return {r.principle for r in results if r.outcome != "passed"} & {"style.finished"}

    assert refused([first, second])
    assert not refused([f"{first} {second}"])


def test_advice_fails_and_an_authority_that_gives_it_is_told():
    for advice, told in (
        ("Every person should get vaccinated.", "The clinic says that every adult should get vaccinated."),
        ("People must stop the trips to Lindow.", "Police told reporters that people must stop the trips to Lindow."),
    ):
        failed, passes = (
            {r.principle for r in check_text(f"{t} {L1}", [f"{t} {L1}"], language="en") if r.outcome != "passed"}
            for t in (advice, told)
        )
        assert (failed, passes) == ({"neutral.no_opinion"}, set())


def test_what_another_note_of_the_post_states_is_not_denied_with_a_link_alone():
    denial = f"There was no travel ban. {L1}"
    other = "An order set up a travel ban in 2017."

    def refused(text):
        results = check_text(text, [text], own_notes=[text, other], language="en")
        return {r.principle for r in results if r.outcome != "passed"}

    assert refused(denial) == {"conduct.disputed"}
    assert refused(f"There was no travel ban, because a court suspended the order. {L1}") == set()


def test_a_name_exchanged_in_a_copied_sentence_fails_and_a_title_or_a_shorter_form_passes():
    source = f"The pledge was halted by a federal judge in Veldmark after Senator Mara Hale had asked the Northern Union for help. The Western Union declined. {L1}"

    def refused(text):
        return {r.principle for r in check_text(f"{text} {L1}", [source], language="en") if r.outcome != "passed"}

    kept = "The pledge was halted by a federal judge in Veldmark after Hale had asked the Northern Union for help."
    assert refused(kept) == set()
    assert refused(kept.replace("Veldmark", "Hale")) == {"facts.entities"}
    assert refused(kept.replace("Northern", "Western")) == {"facts.entities"}
    assert refused(kept.replace("Hale", "Veldmark")) == {"facts.entities"}


def test_an_accusation_a_source_makes_of_the_same_person_passes_and_of_another_fails():
    source = f"Mara Hale was convicted of fraud in 2019, the court wrote. Ivo Dorn was audited in 2019. {L1}"
    assert passed(check_text(f"Mara Hale was convicted of fraud in 2019. {L1}", [source], language="en"))
    assert not passed(check_text(f"Ivo Dorn was convicted of fraud in 2019. {L1}", [source], language="en"))


def test_the_case_of_a_reply_cut_by_its_length():
    line = {
        "id": "0",
        "text": f"The photo was taken in October 2019 in Port Lisle ({L1}) and does not show Rivervale, as the",
        "sources": [
            f"The photo was taken in October 2019 in Port Lisle and does not show Rivervale, as the shop sign shows. {L1}"
        ],
    }
    verdict = check_text_json(line)
    assert not verdict["passed"]
    assert "style.finished" in {row["principle"] for row in verdict["checks"] if row["outcome"] == "failed"}
    json.dumps(verdict)
    whole = check_text_json(line | {"text": line["sources"][0]})
    assert whole["passed"]


# Kinds of texts that won and nobody wanted, each in three languages: (language, unfit, fit). The source of each is its own words.
UNWANTED = {
    "support.checkable": (
        ("en", "Anything that comes from this place is just too strange to be true.", "Anything that comes from this place is sold under licence 4711."),
        ("en", "That would be a very good beginning for all of them.", "The court wrote that this would be a good beginning."),
        ("en", "The person in this film is ill and filming it is unkind.", f"The person in this film is ill, the family says. {L1}"),
        ("es", "Todo lo que viene de este lugar es demasiado raro para ser cierto.", "Todo lo que viene de este lugar lleva el sello de Lindow desde 2016."),
        ("es", "Esa persona está enferma y filmarla es cruel para todos.", f"Esa persona está enferma, dice su familia. {L1}"),
        ("de", "Alles aus dieser Gegend ist viel zu seltsam, um wahr zu sein.", "Alles aus dieser Gegend trägt seit 2016 das Siegel der Stadt."),
        ("de", "Das wäre wirklich ein sehr guter Anfang für alle hier.", f"Das wäre ein guter Anfang, schreibt die Stadt. {L1}"),
    ),
    "neutral.wording": (
        ("en", f"News from Lindow needs a gigantic salt lick. {L1}", f"The figure comes from Lindow. {L1}"),
        ("en", f"The council helped create this mess in Lindow. {L1}", f"The council approved the plan for Lindow. {L1}"),
        ("en", f"So much for the flood wall of Lindow. {L1}", f"The flood wall of Lindow was finished in 2019. {L1}"),
        ("en", f"Lindow lies by the sea, who knew. {L1}", f"Lindow lies by the sea. {L1}"),
        ("es", f"Vaya sorpresa, Lindow está junto al mar. {L1}", f"Lindow está junto al mar. {L1}"),
        ("es", f"Lo de Lindow es un cuento chino. {L1}", f"Lo de Lindow ocurrió en 2016. {L1}"),
        ("de", f"Was für eine Überraschung, Lindow liegt am Meer. {L1}", f"Lindow liegt am Meer. {L1}"),
        ("de", f"In Lindow ist wieder Märchenstunde. {L1}", f"In Lindow wurde 2016 gebaut. {L1}"),
    ),
    "neutral.no_opinion": (
        ("en", f"Blow this photo up and note the shadow of the tower. {L1}", f"The photo shows the shadow of the tower. {L1}"),
        ("en", f"Now go buy his games. The film was made with software in 2019. {L1}", f"The film was made with software in 2019. {L1}"),
        ("en", f"Don't fall for it: the film is from 2019. {L1}", f"The film is from 2019. {L1}"),
        ("en", f"Anything from Lindow should be labelled as satire. {L1}", f"The page from Lindow is labelled as satire. {L1}"),
        ("es", f"Dejen de compartir esto, la foto es de 2016. {L1}", f"La foto es de 2016. {L1}"),
        ("es", f"Las noticias de Lindow deben ser etiquetadas como sátira. {L1}", f"Las noticias de Lindow llevan la etiqueta de sátira. {L1}"),
        ("de", f"Glaubt das nicht, das Foto ist von 2016. {L1}", f"Das Foto ist von 2016. {L1}"),
        ("de", f"Meldungen aus Lindow müssen als Satire gekennzeichnet werden. {L1}", f"Meldungen aus Lindow sind als Satire gekennzeichnet. {L1}"),
    ),
    "conduct.motive": (
        ("en", f"The members would probably want to leave Lindow. {L1}", f"Two members left Lindow in 2019. {L1}"),
        ("en", f"Those who don't agree would probably want to leave Lindow. {L1}", f"Those who don't agree left Lindow. {L1}"),
        ("en", f"They keep mischaracterizing the council of Lindow. {L1}", f"They described the council of Lindow in 2019. {L1}"),
        ("es", f"El alcalde probablemente quiere ganar las elecciones de Lindow. {L1}", f"El alcalde ganó las elecciones de Lindow. {L1}"),
        ("de", f"Der Bürgermeister will wohl die Wahl in Lindow gewinnen. {L1}", f"Der Bürgermeister gewann die Wahl in Lindow. {L1}"),
    ),
    "style.no_label": (
        ("en", f"The film was made with software in 2019. Low on the harms factor. {L1}", f"The film was made with software in 2019. {L1}"),
        ("es", f"La película se hizo en 2019, nivel de daño bajo. {L1}", f"La película se hizo en 2019. {L1}"),
        ("de", f"Der Film entstand 2019, geringer Schaden. {L1}", f"Der Film entstand 2019. {L1}"),
    ),
    "style.finished": (
        ("en", f"There were was no evidence of fire in Lindow in 2019. {L1}", f"There was no evidence of fire in Lindow in 2019. {L1}"),
        ("es", f"Los bomberos es son del pueblo de Lindow. {L1}", f"Los bomberos son del pueblo de Lindow. {L1}"),
        ("de", f"Die Leute ist sind aus dem Dorf Lindow. {L1}", f"Die Leute sind aus dem Dorf Lindow. {L1}"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("principle", sorted(UNWANTED))
def test_texts_nobody_wants_fail_and_their_plain_twins_pass(principle):
    """Nothing to look up, mockery without an insult, orders to the reader, guesses at what somebody wants, two verbs for one."""
    for language, unfit, fit in UNWANTED[principle]:
        refused, others = (
            {r.principle for r in check_text(text, [text], language=language) if r.outcome != "passed"}
            for text in (unfit, fit)
        )
        assert (principle in refused, others) == (True, set()), (language, unfit, refused, others)


@pytest.mark.parametrize(
    ("language", "source", "torn"),
    [
        ("en", f"Hospitals in Lindow stock the serum. Many choose not to carry this due to its price. {L1}", f"Many choose not to carry this due to its price. {L1}"),
        ("en", f"In the study the test missed 45 % of cancers. The 99 % are its specificity. {L1}", f"The 99 % are its specificity. {L1}"),
        ("en", f"The post states that the mayor paid two women. This has not been reported by any paper. {L1}", f"The post states that the mayor paid two women. {L1}"),
        ("es", f"El hospital de Lindow guarda el suero. Muchos no lo compran por eso y por su precio. {L1}", f"Muchos no lo compran por eso y por su precio. {L1}"),
        ("de", f"Das Krankenhaus in Lindow lagert das Serum. Viele Häuser raten davon wegen der Kosten ab. {L1}", f"Viele Häuser raten davon wegen der Kosten ab. {L1}"),
    ],
)  # fmt: skip
def test_a_sentence_torn_from_the_one_it_needs_fails(language, source, torn):
    """What 'this' or 'its' means, or what is said against a claim, stands in the sentence that was left out."""
    kept, lost = (
        {r.principle for r in check_text(text, [source], language=language) if r.outcome != "passed"}
        for text in (source, torn)
    )
    assert kept == set()
    assert lost & {"style.finished", "support.claim"}


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", f"The tweet in question was a real tweet. {L1}", f"She does not have a tweet with those words. {L2}"),
        ("en", f"The photo is an authentic photo from Lindow. {L1}", f"The photo was altered in Veldmark. {L2}"),
        (
            "en",
            "This has not been reported by any news source.",
            f"Receipts show that the mayor paid two drivers. {L2}",
        ),
        ("es", f"La foto es una foto real de Lindow. {L1}", f"La foto es falsa, según el archivo. {L2}"),
        ("es", "Ningún medio lo ha publicado.", f"El alcalde pagó a dos conductores, según los recibos. {L2}"),
        ("de", f"Das Bild ist ein echtes Bild aus Lindow. {L1}", f"Das Bild ist gefälscht, sagt das Archiv. {L2}"),
        ("de", "Keine Zeitung hat das gemeldet.", f"Der Bürgermeister bezahlte laut Belegen zwei Fahrer. {L2}"),
    ],
)
def test_notes_that_exclude_each_other_are_not_merged(language, one, other):
    """One calls it real and the other says there is none, or one says that nobody reports it and the other links the report."""

    def refused(text, sources):
        results = check_text(text, sources, language=language)
        return {r.principle for r in results if r.outcome != "passed"}

    assert refused(f"{one} {other}", [one, other]) & {"support.consistency", "conduct.disputed"}
    assert refused(other, [one, other]) == set()


@pytest.mark.parametrize(
    ("language", "denial", "other"),
    [
        ("en", "There was no travel ban.", f"The quotation is from a longer speech. {L1}"),
        ("es", "No hubo ninguna prohibición.", f"La cita es de un discurso más largo. {L1}"),
        ("de", "Es gab kein Verbot.", f"Das Zitat stammt aus einer längeren Rede. {L1}"),
    ],
)
def test_a_bare_denial_joined_with_another_notes_matter_fails(language, denial, other):
    def refused(sources):
        results = check_text(f"{denial} {other}", sources, language=language)
        return {r.principle for r in results if r.outcome != "passed"}

    assert refused([denial, other]) == {"conduct.disputed"}
    assert refused([f"{denial} {other}"]) == set()


@pytest.mark.parametrize(
    ("language", "text", "helpful", "agreeing"),
    [
        ("en", f"The repair is put at 27 million crowns. {L1}", "The repair costs 34 million crowns.", "The repair costs 27 million crowns."),
        ("en", f"Burglary did not rise in Lindow last year. {L1}", "Burglary in Lindow rose last year, police say.", "Police say burglary did not rise in Lindow last year."),
        ("es", f"La reparación cuesta 27 millones de coronas. {L1}", "La reparación cuesta 34 millones de coronas.", "La reparación cuesta 27 millones de coronas según el informe."),
        ("es", f"Los robos no aumentaron en Lindow el año pasado. {L1}", "Los robos aumentaron en Lindow el año pasado.", "Los robos en Lindow no aumentaron el año pasado."),
        ("de", f"Die Reparatur kostet 27 Millionen Kronen. {L1}", "Die Reparatur kostet 34 Millionen Kronen.", "Die Reparatur kostet 27 Millionen Kronen laut Bericht."),
        ("de", f"Die Einbrüche nahmen in Lindow nicht zu. {L1}", "Die Einbrüche nahmen in Lindow zu.", "Die Einbrüche in Lindow nahmen nicht zu."),
    ],
)  # fmt: skip
def test_a_text_says_nothing_else_than_a_note_that_raters_found_helpful(language, text, helpful, agreeing):
    def refused(received):
        results = check_text(text, [text], language=language, own_notes=[text, *received], received=received)
        return {r.principle for r in results if r.outcome != "passed"}

    assert "support.received" in refused([helpful])
    assert refused([agreeing]) == set()
