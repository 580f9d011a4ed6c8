"""What comes first among the models that a pattern matches, where the newest release alone does not decide."""

from __future__ import annotations

from bundle_loader.declared.written import Final, Written


class WrittenModelOrder(Written):
    """Switches of the order of models; what is not said is as inherited, in the end true."""

    ga_first: bool | None = None
    base_first: bool | None = None
    larger_first: bool | None = None


class OrderPolicy(Final):
    """What comes first where the newest date alone does not decide."""

    ga_first: bool = True
    """Previews come after released models."""
    base_first: bool = True
    """Special editions (mini, pro, -fast, :free) come after the plain model."""
    larger_first: bool = True
    """Of sizes released together the larger comes first, else the smaller."""


DEFAULT = OrderPolicy()


def finish_model_order(written: WrittenModelOrder | None) -> OrderPolicy:
    """The switches in force."""
    return OrderPolicy(**written.model_dump(exclude_none=True)) if written else DEFAULT
