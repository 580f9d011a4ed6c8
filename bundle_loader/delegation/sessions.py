"""Where sessions are kept: one transcript file each, written as the work goes on, found again by id or its beginning."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import is_
from pathlib import Path
from typing import Any, Final

from bundle_loader.delegation import transcript
from bundle_loader.delegation.disk_sync import DiskSync
from bundle_loader.delegation.file_lock import locked, most_open, unlock
from bundle_loader.delegation.transcript import Transcript
from bundle_loader.errors import SessionError
from bundle_loader.events import TurnEvent
from bundle_loader.masking import masked
from bundle_loader.messages import Message, ToolCall, ToolResult
from bundle_loader.routing.step import StepChoice, step_plain

KEPT: Final = 30 * 86_400.0
"""Seconds for which a transcript is kept after its last line."""
SUFFIX: Final = ".jsonl"
MOST_BYTES: Final = 256 * 1024 * 1024
"""A larger transcript is not read."""
_LOOKS: Final = 5
_LOOK: Final = 0.01
_MOST_NAMED: Final = 5
_ID: Final = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True)
class Session:
    """One transcript as a list shows it."""

    id: str
    path: Path
    last: float
    """Epoch seconds at which it was last written."""
    size: int
    transcript: Transcript | None
    """None where it cannot be read."""
    fault: str | None = None
    """Why it cannot be read, with file and line."""
    running: bool = False
    """True where a delegation is writing it now."""


class Journal:
    """A transcript that is being written: its file stays locked until `end`. What cannot be written is noted, once."""

    def __init__(self, sessions: Sessions, id: str, fd: int) -> None:
        self.id = id
        self.fault: str | None = None
        self._sessions = sessions
        self._fd = fd
        self._clock = sessions.clock
        self._ended = False
        self._asked: set[str] = set()
        self._answer: Message | None = None
        """The answer whose tools are being run, as it was written."""
        self._results: dict[str, ToolResult] = {}
        """What was written of its calls since."""
        self._acted = False
        """Whether there is more than words that could be asked for again: what tools did."""

    def __del__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Give the file back as it is: nothing is begun."""
        if not self._ended:
            self._ended = True
            self._sessions.ended()
            with suppress(OSError):
                os.close(self._fd)

    def begin(self, delegation: str, messages: Iterable[Message], *, head: bytes = b"", **said: Any) -> None:
        """A delegation takes the session up; `head` is what the file begins with, `said` what the caller chose anew."""
        listed = transcript.written(messages)
        self._write(head + transcript.line("begin", delegation=delegation, at=self._clock(), messages=listed, **said))

    def answer(self, message: Message) -> None:
        """An answer asks for tools, which are about to be run."""
        self._asked |= {call.id for call in message.tool_calls}
        self._acted = True
        self._answer, self._results = message, {}
        self._write(transcript.line("answer", at=self._clock(), message=transcript.written([message])[0]))

    def asked(self, calls: tuple[ToolCall, ...]) -> None:
        """These calls are about to be run; their answer is written where no `answer` has said so."""
        if not self._asked.issuperset(call.id for call in calls):
            self.answer(Message("assistant", calls))

    def result(self, result: ToolResult) -> None:
        """A tool has given something back."""
        self._results[result.call_id] = result
        (said,) = transcript.written([Message("tool", (result,))])
        self._write(transcript.line("result", at=self._clock(), message=said))

    def turn(self, event: TurnEvent, model: str) -> None:
        """A turn is finished, by `provider/model`. What was written of it already is not written again."""
        said = {} if self._has(event.added) else {"added": transcript.written(event.added)}
        self._asked.clear()
        self._answer, self._results = None, {}
        self._write(transcript.line("turn", at=self._clock(), model=model, **said))

    def _has(self, added: tuple[Message, ...]) -> bool:
        """Whether the answer and the results that stand there are all that a turn adds, in the order of the calls."""
        if self._answer is None or len(added) != 2 or added[0] is not self._answer or added[1].role != "tool":
            return False
        written = [self._results.get(call.id) for call in self._answer.tool_calls]
        parts = added[1].parts
        return 0 < len(written) == len(parts) and all(map(is_, written, parts))

    def end(self, outcome: str, reason: str | None) -> None:
        """The delegation is over; the session can be taken up again."""
        if self._ended:
            return
        self._write(transcript.line("end", at=self._clock(), outcome=outcome, reason=reason))
        self._ended = True
        self._sessions.ended()
        unlock(self._fd)
        if self._acted:
            self._sessions.disk.settle(self._fd)
        else:
            os.close(self._fd)

    def _write(self, data: bytes) -> None:
        if self._ended or self.fault is not None:
            return
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self.fault = f"the session's transcript could not be written any more: {error.strerror or error}"
        else:
            if self._acted:
                self._sessions.disk.soon(self._fd)


@dataclass(slots=True)
class Opening:
    """A session that is about to begin, or to go on, with what its first line says."""

    sessions: Sessions
    id: str
    added: tuple[Message, ...]
    head: bytes = b""
    """What a new file begins with; empty for one that goes on."""
    said: Mapping[str, Any] = field(default_factory=dict)
    journal: Journal | None = None
    """Of one that goes on: its file, locked."""

    def begin(self, delegation: str) -> tuple[Journal | None, str | None]:
        """The transcript with the delegation's first line; or why none is kept, which is no reason not to do the work."""
        journal = self.journal
        try:
            journal = journal or self.sessions.new(self.id)
        except OSError as error:
            return None, f"no transcript is kept, so this session cannot be resumed: {error.strerror or error}"
        journal.begin(delegation, self.added, head=self.head, **self.said)
        return journal, None


class Sessions:
    """The transcripts in one folder. The folder is made when the first session begins."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.clock = clock
        self.disk = DiskSync()
        self._pruning: threading.Thread | None = None
        self._most = most_open()
        self._open = 0

    # --- writing

    def new(self, id: str) -> Journal:
        """A new transcript, of mode 0600. Raises OSError, also where very many are written at this moment."""
        if self._open >= self._most:
            raise OSError(f"{self._open} transcripts are written at this moment, and a process may open only so many files")
        path = self._path(id)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, flags, 0o600)
        if not locked(fd):
            os.close(fd)
            raise OSError("the new transcript is locked")
        self._tidy()
        self._open += 1
        return Journal(self, id, fd)

    def resume(self, prefix: str) -> tuple[Transcript, Journal]:
        """A transcript with its file, which is locked: whoever comes second is refused. Raises SessionError."""
        path = self.find(prefix)
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise SessionError(f"{path}: cannot be opened: {error.strerror}") from None
        try:
            if not self._taken(fd):
                raise SessionError(
                    f"session '{path.stem}' is in use: a delegation, here or in another process, is writing it; wait for its end"
                )
            found = transcript.read(_whole(fd, path), path)
            if found.id != path.stem:
                raise SessionError(f"{path}:1: is the transcript of session '{found.id}', not of '{path.stem}'")
            if found.cut:
                os.ftruncate(fd, found.whole)
        except BaseException:
            os.close(fd)
            raise
        self._open += 1
        return found, Journal(self, found.id, fd)

    def ended(self) -> None:
        """One transcript less is being written."""
        self._open -= 1

    def _taken(self, fd: int) -> bool:
        """The lock, also where somebody only looks whether it is taken."""
        for _ in range(_LOOKS):
            if locked(fd):
                return True
            time.sleep(_LOOK)
        return locked(fd)

    def close(self) -> None:
        """Put what was written on the disk. Safe to call twice."""
        self.disk.close()
        if self._pruning is not None:
            self._pruning.join()

    # --- reading

    def find(self, prefix: str) -> Path:
        """The file of the session whose id begins so. Raises SessionError for none and for several, which are named."""
        said = prefix.strip().lower()
        if not _ID.fullmatch(said):
            raise SessionError(f"{masked(prefix[:100])!r} is no id of a session; an id has the letters 0 to 9 and a to f")
        found = sorted(path for path in self._paths() if path.stem.startswith(said))
        exact = [path for path in found if path.stem == said] or found
        if not exact:
            raise SessionError(
                f"no session in {self.folder} has an id that begins with '{said}'; 'bundle-loader sessions' lists them"
            )
        if len(exact) > 1:
            names = ", ".join(path.stem for path in exact[:_MOST_NAMED]) + (", ..." if len(exact) > _MOST_NAMED else "")
            raise SessionError(f"{len(exact)} sessions begin with '{said}': {names}; write more of it")
        return exact[0]

    def read(self, prefix: str) -> Session:
        """One session. Raises SessionError, also where its transcript is damaged."""
        session = self._session(self.find(prefix))
        if session.fault is not None:
            raise SessionError(session.fault)
        return session

    def all(self) -> tuple[Session, ...]:
        """All sessions, the last written first; one that cannot be read says why."""
        found = []
        for path in self._paths():
            with suppress(FileNotFoundError):  # pruned meanwhile
                found.append(self._session(path))
        return tuple(sorted(found, key=lambda session: (-session.last, session.id)))

    def prune(self, before: float, *, only_count: bool = False) -> tuple[Path, ...]:
        """Take away the transcripts last written before then (epoch seconds), but none that is in use; say which."""
        gone = []
        for path in self._paths():
            with suppress(OSError):
                if os.stat(path).st_mtime >= before or _in_use(path):
                    continue
                if not only_count:
                    os.unlink(path)
                gone.append(path)
        return tuple(gone)

    def _tidy(self) -> None:
        """Once for each host, beside the work: what is older than it is kept goes."""
        if self._pruning is None:
            work = partial(self.prune, self.clock() - KEPT)
            self._pruning = threading.Thread(target=work, name="bundle-loader-sessions-prune", daemon=True)
            self._pruning.start()

    def _paths(self) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SessionError(f"{self.folder}: cannot be read: {error.strerror}") from None
        return [self.folder / name for name in names if name.endswith(SUFFIX)]

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}{SUFFIX}"

    def _session(self, path: Path) -> Session:
        told = os.stat(path)
        found: Transcript | None = None
        fault = None
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                found = transcript.read(_whole(fd, path), path)
            finally:
                os.close(fd)
        except SessionError as error:
            fault = str(error)
        except OSError as error:
            fault = f"{path}: cannot be read: {error.strerror}"
        return Session(path.stem, path, told.st_mtime, told.st_size, found, fault, _in_use(path))


def _whole(fd: int, path: Path) -> bytes:
    size = os.fstat(fd).st_size
    if size > MOST_BYTES:
        raise SessionError(f"{path}: has {size} bytes, and no transcript of more than {MOST_BYTES} is read")
    os.lseek(fd, 0, os.SEEK_SET)
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _in_use(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not locked(fd)
    finally:
        os.close(fd)


def plain_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's choice as JSON's own types, so that it can be made again."""
    return {name: _plain(value) for name, value in choice.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, StepChoice):
        return step_plain(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_defaults=True)
    if hasattr(value, "provider") and hasattr(value, "model"):
        return [value.provider, value.model]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
