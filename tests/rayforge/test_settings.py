"""What a setting is stands beside its field, and everyone reads it there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

import pytest

from rayforge.settings import (
    MAY_CHANGE,
    NOT_LEARNT,
    RESOURCE,
    SHARE,
    UNDER_WAY,
    Above,
    AtLeast,
    Before,
    Within,
    before_named,
    changed,
    check_limits,
    everything,
    settings_with,
    value_of,
)


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, UNDER_WAY, Above(0)] = 1.0
    size: int = 3

    def __post_init__(self) -> None:
        check_limits(self, "inner.")


@dataclass(frozen=True)
class Outer:
    threads: Annotated[int, MAY_CHANGE, NOT_LEARNT, AtLeast(0)] = 0
    share: Annotated[float, SHARE] = 0.5
    drop: Annotated[float, Within(0, 1, "[)")] = 0.0
    most: Annotated[int | None, RESOURCE, AtLeast(2)] = None
    sizes: Annotated[tuple[int, ...], AtLeast(1)] = ()
    inner: Inner = field(default_factory=Inner)
    shown: Annotated[Inner, NOT_LEARNT] = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check_limits(self)


def test_natures_are_listed_by_dotted_names() -> None:
    assert settings_with(Outer, MAY_CHANGE) == ("threads",)
    assert settings_with(Outer, NOT_LEARNT) == ("threads", "shown.rate", "shown.size")
    assert settings_with(Outer, UNDER_WAY) == ("inner.rate", "shown.rate")
    assert settings_with(Outer, RESOURCE) == ("most",)
    assert everything(Outer)[-4:] == ("inner.rate", "inner.size", "shown.rate", "shown.size")


def test_values_are_read_and_replaced_by_dotted_names() -> None:
    config = changed(Outer(), {"inner.rate": 2.0, "inner.size": 4, "threads": 1})
    assert [value_of(config, n) for n in ("inner.rate", "inner.size", "threads")] == [2.0, 4, 1]
    assert config.shown == Inner()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": -1}, "threads must not be negative, got -1"),
        ({"share": 1.5}, r"share must be in \[0, 1\], got 1.5"),
        ({"share": math.nan}, "share must be in .* got nan"),
        ({"drop": 1.0}, r"drop must be in \[0, 1\), got 1.0"),
        ({"most": 1}, "most must be at least 2, got 1"),
        ({"sizes": (3, 0)}, r"sizes must be at least 1, got \(3, 0\)"),
    ],
)
def test_numbers_out_of_their_limits_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Outer(**settings)  # type: ignore[arg-type]


def test_a_group_says_where_its_setting_stands() -> None:
    with pytest.raises(ValueError, match=r"^inner.rate must be above 0, got 0.0$"):
        Inner(rate=0.0)
    assert Outer(most=None, share=1.0, drop=0.99).most is None


def test_a_file_of_before_a_setting_had_a_name() -> None:
    """Written whole, it means what the setting was then; by hand, it means the default."""

    @dataclass(frozen=True)
    class Group:
        a: int = 1
        rules: Annotated[str, Before("old")] = "new"

    assert before_named(Group, ["a"]) == {"rules": "old"}
    assert before_named(Group, []) == before_named(Group, ["a", "rules"]) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e36, -1e308])
def test_a_number_is_finite_and_single_precision_holds_it(value: float) -> None:
    with pytest.raises(ValueError, match=r"inner.rate must be"):
        Inner(rate=value)
    # A step size under which training diverges is told by the training: the limit does not hide it.
    assert Inner(rate=1e30).rate == 1e30


@pytest.mark.parametrize("value", [2**31, 2**63 - 1, -(2**40)])
def test_a_size_is_below_two_thousand_million_and_a_seed_is_not(value: int) -> None:
    @dataclass(frozen=True)
    class Seeded:
        seed: int = 0

        def __post_init__(self) -> None:
            check_limits(self)

    with pytest.raises(ValueError, match=r"inner.size must be at most 2,147,483,647, got"):
        Inner(size=value)
    assert Seeded(value).seed == value
