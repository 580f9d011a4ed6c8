"""What the Copilot CLI is told and says: requests into prompts, events into turns, its list into models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Finish, Message, Part, Text, ToolCall, ToolResult, Turn, Usage
from bundle_loader.providers import config, copilot_faults, faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo

AS_TEXT: Final = "the conversation so far went as text: the Copilot CLI takes one prompt"
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens"})
_FILTERED: Final = frozenset({"content_filter", "refusal", "safety"})
_TOO_MANY: Final = 10**12
_SO_FAR: Final = "The conversation so far, as JSON, oldest first:"
_GO_ON: Final = "Go on as the assistant: the results of its tool calls are the last entry."


def prompt(messages: Sequence[Message]) -> tuple[str, bool]:
    """The one prompt that stands for a conversation, and whether it had to be written out as text."""
    last = messages[-1]
    if len(messages) == 1 and last.role == "user":
        return last.text, False
    before = messages[:-1] if last.role == "user" else messages
    told = json.dumps([_told(message) for message in before], ensure_ascii=False, indent=1, default=str)
    return f"{_SO_FAR}\n{told}\n\n{last.text if last.role == 'user' else _GO_ON}", True


def _told(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role}
    if message.text:
        told["text"] = message.text
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": dict(call.arguments)} for call in message.tool_calls
        ]
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if results:
        told["tool_results"] = [
            {"id": one.call_id, "name": one.name, "text": one.text, **({"failed": True} if one.is_error else {})}
            for one in results
        ]
    return told


def settings(row: ProviderRow, provider: str, request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What of the request a session takes beside its messages, and in words what it does not.

    Raises ProviderFailure for a tool that the CLI takes under no name.
    """
    unfit = [tool.name for tool in request.tools if not _TOOL_NAME.fullmatch(tool.name)]
    if unfit:
        raise ProviderFailure(
            FailureKind.UNSUPPORTED,
            provider,
            f"the Copilot CLI takes only tool names of letters, digits, '_' and '-', not {', '.join(map(repr, unfit))}",
            model=request.model,
            scope="provider",
        )
    parameters, told = config.translate(row, request.model, request.config)
    notes = list(told)
    taken: dict[str, Any] = {}
    effort = parameters.pop("reasoning_effort", None)
    if effort in _EFFORTS:
        taken["reasoning_effort"] = effort
    elif effort is not None:
        notes.append(f"reasoning_effort dropped: the Copilot CLI takes only {', '.join(_EFFORTS)}")
    notes += [f"{key} dropped: the Copilot CLI does not take it" for key in parameters]
    return taken, tuple(notes)


class Answer:
    """Folds the events of one turn. What a sub-agent of the CLI says is not part of it."""

    def __init__(self, provider: str, model: str, secret: str) -> None:
        """`secret` is left out of what a failure says."""
        self._provider = provider
        self._model = model
        self._secret = secret
        self._said: list[str] = []
        self._streamed: set[str] = set()
        self._usage: Usage | None = None
        self._by: str | None = None
        self._asked: list[ToolCall] = []
        self._wanted: set[str] = set()
        self._cut = False
        self.pending: dict[str, str] = {}
        """Each tool call that waits for its result -> the CLI's own id of the request."""
        self.troubled: ProviderFailure | None = None
        """A call failed, and the CLI may still mend it."""
        self.idle = False
        """The CLI has nothing more to do: no run has to be stopped."""

    @property
    def ended(self) -> bool:
        """Nothing more belongs to this turn."""
        return self.idle or self._cut or bool(self.pending and self._wanted <= self.pending.keys())

    @property
    def shown(self) -> bool:
        """Some text has been given on."""
        return bool(self._said)

    def take(self, event: Any) -> str:
        """The answer text that an event brings, often none. Raises ProviderFailure for an error."""
        if event.agent_id:
            return ""
        data, kind = event.data, event.type.value
        match kind:
            case "assistant.message_delta":
                self._streamed.add(data.message_id)
                return self._say(data.delta_content)
            case "assistant.message":
                return self._message(data)
            case "assistant.usage":
                self._used(data)
            case "external_tool.requested":
                self._tool(data)
            case "tool.execution_complete":
                # a tool that is not ours: the CLI has told the model so by itself
                if data.tool_call_id not in self.pending:
                    self._wanted.discard(data.tool_call_id)
            case "session.error":
                raise self._broke(copilot_faults.session_error(data, self._provider, self._model, self._secret))
            case "model.call_failure":
                self._failed(data)
            case "assistant.turn_retry" if self.shown:
                raise self._broke(self.troubled)
            case "session.idle":
                self.idle = True
                if data.aborted:
                    raise faults.broken(self._provider, self._model, "the answer was cut off (the Copilot CLI stopped it)")
        return ""

    def _say(self, text: str) -> str:
        if text:
            self._said.append(text)
            self.troubled = None
        return text

    def _message(self, data: Any) -> str:
        self.troubled = None
        self._by = data.model or self._by
        self._wanted |= {request.tool_call_id for request in data.tool_requests or ()}
        return "" if data.message_id in self._streamed else self._say(data.content)

    def _tool(self, data: Any) -> None:
        given = data.arguments if data.arguments is not None else {}
        if not isinstance(given, Mapping):
            raise faults.broken(self._provider, self._model, f"the arguments of the call of {data.tool_name!r} are no object")
        if data.tool_call_id not in self.pending:
            self._asked.append(ToolCall(data.tool_call_id, data.tool_name, dict(given)))
        self.pending[data.tool_call_id] = data.request_id

    def _used(self, data: Any) -> None:
        self.troubled = None
        self._by = data.model or self._by
        one = usage(data)
        if one is not None:
            self._usage = one if self._usage is None else self._usage + one
        finish = str(data.finish_reason or "").lower()
        if data.content_filter_triggered or finish in _FILTERED:
            raise faults.content_refused(self._provider, self._model, "the answer was stopped by the content filter")
        # the CLI would ask the model to go on, which is not for it to decide
        self._cut = self._cut or finish in _CUT

    def _failed(self, data: Any) -> None:
        if data.source.value != "top_level":
            return
        failed = copilot_faults.call_failure(data, self._provider, self._model, self._secret)
        if self.shown or copilot_faults.is_settled(data):
            raise self._broke(failed)
        self.troubled = failed

    def _broke(self, failed: ProviderFailure | None) -> ProviderFailure:
        """What ends the turn. Once text was shown it is a cut answer, whatever the reason, unless its content was refused."""
        if failed is not None and (not self.shown or failed.kind is FailureKind.CONTENT_REFUSED):
            return failed
        why = f" ({failed.message})" if failed is not None else ""
        return faults.broken(self._provider, self._model, f"the answer was cut off{why}")

    def turn(self, notes: tuple[str, ...], most: int) -> Turn:
        """The finished turn. `most` is the `max_tokens` that the CLI could not be told. Raises ProviderFailure for no answer."""
        text = "".join(self._said)
        if not text and not self._asked:
            if self.troubled is not None:
                raise self.troubled
            raise faults.broken(self._provider, self._model, "the answer is empty")
        parts: list[Part] = [Text(text)] if text else []
        finish: Finish = "tools" if self._asked else "length" if self._cut else "stop"
        if self._usage is not None and self._usage.output_tokens > most:
            more = f"{self._usage.output_tokens} output tokens are more than max_tokens, {most}"
            notes = (*notes, f"{more}: the Copilot CLI takes no such limit")
        return Turn(Message("assistant", (*parts, *self._asked)), self._usage, self._by, finish, notes)


def usage(data: Any) -> Usage | None:
    """The tokens of one call of the model; None where they are not told, or are no counts."""
    told = (data.input_tokens, data.output_tokens)
    rest = [_count(given) or 0 for given in (data.cache_read_tokens, data.cache_write_tokens, data.reasoning_tokens)]
    counts = [_count(given) for given in told]
    if counts[0] is None or counts[1] is None:
        return None
    return Usage(max(counts[0], rest[0] + rest[1]), max(counts[1], rest[2]), rest[0], rest[1], rest[2])


def _count(given: object) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < _TOO_MANY else None


def models(answer: object, provider: str) -> list[ModelInfo]:
    """The models of a `models.list` answer. Raises ProviderFailure where it is no list of models."""
    entries = answer.get("models") if isinstance(answer, Mapping) else None
    if not isinstance(entries, list):
        raise faults.broken(provider, None, "the list of models has the wrong shape")
    return [_info(entry, provider) for entry in entries]


def _info(entry: object, provider: str) -> ModelInfo:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise faults.broken(provider, None, "an entry without an id in the list of models")
    limits, supports = _mapping(entry, "capabilities", "limits"), _mapping(entry, "capabilities", "supports")
    policy, billing = _mapping(entry, "policy"), _mapping(entry, "billing")
    extra: dict[str, object] = {"name": entry.get("name"), "vendor": entry.get("vendor")}
    extra |= {"multiplier": billing.get("multiplier"), "policy": policy.get("state")}
    extra["reasoning_efforts"] = entry.get("supportedReasoningEfforts")
    return ModelInfo(
        entry["id"],
        window=_limit(limits, "max_prompt_tokens") or _limit(limits, "max_context_window_tokens"),
        output_limit=_limit(limits, "max_output_tokens"),
        capabilities=_capabilities(supports, limits),
        assumed=_assumed(supports),
        kind=_kind(entry),
        stage=_stage(entry.get("preview")),
        barred="it is switched off in the account's Copilot settings" if policy.get("state") == "disabled" else None,
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _kind(entry: Mapping[str, Any]) -> str | None:
    """`chat`, `embeddings`, ... where the list says it."""
    told = _mapping(entry, "capabilities").get("type")
    if not isinstance(told, str):
        return None
    return {"embeddings": "embedding"}.get(told, told)


def _stage(preview: object) -> str | None:
    """The older API says it; the CLI of today leaves it out."""
    return {True: "preview", False: "stable"}[preview] if isinstance(preview, bool) else None


def _capabilities(supports: Mapping[str, Any], limits: Mapping[str, Any]) -> frozenset[str] | None:
    """None where the list says nothing at all. The CLI always streams."""
    if not supports:
        return None
    found = {"streaming", *_assumed(supports)}
    if supports.get("tool_calls"):
        found.add("tools")
    if supports.get("vision") or limits.get("vision"):
        found.add("vision")
    if supports.get("reasoningEffort") or supports.get("thinking"):
        found.add("reasoning")
    return frozenset(found)


def _assumed(supports: Mapping[str, Any]) -> frozenset[str]:
    """What the list leaves open: it never says of structured output, and older CLIs do not say of tools."""
    if not supports:
        return frozenset()
    return frozenset({"structured"} if "tool_calls" in supports else {"structured", "tools"})


def _limit(limits: Mapping[str, Any], name: str) -> int | None:
    told = _count(limits.get(name))
    return told or None


def _mapping(entry: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = entry
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
