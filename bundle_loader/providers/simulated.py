"""A provider that plays any other: its list of models, answers, tool calls, latency and faults, without a network."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from bundle_loader.errors import ProviderFailure, RequestError, did_you_mean
from bundle_loader.messages import Delta, Finish, Message, Part, StreamPart, Text, Thinking, ToolCall, Turn, Usage
from bundle_loader.providers import faults as meanings
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.instances import Settings, declared_of, instances, runs_here, shipped_of
from bundle_loader.providers.snapshot import model_info, snapshot_models, snapshot_providers
from bundle_loader.providers.table import canonical, row
from bundle_loader.routing.catalogue import ModelInfo

FAULT_WORDS: Mapping[str, str] = {
    "down": "the connection is refused, for chats and for the list of models",
    "timeout": "no answer in time (raised at once; give `latency` to wait)",
    "cut": "the stream ends after some text",
    "empty": "a success without an answer",
    "malformed": "a success whose body is not JSON",
    "too-long": "the prompt does not fit the context window",
    "refusal": "the safety system refuses the prompt",
    "unsupported": "the model does not take a part of the request",
    "no-key": "the provider has no key, for chats and for the list of models",
    "list": "the list of models fails with 503, chats would work (list-<status> for another status)",
}
"""The words that `parse_fault` takes beside an HTTP status, and what each does."""

_BYTES_PER_TOKEN = 4
_PIECES = 3
_QUOTED = 80
_FIRST_PLACES = ("anthropic", "openai", "google", "github-copilot", "ollama")

_FAULT = re.compile(r"(?P<list>list-)?(?P<status>[0-9]{3})(?::(?P<after>[0-9]+(?:\.[0-9]+)?))?")
_STATUS_WORDS = {
    400: "invalid_request_error: the request cannot be read",
    401: "authentication_error: the key is not accepted",
    402: "payment required",
    403: "permission_error: this key may not use this model",
    404: "not_found_error: no such model",
    413: "request_too_large: the request is larger than allowed",
    429: "rate_limit_error: too many requests",
    503: "service unavailable",
    529: "overloaded_error: overloaded",
}


@dataclass(frozen=True, slots=True)
class SimulatedFault:
    """A way to fail, as `parse_fault` reads it."""

    word: str
    """`status`, or one of `FAULT_WORDS` but `list`."""
    status: int | None = None
    """The HTTP status where the word is `status`."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait."""
    on: Literal["chat", "list", "both"] = "chat"
    """Which requests fail when the fault belongs to the provider."""

    def failure(self, provider: str, model: str | None) -> ProviderFailure:
        """What an adapter would raise; `model` is None for the list of models."""
        if self.word == "down":
            return meanings.unreachable(provider, model, "connection refused, simulated")
        if self.word == "timeout":
            return meanings.too_slow(provider, model)
        if self.word == "cut":
            return meanings.broken(provider, model, "simulated: the stream ended before the answer did")
        if self.word == "empty":
            return meanings.broken(provider, model, "simulated: an empty answer")
        if self.word == "malformed":
            return meanings.broken(provider, model, "simulated: malformed JSON")
        if self.word == "too-long":
            return meanings.failure(provider, model, 400, "simulated: prompt is too long for the context window")
        if self.word == "refusal":
            return meanings.content_refused(provider, model, "simulated: refused by the safety system")
        if self.word == "unsupported":
            return meanings.failure(provider, model, 400, "simulated: this model does not support a part of the request")
        if self.word == "no-key":
            return meanings.no_key(provider, _key_variables(provider))
        return meanings.failure(
            provider, model, self.status, f"simulated: {_status_words(self.status)}", retry_after=self.retry_after
        )


def parse_fault(text: str) -> SimulatedFault:
    """Read a fault: an HTTP status (`503`), a status with the seconds to wait (`429:7`), or one of `FAULT_WORDS`.

    `list` and `list-<status>` fail the list of models only. Raises `RequestError` that names what is accepted and what
    comes nearest.
    """
    word = text.strip().lower()
    found = _FAULT.fullmatch(word)
    if found and 400 <= int(found["status"]) <= 599:
        after = found["after"]
        return SimulatedFault(
            "status",
            status=int(found["status"]),
            retry_after=float(after) if after else None,
            on="list" if found["list"] else "chat",
        )
    if word == "list":
        return SimulatedFault("status", status=503, on="list")
    if word in FAULT_WORDS:
        return SimulatedFault(word, on="both" if word in ("down", "no-key") else "chat")
    known = [*FAULT_WORDS, *(str(status) for status in _STATUS_WORDS), "list-503"]
    raise RequestError(
        f"unknown fault {text!r}{did_you_mean(word, known)}; a fault is an HTTP status from 400 to 599 (503, 429:7 with"
        f" the seconds to wait, list-503 for the list of models) or one of: {', '.join(FAULT_WORDS)}"
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer. A reply with neither text nor tool calls is an empty answer, which adapters refuse."""

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Names and arguments; the ids are made here: `sim-<provider>-<request>-<call>`, counted from 1."""
    usage: Usage | None = None
    """What the provider says it used; None lets it be estimated."""
    fault: SimulatedFault | str | None = None
    """Fails this request; `cut` after some of the text."""
    latency: float | None = None
    """Seconds before this reply, instead of the provider's."""


Answer: TypeAlias = str | Reply | Callable[[ChatRequest], str | Reply]
Latency: TypeAlias = float | Mapping[str, float]


class SimulatedProvider:
    """A provider in memory: what `--simulate` runs on, and the kit for testing bundles and hosts.

        tools = [("read_file", {"path": "a.md"})]
        provider = SimulatedProvider("anthropic", replies=[Reply("Let me see.", tools), "It is empty."])
        flaky = SimulatedProvider("openai", models=["gpt-5-mini"], faults=["429:7", None], answer="Hello")
        ... run what is to be tested with {"anthropic": provider, "openai": flaky} ...
        assert [request.model for request in flaky.requests] == ["gpt-5-mini", "gpt-5-mini"]

    Request number n takes the n-th of `replies` and the n-th of `faults`, whether it succeeds or not. When the replies
    are used up the answer is `answer` (a function is called once for each such request), by default a text that says it
    is simulated and quotes the question. Of several faults that apply, the reply's comes before the queue's and the
    queue's before `fault`. A model that is not listed is a 404. An answer longer than the request's `max_tokens` ends
    there, with `length`.

    Usage, unless a reply gives it, is estimated: UTF-8 bytes of all that is sent (of all that is answered) divided by 4,
    rounded up.
    """

    simulated = True
    """Whoever shows an answer of this provider says so."""

    def __init__(
        self,
        id: str,
        *,
        models: Iterable[ModelInfo | Mapping[str, Any] | str] | None = None,
        local: bool = False,
        answer: Answer | None = None,
        replies: Iterable[str | Reply] = (),
        fault: SimulatedFault | str | None = None,
        faults: Iterable[SimulatedFault | str | None] = (),
        latency: Latency = 0.0,
        list_fault: SimulatedFault | str | None = None,
    ) -> None:
        """`models` are `ModelInfo`s, mappings with its fields, or ids; by default the shipped list of `id`.

        `fault` stays until `set_fault`; of `faults` each is for one request, None for none. `list_fault` fails the list
        of models only. `latency` is seconds before the first piece of an answer or its failure, or a mapping from a model
        pattern to seconds (the first that matches). Raises `RequestError` for a fault or model that cannot be read.
        """
        self.id = id
        self.local = local
        self.models = snapshot_models(id) if models is None else tuple(model_info(model) for model in models)
        self.requests: list[ChatRequest] = []
        """Every chat request received, in order, those that failed included."""
        self.list_calls = 0
        """How often the list of models was asked for, failures included."""
        self.closed = False
        self._answer = answer
        self._replies = deque(_as_reply(reply) for reply in replies)
        self._fault = _as_fault(fault)
        self._faults = deque(_for_chat(_as_fault(queued)) for queued in faults)
        self._list_fault = _as_fault(list_fault)
        self._latency = latency

    def set_fault(self, fault: SimulatedFault | str | None) -> None:
        """From now on every request fails in this way, or, with None, works again."""
        self._fault = _as_fault(fault)

    async def list_models(self) -> Sequence[ModelInfo]:
        """The models given or shipped; fails under `list_fault` and under a `fault` that concerns lists."""
        self.list_calls += 1
        if self._list_fault is not None:
            raise self._list_fault.failure(self.id, None)
        if self._fault is not None and self._fault.on != "chat":
            raise self._fault.failure(self.id, None)
        return self.models

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """The next answer in a few pieces and a `Turn`. Raises `ProviderFailure` as a real adapter would."""
        self.requests.append(request)
        number = len(self.requests)
        scripted = self._replies.popleft() if self._replies else None
        queued = self._faults.popleft() if self._faults else None
        reply = scripted or self._own_answer(request)
        fault = _as_fault(reply.fault) or queued or _for_chat(self._fault, strict=False)
        latency = self._seconds(request.model) if reply.latency is None else reply.latency
        if latency > 0:
            await asyncio.sleep(latency)
        if fault is not None and fault.word != "cut":
            raise fault.failure(self.id, request.model)
        if not self._lists(request.model):
            raise meanings.failure(self.id, request.model, 404, f"simulated: model {request.model} does not exist")
        text, finish = _within(reply, request.max_tokens)
        pieces = _pieces(text)
        for piece in pieces[: max(1, len(pieces) - 1)] if fault else pieces:
            yield Delta(piece)
        if fault is not None:
            raise fault.failure(self.id, request.model)
        message = self._message(text, reply if finish == "tools" else None, number)
        if not message.parts:
            raise SimulatedFault("empty").failure(self.id, request.model)
        usage = reply.usage or _estimate(request, message)
        yield Turn(message, usage, request.model, finish)

    async def aclose(self) -> None:
        """Nothing to give back; sets `closed`."""
        self.closed = True

    def _lists(self, model: str) -> bool:
        return any(model == listed.id or model in listed.aliases for listed in self.models)

    def _seconds(self, model: str) -> float:
        if not isinstance(self._latency, Mapping):
            return self._latency
        matching = (seconds for pattern, seconds in self._latency.items() if fnmatchcase(model.lower(), pattern.lower()))
        return next(matching, 0.0)

    def _own_answer(self, request: ChatRequest) -> Reply:
        if self._answer is None:
            return Reply(f"[simulated {self.id}/{request.model}] would answer: {_beginning(request.messages)}")
        return _as_reply(self._answer(request) if callable(self._answer) else self._answer)

    def _message(self, text: str, reply: Reply | None, number: int) -> Message:
        parts: list[Part] = [Text(text)] if text else []
        prefix = re.sub(r"[^a-zA-Z0-9-]", "-", self.id)
        for count, (name, arguments) in enumerate(reply.tool_calls if reply else (), start=1):
            parts.append(ToolCall(f"sim-{prefix}-{number}-{count}", name, dict(arguments)))
        return Message("assistant", tuple(parts))


def check_simulation(simulate: bool, providers: object, faults: object) -> None:
    """Raises RequestError where a host is told things that do not go together."""
    if faults and not simulate:
        raise RequestError("faults are for simulated providers; give simulate=True as well")
    if simulate and providers is not None:
        raise RequestError("give either providers or simulate=True, not both")


def simulated_providers(
    faults: Mapping[str, str] | None = None,
    *,
    ids: Iterable[str] | None = None,
    settings: Settings | None = None,
) -> dict[str, SimulatedProvider]:
    """One simulated provider for each list in the shipped snapshot, or for `ids`, by id, and for each instance of `settings`.

    An instance lists what it declares, else what is shipped for its kind; without either it is left out.

    `faults` is provider id -> fault (`{"anthropic": "503"}`). Aliases (`gemini`) stand for their ids. The order is
    anthropic, openai, google, github-copilot, ollama, then the others by name; that of `ids` where given. Raises
    `RequestError` for a provider that is not there and for a fault that cannot be read.
    """
    shipped = snapshot_providers()
    if ids is None:
        chosen = sorted(shipped, key=lambda id: (_FIRST_PLACES.index(id) if id in _FIRST_PLACES else len(shipped), id))
    else:
        chosen = [_known(name, shipped, "simulate") for name in ids]
    said = settings or {}
    lists = {id: declared_of(id, said) or shipped_of(id, said) for id in dict.fromkeys((*chosen, *instances(said)))}
    chosen = [id for id in lists if lists[id]]
    wanted: dict[str, SimulatedFault] = {}
    for name, text in (faults or {}).items():
        id = _known(name, chosen, "fault for")
        if id in wanted:
            raise RequestError(f"two faults for the provider {id}")
        wanted[id] = parse_fault(text)
    return {id: SimulatedProvider(id, models=lists[id], local=runs_here(id, said), fault=wanted.get(id)) for id in chosen}


def _known(name: str, known: Sequence[str], what: str) -> str:
    id = canonical(name)
    if id not in known:
        raise RequestError(f"{what} {name!r}: no such provider here{did_you_mean(name, known)}; there are {', '.join(known)}")
    return id


def _key_variables(id: str) -> tuple[str, ...]:
    found = row(id)
    usual = re.sub(r"[^A-Z0-9]", "_", id.upper()) + "_API_KEY"
    return found.key_variables if found and found.key_variables else (usual,)


def _status_words(status: int | None) -> str:
    if status in _STATUS_WORDS:
        return _STATUS_WORDS[status]
    return HTTPStatus(status).phrase.lower() if status in set(HTTPStatus) else "an error"


def _as_reply(value: str | Reply) -> Reply:
    return Reply(value) if isinstance(value, str) else replace(value, fault=_for_chat(_as_fault(value.fault)))


def _as_fault(value: SimulatedFault | str | None) -> SimulatedFault | None:
    return parse_fault(value) if isinstance(value, str) else value


def _for_chat(fault: SimulatedFault | None, *, strict: bool = True) -> SimulatedFault | None:
    """A fault as it concerns one chat: one that only fails lists is none, or, for a script, a mistake."""
    if fault is None or fault.on != "list":
        return fault
    if strict:
        raise RequestError("a fault of the list of models cannot be scripted for one chat; give it as list_fault")
    return None


def _within(reply: Reply, max_tokens: int) -> tuple[str, Finish]:
    """The text that fits `max_tokens`, and how the answer ends; one that is cut short asks for no tools."""
    raw = reply.text.encode(errors="surrogatepass")
    most = max_tokens * _BYTES_PER_TOKEN
    if len(raw) > most:
        return raw[:most].decode(errors="ignore"), "length"
    return reply.text, "tools" if reply.tool_calls else "stop"


def _pieces(text: str) -> list[str]:
    size = -(-len(text) // _PIECES)
    return [text[start : start + size] for start in range(0, len(text), size)] if text else []


def _beginning(messages: Sequence[Message]) -> str:
    """The first words of the last user message."""
    asked = next((message.text for message in reversed(messages) if message.role == "user" and message.text.strip()), "")
    line = " ".join(asked.split())
    return f"{line[:_QUOTED].rstrip()}…" if len(line) > _QUOTED else line or "(nothing was asked)"


def _estimate(request: ChatRequest, answer: Message) -> Usage:
    sent = [request.system, *(_words(part) for message in request.messages for part in message.parts)]
    sent += [f"{tool.name}{tool.description}{_json(tool.schema)}" for tool in request.tools]
    return Usage(_tokens(sent), _tokens([_words(part) for part in answer.parts]), estimated=True)


def _words(part: Part) -> str:
    if isinstance(part, ToolCall):
        return part.name + _json(part.arguments)
    return part.text if isinstance(part, Text | Thinking) else part.name + part.text


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda inner: dict(inner) if isinstance(inner, Mapping) else str(inner))


def _tokens(texts: Iterable[str]) -> int:
    return -(-sum(len(text.encode(errors="surrogatepass")) for text in texts) // _BYTES_PER_TOKEN)
