"""The flow of attempts, without a provider: the whole failure table, and what holds for every sequence of failures."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.declared.preference import Preference
from bundle_loader.delegation.attempts import Answered, End, Failed, Try, Verdict, attempts
from bundle_loader.delegation.chain import MOST_WAITS
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import ModelInfo

K = FailureKind


def candidate(provider: str, model: str, *, window: int | None = None, spare: str | None = None) -> Candidate:
    info = ModelInfo(model, window=window)
    left = ModelInfo(spare, window=window) if spare else None
    return Candidate(provider, model, Preference(provider=provider, model=model), info=info, spare=left)


A1, A2 = candidate("a", "one"), candidate("a", "two")
B1, C1 = candidate("b", "one"), candidate("c", "one")
CHAIN = (A1, A2, B1, C1)


def failure(
    kind: FailureKind, *, status: int | None = None, retry_after: float | None = None, scope: str = "model"
) -> ProviderFailure:
    return ProviderFailure(kind, "a", "said the vendor", status=status, retry_after=retry_after, scope=scope)


def failed(kind: FailureKind, *, shown: bool = False, left: float = 100.0, down: float | None = None, **more: object) -> Failed:
    return Failed(failure(kind, **more), shown, left, down)  # type: ignore[arg-type]


@dataclass
class Story:
    """What a flow did when it was told what happened."""

    tries: list[Try] = field(default_factory=list)
    verdict: Verdict | None = None

    @property
    def tried(self) -> list[str]:
        return [str(step.candidate) for step in self.tries]

    @property
    def end(self) -> End:
        assert self.verdict is not None, "the flow still waits to be told"
        return self.verdict.end


def told(
    candidates: tuple[Candidate, ...],
    *happened: Answered | Failed,
    continue_broken: bool = False,
    fallback: tuple[Candidate, ...] = (),
) -> Story:
    story = Story()
    flow = attempts(candidates, continue_broken=continue_broken, content_fallback=lambda: fallback)
    answer: Answered | Failed | None = None
    for upcoming in (*happened, None):
        try:
            story.tries.append(next(flow) if answer is None else flow.send(answer))
        except StopIteration as stop:
            story.verdict = stop.value
            assert upcoming is None, "the flow ended before all that was to happen"
            break
        answer = upcoming
    return story


def test_an_answer_ends_the_flow() -> None:
    story = told(CHAIN, Answered())
    assert (story.tried, story.end) == (["a/one"], End.ANSWERED)
    assert story.tries[0].remaining == (A2, B1, C1)


def test_without_candidates_all_have_failed() -> None:
    assert told(()).end is End.ALL_FAILED


# What comes after a failure of a/one, the others being a/two, b/one and c/one: the rest that is tried, or the end.
TABLE = {
    "busy 503": (failed(K.BUSY, status=503), ["a/two", "b/one", "c/one"]),
    "busy, the whole provider": (failed(K.BUSY, scope="provider"), ["a/two", "b/one", "c/one"]),
    "busy with Retry-After and others left": (failed(K.BUSY, status=529, retry_after=1.0), ["a/two", "b/one", "c/one", "a/one"]),
    "limited": (failed(K.LIMITED, status=429, retry_after=1.0), ["a/two", "b/one", "c/one", "a/one"]),
    "refused key": (failed(K.REFUSED, status=401, scope="provider"), ["b/one", "c/one"]),
    "refused payment": (failed(K.REFUSED, status=402, scope="provider"), ["b/one", "c/one"]),
    "forbidden model": (failed(K.REFUSED, status=403), ["a/two", "b/one", "c/one"]),
    "model gone": (failed(K.REFUSED, status=404), ["a/two", "b/one", "c/one"]),
    "too long, windows unknown": (failed(K.TOO_LONG, status=400), ["a/two", "b/one", "c/one"]),
    "content refused": (failed(K.CONTENT_REFUSED), End.STOPPED),
    "unsupported": (failed(K.UNSUPPORTED, status=400, scope="provider"), ["b/one", "c/one"]),
    "wrong request": (failed(K.WRONG_REQUEST, status=400), End.STOPPED),
    "over budget": (failed(K.OVER_BUDGET), ["a/two", "b/one", "c/one"]),
    "down": (failed(K.DOWN), ["a/two", "b/one", "c/one"]),
    "broken answer": (failed(K.BROKEN), ["a/two", "b/one", "c/one"]),
}


def test_the_table_has_every_kind() -> None:
    assert {row[0].failure.kind for row in TABLE.values()} == set(FailureKind)


@pytest.mark.parametrize("row", TABLE)
def test_what_comes_after_a_failure(row: str) -> None:
    happened, then = TABLE[row]
    if isinstance(then, End):
        story = told(CHAIN, happened)
        assert (story.tried, story.end) == (["a/one"], then)
        return
    story = told(CHAIN, happened, *[failed(K.BROKEN)] * len(then))
    assert story.tried == ["a/one", *then]
    assert story.end is End.ALL_FAILED
    assert [step.wait for step in story.tries if not step.again] == [0.0] * len(set(story.tried)), (
        "only what said when to come again is waited for"
    )
    assert story.verdict is not None
    skipped = [str(candidate) for candidate, _ in story.verdict.skipped]
    assert sorted([*dict.fromkeys(story.tried), *skipped]) == sorted(map(str, CHAIN)), "who is not tried is named"
    assert all(reason for _, reason in story.verdict.skipped)


@pytest.mark.parametrize("row", TABLE)
def test_text_that_was_shown_stops_the_flow_unless_the_agent_says_continue(row: str) -> None:
    happened, then = TABLE[row]
    shown = Failed(happened.failure, True, happened.left)
    assert told(CHAIN, shown).end is End.BROKEN
    if isinstance(then, End):
        assert told(CHAIN, shown, continue_broken=True).end is then
    else:
        assert told(CHAIN, shown, continue_broken=True).tried == ["a/one", then[0]]


@pytest.mark.parametrize("row", TABLE)
@pytest.mark.parametrize("left", [0.0, -1.0])
def test_nothing_is_tried_after_the_deadline(row: str, left: float) -> None:
    story = told(CHAIN, Failed(TABLE[row][0].failure, False, left))
    assert (story.tried, story.end) == (["a/one"], End.LATE)


# --- waiting


@pytest.mark.parametrize("kind", [K.BUSY, K.LIMITED])
def test_the_last_one_is_waited_for_as_long_as_it_says(kind: FailureKind) -> None:
    story = told((A1, B1), failed(kind), failed(kind, retry_after=7.0), Answered())
    assert [(str(step.candidate), step.wait) for step in story.tries] == [("a/one", 0.0), ("b/one", 0.0), ("b/one", 7.0)]
    assert story.end is End.ANSWERED


@pytest.mark.parametrize(("after", "left"), [(7.0, 7.0), (7.0, 5.0), (None, 100.0)])
def test_a_wait_that_does_not_fit_or_was_not_asked_for_is_none(after: float | None, left: float) -> None:
    assert told((A1,), failed(K.BUSY, retry_after=after, left=left)).end is End.ALL_FAILED


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {K.BUSY, K.LIMITED}))
def test_no_other_kind_waits(kind: FailureKind) -> None:
    assert len(told((A1,), failed(kind, retry_after=1.0)).tries) == 1


def test_what_will_be_asked_again_in_time_counts_among_those_that_are_left() -> None:
    flow = attempts((A1, B1), waiting=((C1, 5.0), (A2, 70.0)), left=60.0)
    first = next(flow)
    assert (first.candidate, len(first.remaining), first.held) == (A1, 1, 1), "the other recovers after the deadline"
    second = flow.send(failed(K.LIMITED, left=50.0, retry_after=10.0))
    assert (second.candidate, len(second.remaining), second.held) == (B1, 0, 2), "the last but for two that are waited for"
    third = flow.send(failed(K.BUSY, left=20.0))
    assert (third.candidate, third.held) == (C1, 1)


@pytest.mark.parametrize("kind", [K.BUSY, K.BROKEN])
def test_who_turns_out_to_be_down_is_waited_for_once_nothing_else_is_left(kind: FailureKind) -> None:
    story = told((A1, B1), failed(kind, down=10.0), failed(K.BROKEN, left=96.0), failed(kind, left=89.0, down=20.0), Answered())
    asked = [(str(step.candidate), step.wait, step.again) for step in story.tries]
    assert asked == [("a/one", 0.0, False), ("b/one", 0.0, False), ("a/one", 6.0, True), ("a/one", 20.0, True)]
    assert story.end is End.ANSWERED


@pytest.mark.parametrize("kind", [K.BUSY, K.BROKEN])
def test_who_is_down_until_after_the_deadline_is_not_waited_for_and_it_is_said_when(kind: FailureKind) -> None:
    story = told((A1, B1), failed(kind, left=30.0, down=40.0), failed(kind, left=20.0, down=70.0))
    assert (story.tried, story.end) == (["a/one", "b/one"], End.ALL_FAILED)
    assert story.verdict is not None
    assert story.verdict.after == 30.0


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {K.BUSY, K.BROKEN}))
def test_no_other_failure_is_mended_by_a_models_health(kind: FailureKind) -> None:
    assert len(told((A1,), failed(kind, down=1.0)).tries) == 1


def test_waiting_has_an_end() -> None:
    busy = failed(K.BUSY, retry_after=0.0)
    story = told((A1,), *[busy] * (MOST_WAITS + 1))
    assert (len(story.tries), story.end) == (MOST_WAITS + 1, End.ALL_FAILED)


# --- windows


def test_too_long_goes_to_known_larger_windows_then_to_unknown_ones() -> None:
    small, equal, large = (candidate("b", f"w{size}", window=size) for size in (50, 100, 200))
    unknown = candidate("c", "w")
    story = told(
        (candidate("a", "w100", window=100), small, unknown, equal, large), failed(K.TOO_LONG), failed(K.BUSY), failed(K.BUSY)
    )
    assert story.tried == ["a/w100", "b/w200", "c/w"]
    assert story.verdict is not None
    assert [(str(candidate), reason) for candidate, reason in story.verdict.skipped] == [
        ("b/w50", "its window of 50 tokens is no larger"),
        ("b/w100", "its window of 100 tokens is no larger"),
    ]


# --- model gone


GONE = failed(K.REFUSED, status=404)


def test_a_model_that_is_gone_gives_its_place_to_the_next_match_once() -> None:
    story = told((candidate("a", "new", spare="old"), B1), GONE, GONE, Answered())
    assert story.tried == ["a/new", "a/old", "b/one"]
    assert story.tries[1].candidate.spare is None


def test_no_next_match_for_a_model_that_is_only_forbidden() -> None:
    assert told((candidate("a", "new", spare="old"), B1), failed(K.REFUSED, status=403), Answered()).tried == ["a/new", "b/one"]


@pytest.mark.parametrize("kind", [K.BUSY, K.LIMITED, K.BROKEN, K.TOO_LONG, K.UNSUPPORTED])
def test_no_next_match_for_other_failures(kind: FailureKind) -> None:
    assert told((candidate("a", "new", spare="old"), B1), failed(kind), Answered()).tried == ["a/new", "b/one"]


def test_a_next_match_that_is_a_preference_of_its_own_is_tried_once() -> None:
    story = told((candidate("a", "new", spare="one"), A1, B1), GONE, failed(K.BUSY), failed(K.BUSY))
    assert story.tried == ["a/new", "a/one", "b/one"]
    assert story.verdict is not None
    assert [(str(candidate), reason) for candidate, reason in story.verdict.skipped] == [("a/one", "it was tried already")]


# --- content


REFUSAL = failed(K.CONTENT_REFUSED)


def test_refused_content_goes_to_the_content_fallback_and_nowhere_else() -> None:
    story = told(CHAIN, REFUSAL, failed(K.BUSY), fallback=(C1,))
    assert (story.tried, story.end) == (["a/one", "c/one"], End.ALL_FAILED)


def test_a_content_fallback_is_a_chain_of_its_own() -> None:
    story = told((A1, A2), REFUSAL, REFUSAL, REFUSAL, fallback=(B1, C1))
    assert (story.tried, story.end) == (["a/one", "b/one", "c/one"], End.STOPPED)


def test_who_refused_the_content_is_not_asked_again_as_its_own_fallback() -> None:
    story = told((A1,), REFUSAL, Answered(), fallback=(A1, B1))
    assert story.tried == ["a/one", "b/one"]


# --- laws

candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from("abc"),
        st.sampled_from(("one", "two", "three")),
        window=st.none() | st.integers(1, 5),
        spare=st.none() | st.sampled_from(("one", "two", "spare")),
    ),
    max_size=6,
).map(tuple)
events = st.lists(
    st.just(Answered())
    | st.builds(
        Failed,
        st.builds(
            failure,
            st.sampled_from(FailureKind),
            status=st.sampled_from((None, 403, 404, 503)),
            retry_after=st.none() | st.floats(0, 20),
            scope=st.sampled_from(("model", "provider")),
        ),
        st.booleans(),
        st.floats(-1, 100),
    ),
    min_size=1,
)


@given(candidates, candidates, events, st.booleans())
def test_every_flow_ends_and_asks_nobody_twice_but_the_one_it_waits_for(
    chain: tuple[Candidate, ...], fallback: tuple[Candidate, ...], happening: list[Answered | Failed], continue_broken: bool
) -> None:
    flow = attempts(chain, continue_broken=continue_broken, content_fallback=lambda: fallback)
    seen: list[Candidate] = []
    promised: dict[tuple[str, str], bool] = {}
    answer: Answered | Failed | None = None
    count = 0
    try:
        while True:
            step = next(flow) if answer is None else flow.send(answer)
            place = (step.candidate.provider, step.candidate.model)
            if step.again:
                assert step.remaining == (), "only once nothing else is left"
                assert promised.get(place), "whoever is asked again has said when"
                assert 0.0 <= step.wait < 100.0
            else:
                assert step.wait == 0.0
                assert place not in [(other.provider, other.model) for other in seen]
            seen.append(step.candidate)
            answer = happening[count % len(happening)]
            if isinstance(answer, Failed):
                after = answer.failure.retry_after
                promised[place] = after is not None and after < answer.left
            count += 1
    except StopIteration as stop:
        verdict: Verdict = stop.value
    assert count <= (2 + MOST_WAITS) * (len(chain) + len(fallback))
    if isinstance(answer, Answered):
        assert verdict.end is End.ANSWERED
    else:
        assert verdict.end is not End.ANSWERED
    assert all(reason for _, reason in verdict.skipped)
