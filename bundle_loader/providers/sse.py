"""Server-sent events out of the bytes of a body, however the network cut them."""

from __future__ import annotations

LARGEST = 32 * 1024 * 1024
"""Bytes of one unfinished event that are kept; an answer that needs more is not an answer."""


class SseParser:
    """Feed it chunks, get the events that they complete as `(event name or "", data)`.

    Lines may end in LF, CRLF or CR and be cut anywhere. Comments, `id` and `retry` are left out, several `data` lines
    of one event are joined with newlines, and an event without data is none.
    """

    __slots__ = ("_bytes", "_data", "_name", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """The events that end in this chunk. Raises ValueError for text that is not UTF-8 and for an endless event."""
        first = not self._bytes
        self._bytes += len(chunk)
        buffer = self._rest + chunk if self._rest else chunk
        if first:
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
        # a CR at the very end may be the first half of a CRLF
        cut = max(buffer.rfind(b"\n"), buffer.rfind(b"\r", 0, -1)) + 1
        self._rest = buffer[cut:]
        if len(self._rest) > LARGEST:
            raise ValueError("an event in the stream is too large")
        return self._lines(buffer[:cut])

    def close(self) -> list[tuple[str, str]]:
        """The last event of a body that ended without the blank line after it."""
        rest, self._rest = self._rest, b""
        return self._lines(rest + b"\n\n")

    def _lines(self, whole: bytes) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        for line in whole.splitlines():
            if not line:
                if self._data:
                    events.append((self._name, self._data[0] if len(self._data) == 1 else "\n".join(self._data)))
                    self._data = []
                self._name = ""
            elif line.startswith(b"data:"):
                self._data.append(line[6 if line[5:6] == b" " else 5 :].decode())
            elif line.startswith(b"event:"):
                self._name = line[6:].decode().strip()
        return events
