"""Messages as a caller may give them: neutral ones, or mappings in the form of OpenAI or Anthropic."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, get_args

from bundle_loader.delegation.message_json import from_json, to_json
from bundle_loader.delegation.sound_text import sound_part
from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.messages import Blob, Message, Part, Text, ToolCall, ToolResult

Given: TypeAlias = Message | Mapping[str, Any]

_DATA: Final = re.compile(r"data:(?P<type>[^;,]+)(?:;[^;,]+)*;base64,(?P<data>.*)", re.DOTALL)
_ROLES: Final = ("user", "assistant", "tool")
_SYSTEM: Final = ("system", "developer")
_THINKING: Final = ("thinking", "redacted_thinking", "reasoning")


def messages_of(given: Iterable[Given], *, loops: bool = False) -> tuple[Message, ...]:
    """Neutral messages. Raises RequestError with all faults at once, each with the message's number and the place in it.

    A mapping has a role (user, assistant, or tool as OpenAI has it) and a content: text, or a list of blocks. Blocks are
    text, images and files in OpenAI's forms (chat and responses) and in Anthropic's, and Anthropic's tool_use and
    tool_result; OpenAI's tool_calls stand beside the content. Thinking is left out: only its vendor could read it. Objects of
    the SDKs are read as the mappings that they dump. System text is refused; of a host's own loop (`loops`) it is left out, since
    it is the loop's own.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise RequestError(f"messages: give a list of messages, not a {type(given).__name__}")
    reader = _Reader()
    given = [value for value in map(_dumped, given) if not (loops and _is_system(value))]
    found = [reader.message(value, f"messages[{index}]") for index, value in enumerate(given)]
    if reader.faults:
        raise RequestError("; ".join(reader.faults))
    return tuple(message for message in found if message is not None and message.parts)


def _dumped(value: Any) -> Any:
    """An object of an SDK as the mapping that goes to its vendor."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_none=True) if callable(dump) and not isinstance(value, type) else value


def _is_system(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("role") in _SYSTEM


class _Wrong(Exception):
    """A block that cannot be read; the words say why."""


class _Reader:
    """Reads messages one after another; a result may have to know the name of the call before it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._names: dict[str, str] = {}

    def message(self, value: Any, where: str) -> Message | None:
        if isinstance(value, Message):
            return self._neutral(value, where)
        if not isinstance(value, Mapping):
            self.faults.append(f"{where} is of type {type(value).__name__}; give a Message, or {{'role': ..., 'content': ...}}")
            return None
        role = value.get("role")
        if role not in _ROLES:
            self.faults.append(f"{where}.role: {_wrong_role(role)}")
            return None
        content = value.get("content")
        if content is None and role == "assistant":
            # what OpenAI has where a model said nothing, only called tools, or refused
            content = value.get("refusal") or []
        parts = self._content(content, f"{where}.content", role)
        if role == "tool":
            return self._answered(value, parts, where)
        if value.get("tool_calls"):
            parts += self._calls(value["tool_calls"], f"{where}.tool_calls", role)
        for place, part in enumerate(parts):
            if role == "assistant" and isinstance(part, Blob | ToolResult):
                self.faults.append(f"{where}.content[{place}]: an assistant's message holds text and calls only")
            elif role == "user" and isinstance(part, ToolCall):
                self.faults.append(f"{where}.content[{place}]: a call of a tool belongs to an assistant's message")
        results = tuple(part for part in parts if isinstance(part, ToolResult))
        if results and len(results) == len(parts):
            return Message("tool", results)
        return Message(role, tuple(parts))

    def _neutral(self, message: Message, where: str) -> Message | None:
        """A `Message` that can be sent."""
        if message.role not in _ROLES:
            self.faults.append(f"{where}.role: {_wrong_role(message.role)}")
            return None
        if not isinstance(message.parts, tuple | list) or not all(isinstance(part, get_args(Part)) for part in message.parts):
            self.faults.append(f"{where}.parts: write a tuple of Text, Blob, Thinking, ToolCall and ToolResult")
            return None
        try:
            whole = from_json(to_json(message))
            json.dumps([dict(call.arguments) for call in whole.tool_calls])
        except (ValueError, TypeError, AttributeError) as error:
            self.faults.append(f"{where}: {str(error).removeprefix('is no message: ') or type(error).__name__}")
            return None
        message = Message(message.role, tuple(map(sound_part, message.parts)))
        self._names |= {call.id: call.name for call in message.tool_calls}
        return message

    def _content(self, content: Any, where: str, role: str) -> list[Part]:
        if isinstance(content, str):
            self._check_text(content, where)
            return [Text(content)]
        if not isinstance(content, list | tuple):
            self.faults.append(f"{where} is {_kind(content)}; write text, or a list of blocks such as {{'type': 'text', ...}}")
            return []
        parts: list[Part] = []
        for place, block in enumerate(content):
            try:
                part = self._block(block, f"{where}[{place}]")
            except _Wrong as wrong:
                self.faults.append(f"{where}[{place}]{wrong}")
                continue
            if part is not None:
                parts.append(part)
        return parts

    def _block(self, block: Any, where: str) -> Part | None:
        if isinstance(block, str):
            self._check_text(block, where)
            return Text(block)
        block = _dumped(block)
        if not isinstance(block, Mapping):
            raise _Wrong(f" is {_kind(block)}; write {{'type': 'text', 'text': ...}}, or another block")
        kind = block.get("type")
        if kind in ("text", "input_text", "output_text"):
            text = _text(block, "text")
            self._check_text(text, f"{where}.text")
            return Text(text)
        if kind == "refusal":
            return Text(_text(block, "refusal"))
        if kind in _THINKING:
            return None
        if kind == "tool_use":
            return self._call(_text(block, "id"), _text(block, "name"), block.get("input"), ".input")
        if kind == "tool_result":
            return self._result(block, where)
        read = _FILES.get(str(kind))
        if read is None:
            known = ["text", *_FILES, "tool_use", "tool_result"]
            near = did_you_mean(str(kind), known) or f"; write one of {', '.join(known)}"
            raise _Wrong(f".type: {'it is missing' if kind is None else repr(kind) + ' is not known'}{near}")
        return read(block)

    def _check_text(self, text: str, where: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.faults.append(f"{where} cannot be sent: character {error.start} is half of a surrogate pair")

    def _call(self, id: str, name: str, arguments: Any, where: str) -> ToolCall:
        if not isinstance(arguments, Mapping):
            raise _Wrong(f"{where}: the arguments are {_kind(arguments)}; write a mapping")
        try:
            json.dumps(arguments, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise _Wrong(f"{where}: the arguments are no JSON that can be sent: {str(error)[:100]}") from None
        self._names[id] = name
        return ToolCall(id, name, dict(arguments))

    def _calls(self, calls: Any, where: str, role: str) -> list[Part]:
        """OpenAI's `tool_calls`, whose arguments are JSON in text."""
        if role != "assistant" or not isinstance(calls, list | tuple):
            self.faults.append(f"{where}: write a list, in an assistant's message")
            return []
        found: list[Part] = []
        for place, call in enumerate(calls):
            try:
                function = call.get("function") if isinstance(call, Mapping) else None
                if not isinstance(function, Mapping):
                    raise _Wrong(f" is {_kind(call)}; write {{'id': ..., 'function': {{'name': ..., 'arguments': ...}}}}")
                arguments = function.get("arguments")
                found.append(self._call(_text(call, "id"), _text(function, "name"), _json(arguments), ".function.arguments"))
            except _Wrong as wrong:
                self.faults.append(f"{where}[{place}]{wrong}")
        return found

    def _answered(self, value: Mapping[str, Any], parts: list[Part], where: str) -> Message | None:
        """OpenAI's message with role `tool`."""
        id = value.get("tool_call_id")
        if not isinstance(id, str):
            self.faults.append(f"{where}.tool_call_id: it is missing; write the id of the call that this answers")
            return None
        return Message("tool", (_made(id, self._names.get(id, "tool"), parts, error=False),))

    def _result(self, block: Mapping[str, Any], where: str) -> ToolResult:
        id = _text(block, "tool_use_id")
        content = block.get("content")
        parts = [] if content is None else self._content(content, f"{where}.content", "tool")
        return _made(id, self._names.get(id, "tool"), parts, error=bool(block.get("is_error")))


def _made(id: str, name: str, parts: list[Part], *, error: bool) -> ToolResult:
    text = "\n".join(part.text for part in parts if isinstance(part, Text))
    return ToolResult(id, name, text, error, tuple(part for part in parts if isinstance(part, Blob)))


def _wrong_role(role: Any) -> str:
    if role in _SYSTEM:
        return f"'{role}' is not taken; what the system says is the agent's own text"
    if role is None:
        return f"it is missing; write one of {', '.join(_ROLES)}"
    return f"{role!r} is not known{did_you_mean(str(role), _ROLES) or '; write one of ' + ', '.join(_ROLES)}"


def _kind(value: Any) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"


def _text(block: Mapping[str, Any], key: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise _Wrong(f".{key} is {_kind(value)}; write text")
    return value


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else {}
    except ValueError as error:
        raise _Wrong(f".function.arguments: no JSON ({error})") from None


def _bytes(data: str, where: str) -> bytes:
    try:
        found = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong(f"{where} is no base64") from None
    if not found:
        raise _Wrong(f"{where} is empty; every vendor refuses a file of no bytes")
    return found


def _blob(media_type: str, where: str, *, data: bytes | None = None, url: str | None = None, name: str | None = None) -> Blob:
    try:
        return Blob(data, media_type.strip().lower(), url, name)
    except ValueError:
        raise _Wrong(f"{where}: '{media_type}' is no media type; write one such as 'image/png'") from None


def _at(url: Any, where: str, otherwise: str, name: str | None = None) -> Blob:
    """From a `data:` address, or one to be fetched."""
    if not isinstance(url, str):
        raise _Wrong(f"{where} is {_kind(url)}; write an address")
    if url.startswith("data:"):
        found = _DATA.fullmatch(url)
        if found is None:
            raise _Wrong(f"{where}: a data address is written 'data:image/png;base64,...'")
        return _blob(found["type"], where, data=_bytes(found["data"], where), name=name)
    if not url.startswith(("https://", "http://", "gs://")):
        raise _Wrong(f"{where}: '{url[:60]}' is no address; write https://..., or 'data:image/png;base64,...'")
    guessed = mimetypes.guess_type(url.partition("?")[0])[0]
    return _blob(guessed or otherwise, where, url=url, name=name)


def _image_url(block: Mapping[str, Any]) -> Blob:
    given = block.get("image_url")
    nested = isinstance(given, Mapping)
    return _at(
        given.get("url") if isinstance(given, Mapping) else given, ".image_url.url" if nested else ".image_url", "image/jpeg"
    )


def _source(block: Mapping[str, Any]) -> Blob:
    """Anthropic's image and document."""
    source, image = block.get("source"), block["type"] == "image"
    if not isinstance(source, Mapping):
        raise _Wrong(f".source is {_kind(source)}; write {{'type': 'base64', 'media_type': ..., 'data': ...}}")
    name = block.get("title") if isinstance(block.get("title"), str) else None
    kind = source.get("type")
    try:
        if kind == "base64":
            media_type = _text(source, "media_type")
            return _blob(media_type, ".media_type", data=_bytes(_text(source, "data"), ".data"), name=name)
        if kind == "url":
            return _at(source.get("url"), ".url", "image/jpeg" if image else "application/pdf", name)
        if kind == "text":
            return Blob(_text(source, "data").encode(errors="replace"), "text/plain", name=name)
    except _Wrong as wrong:
        raise _Wrong(f".source{wrong}") from None
    raise _Wrong(f".source.type: {kind!r} is not known; write base64, url or text")


def _file(block: Mapping[str, Any]) -> Blob:
    """OpenAI's `file` (chat) and `input_file` (responses)."""
    nested = block["type"] == "file"
    given, where = (block.get("file"), ".file") if nested else (block, "")
    if not isinstance(given, Mapping):
        raise _Wrong(f"{where} is {_kind(given)}; write {{'filename': ..., 'file_data': ...}}")
    name = given.get("filename") if isinstance(given.get("filename"), str) else None
    guessed = (mimetypes.guess_type(name)[0] if name else None) or "application/pdf"
    if given.get("file_url") is not None:
        return _at(given["file_url"], f"{where}.file_url", guessed, name)
    data = given.get("file_data")
    if not isinstance(data, str):
        raise _Wrong(f"{where}.file_data is {_kind(data)}; write 'data:application/pdf;base64,...'")
    if data.startswith("data:"):
        return _at(data, f"{where}.file_data", guessed, name)
    return _blob(guessed, where, data=_bytes(data, f"{where}.file_data"), name=name)


def _audio(block: Mapping[str, Any]) -> Blob:
    given = block.get("input_audio")
    if not isinstance(given, Mapping):
        raise _Wrong(f".input_audio is {_kind(given)}; write {{'data': ..., 'format': 'wav'}}")
    form = "audio/wav" if given.get("format") == "wav" else "audio/mpeg"
    data = given.get("data")
    if not isinstance(data, str):
        raise _Wrong(f".input_audio.data is {_kind(data)}; write base64")
    return _blob(form, ".input_audio", data=_bytes(data, ".input_audio.data"))


_FILES: Final[Mapping[str, Callable[[Mapping[str, Any]], Blob]]] = {
    "image_url": _image_url,
    "input_image": _image_url,
    "image": _source,
    "document": _source,
    "file": _file,
    "input_file": _file,
    "input_audio": _audio,
}
