"""Text for messages with everything left out that looks like a key.

Two rules, since nobody knows every kind of key:
1. what begins as the vendors' keys begin, and private key blocks, passwords in addresses and signed tokens;
2. a long word that changes between small letters, capitals and digits as only chance does. Names, model ids, paths, UUIDs and
   git's commits do not.
"""

from __future__ import annotations

import re
from typing import Final

_SHORTEST: Final = 10
LEFT_OUT: Final = "[left out: it looks like a key]"

_BODY: Final = r"[A-Za-z0-9_.+/=-]"
_WORD: Final = r"[A-Za-z0-9_-]"
_WITH_DIGIT: Final = rf"(?={_BODY}*[0-9])"
_KNOWN: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@)"
    r"|(?<![A-Za-z0-9])(?:"
    + "|".join(
        (
            rf"sk-(?:ant|proj|or|svcacct|admin|lf)-{_BODY}{{6,}}",
            rf"sk[-_]{_WITH_DIGIT}{_BODY}{{8,}}|sk-[A-Za-z0-9]{{20,}}",
            rf"(?:sk|pk|rk)_(?:live|test)_{_BODY}{{6,}}|whsec_{_BODY}{{8,}}",
            rf"(?:gsk|hf|r8|fw|tgp|api_org|npm|sntrys|pcsk|glsa|rpa|ntn|figd|atlasv1)_{_WITH_DIGIT}{_BODY}{{8,}}",
            r"(?:gsk|hf|r8|fw|npm)_[A-Za-z0-9]{20,}",
            rf"(?:xai|pplx|csk|PMAK|tskey|key|dapi)-?{_WITH_DIGIT}[A-Za-z0-9_]{{16,}}",
            rf"pplx-[A-Za-z0-9]{{20,}}|(?:nvapi|pypi)-{_BODY}{{8,}}",
            rf"gh[pousr]_[A-Za-z0-9]{{8,}}|github_pat_{_WORD}{{8,}}",
            rf"gl(?:pat|ptt|dt|rt|cbt|ft|imt|agent|oas|soat|ffct)-{_WORD}{{8,}}",
            rf"xox[a-z]-{_BODY}{{8,}}|xoxe\.{_BODY}{{8,}}|xapp-[0-9]-{_BODY}{{8,}}",
            r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{12,}",
            rf"AIza{_BODY}{{8,}}|ya29\.{_BODY}{{8,}}|GOCSPX-{_WORD}{{8,}}|1//0{_WORD}{{20,}}",
            rf"eyJ{_BODY}{{8,}}",
            rf"SG\.{_WORD}{{8,}}\.{_WORD}{{8,}}|AC[0-9a-f]{{32}}|SK[0-9a-f]{{32}}",
            rf"(?:shp(?:at|ca|pa|ss)|dop_v1|doo_v1|lin_api|lsv2_(?:pt|sk)|secret|sq0[a-z]{{3}}|hvs|hvb|EAAA)[_.-]{_WITH_DIGIT}{_BODY}{{12,}}",
            r"[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}",
            r"AGE-SECRET-KEY-1[A-Z0-9]{20,}",
            rf"(?:AccountKey|SharedAccessKey|sig)={_BODY}{{16,}}",
            rf"(?i:bearer|basic) (?:{_WITH_DIGIT}{_BODY}{{8,}}|{_BODY}{{24,}})",
        )
    )
    + ")",
    re.DOTALL,
)
_LONG: Final = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_HEX: Final = re.compile(r"[0-9a-f]+", re.IGNORECASE)
_DIGEST_SIZES: Final = (40, 64)
"""Hexadecimal digits of the digests that people do write: git's commits, SHA-256."""
_PIECES: Final = re.compile(r"[A-Za-z0-9]+")
_CHANGE: Final = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])|(?<=[A-Z][A-Z])(?=[a-z])")
_BY_CHANCE: Final = 0.2
"""Changes for each letter, from which on a word is nobody's word: names have fewer than half of it, random ones twice as many."""
_LEAST_DIGITS: Final = 2


_REST: Final = re.compile(rf"[\w%+./~-]*{re.escape(LEFT_OUT)}[^\s\"'<>,;()\[\]{{}}&]*")
"""What is left out with the rest of its word: a key may hold signs that no vendor's does, or be quoted for an address."""
_PLACES: Final = re.compile(r"(?: object)? at 0x[0-9A-Fa-f]+(?=[^<>]*>)")
"""Where an object of Python lies in memory."""


def masked(text: str) -> str:
    """The text without what looks like a key."""
    return _LONG.sub(_judged, _KNOWN.sub(LEFT_OUT, text)) if len(text) >= _SHORTEST else text


def repeatable(text: str) -> str:
    """What a stranger's code or server said, without what looks like a key and the word around it, and without addresses of
    objects. What went through it once is not changed by it again."""
    if " at 0x" in text:
        text = _PLACES.sub("", text)
    safe = masked(text)
    return _REST.sub(LEFT_OUT, safe) if LEFT_OUT in safe else safe


def _judged(found: re.Match[str]) -> str:
    word = found[0]
    return LEFT_OUT if _is_random(_UUID.sub("", word)) else word


def _is_random(word: str) -> bool:
    """Whether a long word changes too often between kinds of letters to have been thought of by somebody."""
    if len(word) < 24 or (_HEX.fullmatch(word) and len(word) in _DIGEST_SIZES):
        return False
    pieces = _PIECES.findall(word)
    # a path or a name of many short words
    if max(map(len, pieces), default=0) < 12:
        return False
    letters = sum(map(len, pieces))
    changes = sum(len(_CHANGE.findall(piece)) for piece in pieces)
    return sum(letter.isdigit() for letter in word) >= _LEAST_DIGITS and changes / letters >= _BY_CHANCE


def one_line(text: str, blank: str = " ") -> str:
    """What somebody else wrote, without characters that would move a cursor; a line break becomes a `blank`."""
    if text.isprintable():
        return text
    shown = (letter if letter.isprintable() else blank if letter.isspace() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return "".join(shown)
