"""The laws of composition over generated trees: folding is associative, has an identity and changes nothing it is given."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader.declared.fold import fold, fold_agent
from bundle_loader.declared.frontmatter import read_tree
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence

words = st.sampled_from(["a", "b", "true"])
scalars = st.one_of(words, st.just("~"))
pairs = st.sampled_from(["p/a", "q/b", "base", "base", "{tier: t}", "{provider: p, model: m}"])
lists = st.lists(pairs, max_size=3).map(lambda items: f"[{', '.join(items)}]")
cells = st.one_of(lists, lists, st.just("~"), st.just("cheap"))


def mapping(keys: list[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.dictionaries(st.sampled_from(keys), values, max_size=3).map(flow)


def flow(entries: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in entries.items()) + "}"


keyed = st.builds(
    lambda key, name, more: flow({key: name, **more}),
    st.sampled_from(["id", "name", "module"]),
    st.sampled_from(["one", "two"]),
    st.dictionaries(
        st.sampled_from(["x", "y", "remove"]), st.sampled_from(["true", "~", "2", "{z: 1}", "[{id: q}]"]), max_size=2
    ),
)
anything = st.recursive(
    st.one_of(scalars, lists),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(keyed, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        mapping(["x", "y", "tiers", "base"], inner),
    ),
    max_leaves=6,
)
tables = mapping(["t", "u"], st.one_of(cells, cells, anything))


def headers_of(parts: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    return st.fixed_dictionaries({}, optional=parts).map(flow)


headers = headers_of(
    {
        "tiers": st.one_of(tables, st.just("~")),
        "roles": tables,
        "profiles": mapping(["cost", "local"], st.one_of(tables, st.just("~"))),
        "vars": anything,
        "policy": anything,
        "default": scalars,
    }
)
agents = headers_of(
    {
        "model_role": st.one_of(scalars, st.just("[fast, slow]")),
        "provider_preferences": st.one_of(lists, lists, scalars),
        "tier": scalars,
        "tools": st.one_of(st.just("[one]"), st.just("~"), st.just("[]")),
        "config": anything,
        "content_fallback": cells,
        "description": scalars,
    }
)


def tree(text: str, file: str) -> Mapping:
    read = read_tree(text, file, 1, [])
    return read or Mapping({}, {}, file, 1, 1)


def content(node: Node | None) -> Any:
    """All that a tree says, with the place of every scalar and key, but not of the collections: those are made anew."""
    if isinstance(node, Scalar):
        return (node.text, node.quoted, node.file, node.line, node.column)
    if isinstance(node, Sequence):
        return ("list", node.sealed, [content(item) for item in node.items])
    if isinstance(node, Mapping):
        places = {key: node.keys[key] for key in node.entries}
        return ("map", node.sealed, {key: content(value) for key, value in node.entries.items()}, places)
    return None


@settings(max_examples=800, deadline=None)
@given(headers, headers, headers)
def test_folding_headers_is_associative(one: str, two: str, three: str) -> None:
    a, b, c = tree(one, "a"), tree(two, "b"), tree(three, "c")
    assert content(fold(fold(a, b), c)) == content(fold(a, fold(b, c)))


@settings(max_examples=800, deadline=None)
@given(agents, agents, agents)
def test_folding_agents_is_associative(one: str, two: str, three: str) -> None:
    a, b, c = tree(one, "a"), tree(two, "b"), tree(three, "c")
    assert content(fold_agent(fold_agent(a, b), c)) == content(fold_agent(a, fold_agent(b, c)))


@settings(max_examples=300, deadline=None)
@given(headers, agents)
def test_an_empty_mapping_changes_nothing(header: str, agent: str) -> None:
    empty = tree("{}", "empty")
    one, two = tree(header, "a"), tree(agent, "a")
    assert content(fold(empty, one)) == content(fold(one, empty)) == content(one)
    assert content(fold(None, one)) == content(fold(one, None)) == content(one)
    assert content(fold_agent(empty, two)) == content(fold_agent(two, empty)) == content(two)


@settings(max_examples=300, deadline=None)
@given(headers, headers, agents, agents)
def test_what_is_folded_is_left_as_it_was(one: str, two: str, three: str, four: str) -> None:
    trees = [tree(text, "x") for text in (one, two, three, four)]
    before = copy.deepcopy([content(node) for node in trees])
    fold(trees[0], trees[1])
    fold_agent(trees[2], trees[3])
    assert [content(node) for node in trees] == before


@settings(max_examples=300, deadline=None)
@given(headers, headers)
def test_the_upper_layer_decides_every_plain_value_that_it_writes(one: str, two: str) -> None:
    folded = fold(tree(one, "a"), tree(two, "b"))
    assert isinstance(folded, Mapping)
    for key, value in tree(two, "b").entries.items():
        if isinstance(value, Scalar):
            assert content(folded.entries[key]) == content(value)


@settings(max_examples=300, deadline=None)
@given(agents, agents)
def test_writing_a_key_of_the_slot_clears_the_others(one: str, two: str) -> None:
    lower, upper = tree(one, "a"), tree(two, "b")
    slot = {"model_role", "provider_preferences", "tier"}
    folded = fold_agent(lower, upper)
    wrote = slot & upper.entries.keys()
    assert slot & folded.entries.keys() == (wrote or slot & lower.entries.keys())


def written(node: Node | None) -> set[tuple[object, ...]]:
    """Every scalar of a tree with the place where it was written."""
    if isinstance(node, Scalar):
        return {(node.text, node.quoted, node.file, node.line, node.column)}
    parts: list[Node] = (
        list(node.entries.values()) if isinstance(node, Mapping) else node.items if isinstance(node, Sequence) else []
    )
    return {place for part in parts for place in written(part)}


def keys_of(node: Node | None) -> set[tuple[object, ...]]:
    """Every key of a tree with its line and column."""
    if isinstance(node, Mapping):
        own = {(key, *node.keys[key]) for key in node.entries}
        return own.union(*(keys_of(value) for value in node.entries.values()))
    return set().union(*(keys_of(item) for item in node.items)) if isinstance(node, Sequence) else set()


@settings(max_examples=500, deadline=None)
@given(st.lists(headers, min_size=3, max_size=3), st.lists(agents, min_size=3, max_size=3))
def test_every_value_keeps_the_place_where_it_was_written(three: list[str], other: list[str]) -> None:
    for texts, join in ((three, fold), (other, fold_agent)):
        a, b, c = (tree("\n" * index + text, f"{index}.yaml") for index, text in enumerate(texts))
        folded = join(join(a, b), c)  # type: ignore[operator]
        assert written(folded) <= written(a) | written(b) | written(c)
        assert keys_of(folded) - {("tier", line, column) for _, line, column in keys_of(folded)} <= (
            keys_of(a) | keys_of(b) | keys_of(c)
        )
