"""Keys that no config may hold: what would move a credential, an address, a proxy or TLS, in any spelling and depth.

A key is judged by what it says, not by how it is written: compatibility forms, letters that look like Latin ones, case,
separators and invisible characters are taken away first. Then

1. a name that says such a thing anywhere (`openaiApiKey`, `x-api-key`, `default_headers`) is protected;
2. so is one that has such a word of its own (`verify`, `host`, `proxy_url`, `sslContext`), but not one that merely contains
   its letters (`ghost_layers`, `certainty`);
3. a `token` is a credential, `tokens` are counted, and the tokens of a vocabulary (`stop_token`) are text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

from bundle_loader.masking import masked

Path: TypeAlias = tuple[str | int, ...]

_ANYWHERE: Final = re.compile(
    "|".join(
        (
            "(api|access|private|secret|signing|subscription|encryption|account|auth|master|admin|service|ssh|shared)keys?(?!word)",
            "key(file|variable|path|ring|env)",
            "(auth|access|refresh|bearer|id|session|security|personal)token(?!s)",
            "author[iy][sz]ation|authenticat|oauth|bearer|credential|password|passwd|passphrase|secret(?!ar)",
            "(base|api|server|root|proxy|socket|service|callback|webhook|redirect|auth|token)ur[il]|(api|server|service|url)base",
            "endpoint|hostname|(api|server|base|proxy|service|remote)host|(host|server|api|base)addr",
            "headers?(?!only)|cookie|prox(y|ies)",
            "http(client|option|transport|agent)|(client|request|transport)options?|transportargs|(extra|default)query",
            "certificate|(client|server|root|ca|ssl|tls)cert|(ca|cert)(file|bundle|path|chain|cert)|trust(store|env)|keystore",
            "(verify|skip|use|disable|allow|check)(ssl|tls|host|cert)|(ssl|tls)(verify|context|key|cert|mode|option)",
            "organi[sz]ationid|^organi[sz]ation$|serviceaccount",
            "tokenprovider|useragent|clientid|clientfactory|clientclass",
        )
    )
)
_WORDS: Final = frozenset(
    [
        "auth",
        "authn",
        "authz",
        "basicauth",
        "bearer",
        "ca",
        "cert",
        "certs",
        "cookie",
        "cookies",
        "endpoint",
        "endpoints",
        "header",
        "headers",
        "host",
        "hosts",
        "hostname",
        "jwt",
        "netrc",
        "organization",
        "organisation",
        "proxy",
        "proxies",
        "secret",
        "secrets",
        "socket",
        "ssl",
        "sslmode",
        "sslverify",
        "tls",
        "transport",
        "url",
        "urls",
        "uri",
        "uris",
        "verify",
        "ws",
        "wss",
        "baseurl",
        "websocket",
        "pem",
        "pfx",
        "insecure",
    ]
)
_TOKEN: Final = re.compile(r"(.*)token")
_VOCABULARY: Final = ("bos", "eos", "stop", "pad", "unk", "end", "start", "special", "mask", "sep", "cls", "begin")
_MAX_SAID: Final = 2000
_ALONE: Final = frozenset({"key", "keys", "client", "clients"})
"""Protected only as the whole name: `cache_key` is no credential, and `client_tag` opens no connection."""
_RESERVED: Final = frozenset({"model", "models", "messages", "stream", "system", "tools", "contents", "input"})
_BODIES: Final = frozenset({"extrabody", "extrajson", "requestbody", "body", "modelkwargs"})
"""Fields whose keys SDKs lay over the request's own."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")
_LOOKALIKES: Final = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјкмнорсԁԛԝухһвтгӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορτυχεıȷøłđɡɩʟʀĸ",
    "ABESIJKMHOPCTYXaesijkmhopcdqwyxhbtrlABEZHIKMNOPTYXaiknoptuxeijoldgilrk",
)
_CREDENTIAL: Final = re.compile(r"key$|keys$|token|secret|passw|passphrase|credential|authori[sz]ation|bearer")


def protected_keys(config: Any) -> Iterator[Path]:
    """The path of every protected key in a config, and of every field that a request itself decides: at its top, and where
    more is laid over the request (`extra_body`).
    """
    yield from _walk(config, ())


def _walk(value: Any, path: Path, is_request: bool = True) -> Iterator[Path]:
    """`is_request` says that the keys of `value` are those of a request."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = (*path, str(key))
            name = _SEPARATORS.sub("", _latin(str(key))).casefold()
            if is_protected(str(key)) or (is_request and name in _RESERVED):
                yield here
            else:
                yield from _walk(item, here, is_request and name in _BODIES)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index), False)


@lru_cache(maxsize=4096)
def is_protected(key: str) -> bool:
    """True for a key that may not stand in a config, however it is spelt."""
    plain = _latin(key)
    name = _SEPARATORS.sub("", plain).casefold()
    words = {word.casefold() for part in _SEPARATORS.split(plain) for word in _CAMEL.split(part)}
    if name in _ALONE or name in _WORDS or words & _WORDS or _ANYWHERE.search(name):
        return True
    token = _TOKEN.fullmatch(name)
    return token is not None and not token[1].endswith(_VOCABULARY)


def names_credential(key: str) -> bool:
    """True for a key under which somebody would write a credential."""
    return is_protected(key) and _CREDENTIAL.search(_SEPARATORS.sub("", _latin(key)).casefold()) is not None


def without_secrets(text: str) -> str:
    """Text for a message, cut where it is very long; what looks like a key that was pasted by mistake is left out."""
    short = text if len(text) <= _MAX_SAID else f"{text[:_MAX_SAID]}..."
    return masked(short)


def _latin(key: str) -> str:
    """The key in plain Latin letters: compatibility forms, accents, look-alikes and invisible characters taken away."""
    if key.isascii():
        return key
    apart = unicodedata.normalize("NFKD", key)
    seen = "".join(char for char in apart if unicodedata.category(char) not in ("Mn", "Me", "Cf", "Cc"))
    return unicodedata.normalize("NFKD", seen.translate(_LOOKALIKES))
