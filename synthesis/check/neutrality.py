"""Neutral wording, no opinion: word lists and small rules in several languages, outside quotations.

Lists of words are crude and meant to be: they catch what is never right in a note of its own voice. Finer judgement is for
the judging model (`synthesis/judge/judge.py`), asked for finalists only.
"""

from __future__ import annotations

import regex

from synthesis.check.base import Draft, Finding, placed
from synthesis.check.patterns import WordList, find_all, own_words

_LOADED = WordList(
    # English: insults, mockery, loaded or triumphant words
    "idiot*", "stupid*", "moron*", "imbecile*", "dumb", "dumbass", "clown*", "scum", "disgusting*", "pathetic*", "ridiculous*", "absurdly", "is absurd", "what an absurd", "utterly absurd", "laughable", "lol", "lmao", "bullshit",
    "bs", "crap", "shit*", "fuck*", "asshole*", "bitch*", "retard*", "liar*", "is lying about", "are lying about", "is lying to", "are lying to", "was lying to", "lying through", "is lying.", "a lie", "blatant lies", "the lies", "full of lies", "shameful*", "shameless*", "disgraceful", "evil", "vile", "hateful", "bigot*",
    "grifter*", "grift", "shill", "shills", "shilling for", "propagandist*", "brainwashed", "sheep", "snowflake*", "libtard*", "magats", "woke mob", "hysterical", "insane", "crazy", "delusional",
    "fearmongering", "blatant lie", "blatantly", "outrageously", "is outrageous", "so-called", "cherry-picking", "garbage", "nonsense",
    "farce", "circus", "embarrass*", "silly", "foolish*", "fool", "fools", "clueless", "gullible", "cringe*", "comical*", "hilarious*", "awful*", "appalling*", "atrocious*", "horrendous*", "deplorable*", "despicable*", "repugnant*", "dishonest*",
    "nice try", "yeah right", "give me a break", "come on", "grow up", "look it up", "do your homework", "learn to read", "news flash", "newsflash", "good luck with", "spare us", "wake-up call", "hogwash", "baloney", "nuts", "lunatic*", "moronic", "scaremonger*", "hate-mongering", "cult", "puppet*", "cronies", "thugs",
    "innocent people", "innocent americans", "innocent civilians", "innocent children", "innocent women", "innocent men", "innocent lives", "innocent victims", "in cold blood", "gente inocente", "niños inocentes", "vidas inocentes", "pessoas inocentes", "crianças inocentes", "unschuldige menschen", "unschuldige kinder", "innocents", "a sangre fría", "kaltblütig", "de sang-froid",
    "yet another", "as always", "lie of the left", "lie of the right", "lies of the left", "lies of the right", "leftist lies", "leftist lie", "como siempre", "mentira de la", "mentira de los", "mentiras de la", "mentiras de los", "como sempre", "mentira da", "mentiras da", "comme toujours", "mensonge de la", "mensonges de la", "wie immer", "lüge der", "lügen der", "come sempre", "bugia della", "totally debunked", "more fake news", "fake news media", "slop", "is trash", "hypocrit*", "cowardly", "traitor*", "regime media", "mainstream lies",
    # Sarcasm and mockery that carry no insult
    "salt lick", "this mess", "that mess", "what a mess", "in a mess", "excellent start", "excellent starting point", "good start would", "nice starting point", "great starting point", "spoiler alert", "pro tip", "oh wait", "oh look", "who knew", "shocker", "bless his heart", "bless her heart", "bless their hearts", "tell me you", "do better",
    "try again", "thanks for playing", "cry me", "rent free", "captain obvious", "slow clap", "gold medal for", "tin foil", "tinfoil", "kool-aid", "kool aid", "fantasy land", "fantasyland", "la-la land", "alternate universe", "parallel universe", "word salad", "trouble making", "troublemaking", "whine", "whines", "whining", "whiner*", "tantrum*",
    "wannabe", "wanna be", "fanboy*", "so much for", "what could go wrong", "virtue signal*", "pearl clutch*", "pearl-clutch*", "must be nice", "nothing to see here", "gaslight*", "nothing but lies", "nothing but hate", "nothing but propaganda", "dumpster fire", "laughingstock", "laughing stock", "lmfao", "rofl", "haha*", "smh", "facepalm*", "eye roll", "drama queen*", "keyboard warrior*",
    "qué sorpresa", "vaya sorpresa", "vaya novedad", "menuda novedad", "no me digas", "cuento chino", "patraña*", "payasada*", "disparate*", "tontería*", "chorrada*", "jaja*", "chapeau", "que surpresa", "piada pronta", "kkkk*", "bobagem", "bobagens", "besteira*", "conto da carochinha", "quelle surprise", "mdr", "balivernes", "sornettes", "sans blague", "du grand n'importe quoi", "welche überraschung", "was für eine überraschung", "märchenstunde", "quatsch", "unsinn", "ach was", "herzlichen glückwunsch", "ammenmärchen", "che sorpresa", "sciocchezz*", "buffonat*",
    # Spanish, Portuguese
    "idiotas", "estúpid*", "ridícul*", "mentiros*", "vergonzos*", "asqueros*", "payaso*", "imbécil*", "mierda", "basura", "patético*", "vergonhos*", "palhaço*", "nojent*", "lixo",
    # French, Italian
    "ridicule*", "menteur*", "menteuse*", "honteu*", "imbécile*", "débile*", "connard*", "merde", "ridicol*", "bugiard*", "vergognos*", "schifos*", "cretin*",
    # German, Dutch
    "lächerlich*", "dumme*", "lügner*", "schwachsinn*", "idiotisch*", "peinlich", "widerlich*", "blödsinn", "belachelijk*", "leugenaar*", "onzin",
    # Japanese
    "馬鹿", "バカ", "嘘つき", "デマ野郎", "くだらない", "最低な", "恥知らず", "悪質な",
)  # fmt: skip
_OPINION = WordList(
    "I think", "I believe", "I guess", "I feel", "I don't think", "in my opinion", "in my view", "imo", "imho", "my opinion", "we think", "we believe", "personally", "obviously",
    "clearly just", "everyone knows", "common sense", "should be ashamed", "should stop", "shouldn't share", "don't share", "do not share", "do your own research", "wake up", "must be held",
    "needs to stop", "sadly", "unfortunately", "thankfully", "hopefully", "fortunately", "it is sad", "it's sad", "good for", "bad for everyone", "people should", "we should", "we must",
    "no doubt that", "needless to say", "it goes without saying", "of course", "frankly", "let's be honest", "to be honest", "believe it or not", "surprise surprise", "what a", "how convenient", "clearly just", "should know better", "should be ashamed", "should be banned", "should be fired", "should be jailed", "should be removed", "should be deleted", "should be arrested", "should be shared", "ought to", "deserve better", "must resign", "should resign", "need to wake up",
    "worst ever", "best ever", "greatest ever", "is a disgrace", "is a shame", "it is clear that", "undeniably", "undoubtedly", "unquestionably", "as usual", "yet again", "makes no sense", "doesn't make sense", "is unfair", "is wrong to", "is a bad idea", "is a good idea",
    "por supuesto", "claro que", "sin duda", "todo el mundo sabe", "cualquiera sabe", "debería", "debe dimitir", "qué vergüenza", "es una vergüenza", "una broma", "un chiste", "es evidente que", "francamente", "com certeza", "todo mundo sabe", "qualquer um sabe", "é óbvio", "uma piada", "deveria", "claro que", "uma vergonha",
    "bien sûr", "tout le monde sait", "n'importe qui sait", "il est évident", "une blague", "devrait", "devraient", "une honte", "franchement", "natürlich", "jeder weiß", "jeder weiss", "selbstverständlich", "ein witz", "sollte", "sollten", "eine schande", "ehrlich gesagt", "bekanntlich", "zweifellos", "ovviamente", "lo sanno tutti", "dovrebbe", "una vergogna", "誰でも知って", "笑える",
    "creo que", "en mi opinión", "deberían", "lamentablemente", "desgraciadamente", "obviamente", "acho que", "na minha opinião", "infelizmente", "deveriam",
    "je pense", "à mon avis", "malheureusement", "évidemment", "ich denke", "ich glaube", "meiner meinung nach", "leider", "offensichtlich", "penso che", "purtroppo", "secondo me",
    "と思います", "と思う", "だと思われ", "残念ながら", "べきです", "べきだ",
)  # fmt: skip
_SPECULATION = WordList(
    "probably", "perhaps", "maybe", "might have been", "may have been", "could have been", "must have been", "presumably", "supposedly", "it seems", "seems to be", "seems like", "I suspect",
    "most likely", "who knows", "it is possible that", "quizás", "quizá", "tal vez", "probablemente", "parece que", "talvez", "provavelmente", "peut-être", "probablement", "sans doute",
    "il semble", "vielleicht", "wahrscheinlich", "vermutlich", "möglicherweise", "anscheinend", "forse", "probabilmente", "misschien", "waarschijnlijk", "おそらく", "かもしれ", "たぶん",
)  # fmt: skip
# Appeals to what everybody is said to know, and questions and headings that mock.
_APPEAL = regex.compile(
    r"(?i)\b(?:any(?:one|body)|every(?:one|body)|all of us|we all|most people|(?:any|every) (?:\p{L}+ ){0,2}(?:person|child|adult|fool|doctor|voter|parent|reader|scientist|student|citizen)|no (?:sane|serious|reasonable|thinking) \p{L}+|people) (?:(?:who|with|that|in|of) (?:[\p{L}’']+ ){1,6})?(?:already |surely |can |could |would |will |should |really )*(?:knows?|sees?|tells?|understands?|remembers?|realizes?|realises?|recognizes?|agrees?|believes?)\b"
    r"|\b(?:cualquiera|todo el mundo|todos|quien|nadie) (?:(?:que|con) (?:[\p{L}]+ ){1,5})?(?:ya )?(?:sabe|saben|ve|entiende|recuerda|cree)\b|\b(?:qualquer (?:um|pessoa)|todo mundo|todos|ninguém) (?:que (?:[\p{L}]+ ){1,5})?(?:já )?(?:sabe|sabem|vê|entende|acredita)\b"
    r"|\b(?:tout le monde|n[’']importe qui|chacun|personne) (?:qui (?:[\p{L}]+ ){1,5})?(?:ne )?(?:sait|voit|comprend|croit)\b|\b(?:jeder|jede|alle|niemand|wer)(?:,? d(?:er|ie) (?:[\p{L}]+ ){1,5},?)? (?:weiß|weiss|wissen|sieht|versteht|glaubt)\b|\b(?:tutti|chiunque) (?:sanno|sa|vede|capisce)\b|誰でも(?:知|わか)|誰もが"
    r"|\bit[’']?s (?:literally |just |simply )?called (?:\p{Lu}{3,}|(?:a |an |the )?\p{L}+\.?$)|\b(?:basic|simple|elementary) (?:math|maths|arithmetic|biology|physics|science|economics|logic|geography|history|reading)\b|\b(?:se llama|si chiama|das nennt man|ça s[’']appelle) "
)
# What people are told to do; what an authority recommends is a fact about it, and is written so ("the CDC recommends").
_ADVICE = regex.compile(
    r"(?i)\b(?:every(?:one|body| \p{L}+)|all (?:\p{L}+ )?(?:people|adults|citizens|parents|children|americans)|people|citizens|parents|adults|nobody|no one|you|we) (?:should|must|ought to|need to|have to) (?:not |all |really |also )*(?:get|be|wear|take|stop|avoid|read|check|vote|trust|believe|follow|know|learn|go|do|see|watch|listen|consider|remember)\b"
)
# What is told to be done with things or people, and what readers are told to do themselves.
_OUGHT = regex.compile(
    r"(?i)\b(?:should|must|ought to|needs? to|has to|have to)(?:n[’']t)? (?:not |all |also |only |never |really |just )*be (?:examined|labell?ed|treated|viewed|taken with|ignored|removed|deleted|blamed|trusted|believed|read|flagged|banned|fired|jailed|arrested|prosecuted|condemned|questioned|dismissed|celebrated|praised|ashamed|careful|worried|afraid|proud|marked|tagged)\b"
    r"|\b(?:debe|deben|hay que|deve|devem) (?:ser |estar |se )?(?:tomar\w*|tratar\w*|tratad\w+|etiquetad\w+|etiquetar|ignorar\w*|ignorad\w+|eliminad\w+|borrar\w*|apagad\w+|rotulad\w+|levad\w+)\b|\b(?:doit|doivent|il faut) (?:être )?(?:pris\w*|prendre|trait[ée]\w*|étiquet\w*|ignor\w*|supprim\w*|signal[ée]\w*)\b|\b(?:muss|müssen|gehört|gehören) (?:man )?(?:[\p{L}]+ ){0,6}(?:gekennzeichnet|gelöscht|ignoriert|betrachtet|behandelt|verboten|eingesperrt|entlassen)\b"
)
_ORDER = regex.compile(
    r"(?i)^\W*(?:(?:please|now|just|so|then|first|and|but) )*(?:(?:go|blow|google|buy|label|delete|remove|stop|wake|educate|ask|imagine|try|beware|zoom|enlarge|picture|take|put|show me|give|tell|think|look|keep|call|quit) (?:the|this|that|these|it|them|him|her|his|your|yourself|a|an|up|out|to|and|for|any|all|in|at|of|about|about it|buy|me|some|careful|calling|spreading|lying|sharing|posting|pretending|believing)\b|(?:do not|don[’']t|never|let[’']s|let us|be) (?:ever |all )?(?:believe|trust|listen|fall|forget|share|buy|spread|worry|vote|careful|honest|serious|real|kind|pretend|ask|see|not)\b)"
    r"|^\W*(?:no )?(?:compren|dejen de|deja de|busquen|busca en|investiguen|investiga|infórmate|infórmense|piensen|amplíen|amplía la|despierten|vayan|no crean|no creas|no compartan|comprem|parem de|pesquisem|acordem|não acreditem|pensem)\b|^\W*(?:achetez|arrêtez|cherchez|googlez|renseignez-vous|réveillez-vous|allez|ne croyez|pensez à|regardez-)\b|^\W*(?:kauft|kaufen sie|hört auf|hören sie auf|lasst|googelt|wacht|informiert euch|informieren sie sich|glaubt|glauben sie|denkt (?:mal )?nach|denken sie)\b"
)
# What is called a joke of a claim or plan mocks it; a post that is one (satire) is just described.
_JOKE = regex.compile(
    r"(?i)(?<!\b(?:it|this|that|which|post|tweet|video|account|quote|story|article|image|thread) )\b(?:is|are) (?:nothing but |just |such )?an? (?:total |complete |sick |bad |big |absolute )?joke\b|\bwhat a joke\b"
)
_QUESTION = regex.compile(r"[?？؟]\s*$")
_FIRST_PERSON = WordList(
    "unable to find",
    "couldn't find",
    "could not find any",
    "can't find",
    "cannot find any",
    "no encontré",
    "no he encontrado",
    "não encontrei",
    "je n'ai trouvé",
    "konnte keine quelle finden",
    "I",
    "I'm",
    "I've",
    "I'd",
    "me",
    "my",
    "we're",
    "we've",
    "our government",
    "our country",
    "our nation",
    "our children",
    "our leaders",
    "our politicians",
    "our view",
    "us all",
    "yo",
    "mí",
    "eu",
    "je",
    "moi",
    "ich",
    "mein",
    "meine",
    "私は",
    "私の",
    "僕",
)
# Somebody else's guess, named as such, is a fact about them.
_ATTRIBUTED = WordList(
    "said", "says", "according to", "estimated", "estimates", "wrote", "told", "found", "reported", "experts", "researchers", "study", "officials", "police", "court", "scientists",
    "según", "segundo", "selon", "laut", "secondo", "volgens", "によると", "によれば",
)  # fmt: skip


def check_neutrality(draft: Draft) -> list[Finding]:
    """Loaded words, opinions, unattributed guesses, first person."""
    text = own_words(draft)
    findings = find_all(_LOADED, text, "neutral.wording", "The wording '{found}' is loaded or insulting.")
    findings += find_all(_OPINION, text, "neutral.no_opinion", "'{found}' gives an opinion or advice.")
    for sentence in draft.sentences:
        own = text[sentence.start : sentence.end]
        if _ATTRIBUTED.search(own):
            continue
        guesses = find_all(
            _SPECULATION, own, "neutral.no_opinion", "'{found}' guesses, and names nobody whose guess it is."
        )
        found = [f for f in guesses if not _hedged_there(draft, own[f.start : f.end])]
        for advice in (_ADVICE, _OUGHT, _ORDER):
            found += find_all(advice, own, "neutral.no_opinion", "'{found}' gives advice.")
        findings += placed(found, sentence.start)
    findings += find_all(_APPEAL, text, "neutral.no_opinion", "'{found}' appeals to what everybody knows, or mocks.")
    findings += [
        Finding("neutral.no_opinion", "A question is no fact.", s.start, s.end)
        for s in draft.sentences
        if _QUESTION.search(text[s.start : s.end])
    ]
    findings += find_all(_JOKE, text, "neutral.wording", "The wording '{found}' mocks.")
    findings += [
        f
        for f in find_all(_FIRST_PERSON, text, "neutral.no_opinion", "'{found}' speaks in the first person.")
        if _is_person(draft, text[f.start : f.end], text[: f.start], text[f.end or 0 :])
    ]
    return findings


def _hedged_there(draft: Draft, hedge: str) -> bool:
    """Whether a source makes the same reservation: a note that keeps it says no more than its source does."""
    return any(regex.search(rf"(?i)(?<!\p{{L}}){regex.escape(hedge)}(?!\p{{L}})", source) for source in draft.sources)


def _is_person(draft: Draft, word: str, before: str, after: str) -> bool:
    language = (draft.language or "en")[:2]
    if word.lower() in ("i", "i'm", "i’m", "i've", "i’ve", "i'd", "i’d"):
        numeral = (
            regex.search(r"\p{Lu}\p{L}+ $|(?:[Ss]chedule|[Pp]hase|[Tt]ype|[Pp]art) $|\.\p{Lu}\.$|\p{Lu}\.$", before)
            or after[:1] == "."
        )
        return language == "en" and word[0] == "I" and not numeral
    if word.lower() in ("me", "my", "we're", "we’re", "we've", "we’ve", "our", "us all"):
        return language == "en"
    owners = {"yo": "es", "mí": "es", "eu": "pt", "je": "fr", "moi": "fr", "ich": "de", "mein": "de", "meine": "de"}
    return owners.get(word.lower(), language) == language
