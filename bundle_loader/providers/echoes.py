"""Keys that a server echoes in its answer, taken out of a failure: as they are, quoted for an address, or in base64."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

from bundle_loader.errors import ProviderFailure

_SHORTEST = 4
"""Characters. What is shorter is a word such as `any` for a server that needs no key."""
_SHORTEST_PACKED = 8
"""Characters of base64 below which chance alone would find it."""
_INSTEAD = "[key]"
_AROUND = "[A-Za-z0-9+/_=-]*"


def without_secret(failed: ProviderFailure, secret: str | None) -> ProviderFailure:
    """The same failure; where its words or its request id hold the secret, `[key]` stands instead.

    What it was raised from is let go: an exception of an SDK holds the request, and one of JSON the whole answer.
    """
    failed.__cause__ = failed.__context__ = None
    if not secret or len(secret) < _SHORTEST:
        return failed
    failed.message = without(secret, failed.message)
    failed.args = (failed.message,)
    if failed.request_id:
        failed.request_id = without(secret, failed.request_id)
    return failed


def without(secret: str, text: str) -> str:
    """`text` without the secret in any of its forms, even where the end of the text cut it."""
    pattern, forms = _forms(secret)
    text = pattern.sub(_INSTEAD, text)
    for form, least in forms:
        for length in range(len(form) - 1, least - 1, -1):
            if text.endswith(form[:length]):
                return text[:-length] + _INSTEAD
    return text


@lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[re.Pattern[str], tuple[tuple[str, int], ...]]:
    """What to look for; and each form with the number of its first characters by which a cut one is known."""
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    packed: set[str] = set()
    for shift in range(3):
        # what stands before the secret decides where the groups of three bytes begin; the first and the last are shared
        whole = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        core = whole[4 if shift else 0 : (shift + len(secret.encode())) // 3 * 4]
        if len(core) >= _SHORTEST_PACKED:
            packed |= {core, core.replace("+", "-").replace("/", "_")}
    parts = [re.escape(form) for form in sorted(plain, key=len, reverse=True)]
    # of a packed one goes the whole word, with what the secret stood in
    parts += [_AROUND + re.escape(form) + _AROUND for form in sorted(packed, key=len, reverse=True)]
    return re.compile("|".join(parts)), (*((form, _SHORTEST) for form in plain), *((form, _SHORTEST_PACKED) for form in packed))
