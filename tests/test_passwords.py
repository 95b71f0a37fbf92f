"""No password of a database URL is shown, in whatever form the URL has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.errors import StoreError
from fimscan.passwords import without_password
from fimscan.store.database import Database

HIDDEN = {
    "postgresql://u:s3cret@h/d": "postgresql://u:***@h/d",
    "postgresql+psycopg://u:s3cret@[::1]:5432/d": "postgresql+psycopg://u:***@[::1]:5432/d",
    "postgresql://:s3cret@h/d": "postgresql://:***@h/d",
    "postgresql://u@x:s3cret@h/d": "postgresql://u@x:***@h/d",
    "postgresql://u:s3:c/r?e=t&s3cret@h/d": "postgresql://u:***@h/d",
    "postgresql://u:a@s3cret@h/d": "postgresql://u:***@h/d",
    "postgresql://u:s3cret@h/d?application_name=a@b": "postgresql://u:***@h/d?application_name=a@b",
    "postgresql://u@h/d?password=s3cret": "postgresql://u@h/d?password=***",
    "postgresql:///d?user=u&password=s3cret&sslmode=require": "postgresql:///d?user=u&password=***&sslmode=require",
    "postgresql://h/d?sslpassword=s3cret": "postgresql://h/d?sslpassword=***",
    "postgresql://h/d?oauth_client_secret=s3cret": "postgresql://h/d?oauth_client_secret=***",
    "postgresql://h/d?pass%77ord=s3cret": "postgresql://h/d?pass%77ord=***",
    "postgresql://u:s3cret@h/d?password=s3cret?s3cret": "postgresql://u:***@h/d?password=***",
}
SHOWN = (
    "sqlite:////var/lib/fimscan/fimscan.db",
    "sqlite:////var/a:b@c/fim.db",
    "postgresql://u@h/d?sslmode=require",
    "postgresql://u@h:5432/d",
    "user:word@host",
    "",
)


@pytest.mark.parametrize("url", HIDDEN)
def test_every_form_of_a_password_is_hidden(url: str) -> None:
    """And all the rest is shown."""
    assert without_password(url) == HIDDEN[url]


@pytest.mark.parametrize("url", SHOWN)
def test_what_has_no_password_is_shown_as_it_is(url: str) -> None:
    """An SQLite file's path, an empty setting, a text that is no URL."""
    assert without_password(url) == url


_users = st.text(st.sampled_from("abX0%&=@.;+ "), max_size=8)
_parts = st.text(st.sampled_from("abX0%:/?&=@.;+ "), max_size=8)


@given(_users, _parts, _parts)
def test_what_sqlalchemy_takes_for_a_password_is_hidden(user: str, rest: str, query: str) -> None:
    """Whatever characters there are around it, also where SQLAlchemy finds no valid URL then."""
    url = f"postgresql://{user}:S3CRET{rest}@h/d?{query}&password=S3CRET"
    assert "S3CRET" not in without_password(url)


def test_an_error_of_the_database_shows_none() -> None:
    """Neither when it cannot be reached, nor when it is of a kind that is not supported."""
    for url in (
        "postgresql://u:s3cret@127.0.0.1:1/d?password=s3cret",
        "mysql://u:s3cret@h/d",
        "no url://u:s3cret@h",
        "postgresql://u:s3cret@a:b@h/d",
    ):
        with pytest.raises(StoreError) as caught:
            Database(url, host="h")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql:u:s3cret@h/d",
        "postgres//u:s3cret@h",
        "host=h password=s3cret",
        "postgresql://u:s3cret",
        "u:s3cret@h",
    ],
)
def test_a_text_that_is_no_url_is_not_shown_if_it_may_have_a_password(text: str) -> None:
    """The error says that it is none, and nothing of it; a mere path is shown."""
    with pytest.raises(StoreError, match="not a database URL") as error:
        Database(text, host="h")
    assert "s3cret" not in str(error.value)
    with pytest.raises(StoreError, match="/var/lib/fim"):
        Database("/var/lib/fim.db", host="h")
