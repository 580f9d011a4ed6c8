"""Every error that leaves the package, as values of primitives that pickle and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

from bundle_loader.masking import masked, repeatable
from bundle_loader.masking import one_line as one_line
from bundle_loader.spelling import MISSPELT as MISSPELT
from bundle_loader.spelling import Hints as Hints
from bundle_loader.spelling import did_you_mean as did_you_mean
from bundle_loader.spelling import nearest as nearest

Place: TypeAlias = tuple[str, int, int]
"""File, line and column; nought where it is not known."""


class BundleLoaderError(Exception):
    """The root of all errors of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[BundleLoaderError], args: tuple[Any, ...], state: dict[str, Any]) -> BundleLoaderError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong in one declared file. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    key: str
    message: str
    level: str = "error"
    """`error`, `warning` or `note`."""
    rule: str = "declaration"
    """The short id of what was broken, as docs/check.md lists them."""

    def __post_init__(self) -> None:
        """Whoever pasted a key in the wrong place is told so without it."""
        for name in ("key", "message"):
            written = getattr(self, name)
            safe = masked(written)
            if safe is not written:
                object.__setattr__(self, name, safe)

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        what = f"{self.key}: {self.message}" if self.key else self.message
        return f"{place}: {what}"


class DeclarationError(BundleLoaderError):
    """What an author wrote cannot be used. `faults` holds every fault found, in file order."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class RequestError(BundleLoaderError):
    """A caller asked for something that does not exist or contradicts itself (unknown agent, tier, provider).

    What looks like a key is left out of the message.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(masked(message))


class SessionError(RequestError):
    """A session cannot be resumed or read: there is none, or several, or it is in use, or its transcript is damaged.

    It names sessions by their ids, which look like keys and are none.
    """

    def __init__(self, message: str = "") -> None:
        BundleLoaderError.__init__(self, message)


class FailureKind(StrEnum):
    """What a provider's failure means for the next step; one word per row of the failure table."""

    BUSY = "busy"
    LIMITED = "limited"
    REFUSED = "refused"
    TOO_LONG = "too long"
    CONTENT_REFUSED = "content refused"
    UNSUPPORTED = "unsupported"
    WRONG_REQUEST = "wrong request"
    BROKEN = "broken answer"
    OVER_BUDGET = "over budget"
    DOWN = "down"


class ProviderFailure(BundleLoaderError):
    """A provider could not serve one request. Carries primitives only: no key, header or SDK object.

    Of the message at most `LONGEST` characters are kept, without what looks like a key: anybody's provider may raise it.
    """

    LONGEST: ClassVar = 2000
    ours: ClassVar = False
    """True where the message is always of our own words."""

    def __init__(
        self,
        kind: FailureKind,
        provider: str,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        scope: str = "model",
    ) -> None:
        message = one_line(message if self.ours else repeatable(message[: self.LONGEST]))
        super().__init__(message)
        self.kind = kind
        self.provider = provider
        self.model = model
        self.message = message
        self.status = status
        self.retry_after = retry_after
        """Seconds, when the vendor said so."""
        self.request_id = request_id
        self.scope = scope
        """`provider` when the whole provider instance is out, `model` when only this model is."""
        self.hurried = False
        """True where the caller's own deadline was so near that the failure says nothing of the provider."""

    @property
    def counts_against_health(self) -> bool:
        """True when it tells that the provider or the model does not work now; never for a limit or for the request itself."""
        return self.kind in (FailureKind.BUSY, FailureKind.BROKEN) and not self.hurried

    @property
    def model_gone(self) -> bool:
        """True when the provider does not know the model; a 403 is one that this key may not use, a 429 a spent day."""
        return self.kind is FailureKind.REFUSED and self.scope == "model" and self.status not in (403, 429)

    def __str__(self) -> str:
        status = f" {self.status}" if self.status else ""
        return f"{self.kind}{status}: {self.message}"


class NotSent(ProviderFailure):
    """A call that was not made, so that nothing was sent. `retry_after` is when it is worth asking again; None for never."""

    ours = True
    why: str = ""
    held = False
    """True where other calls only hold it for now."""


class Unhealthy(NotSent):
    """The provider, or the model, is known to be down."""

    def __init__(
        self, provider: str, message: str, *, model: str, retry_after: float | None, recovers: float, held: bool
    ) -> None:
        super().__init__(FailureKind.DOWN, provider, message, model=model, retry_after=retry_after)
        self.recovers = recovers
        """Epoch seconds at which it is asked again."""
        self.held = held
        """True where another call is finding out."""
        self.why = message


class NotAdmitted(NotSent):
    """A gate has something against the candidate that it had nothing against when the route was made."""

    def __init__(self, provider: str, message: str, *, model: str) -> None:
        super().__init__(FailureKind.REFUSED, provider, message, model=model)
        self.why = message


class OverBudget(NotSent):
    """A budget or a rate limit does not let a call be made; nothing was sent. `retry_after` is when it is worth asking again."""

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        model: str | None = None,
        retry_after: float | None = None,
        budget: str | None = None,
        left: str | None = None,
        renews: float | None = None,
        emergency: str | None = None,
        own_limit: bool = False,
        needed: str | None = None,
        zone: str = "UTC",
        held: bool = False,
        why: str = "",
        sliding: bool = False,
    ) -> None:
        super().__init__(FailureKind.OVER_BUDGET, provider, message, model=model, retry_after=retry_after)
        self.budget = budget
        """The budget's id; None where a vendor itself said "too many requests"."""
        self.left = left
        """What the budget has left, in words."""
        self.renews = renews
        """Epoch seconds at which its window ends, enough of a sliding one is past, or a vendor's word ends; None for never."""
        self.emergency = emergency
        """The tier that takes over."""
        self.own_limit = own_limit
        """True for the `max_cost` of the work itself."""
        self.needed = needed
        """The least that the call needs of it, in words."""
        self.zone = zone
        """The time zone of its window."""
        self.held = held
        """True where other calls only hold it for now."""
        self.why = why
        """The reason without the amounts."""
        self.sliding = sliding
        """True where its window slides."""


class NoAnswer(BundleLoaderError):
    """Nothing answered. `attempts`, `skipped` and `rejections` together hold the reason for every preference."""

    def __init__(
        self,
        message: str,
        *,
        rejections: Sequence[Any] = (),
        attempts: Sequence[Any] = (),
        skipped: Sequence[str] = (),
    ) -> None:
        self.rejections = tuple(rejections)
        """Preferences that gave no candidate."""
        self.attempts = tuple(attempts)
        """Candidates that were tried."""
        self.skipped = tuple(skipped)
        """Candidates that were not worth trying after an earlier failure, in words."""
        lines = [message, *(f"  {line}" for line in (*self.attempts, *self.skipped, *self.rejections))]
        super().__init__("\n".join(lines))


class NoCandidate(NoAnswer):
    """No preference could be turned into a model that may be tried."""


class Forbidden(NoCandidate):
    """Everything that was chosen lies outside of what the organisation's settings allow."""


class BudgetRefused(NoAnswer):
    """Every candidate is over a budget. What it says is of the budget that refused the first of them."""

    def __init__(
        self,
        message: str,
        *,
        budget: str | None = None,
        left: str | None = None,
        needed: str | None = None,
        renews: float | None = None,
        zone: str = "UTC",
        recovers: float | None = None,
        **reasons: Any,
    ) -> None:
        super().__init__(message, **reasons)
        self.budget = budget
        """Its id; None where a vendor itself said "too many requests"."""
        self.left = left
        self.needed = needed
        """The least that a call needed, in words as `left`."""
        self.zone = zone
        """The time zone in which it renews."""
        self.renews = renews
        """Epoch seconds at which a call fits again, or its window ends; None for one that never ends, and where that is not
        known because calls under way hold it."""
        self.recovers = recovers
        """The same of whichever candidate may be asked first."""


class AllFailed(NoAnswer):
    """Every candidate was tried and failed."""

    def __init__(self, message: str, *, recovers: float | None = None, **reasons: Any) -> None:
        super().__init__(message, **reasons)
        self.recovers = recovers
        """Epoch seconds from which the first of them may be asked again, where that is after the deadline and known."""


class AllDown(AllFailed):
    """Every candidate is known to be down, and none is asked again before the deadline."""


class Stopped(NoAnswer):
    """A failure that no other model would mend: a wrong request or refused content."""


class DeadlineExceeded(NoAnswer):
    """The time for the whole chain ran out."""


class BrokenAnswer(NoAnswer):
    """A turn broke after text of it was shown. `partial` is that text."""

    def __init__(self, message: str, *, partial: str, **reasons: Any) -> None:
        super().__init__(message, **reasons)
        self.partial = partial


class LimitReached(NoAnswer):
    """The work's own limit ended it before an answer: `limit` is `max_turns` or `max_cost`."""

    def __init__(self, message: str, *, limit: str = "max_turns", **reasons: Any) -> None:
        super().__init__(message, **reasons)
        self.limit = limit


class InvalidOutput(NoAnswer):
    """An answer that does not fit the agent's `output_schema`, also after it was told why. It is never handed on as a result."""

    def __init__(self, message: str, *, faults: Sequence[str], text: str, **reasons: Any) -> None:
        super().__init__(message, **reasons)
        self.summary = message
        """The message without what was tried."""
        self.faults = tuple(faults)
        """What is wrong with it, one line each."""
        self.text = text
        """The last answer as it came."""


class LedgerError(BundleLoaderError):
    """The ledger's file cannot be used; it is never overwritten."""


class StepFailed(BundleLoaderError):
    """A step of a recipe could not do its work: where it stands, what went wrong, and what to write instead.

    What looks like a key is left out of the message. `timed_out` is True where the step's own time ran out.
    """

    timed_out = False

    def __init__(self, message: str, *, remedy: str = "", step: str = "", place: Place = ("", 0, 0)) -> None:
        self.message, self.remedy, self.step, self.place = masked(message), masked(remedy), step, place
        super().__init__(self._told())

    def placed(self, step: str, place: Place) -> StepFailed:
        """The same, with the step and its place where they were not known yet."""
        self.step = self.step or step
        self.place = self.place if self.place[0] else place
        self.args = (self._told(),)
        return self

    def _told(self) -> str:
        """In one line, for people."""
        place = ":".join(str(part) for part in self.place if part)
        said = (place, f"step '{self.step}'" if self.step else "", self.message)
        return ": ".join(part for part in said if part) + (f"; {self.remedy}" if self.remedy else "")


class UnknownVariable(StepFailed):
    """A text or a condition of a recipe reads a variable, or a key of one, that is not there."""

    def __init__(self, path: Sequence[str], known: Sequence[str] = (), **where: Any) -> None:
        self.path = tuple(path)
        name = ".".join(self.path)
        near = did_you_mean(self.path[-1], known) if self.path else ""
        what = f"'{self.path[0]}' has no '{'.'.join(self.path[1:])}'" if len(self.path) > 1 else f"nobody has set '{name}'"
        super().__init__(f"{{{{{name}}}}}: {what}{near}", **where)


class UnsafeValue(StepFailed):
    """A value may not be put into a command at the place where it stands: it could be taken for code."""


class RecipeFailed(BundleLoaderError):
    """A recipe cannot be run, or its run cannot go on: `faults` says everything that is wrong, one line each."""

    def __init__(self, message: str, *, faults: Sequence[str] = (), run: str | None = None) -> None:
        self.faults = tuple(masked(str(fault)) for fault in faults)
        self.run = run
        """The id of the run, where there is one."""
        super().__init__("\n".join([masked(message), *(f"  {fault}" for fault in self.faults)]))
