"""Values that are made and altered quickly are those that the class and ``dataclasses.replace`` make."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from msgspec.structs import replace

from fimscan.fast_values import maker, replacer
from fimscan.model import Attribution, Change, ChangeKind, Finding, Verdict, Window

CHANGE = Change(kind=ChangeKind.ADDED, before=None, after=None, window=Window(after_ns=1, before_ns=2))
FINDING = Finding(change=CHANGE, attribution=Attribution(Verdict.CONFIRMED))


def test_a_value_is_equal_to_that_of_the_class_and_frozen() -> None:
    made = maker(Finding)(change=CHANGE, attribution=Attribution(Verdict.CONFIRMED))
    assert made == FINDING
    assert hash(made) == hash(FINDING)
    assert repr(made) == repr(FINDING)
    with pytest.raises(FrozenInstanceError):
        made.scan = 1  # type: ignore[misc]


def test_a_field_without_a_default_is_required() -> None:
    with pytest.raises(TypeError):
        maker(Finding)(change=CHANGE)  # type: ignore[call-arg]


def test_fields_are_replaced_and_others_stay() -> None:
    altered = replacer(Finding)(FINDING, scan=3, severity=None)
    assert altered == replace(FINDING, scan=3)
    assert FINDING.scan == 0
