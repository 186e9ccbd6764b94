"""Numbers and dates as values: what a text says, whatever the notation.

`read_numbers` and `read_dates` work on one sentence whose links are masked. A number that can be read in two ways (`1.234`)
carries both values; two numbers agree if they share one.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import regex

MAX_DIGITS = 24  # longer runs are ids, compared as they stand


@dataclass(frozen=True)
class Number:
    """`values`: the readings, as exact decimals; `unit`: '%', a currency, or ''; `rounded`: introduced by 'about' and the like."""

    text: str
    start: int
    end: int
    values: frozenset[Decimal]
    unit: str = ""
    rounded: bool = False
    word: bool = False


@dataclass(frozen=True)
class Date:
    """`readings`: possible (year, month, day), None where the text does not say."""

    text: str
    start: int
    end: int
    readings: frozenset[tuple[int | None, int | None, int | None]]


# ------------------------------------------------------------------------------------------------------------- digits


def ascii_digits(text: str) -> str:
    """The text with the decimal digits of all scripts as 0-9, one character for one."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in text)


_MAGNITUDES: dict[str, int] = {
    "k": 3, "thousand": 3, "thousands": 3, "mil": 3, "mille": 3, "tausend": 3, "duizend": 3, "тыс": 3, "тысяч": 3, "ألف": 3, "bin": 3, "千": 3, "tys": 3, "ribu": 3,
    "万": 4, "萬": 4, "lakh": 5, "lakhs": 5, "लाख": 5, "crore": 7, "crores": 7, "करोड़": 7,
    "m": 6, "mn": 6, "mm": 6, "million": 6, "millions": 6, "millón": 6, "millones": 6, "milhão": 6, "milhões": 6, "millionen": 6, "mio": 6, "milione": 6,
    "milioni": 6, "miljoen": 6, "млн": 6, "миллион": 6, "миллионов": 6, "миллиона": 6, "مليون": 6, "milyon": 6, "mln": 6, "juta": 6,
    "億": 8, "亿": 8, "b": 9, "bn": 9, "billion": 9, "billions": 9, "mrd": 9, "milliarden": 9, "milliarde": 9, "milliard": 9, "milliards": 9, "miliardi": 9,
    "miljard": 9, "bilhão": 9, "bilhões": 9, "млрд": 9, "миллиард": 9, "миллиардов": 9, "مليار": 9, "milyar": 9, "mld": 9, "miliar": 9,
    "trillion": 12, "trillions": 12, "tn": 12, "billones": 12, "billionen": 12, "trilhão": 12, "trilhões": 12, "兆": 12,
}  # fmt: skip
_GLUED = {"k", "m", "mn", "mm", "b", "bn", "tn", "mio", "mrd", "万", "萬", "億", "亿", "兆", "千"}
_PERCENT = {"%", "％", "percent", "per cent", "pct", "prozent", "por ciento", "por cento", "pour cent", "per cento", "procent", "パーセント", "процент", "процентов",
            "yüzde", "प्रतिशत", "بالمئة", "percentage points", "percentage point"}  # fmt: skip
_CURRENCY = {"$": "$", "us$": "$", "usd": "$", "dollar": "$", "dollars": "$", "dólares": "$", "dólar": "$", "ドル": "$", "美元": "$", "€": "€", "eur": "€", "euro": "€", "euros": "€",
             "ユーロ": "€", "欧元": "€", "£": "£", "gbp": "£", "pound": "£", "pounds": "£", "¥": "¥", "￥": "¥", "yen": "¥", "円": "¥", "元": "元", "yuan": "元", "₹": "₹", "rs": "₹",
             "inr": "₹", "rupees": "₹", "rupee": "₹", "reais": "R$", "r$": "R$", "pesos": "peso", "peso": "peso", "руб": "₽", "рублей": "₽"}  # fmt: skip
_AROUND = regex.compile(
    r"(?:about|around|approximately|approx\.?|roughly|nearly|almost|some|over|more than|less than|fewer than|under|at least|at most|up to|close to|circa|ca\.?|~|≈|"
    r"unos|unas|cerca de|casi|más de|menos de|aproximadamente|alrededor de|quase|mais de|environ|près de|plus de|moins de|quelque|rund|etwa|fast|mehr als|über|"
    r"weniger als|knapp|circa|quasi|più di|ongeveer|bijna|meer dan|約|およそ|大约|大約|около|более|почти)\s*[$€£¥₹]?\s*$",
    flags=regex.I,
)
_DIGITS = r"\d+(?:[.,’'\u00a0\u202f ]\d{3}(?!\d))*(?:[.,]\d+)*|\d+(?:[.,]\d+)*"
_NUMBER = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}_])(?<!\p{{L}}[-‑])(?<!\p{{N}}[.,])(?P<currency>(?:US|R|A|C|NZ|HK)?[$€£¥￥₹]\s?)?(?P<digits>{_DIGITS})(?P<glued>%|％|[\p{{L}}º°ª]+)?",
    flags=regex.I,
)
# East Asian text has no blank before a number: the letters before it are no part of it.
_NUMBER_EAST = regex.compile(
    rf"(?<![\p{{N}}\p{{Latin}}_])(?P<currency>[$€£¥￥₹]\s?)?(?P<digits>{_DIGITS})(?P<glued>%|％|[\p{{Latin}}º°ª]+|[千万萬億亿兆]|円|元|ドル)?"
)
_NEXT_WORD = regex.compile(
    r"[\s-]{0,2}(?:de\s)?([\p{L}\p{M}]{1,14}\.?|%|％|€|£|円)(?:\s(cent|ciento|cento|points?)\b)?", flags=regex.I
)
_CURRENCY_BEFORE = regex.compile(r"(?:\b(?:USD|EUR|GBP|INR|Rs\.?|US)\s?)$", flags=regex.I)
_RANGE = regex.compile(r"\s*(?:-|–|—|~|〜|～|to|bis|a|à|al|até|から|至)\s*[$€£¥₹]?\s*", flags=regex.I)
_ORDINALS = {"st", "nd", "rd", "th", "º", "ª", "°", "er", "e", "ème", "o", "a", "ste", "de", "s", "j", "ers"}
_EAST = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]")

_UNITS_EN = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13,
    "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90, "dozen": 12, "zero": 0,
}  # fmt: skip
_SMALL_EN = {"one": 1, **{k: v for k, v in _UNITS_EN.items() if 0 < v < 10}}
_WORDS: dict[str, dict[str, int]] = {
    "en": _UNITS_EN,
    "es": {"dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9, "diez": 10, "once": 11, "doce": 12, "trece": 13, "catorce": 14,
           "quince": 15, "veinte": 20, "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70, "ochenta": 80, "noventa": 90, "cien": 100},
    "pt": {"dois": 2, "duas": 2, "três": 3, "quatro": 4, "cinco": 5, "seis": 6, "sete": 7, "oito": 8, "nove": 9, "dez": 10, "onze": 11, "doze": 12, "treze": 13,
           "quinze": 15, "vinte": 20, "trinta": 30, "quarenta": 40, "cinquenta": 50, "sessenta": 60, "setenta": 70, "oitenta": 80, "noventa": 90, "cem": 100},
    "fr": {"deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "six": 6, "sept": 7, "huit": 8, "neuf": 9, "dix": 10, "onze": 11, "douze": 12, "treize": 13, "quatorze": 14,
           "quinze": 15, "seize": 16, "vingt": 20, "trente": 30, "quarante": 40, "cinquante": 50, "soixante": 60, "cent": 100},
    "de": {"zwei": 2, "drei": 3, "vier": 4, "fünf": 5, "sechs": 6, "sieben": 7, "acht": 8, "neun": 9, "zehn": 10, "elf": 11, "zwölf": 12, "dreizehn": 13, "fünfzehn": 15,
           "zwanzig": 20, "dreißig": 30, "vierzig": 40, "fünfzig": 50, "sechzig": 60, "siebzig": 70, "achtzig": 80, "neunzig": 90, "hundert": 100},
    "it": {"due": 2, "tre": 3, "quattro": 4, "cinque": 5, "sei": 6, "sette": 7, "otto": 8, "nove": 9, "dieci": 10, "undici": 11, "dodici": 12, "venti": 20, "trenta": 30,
           "quaranta": 40, "cinquanta": 50, "sessanta": 60, "settanta": 70, "ottanta": 80, "novanta": 90, "cento": 100},
    "nl": {"twee": 2, "drie": 3, "vier": 4, "vijf": 5, "zes": 6, "zeven": 7, "acht": 8, "negen": 9, "tien": 10, "elf": 11, "twaalf": 12, "twintig": 20, "dertig": 30,
           "veertig": 40, "vijftig": 50, "honderd": 100},
}  # fmt: skip
_LETTERS = regex.compile(r"[\p{L}\p{M}]+")


_COMMA_GROUPS = frozenset({"en", "ja", "zh", "ko", "hi", "th", "he"})
_POINT_GROUPS = frozenset({"de", "es", "pt", "it", "nl", "tr", "id", "da", "el", "ro", "hr", "sl", "sr"})


def _readings(digits: str, language: str | None = None) -> frozenset[Decimal]:
    """The values a digit string may stand for: '1,234' is one thing, '1.234' two, '12.05.20' none that we know."""
    compact = regex.sub(r"[’'\u00a0\u202f ]", "", digits)
    if len(compact) > MAX_DIGITS:
        return frozenset()
    marks = [c for c in compact if c in ".,"]
    options: set[str] = set()
    if not marks:
        options.add(compact)
    else:
        groups = regex.split(r"[.,]", compact)
        grouped = 1 <= len(groups[0]) <= 3 and groups[0] != "0" and all(len(g) == 3 for g in groups[1:])
        if len(set(marks)) == 1 and grouped:
            options.add("".join(groups))
            # One mark and three digits: the language decides, where it is known.
            if len(marks) == 1 and language in (_POINT_GROUPS if marks[0] == "," else _COMMA_GROUPS):
                options = {groups[0] + "." + groups[1]}
            elif len(marks) == 1 and language not in (_COMMA_GROUPS if marks[0] == "," else _POINT_GROUPS):
                options.add(groups[0] + "." + groups[1])
        elif len(marks) == 1:
            options.add(groups[0] + "." + groups[1])
        elif len(set(marks[:-1])) == 1 and marks[-1] != marks[0] and all(len(g) == 3 for g in groups[1:-1]):
            options.add("".join(groups[:-1]) + "." + groups[-1])
        elif all(len(g) in (2, 3) for g in groups[1:]) and len(groups[-1]) == 3 and set(marks) == {","}:
            options.add("".join(groups))  # 12,34,567 as India groups
    values: set[Decimal] = set()
    for option in options:
        try:
            values.add(Decimal(option).normalize())
        except InvalidOperation:
            continue
    return frozenset(values)


def _scaled(values: frozenset[Decimal], power: int) -> frozenset[Decimal]:
    return frozenset((value * Decimal(10) ** power).normalize() for value in values) if power else values


def read_numbers(text: str, language: str | None = None) -> list[Number]:
    """The numbers of a sentence in order. Digits inside a name (`COVID-19`, `F-16`) belong to the name and are left out."""
    text = ascii_digits(text)
    language = language.split("-")[0] if language else None
    east = bool(_EAST.search(text))
    found: list[Number] = []
    for match in (_NUMBER_EAST if east else _NUMBER).finditer(text):
        number = _one_number(text, match, language)
        if number is not None:
            found.append(number)
    found += _number_words(text, language or "en", found)
    found.sort(key=lambda n: n.start)
    return _spread_units(text, found)


def _one_number(text: str, match: regex.Match, language: str | None) -> Number | None:
    digits, glued, end = match["digits"], (match["glued"] or ""), match.end()
    values = _readings(digits, language)
    unit = _CURRENCY.get(
        (match["currency"] or "").strip().lower(), "$" if (match["currency"] or "").strip().endswith("$") else ""
    )
    power = 0
    lowered = glued.lower()
    if lowered in ("%", "％"):
        unit = "%"
    elif lowered in _GLUED:
        power = _MAGNITUDES[lowered]
    elif lowered in _CURRENCY:
        unit = unit or _CURRENCY[lowered]
    elif glued and lowered not in _ORDINALS and len(glued) > 4:
        return None  # a name or code such as 3Blue1Brown
    if not values:
        return Number(match.group(), match.start(), end, frozenset({_as_code(digits)}), unit)
    for _ in range(2):  # "5 million dollars", "5 per cent"
        following = _NEXT_WORD.match(text, end)
        if following is None:
            break
        word = following[1].lower().rstrip(".")
        phrase = f"{word} {following[2].lower()}" if following[2] else word
        if phrase in _PERCENT or word in _PERCENT:
            unit, end = "%", following.end() if phrase in _PERCENT else following.end(1)
            break
        if word in _MAGNITUDES and power == 0 and (len(word) > 1 or text[end] != " " or not word.isascii()):
            power, end = _MAGNITUDES[word], following.end(1)
            continue
        if word in _CURRENCY and not unit:
            unit, end = _CURRENCY[word], following.end(1)
        break
    before = text[max(0, match.start() - 24) : match.start()]
    if not unit and _CURRENCY_BEFORE.search(before):
        unit = _CURRENCY.get(regex.sub(r"[^a-z]", "", _CURRENCY_BEFORE.search(before).group().lower()), "$")
    rounded = _AROUND.search(before) is not None
    return Number(text[match.start() : end].strip(" .,"), match.start(), end, _scaled(values, power), unit, rounded)


def _as_code(digits: str) -> Decimal:
    """A stand-in value for digit strings that are no number (versions, ids): equal strings, equal values."""
    return Decimal("-0." + (regex.sub(r"\D", "7", digits)[:60] or "1") + "1")


_COUNTED_EN = ("hundred", "thousand", "million", "billion")


def _number_words(text: str, language: str, taken: list[Number]) -> list[Number]:
    words = _WORDS.get(language, {})
    english = words is _UNITS_EN
    if not words:
        return []
    found: list[Number] = []
    matches = list(_LETTERS.finditer(text))
    i = 0
    while i < len(matches):
        match = matches[i]
        low = match.group().lower()
        total = words.get(low)
        start, end = match.start(), match.end()
        if english and low in ("a", "one") and i + 1 < len(matches):
            following = matches[
                i + 1
            ]  # "a million", "one hundred"; but not the "a ... billion" of "a $10 billion deal"
            if text[end : following.start()].strip(" -\u00a0") == "" and following.group().lower() in _COUNTED_EN:
                total = 1
        if total is None or any(n.start <= start < n.end for n in taken):
            i += 1
            continue
        i += 1
        if (
            english
            and total >= 20
            and i < len(matches)
            and matches[i].start() - end == 1
            and matches[i].group().lower() in _SMALL_EN
        ):
            total, end = total + _SMALL_EN[matches[i].group().lower()], matches[i].end()
            i += 1
        value, unit = Decimal(total), ""
        while i < len(matches) and 0 <= matches[i].start() - end <= 2:
            word = matches[i].group().lower()
            if word == "hundred" and value < 100:
                value *= 100
            elif word in _MAGNITUDES and len(word) > 2:
                value *= Decimal(10) ** _MAGNITUDES[word]
            elif word in _CURRENCY:
                unit, end, i = _CURRENCY[word], matches[i].end(), i + 1
                break
            elif word in _PERCENT or (
                word == "per" and i + 1 < len(matches) and matches[i + 1].group().lower() == "cent"
            ):
                step = 1 if word in _PERCENT else 2
                unit, end, i = "%", matches[i + step - 1].end(), i + step
                break
            else:
                break
            end, i = matches[i].end(), i + 1
        rounded = _AROUND.search(text[max(0, start - 24) : start]) is not None
        found.append(Number(text[start:end], start, end, frozenset({value.normalize()}), unit, rounded, word=True))
    return found


def _spread_units(text: str, numbers: list[Number]) -> list[Number]:
    """In '5 to 10 %' and '$5-10 million' the first number shares the second's unit and may share its magnitude."""
    done = list(numbers)
    for i in range(len(done) - 1):
        a, b = done[i], done[i + 1]
        between = text[a.end : b.start]
        if len(between) > 8 or not _RANGE.fullmatch(between):
            continue
        unit_a, unit_b = a.unit or b.unit, b.unit or (a.unit if a.unit != "%" else "")
        values = a.values
        for factor in (
            b_value / plain for b_value in b.values for plain in _readings(regex.sub(r"[^\d.,]", "", b.text)) if plain
        ):
            if factor > 1 and factor == factor.to_integral_value():
                values |= frozenset((v * factor).normalize() for v in a.values)
        done[i] = Number(a.text, a.start, a.end, values, unit_a, a.rounded, a.word)
        done[i + 1] = Number(b.text, b.start, b.end, b.values, unit_b, b.rounded, b.word)
    return done


def numbers_agree(candidate: Number, source: Number) -> bool:
    """Whether a source's number supports the candidate's: equal in one reading and unit, or rounded and said to be.

    A percentage is never a plain count and one currency never another; a currency the source leaves out is tolerated.
    """
    if candidate.unit != source.unit and ("%" in (candidate.unit, source.unit) or (candidate.unit and source.unit)):
        return False
    if candidate.values & source.values:
        return True
    return candidate.rounded and any(_rounds_to(s, c) for c in candidate.values for s in source.values)


def _rounds_to(exact: Decimal, rounded: Decimal) -> bool:
    """Whether `rounded` has at least one digit fewer than `exact` and lies within one unit of its last digit (5 % at most)."""
    if rounded <= 0 or exact <= 0 or len(rounded.as_tuple().digits) >= len(exact.as_tuple().digits):
        return False
    exponent = rounded.normalize().as_tuple().exponent
    unit = Decimal(10) ** (exponent if isinstance(exponent, int) else 0)
    return abs(exact - rounded) < unit and abs(exact - rounded) <= exact / 20


# -------------------------------------------------------------------------------------------------------------- dates

_MONTH_NAMES: dict[str, str] = {
    "en": "january february march april may june july august september october november december",
    "short": "jan feb mar apr may jun jul aug sep oct nov dec",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "de": "januar februar märz april mai juni juli august september oktober november dezember",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "tr": "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "id": "januari februari maret april mei juni juli agustus september oktober november desember",
    "hi": "जनवरी फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर",
    "ar": "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
}
_MONTHS: dict[str, int] = {}
for _names in _MONTH_NAMES.values():
    for _number, _name in enumerate(_names.split(), start=1):
        _MONTHS.setdefault(_name, _number)
_MONTHS |= {
    "sept": 9,
    "setiembre": 9,
    "janv": 1,
    "févr": 2,
    "fevr": 2,
    "märz": 3,
    "mär": 3,
    "jänner": 1,
    "dez": 12,
    "okt": 10,
    "ene": 1,
    "abr": 4,
    "ago": 8,
    "dic": 12,
    "déc": 12,
}
# Names that are everyday words in some language count only with a day or a year beside them.
_WEAK = frozenset(
    {
        "may",
        "march",
        "mar",
        "mars",
        "mai",
        "mei",
        "jan",
        "sep",
        "nov",
        "dec",
        "dic",
        "ago",
        "jun",
        "jul",
        "abr",
        "ene",
        "mart",
        "ekim",
        "ocak",
        "maj",
        "marca",
        "maja",
        "maret",
    }
)
_MONTH = r"(?P<month>" + "|".join(sorted(map(regex.escape, _MONTHS), key=len, reverse=True)) + r")(?![\p{L}\p{M}])\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|er|º|ª|\.)?"
_YEAR = r"(?P<year>(?:1[5-9]|20)\d{2})(?!\d)"
_LINK = r"(?:\s*,?\s*|\s+(?:of|de|del|di|do|van)\s+(?:the\s+)?)"
_DATE_PATTERNS = [
    regex.compile(rf"(?<![\d.]){_YEAR}[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})(?!\d)", flags=regex.I),
    regex.compile(rf"(?:{_YEAR}\s?年)\s?(?P<month>\d{{1,2}})\s?月(?:\s?(?P<day>\d{{1,2}})\s?日)?"),
    regex.compile(r"(?<!\d)(?P<month>\d{1,2})\s?月\s?(?P<day>\d{1,2})\s?日"),
    regex.compile(rf"(?<![\p{{L}}\p{{N}}]){_MONTH}{_LINK}{_DAY}(?![\d%$€]|[.,:]\d)(?:{_LINK}{_YEAR})?", flags=regex.I),
    regex.compile(rf"(?<![\p{{L}}\p{{N}}.,]){_DAY}{_LINK}{_MONTH}(?:{_LINK}{_YEAR})?", flags=regex.I),
    regex.compile(rf"(?<![\p{{L}}\p{{N}}]){_MONTH}{_LINK}{_YEAR}", flags=regex.I),
    regex.compile(r"(?<![\d/.-])(?P<a>\d{1,2})(?P<sep>[/.-])(?P<b>\d{1,2})(?P=sep)(?P<c>\d{4}|\d{2})(?![\d/.-]\d|\d)"),
    regex.compile(rf"(?<![\p{{L}}\p{{N}}]){_MONTH}", flags=regex.I),
]


def read_dates(text: str) -> list[Date]:
    """The dates of a sentence in order, down to a bare month name; bare years are numbers."""
    text = ascii_digits(text)
    found: list[Date] = []
    taken = bytearray(len(text))
    for pattern in _DATE_PATTERNS:
        for match in pattern.finditer(text):
            if any(taken[match.start() : match.end()]):
                continue
            readings = _date_readings(match)
            if not readings:
                continue
            taken[match.start() : match.end()] = b"\x01" * (match.end() - match.start())
            found.append(Date(match.group().strip(), match.start(), match.end(), readings))
    return sorted(found, key=lambda d: d.start)


def _date_readings(match: regex.Match) -> frozenset[tuple[int | None, int | None, int | None]]:
    groups = match.groupdict()
    if "a" in groups:
        a, b, year = int(groups["a"]), int(groups["b"]), int(groups["c"])
        year += 2000 if year < 70 else 1900 if year < 100 else 0
        return frozenset((year, month, day) for month, day in ((a, b), (b, a)) if 1 <= month <= 12 and 1 <= day <= 31)
    name = groups["month"]
    month = int(name) if name.isdigit() else _MONTHS[name.lower()]
    day = int(groups["day"]) if groups.get("day") else None
    year_or_none = int(groups["year"]) if groups.get("year") else None
    if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
        return frozenset()
    if (
        day is None
        and year_or_none is None
        and not name.isdigit()
        and (
            name.lower() in _WEAK
            or (name[0].islower() and name.isascii() and name.lower() in _MONTH_NAMES["en"].split())
        )
    ):
        return frozenset()
    return frozenset({(year_or_none, month, day)})


def dates_agree(candidate: Date, source: Date, source_years: frozenset[int]) -> bool:
    """Whether what the candidate's date gives is given by the source's; a year may stand elsewhere in the same source."""
    for year, month, day in candidate.readings:
        for s_year, s_month, s_day in source.readings:
            if month is not None and month != s_month:
                continue
            if day is not None and day != s_day:
                continue
            if year is None or year == s_year or (s_year is None and year in source_years):
                return True
    return False
