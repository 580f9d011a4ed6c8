"""Read what a model's id says: vendor, words, version, snapshot date, size, stage, tag."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from bundle_loader.routing.id_words import MAKES, NEUTRAL, STAGES

Date = tuple[int, int, int]
Version = tuple[tuple[int, ...], str]
NO_DATE: Date = (0, 0, 0)
NO_VERSION = (0,) * 10
_ABSENT: Version = ((), "")

_SIZE = re.compile(r"(?P<prefix>[a-z]?)(?:(?P<times>\d+)x)?(?P<number>\d+(?:\.\d+)?)(?P<unit>[bmt])")
_CONTEXT = re.compile(r"\d+k")
_EXPERTS = re.compile(r"\d+e")
_STAGE = re.compile(r"([a-z]+?)(\d+)")
_VERSION = re.compile(r"(?P<prefix>[a-z]*)(?P<numbers>\d{1,2}(?:\.\d{1,3})*)(?P<suffix>[a-z]*)")
_THREE_DIGITS = re.compile(r"[1-9][1-9]\d")
_FEW = 3
_SHORT_NUMBER = re.compile(r"0|[1-9]\d?")
_REVISION = re.compile(r"0\d{1,2}")
_CLOUD_VENDOR = re.compile(r"(?:[a-z][a-z-]*\.)+(?=[a-z])")
_PLAIN_TAG = re.compile(r"latest|i?q\d.*|b?f(?:p)?\d+|\d[\d.x]*[bmt].*|[ae]\d+b.*")
_BILLIONS = {"b": 1.0, "m": 0.001, "t": 1000.0}


@dataclass(frozen=True, slots=True)
class ModelId:
    """What one id says. All text is lower case."""

    text: str
    """The id without a leading `models/`."""
    vendor: str = ""
    """What stands before the last slash: `openai` of `openai/gpt-4o`."""
    words: tuple[str, ...] = ()
    """The words in order, without stages, versions, dates and sizes."""
    versions: tuple[Version, ...] = ()
    """Numbers without trailing zeros, and the letter behind them: `((4,), "o")` of `gpt-4o`."""
    date: Date = NO_DATE
    """Year, month, day of the snapshot; 0 where not said."""
    revision: int = 0
    """1 of `-001` and of `-rc1`."""
    sizes: tuple[str, ...] = ()
    """Parameters and context lengths as written in the name: `70b`, `32k`."""
    size: float = 0.0
    """Billions of parameters, from the name or the tag; 0 when not said."""
    stages: frozenset[str] = frozenset()
    latest: bool = False
    remade: bool = False
    """A word directly behind the version says that it is a later make of it: `gpt-4-turbo`."""
    tag: str = ""
    """What stands behind the colon, without `latest`."""
    family: str = ""

    @property
    def dated(self) -> bool:
        """True when it names one snapshot."""
        return self.date != NO_DATE or self.revision > 0

    @property
    def is_pointer(self) -> bool:
        """True for an `x-latest` that names no version."""
        return self.latest and not self.versions

    @property
    def core(self) -> tuple[object, ...]:
        """Equal for an alias and its snapshots."""
        return (self.vendor, frozenset(self.words), self.versions, self.sizes, self.stages, self.tag)

    @property
    def follows(self) -> bool:
        """Whether the undated id moves on to this one: it is one of its snapshots, not a later model of the same name.

        Behind a vendor's prefix only a whole date says so: `x/gpt-4o-2024-11-20`, but not `x/deepseek-r1-0528`.
        """
        return not self.vendor or not self.dated or (self.date[0] > 0 and self.date[2] > 0)


@dataclass(slots=True)
class _Reading:
    """What has been read of one name so far."""

    words: list[str] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)
    size: float = 0.0
    date: Date = NO_DATE
    revision: int = 0
    latest: bool = False
    open_version: bool = False
    """The last token was a whole number which a next one continues: `4-5`."""
    was_version: bool = False
    """The last token was a version, or a part of one."""
    remade: bool = False


def plain(model_id: str) -> str:
    """The id as patterns see it: lower case, without `models/`."""
    return model_id.lower().removeprefix("models/")


def is_pattern(text: str) -> bool:
    """True when `text` has a wildcard of fnmatch."""
    return any(mark in text for mark in "*?[")


@lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(plain(pattern))).match


def matches(pattern: str, model_id: str) -> bool:
    """Whether the id fits the pattern by fnmatch's rules, without regard to case or a leading `models/`."""
    return _matcher(pattern)(plain(model_id)) is not None


@lru_cache(maxsize=1024)
def named_words(pattern: str) -> frozenset[str]:
    """The words and sizes that the pattern's literal text says."""
    literal = re.sub(r"\[!?\]?[^\]]*\]|[*?]", " ", plain(pattern))
    return frozenset(re.findall(r"[a-z]+", literal)) | frozenset(re.findall(r"[a-z0-9.]+", literal))


def family(model_id: str) -> str:
    """The id without vendor, version, date, stage and tag: what a vendor's rate limit counts. `claude-haiku`, `gpt-4o-mini`."""
    return parse(model_id).family


@lru_cache(maxsize=16384)
def parse(model_id: str) -> ModelId:
    """Read an id. Every text is an id of some kind, so this never fails."""
    text = plain(model_id)
    vendor, _, name = text.rpartition("/")
    if not vendor:
        name = _CLOUD_VENDOR.sub("", name)
    name, _, tag = name.partition(":")
    reading = _Reading()
    tokens = [token for token in re.split(r"[-_@\s]+", name) if token]
    at = 0
    while at < len(tokens):
        at += _read_date(reading, tokens, at) or _read_token(reading, tokens[at])
    size = _tag_size(tag) or reading.size
    return ModelId(
        text=text,
        vendor=vendor.lstrip("~"),
        words=tuple(reading.words),
        versions=tuple(_trimmed(version) for version in reading.versions),
        date=reading.date,
        revision=reading.revision,
        sizes=tuple(reading.sizes),
        size=size,
        stages=frozenset(reading.stages),
        latest=reading.latest,
        remade=reading.remade,
        tag="" if tag == "latest" else tag,
        family="-".join(reading.family) or name or text,
    )


def is_plain_tag(tag: str) -> bool:
    """True for a tag that says size or quantisation only."""
    return not tag or _PLAIN_TAG.fullmatch(tag) is not None


def read_versions(ids: Iterable[ModelId]) -> dict[str, tuple[int, ...]]:
    """Each id's version as comparable numbers; `41` beside 4.x of the same brand is 4.1."""
    ids = list(ids)
    majors: dict[Hashable, set[int]] = defaultdict(set)
    for one in ids:
        if one.versions:
            majors[one.vendor, one.words[:1]].add(one.versions[0][0][0])
    run_together = {brand: _run_together(numbers) for brand, numbers in majors.items()}
    read: dict[str, tuple[int, ...]] = {}
    for one in ids:
        versions = one.versions
        if versions and versions[0][0][0] in run_together[one.vendor, one.words[:1]] and len(versions[0][0]) == 1:
            versions = ((divmod(versions[0][0][0], 10), versions[0][1]), *versions[1:])
        read[one.text] = _flat(versions)
    listed: dict[Hashable, set[tuple[int, ...]]] = defaultdict(set)
    for one in ids:
        listed[one.vendor, one.words[:1]].add(read[one.text][:2])
    for one in ids:
        following = None if one.versions else _following(one.words[1:], listed[one.vendor, one.words[:1]])
        if following is not None:
            read[one.text] = _flat(((following, ""),))
    return read


def _following(words: Iterable[str], listed: Collection[tuple[int, ...]]) -> tuple[int, int] | None:
    """`410` read as 4.10, where a version shortly before that is listed: 4.9, or one of the few before it."""
    for word in words:
        if _THREE_DIGITS.fullmatch(word):
            major, minor = divmod(int(word), 100)
            if any((major, before) in listed for before in range(minor - _FEW, minor)):
                return major, minor
    return None


def _run_together(majors: Iterable[int]) -> frozenset[int]:
    """The numbers that are a major and a minor without the dot between them: far above every other, and begun by one of them
    or by the one before the first.
    """
    whole: list[int] = []
    together: set[int] = set()
    for major in sorted(majors):
        if whole and major > 10 and major % 10 and whole[0] - 1 <= major // 10 <= whole[-1] and major > whole[-1] + 5:
            together.add(major)
        else:
            whole.append(major)
    return frozenset(together)


@lru_cache(maxsize=4096)
def _flat(versions: tuple[Version, ...]) -> tuple[int, ...]:
    flat: list[int] = []
    for numbers, suffix in (*versions, _ABSENT, _ABSENT)[:2]:
        flat += (*numbers, 0, 0, 0, 0)[:4]
        flat.append(ord(suffix[0]) if suffix else 0)
    return tuple(flat)


def same_model(first: str, second: str) -> bool:
    """Whether two ids name one model: equal, or one is the undated (or versioned `-latest`) alias of the other's snapshot."""
    one, other = parse(first), parse(second)
    if one.text == other.text:
        return True
    if one.core != other.core or not (one.follows and other.follows):
        return False
    if (one.latest or other.latest) and not one.versions:
        return False
    return one.latest or other.latest or not (one.dated and other.dated)


def stands_for(alias: ModelId, other: ModelId) -> bool:
    """Whether `other` is one of the concrete ids that the undated id or `x-latest` stands for."""
    if other.latest or (alias.vendor, alias.tag, set(alias.words)) != (other.vendor, other.tag, set(other.words)):
        return False
    if alias.latest:
        return not alias.versions or (alias.versions, alias.sizes) == (other.versions, other.sizes)
    return other.dated and other.follows and alias.core == other.core


def nearest_ids(model_id: str, ids: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of the ids that look most like `model_id`, nearest first; nothing that does not look like it."""
    wanted = plain(model_id)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    scored = []
    for candidate in dict.fromkeys(ids):
        text = plain(candidate)
        best = 0.0
        for form in {text, text if "/" in wanted else text.rpartition("/")[2]}:
            matcher.set_seq1(form)
            if matcher.real_quick_ratio() >= 0.5 and matcher.quick_ratio() >= 0.5:
                best = max(best, matcher.ratio())
        if best >= 0.5:
            scored.append((-best, candidate))
    return [candidate for _, candidate in sorted(scored)[:count]]


def _read_date(reading: _Reading, tokens: list[str], at: int) -> int:
    """Take a date that begins at this token; the number of tokens taken."""
    first, second, third = [*tokens[at : at + 3], "", ""][:3]
    date, taken = NO_DATE, 0
    if not first[0].isdecimal():
        return 0
    if _is_year(first) and _is_month(second):
        date, taken = (int(first), int(second), int(third)) if _is_day(third) else (int(first), int(second), 0), 2
        taken += date[2] > 0
    elif _is_month(first) and _is_year(second):
        date, taken = (int(second), int(first), 0), 2
    elif _is_month(first) and _is_day(second):
        date, taken = (0, int(first), int(second)), 2
    elif first.isdecimal():
        date = _one_token_date(first)
        taken = int(date != NO_DATE)
    if taken:
        reading.date = date
        reading.open_version = False
    return taken


def _one_token_date(token: str) -> Date:
    """YYYYMMDD, YYMMDD, YYMM or MMDD. Years end above 12 and months do not, so the short forms never collide."""
    if len(token) == 8 and _is_year(token[:4]) and _is_month(token[4:6]) and _is_day(token[6:]):
        return int(token[:4]), int(token[4:6]), int(token[6:])
    if len(token) == 6 and "20" <= token[:2] <= "39" and _is_month(token[2:4]) and _is_day(token[4:]):
        return 2000 + int(token[:2]), int(token[2:4]), int(token[4:])
    if len(token) == 4 and "20" <= token[:2] <= "39" and _is_month(token[2:]):
        return 2000 + int(token[:2]), int(token[2:]), 0
    if len(token) == 4 and _is_month(token[:2]) and _is_day(token[2:]):
        return 0, int(token[:2]), int(token[2:])
    return 0, 0, 0


def _is_year(token: str) -> bool:
    return len(token) == 4 and token.isdecimal() and 2015 <= int(token) <= 2099


def _is_month(token: str) -> bool:
    return len(token) == 2 and token.isdecimal() and 1 <= int(token) <= 12


def _is_day(token: str) -> bool:
    return len(token) == 2 and token.isdecimal() and 1 <= int(token) <= 31


def _read_token(reading: _Reading, token: str) -> int:
    """Take one token that is no date; always 1."""
    was_open, reading.open_version = reading.open_version, False
    was_version, reading.was_version = reading.was_version, False
    if token.isalpha() and token.isascii():
        _read_word(reading, token, was_version)
        return 1
    stage = _STAGE.fullmatch(token)
    size = _SIZE.fullmatch(token)
    if stage and stage[1] in STAGES:
        reading.stages.add(stage[1])
        reading.revision = int(stage[2])
    elif _REVISION.fullmatch(token):
        reading.revision = int(token)
    elif size:
        if size["prefix"] != "a":
            reading.size = max(reading.size, _billions(size))
        reading.sizes.append(token)
        reading.family.append(token)
    elif _CONTEXT.fullmatch(token) or _EXPERTS.fullmatch(token):
        reading.sizes.append(token)
        reading.family.append(token)
    elif was_open and _SHORT_NUMBER.fullmatch(token):
        numbers, _ = reading.versions[-1]
        reading.versions[-1] = ((*numbers, int(token)), "")
        reading.open_version = reading.was_version = True
    elif version := _VERSION.fullmatch(token):
        _read_version(reading, version, token)
    else:
        _read_word(reading, token, was_version)
    return 1


def _read_word(reading: _Reading, token: str, was_version: bool) -> None:
    if token == "latest":
        reading.latest = True
    elif token in STAGES:
        reading.stages.add(token)
    else:
        reading.remade = reading.remade or (was_version and token in MAKES)
        reading.words.append(token)
        if token not in NEUTRAL:
            reading.family.append(token)


def _read_version(reading: _Reading, match: re.Match[str], token: str) -> None:
    prefix, numbers, suffix = match["prefix"], match["numbers"], match["suffix"]
    if prefix and prefix != "v":
        reading.words.append(prefix)
        if not suffix:
            reading.family.append(prefix)
    if suffix in ("v", "vl"):
        reading.words.append("vision")
        reading.family.append("vision")
        suffix = ""
    elif suffix:
        reading.family.append(token)
    reading.versions.append((tuple(int(number) for number in numbers.split(".")), suffix))
    reading.open_version = not suffix and "." not in numbers
    reading.was_version = True


def _trimmed(version: Version) -> Version:
    numbers, suffix = version
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers, suffix


def _billions(size: re.Match[str]) -> float:
    return float(size["number"]) * int(size["times"] or 1) * _BILLIONS[size["unit"]]


def _tag_size(tag: str) -> float:
    found = _SIZE.fullmatch(tag.partition("-")[0])
    return _billions(found) if found else 0.0
