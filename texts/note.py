"""Reading a note's text: its length as X counts it, its links, its sentences.

Everything here is deterministic, offline and linear in the length of the text, however hostile the text is: notes are
written by strangers. Positions (`start`, `end`) are always offsets into the string that was handed in.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import regex

MAX_TEXT = 20_000  # characters kept by `clean_text`; a note has at most a few hundred, a hostile one a megabyte
MAX_NOTE_LENGTH = 280  # X's limit in the units of `note_length`


@dataclass(frozen=True)
class Span:
    """A piece of a text: `text == whole[start:end]`."""

    text: str
    start: int
    end: int


# ---------------------------------------------------------------------------------------------------------- cleaning

# Entities with absurdly many digits make `html.unescape` raise (Python refuses to read such integers).
_HUGE_ENTITY = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")
# Normalising a long run of combining marks is quadratic; no language needs more than 30 (Unicode's stream-safe format).
_MARK_RUN = regex.compile(r"(\p{M}{30})\p{M}++")
_CONTROL = regex.compile(r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}--\n]", flags=regex.V1)
# Format characters that show nothing or turn the direction of what follows; the two joiners are handled apart.
_INVISIBLE = regex.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Joiners carry meaning inside Arabic-script and Indic words and inside emoji, nowhere else.
_STRAY_JOINER = regex.compile(
    r"(?<![\p{Arabic}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Extended_Pictographic}\p{Emoji_Modifier}\uFE0F])"
    "[\u200c\u200d]"
)
_JOINER_RUN = regex.compile("([\u200c\u200d])[\u200c\u200d]++")
_SPACES = regex.compile(r"[^\S\n]++")


def _unescape(text: str) -> str:
    """HTML entities resolved twice, as X's evaluator does: `&amp;quot;` occurs in published notes."""
    for _ in range(2):
        if "&" not in text:
            break
        text = html.unescape(_HUGE_ENTITY.sub(" ", text))
    return text


def _normalise(text: str) -> str:
    return unicodedata.normalize("NFC", _MARK_RUN.sub(r"\1", text))


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """The text as a reader sees it: entities resolved, NFC, no control, zero-width, tag or direction characters.

    Line breaks stay (as `\\n`), other white space becomes single blanks only where it is a tab or an exotic blank; runs of
    ordinary blanks are left to `split_sentences`, for which three or more are the trace of a removed line break.
    At most `limit` characters come back. Cleaning twice changes nothing.
    """
    text = text[: limit * 12]  # the longest entity that stands for one character has about 35; ordinary ones have six
    text = _unescape(text)[: limit * 2]
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = text.replace("\x85", "\n").replace("\x0b", "\n").replace("\x0c", "\n").replace("\t", " ")
    text = regex.sub(r"[\p{Zs}]", " ", text)
    text = _INVISIBLE.sub("", text)
    text = _CONTROL.sub("", text)
    text = _JOINER_RUN.sub(r"\1", text)
    text = _STRAY_JOINER.sub("", text)
    return _normalise(text)[:limit].strip()


_QUOTES = str.maketrans(
    {
        "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "″": '"', "＂": '"', "「": '"', "」": '"',
        "『": '"', "』": '"', "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "`": "'", "´": "'", "＇": "'",
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "﹣": "-", "－": "-", "…": "...",
    }
)  # fmt: skip


def fold_quotes(text: str) -> str:
    """The text with typographic quotation marks, apostrophes and dashes made plain."""
    return text.translate(_QUOTES)


def normalise_for_comparison(text: str) -> str:
    """The text reduced to what it says: NFKC, case folded, plain quotes and dashes, canonical links, single blanks.

    Two texts with equal results differ in nothing a reader would call a difference.
    """
    text = clean_text(text)
    pieces: list[str] = []
    position = 0
    for url in find_urls(text):
        pieces += [text[position : url.start], " ", canonical_url(url.text), " "]
        position = url.end
    pieces.append(text[position:])
    folded = unicodedata.normalize("NFKC", fold_quotes("".join(pieces))).casefold()
    return " ".join(folded.split())


# -------------------------------------------------------------------------------------------------------------- links

# What ends a link: white space, angle brackets, quotation marks, the brackets and stops of East Asian scripts.
_URL_STOP = r"\s<>\"“”„«»「」『』【】（）〈〉《》。、，！？；：।؟،؛"
_WITH_SCHEME = regex.compile(rf"(?<![\p{{L}}\p{{N}}+.-])[a-z][a-z0-9+.-]{{1,11}}+://[^{_URL_STOP}]++", flags=regex.I)
_LABEL = r"[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}_-]{0,62})"
_BARE = regex.compile(
    rf"(?<![\p{{L}}\p{{M}}\p{{N}}_@./:%&=~-])(?:{_LABEL}\.){{1,8}}(?P<tld>[a-z]{{2,24}}+|xn--[a-z0-9-]{{2,59}}+)"
    rf"(?![\p{{L}}\p{{M}}\p{{N}}_@-])(?P<port>:\d{{1,5}}(?![\d]))?(?P<rest>[/?#][^{_URL_STOP}]*+)?",
    flags=regex.I,
)
_TRAILING = ".,;:!?'’‘…*_|\\"
_CLOSERS = {")": "(", "]": "[", "}": "{"}
# Reserved for examples and tests (RFC 2606, RFC 6761): no suffix list knows them, invented notes are full of them.
_RESERVED_TLDS = frozenset({"example", "test", "invalid"})
# Endings that are more often a file name or a missing blank than a site, unless something else says link.
_FILE_LIKE = frozenset({"zip", "mov", "app", "is", "it", "so", "no", "as", "at", "by", "be", "in", "my", "me", "us", "am",
                        "do", "to", "py", "md", "rs", "sh", "pl", "ps", "cc", "id", "im", "la", "he", "she",
                        "how", "one", "now", "here", "you", "just", "off", "free", "real", "true", "new", "news"})  # fmt: skip


@lru_cache(maxsize=1)
def _extractor():
    import tldextract

    # No list from the network and no cache on disk: the copy inside the package (peers.md, P15).
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@lru_cache(maxsize=4096)
def _known_suffix(host: str) -> bool:
    top = host.rsplit(".", 1)[-1].lower()
    return top in _RESERVED_TLDS or bool(_extractor()(host).suffix)


def _trim(url: str) -> str:
    """A link without the punctuation of the sentence around it; a closing bracket stays if the link opened it."""
    end = len(url)
    balance = {closer: url.count(opener) - url.count(closer) for closer, opener in _CLOSERS.items()}
    while end:
        last = url[end - 1]
        if last in _TRAILING:
            end -= 1
        elif last in balance and balance[last] < 0:
            balance[last] += 1
            end -= 1
        else:
            break
    return url[:end]


def find_urls(text: str) -> list[Span]:
    """The links in a text, in order, without the punctuation that follows them.

    With a scheme (any scheme: refusing `ftp://` or `javascript://` is for the link check), with `www.`, or a bare domain
    whose ending is a public suffix (`example.com`, `health.example/page`). A missing blank after a full stop
    (`wrong.It is`) is not a link; an e-mail address is not a link. X counts and checks all three forms
    (communitynotes, evaluator/url_evaluator.py), with and without trailing punctuation.
    """
    return list(_urls_of_note(text)) if len(text) <= 5_000 else _find_urls(text)


@lru_cache(maxsize=4096)
def _urls_of_note(text: str) -> tuple[Span, ...]:
    return tuple(_find_urls(text))  # the checks of one text ask again and again


def _find_urls(text: str) -> list[Span]:
    found: list[Span] = []
    for match in _WITH_SCHEME.finditer(text):
        url = _trim(match.group())
        if not url.endswith("://") and url.rfind("://") + 3 < len(url):
            found.append(Span(url, match.start(), match.start() + len(url)))
    taken = iter([(span.start, span.end) for span in found])
    current = next(taken, None)
    bare: list[Span] = []
    for match in _BARE.finditer(text):
        while current is not None and current[1] <= match.start():
            current = next(taken, None)
        if current is not None and current[0] < match.end():
            continue
        url = _trim(match.group())
        host = url.split("/", 1)[0].split("?", 1)[0].split("#", 1)[0].split(":", 1)[0]
        if _looks_like_host(host, match.group("tld"), has_path=match.group("rest") is not None):
            bare.append(Span(url, match.start(), match.start() + len(url)))
    return sorted(found + bare, key=lambda span: span.start) if bare else found


def _looks_like_host(host: str, tld: str, *, has_path: bool) -> bool:
    lowered = host.lower()
    if lowered.startswith("www.") and host.count(".") >= 2:
        return True
    if not _known_suffix(lowered):
        return False
    if has_path or host.count(".") >= 2:
        return True
    # `false.It`, `2021.In`: a capital right after the stop means that a blank was forgotten.
    if tld[0].isupper() and not host.isupper():
        return False
    return tld.lower() not in _FILE_LIKE


_TRACKING = re.compile(
    r"^(?:utm_\w*|fbclid|gclid|dclid|msclkid|igshid|igsh|mc_cid|mc_eid|ref_src|ref_url|cmpid|ocid|smid|smtyp|taid|"
    r"guccounter|guce_referrer|guce_referrer_sig|share|sref|s_cid|ns_mchannel|ns_source|ns_campaign|feature|si)$",
    re.IGNORECASE,
)
_SAME_HOST = {
    "twitter.com": "x.com",
    "mobile.twitter.com": "x.com",
    "mobile.x.com": "x.com",
    "m.youtube.com": "youtube.com",
    "en.m.wikipedia.org": "en.wikipedia.org",
}


def split_url(url: str) -> tuple[str, str, str]:
    """(scheme, authority, rest) of a link as it stands in a text; the scheme is '' where the text leaves it out."""
    scheme, mark, tail = url.partition("://")
    if not mark or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme):
        scheme, tail = "", url
    cut = min((i for i in (tail.find(c) for c in "/?#\\") if i >= 0), default=len(tail))
    return scheme.lower(), tail[:cut], tail[cut:]


def host_of(url: str) -> str:
    """The host of a link, lower case, without credentials, port and final dot, international names as Unicode."""
    _, authority, _ = split_url(url)
    host = authority.rsplit("@", 1)[-1]
    if host.startswith("["):
        return host.split("]", 1)[0].strip("[]").lower()
    host = host.split(":", 1)[0].rstrip(".").lower()
    if "xn--" in host:
        try:
            host = host.encode("ascii").decode("idna")
        except (UnicodeError, ValueError):
            return host
    return host


@lru_cache(maxsize=16384)
def canonical_url(url: str) -> str:
    """One spelling for all links to the same page.

    `https`, lower-case host without `www.`, no default port, fragment, tracking parameters or final slash, parameters
    sorted, escapes unified, `twitter.com` as `x.com`, `youtu.be/ID` as the page it leads to. Credentials are kept: a link that
    carries them is another link (and the link check refuses it). Never raises; what cannot be parsed is only trimmed.
    """
    url = _trim(clean_text(url, 4096).replace("\n", "").strip())
    scheme, authority, rest = split_url(url)
    credentials, mark, port_host = authority.rpartition("@")
    host = host_of(url)
    if host.startswith("www."):
        host = host[4:]
    host = _SAME_HOST.get(host, host)
    port = ""
    if ":" in port_host and not port_host.startswith("["):
        port = port_host.rsplit(":", 1)[1]
    if scheme in ("", "http", "https"):
        scheme = "https"
        port = "" if port in ("80", "443") else port
    try:
        parts = urlsplit("https://host" + rest)
        path, query = parts.path, parts.query
    except ValueError:
        path, query = rest, ""
    path = quote(unquote(path, errors="surrogateescape"), safe="/:@!$&'()*+,;=~-._%", errors="surrogateescape").rstrip(
        "/"
    )
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        pairs = [(query, "")]
    if host == "youtu.be" and path.count("/") == 1:
        pairs, host, path = [("v", path[1:]), *pairs], "youtube.com", "/watch"
    drop_short = {"s", "t", "cxt", "ref"} if host == "x.com" else {"t"} if host == "youtube.com" else set()
    kept = sorted((k, v) for k, v in pairs if not _TRACKING.match(k) and k not in drop_short)
    encoded = "?" + urlencode(kept, errors="surrogateescape") if kept else ""
    return f"{scheme}://{credentials + mark}{host}{':' + port if port else ''}{path}{encoded}"


@lru_cache(maxsize=16384)
def registered_domain(url: str) -> str:
    """The part of a link's host that somebody registered: `bbc.co.uk` for `https://news.bbc.co.uk/x`.

    Hosts outside the public suffix list (`health.example`) give their last two labels, addresses give themselves,
    something without a host gives ''.
    """
    host = host_of(url)
    found = _extractor()(host)
    if found.suffix and found.domain:
        return f"{found.domain}.{found.suffix}"
    if re.fullmatch(r"[0-9.]+", host) or ":" in host:
        return host
    return ".".join(host.split(".")[-2:])


# ------------------------------------------------------------------------------------------------------------- length


def note_length(text: str) -> int:
    """The length of a note as X counts it: user-perceived characters, each link counting 1 (facts.md, section 3).

    Counted after HTML-unescaping and NFC. The punctuation that follows a link is not part of it and counts for itself.
    The empty text has length 0; white space counts.
    """
    text = _normalise(_unescape(text))
    urls = find_urls(text)
    total = len(urls)
    position = 0
    for url in urls:
        total += _graphemes(text[position : url.start])
        position = url.end
    return total + _graphemes(text[position:])


_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{1,2}")


def _graphemes(text: str) -> int:
    if text.isascii():
        return len(text) - text.count("\r\n")
    # A flag is two indicators; the regex module pairs long runs of them in quadratic time, so they are paired here.
    return sum(1 for _ in regex.finditer(r"\X", _FLAG.sub("x", text)))


# ---------------------------------------------------------------------------------------------------------- sentences


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS: dict[str, frozenset[str]] = {
    "": _words("mr mrs ms dr prof st sr jr rev gen col lt sgt capt cpl gov sen rep pres hon vs v etc e.g i.e eg ie cf al approx est "
        "dept univ no nos vol p pp fig ed eds jan feb mar apr jun jul aug sep sept oct nov dec ave blvd rd bros ft oz lb "
        "u.s u.k u.n e.u d.c a.m p.m ph.d m.d b.a m.a b.sc m.sc u.s.a l.a n.y inc ltd co corp llc plc min max incl rt hon "
        "art sec ch para reps sens govs gens messrs supt det insp fr bp"),
    "de": _words("bzw ca z.b d.h u.a o.ä usw evtl ggf inkl nr str abs vgl s bspw mio mrd sog zzgl o.g u.u dipl ing hr fr"),
    "es": _words("sr sra srta dr dra d dña ud uds ee.uu ej p.ej pág art núm aprox gral lic ing etc vs av"),
    "pt": _words("sr sra dr dra d exmo exma prof profa p.ex pág art núm aprox av eng etc gen vs"),
    "fr": _words("m mm mme mlle dr pr st ste cf p.ex env art av bd éd etc n° ch j.-c"),
    "it": _words("sig sig.ra dott dott.ssa prof avv ing on sen art pag es p.es ecc gen col cfr"),
    "nl": _words("dhr mevr dr mr ir bijv bv nl o.a d.w.z enz ca nr blz"),
}  # fmt: skip
# Abbreviations after which a new sentence may well begin; everything else in the lists leads to a name or number.
_MAY_END = _words(
    "etc al inc ltd co corp llc plc u.s u.k u.n e.u d.c a.m p.m ph.d m.d u.s.a l.a n.y jr sr ee.uu usw ecc enz no"
)
_STARTERS = _words(
    "the this that these those it its in on at he she they we you i there however but and a an as for while when after before "
    "since although according no not if by his her their our also instead here both such see source sources to what who "
    "der die das es er sie ein eine dies diese el la los las un una este esta no en le les il elle ce cette o os as um uma"
)
_TERMINATORS = frozenset(".!?…。！？｡।॥؟۔܀።᙮")
_NO_BLANK_NEEDED = frozenset("。！？｡")
_CLOSING = frozenset("\"'”’»)]}）」』】〉》*_")
_OPENING = frozenset("\"'“‘«([{（「『【〈《¿¡*_#•-–—")
_ATTRIBUTION = regex.compile(r"[-–—~]{1,2}\s?\p{Lu}")
_ENUMERATION = re.compile(r"\s*(?:\(?\d{1,2}|[a-zA-Z])$")
_NUMBER_BEFORE = re.compile(r"(?:^|[^\w.,])(\d{1,2})$")
_ORDINAL_LANGUAGES = frozenset(
    {
        "de",
        "da",
        "no",
        "nb",
        "nn",
        "fi",
        "cs",
        "sk",
        "sl",
        "hr",
        "bs",
        "sr",
        "pl",
        "hu",
        "is",
        "et",
        "lv",
        "tr",
        "lb",
        "eu",
    }
)
_LINK_LABEL = regex.compile(
    r"(?:(?:and|also|und|y|et|e|&)\s+)?(?:see|sources?|via|link|links|read more|more|more info|details|references?|evidence|proof|quellen?|siehe|fuentes?|fuente|ver|"
    r"fontes?|fonte|veja|voir|bron|bronnen|источник|источники|出典|参考|ソース|来源|源|المصدر|स्रोत)?\s*[:：=\-–—>→]*",
    flags=regex.I,
)


def split_sentences(text: str, language: str | None = None) -> list[Span]:
    """The sentences of a note, in order, trimmed, together covering every visible character.

    A link belongs to the sentence before it, as notes put their sources after the claim; a link at the very beginning
    belongs to the sentence that follows. A label such as `Source:` stays with its link. Abbreviations, initials,
    decimals, ordinals (`3. Oktober` where the language writes them so), ellipses, quotations and the stops of East Asian,
    Indic, Arabic and Ethiopic scripts are known; line breaks and the runs of blanks X puts in their place end a sentence.
    Empty or blank text gives no sentence.
    """
    urls = find_urls(text)
    breaks = _boundaries(text, urls, (language or "").split("-")[0].lower())
    pieces: list[tuple[int, int]] = []
    start = 0
    for end in [*breaks, len(text)]:
        trimmed = _trimmed(text, start, end)
        if trimmed is not None:
            pieces.append(trimmed)
        start = end
    return [Span(text[a:b], a, b) for a, b in _attach_links(text, pieces, urls)]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None


def _boundaries(text: str, urls: list[Span], language: str) -> list[int]:
    """Offsets at which a new piece begins: after terminators, line breaks, and after a link before a capital."""
    known = _ABBREVIATIONS[""] | _ABBREVIATIONS.get(language, frozenset())
    breaks: list[int] = []
    url_at = {url.start: url.end for url in urls}
    size = len(text)
    start = i = 0  # `start`: where the current piece began
    while i < size:
        if i in url_at:
            i = url_at[i]
            j = i
            while j < size and (text[j] in _TERMINATORS or text[j] in _CLOSING or text[j] in ",;"):
                j += 1
            k = _skip_blanks(text, j)
            if k > j and k < size and k not in url_at and _begins_sentence(text, k):
                breaks.append(k)
                start = k
            i = max(i, j)
            continue
        char = text[i]
        if char == "\n":
            k = _skip_blanks(text, i)
            breaks.append(k)
            start = i = k
            continue
        if char == " " and text.startswith("   ", i):
            k = _skip_blanks(text, i)
            if k < size and (k in url_at or _begins_sentence(text, k)):
                breaks.append(k)
                start = k
            i = k
            continue
        if char not in _TERMINATORS:
            i += 1
            continue
        stop = i
        while i < size and (text[i] in _TERMINATORS or (text.startswith(" .", i) and text[i - 1] == ".")):
            i += 1 if text[i] in _TERMINATORS else 2  # ". . ." is an ellipsis, too
        run = text[stop:i]
        while i < size and text[i] in _CLOSING and i not in url_at:
            i += 1
        if text.startswith(' "', i) and text.count('"', start, stop) % 2 and text[i + 2 : i + 3].isspace():
            i += 2  # a closing mark set off by a blank: '... " "Word'
        k = _skip_blanks(text, i)
        if k >= size:
            break
        if k == i and not (run[-1] in _NO_BLANK_NEEDED or run[-1] in "।॥۔።"):
            continue
        if _ends_here(text, start, stop, run, i, k, known, language, k in url_at):
            breaks.append(k)
            start = k
        i = max(i, k)
    return breaks


def _skip_blanks(text: str, i: int) -> int:
    while i < len(text) and text[i].isspace():
        i += 1
    return i


def _begins_sentence(text: str, k: int) -> bool:
    """Whether what stands at `k` looks like the first word of a sentence (scripts without case always do)."""
    limit = min(len(text), k + 4)
    while k < limit and text[k] in _OPENING:
        k += 1
    if k >= len(text):
        return False
    char = text[k]
    return char.isupper() or char.isdigit() or (char.isalpha() and not char.islower())


def _ends_here(
    text: str,
    start: int,
    stop: int,
    run: str,
    after: int,
    following: int,
    known: frozenset[str],
    language: str,
    link: bool,
) -> bool:
    """Whether the terminators `run` at `stop` end a sentence; `after` them closing marks end, `following` text goes on."""
    closed = after > stop + len(run)
    if link:
        return True  # harmless: the link is attached to this sentence later
    if run[-1] in "。！？｡":
        # 「…。」と述べた: the quotation is part of a longer sentence.
        return not (closed and text[following] in "とってのが、")
    if run[-1] in "।॥۔።":
        return True
    lower_next = text[following].islower()
    if closed and text[after - 1] in '"”’»' and _ATTRIBUTION.match(text, following):
        return False  # '"We never closed." - Mayor Hale': who said it stays with what was said
    if run[-1] in "!?؟":
        return not lower_next or not closed
    if run == "…" or len(run) > 1:
        return not lower_next and _begins_sentence(text, following)
    if text[following] in ",;:)":
        return False
    # A single full stop: look at the word before and the word after.
    word_start = stop
    while (
        word_start > start
        and stop - word_start < 24
        and not text[word_start - 1].isspace()
        and text[word_start - 1] not in "(\"'“‘«["
    ):
        word_start -= 1
    word = text[word_start:stop]
    lowered = word.lower()
    next_end = following
    while next_end < len(text) and next_end - following < 24 and text[next_end].isalpha():
        next_end += 1
    next_word = text[following:next_end].lower()
    if word_start <= start and _ENUMERATION.fullmatch(text[max(start, stop - 6) : stop]):
        return False  # "1. First", "a. Second" at the start of a piece
    if lowered in known or re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", word):
        if lowered == "no" and not text[following].isdigit():
            return True  # "The answer is no. It ..." against "No. 5"
        may_end = lowered in _MAY_END or "." in word
        return may_end and not lower_next and next_word in _STARTERS
    if len(word) == 1 and word.isalpha() and word != "I":
        return next_word in _STARTERS and not lower_next  # an initial: "J. Smith"
    if word.isdigit() and len(word) <= 2 and language in _ORDINAL_LANGUAGES:
        return next_word in _STARTERS and not lower_next
    if lower_next:
        # An abbreviation nobody listed, or a writer without capitals: words with a vowel and some length end sentences.
        return len(word) >= 4 and word.isalpha() and not closed
    return True


def _attach_links(text: str, pieces: list[tuple[int, int]], urls: list[Span]) -> list[tuple[int, int]]:
    """Pieces that are nothing but links and their label joined to the piece before; leading links moved there too."""
    done: list[tuple[int, int]] = []
    carried: int | None = None  # start of link-only text at the very beginning, waiting for a sentence
    index = 0
    for start, end in pieces:
        while index < len(urls) and urls[index].end <= start:
            index += 1
        lead = _leading_links(text, start, end, urls, index)
        if carried is not None:
            start, carried = carried, None
            lead = start  # whatever led the text stays with this sentence
        if lead >= end:
            if done:
                done[-1] = (done[-1][0], end)
            else:
                carried = start
            continue
        if lead > start and done:
            cut = _trimmed(text, start, lead)
            if cut is not None:
                done[-1] = (done[-1][0], cut[1])
            trimmed = _trimmed(text, lead, end)
            if trimmed is not None:
                done.append(trimmed)
            continue
        done.append((start, end))
    if carried is not None and pieces:
        done.append((carried, pieces[-1][1]))
    return done


def _leading_links(text: str, start: int, end: int, urls: list[Span], index: int) -> int:
    """Where the links (with labels and punctuation around them) that open text[start:end] stop; `start` if none do."""
    position = start
    while index < len(urls) and urls[index].start < end:
        url = urls[index]
        between = text[position : url.start].strip(" \n()[]•*.,;|/\"'–—-")
        if between and (len(between) > 24 or not _LINK_LABEL.fullmatch(between)):
            break
        position = url.end
        while position < end and (text[position].isspace() or text[position] in ".,;:!?)]}'\"*|…。"):
            position += 1
        index += 1
    if position == start or position >= end:
        return position
    if not any(char.isalnum() for char in text[position:end]):
        return end
    return position if _begins_sentence(text, position) else start


def without_urls(text: str) -> str:
    """The text with each link replaced by one blank."""
    pieces: list[str] = []
    position = 0
    for url in find_urls(text):
        pieces.append(text[position : url.start])
        position = url.end
    pieces.append(text[position:])
    return " ".join(pieces)


def canonical_urls(texts: Iterable[str]) -> set[str]:
    """The canonical links of several texts."""
    return {canonical_url(url.text) for text in texts for url in find_urls(text)}
