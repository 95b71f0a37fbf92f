"""What the kernel and time services say of the clock."""

from __future__ import annotations

import os

import pytest

from fimscan.linux import clock
from fimscan.model import ClockLook

KERNEL = ClockLook(synchronized=True, error_us=250)


def test_the_kernel_says_something() -> None:
    """On any Linux; a bound of the error comes with it."""
    look = clock.look_at_clock()
    assert look.synchronized in (True, False) and look.error_us is not None and look.error_us >= 0


def test_chrony() -> None:
    """Its source, how far that is from a reference clock, and the offset."""
    text = "C0000201,192.0.2.1,3,1790000000.5,-0.000012345,0.00001,0.00002,-3.1,0.01,0.05,0.01,0.001,64.2,Normal\n"
    look = clock.with_chrony(KERNEL, text)
    assert look == ClockLook(
        synchronized=True, error_us=250, service="chrony", source="192.0.2.1", stratum=3, offset_ns=-12345
    )


def test_timesyncd() -> None:
    """It says no offset; a server without a name has an address."""
    message = "{ Leap=0, Version=4, Mode=4, Stratum=2, Precision=-25, Ignored=no }"
    look = clock.with_timesyncd(KERNEL, f"ServerName=ntp.example.org\nServerAddress=192.0.2.9\nNTPMessage={message}\n")
    assert (look.service, look.source, look.stratum, look.offset_ns) == (
        "systemd-timesyncd",
        "ntp.example.org",
        2,
        None,
    )
    assert clock.with_timesyncd(KERNEL, "ServerAddress=192.0.2.9\n").source == "192.0.2.9"


@pytest.mark.parametrize(
    "text",
    [
        *("", "506 Cannot talk to daemon\n", "a,b,c,d,e,f", "\x00", "NTPMessage={ Stratum=x }"),
        *("C0000201,192.0.2.1,3,0,inf", "C0000201,192.0.2.1,3,0,nan", "NTPMessage={ Stratum=\N{SUPERSCRIPT TWO} }"),
    ],
)
def test_anything_else_is_unknown(text: str) -> None:
    """It is neither an error nor a source."""
    for read in (clock.with_chrony, clock.with_timesyncd):
        look = read(KERNEL, text)
        assert (look.source, look.stratum, look.offset_ns, look.synchronized) == ("", None, None, True)


def test_a_program_that_hangs_or_fails_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan goes on without its answer."""
    monkeypatch.setattr(clock, "_TIMEOUT_S", 0.2)
    assert clock._output("sleep", "60") is None
    assert clock._output("false") is None
    assert clock._output("no-such-program") is None


@pytest.mark.parametrize(("said", "known"), [("yes\n", True), ("no\n", False), ("", None), (None, None)])
def test_where_a_sandbox_denies_the_question_systemd_is_asked(
    monkeypatch: pytest.MonkeyPatch, said: str | None, known: bool | None
) -> None:
    """It answers over the bus, whatever system calls are denied."""
    monkeypatch.setattr(clock, "_ask_kernel", ClockLook)
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system")
    monkeypatch.setattr(clock, "_output", lambda name, *_: said if name == "timedatectl" else None)
    assert clock.look_at_clock().synchronized is known
