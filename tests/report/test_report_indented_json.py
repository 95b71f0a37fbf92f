"""The encoder for indented JSON writes what Python's own one does."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fimscan.model import ChangeKind
from fimscan.report.indented_json import indented_pieces

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(ChangeKind),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    max_leaves=10,
)


@given(document=st.dictionaries(st.text(max_size=5), _VALUES, max_size=4))
def test_the_text_is_that_of_json_dumps(document: dict[str, Any]) -> None:
    assert "".join(indented_pieces(document)) == json.dumps(document, indent=2)
