"""Deliver what waits in the outbox: a thread for each output, one process at a time, until it is acknowledged."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fimscan.config import Config, Output
from fimscan.errors import FimscanError
from fimscan.model import OutboxMessage
from fimscan.outputs.formats import content_type, render
from fimscan.outputs.receivers.base import DeliveryError, Envelope, Receiver, RefusedError
from fimscan.outputs.rows import signing_key
from fimscan.pipeline.controls.record import after_delivery
from fimscan.pipeline.outputs.messages import make_messages
from fimscan.pipeline.outputs.settings import format_of, receiver_of
from fimscan.signal_flag import SignalFlag
from fimscan.store import outbox
from fimscan.store.database import Database

_NS = 10**9
_AT_ONCE = 20
_FIRST_DELAY_S, _LONGEST_DELAY_S = 10.0, 3600.0
_POLL_S = 2.0
_SETTLE_S = 5.0
_MOST_DOUBLINGS = 10
_LONG_ELSEWHERE_S = 60.0
_STOP_S = 2.0
_EVALUATE_S = 60.0


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an output's messages in one pass. ``error`` is why some were not delivered.

    ``is_news``: no message to this output had failed before.
    """

    output: str
    delivered: int = 0
    error: str | None = None
    is_news: bool = False
    is_busy: bool = False


class Deliverer:
    """Delivers messages. Several passes may follow each other; a receiver that hangs only holds up its own output."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._outputs = {output.name: output for output in config.output}
        self._running: dict[str, _Worker] = {}
        self._broken: dict[str, _Broken] = {}
        self._stopped = SignalFlag()
        self._guard = threading.Lock()
        self._active = 0  # workers that have not ended; while there are any, the lock is held
        self._release: Callable[[], None] | None = None

    def run(self, wait_s: float, *, now: bool = False, only: str | None = None) -> list[Outcome] | None:
        """Try each message that is due once; ``None`` if another process is delivering.

        Args:
            wait_s: how long to wait for receivers. Receivers that are not ready by then go on in the background.
            now: try also messages that are to be tried later.
            only: the name of an output; ``None`` means all.
        """
        if not self._start(now=now, only=only) and not self._running:
            return None
        until = time.monotonic() + wait_s
        for worker in self._running.values():
            worker.join(max(0.0, until - time.monotonic()))
        ended = {name: worker for name, worker in self._running.items() if not worker.is_alive()}
        outcomes = [self._outcome(name, worker) for name, worker in self._running.items()]
        self._running = {name: worker for name, worker in self._running.items() if name not in ended}
        for name, worker in ended.items():
            self._note_broken(name, worker)
        return outcomes

    def stop(self, wait_s: float = 0.0) -> None:
        """Begin no further message, and wait for those on their way. What is not done by then is sent again later.

        Whoever is last to end releases the lock, also after this.
        """
        self._stopped.set()
        until = time.monotonic() + wait_s
        while wait_s and self._active and time.monotonic() < until:
            time.sleep(0.01)

    def record_hanging(self, waited_s: float) -> list[Outcome]:
        """Store as failed attempts what hangs since half of the time, because this process ends now."""
        hanging = [worker.record_hanging(waited_s) for worker in self._running.values()]
        return [outcome for outcome in hanging if outcome is not None]

    def _start(self, *, now: bool, only: str | None) -> bool:
        """Start a worker for each output; ``False`` if another process has the lock."""
        with self._guard:
            if self._stopped.is_set():
                return True
            if self._release is None:
                self._release = self._database.try_outbox_lock()
                if self._release is None:
                    return False
            try:
                for name, output in self._outputs.items():
                    if name not in self._running and only in (None, name) and (now or not self._is_waiting(name)):
                        worker = _Worker(self._database, output, self._stopped, self._one_ended, now=now)
                        worker.start()
                        self._running[name] = worker
                        self._active += 1
            finally:
                self._release_if_idle()
        return True

    def _one_ended(self) -> None:
        with self._guard:
            self._active -= 1
            self._release_if_idle()

    def _release_if_idle(self) -> None:
        if not self._active and self._release is not None:
            release, self._release = self._release, None
            release()

    def _is_waiting(self, name: str) -> bool:
        return name in self._broken and time.monotonic() < self._broken[name].not_before

    def _outcome(self, name: str, worker: _Worker) -> Outcome:
        outcome = worker.outcome()
        return replace(outcome, is_news=True) if worker.is_broken and name not in self._broken else outcome

    def _note_broken(self, name: str, worker: _Worker) -> None:
        """Put off an output whose failure could not be stored: nothing in the database does."""
        if not worker.is_broken:
            self._broken.pop(name, None)
            return
        times = self._broken[name].times + 1 if name in self._broken else 0
        self._broken[name] = _Broken(times=times, not_before=time.monotonic() + _doubled_s(times))


class _Broken(Struct, frozen=True, kw_only=True):
    """An output whose worker ended with an error of our own, ``times`` times again; a time of the monotonic clock."""

    times: int
    not_before: float


class _Worker(threading.Thread):
    """Delivers the messages of one output, oldest first, until none is due or the receiver cannot be reached."""

    def __init__(
        self, database: Database, output: Output, stopped: SignalFlag, ended: Callable[[], None], *, now: bool
    ) -> None:
        super().__init__(name=f"output {output.name}", daemon=True)
        self.is_broken = False  # it ended with an error that is not stored with a message
        self._database = database
        self._output = output
        self._stopped = stopped
        self._ended = ended
        self._current: tuple[OutboxMessage, float] | None = None  # what is on its way, since when
        self._now = now
        self._delivered = 0
        self._error: str | None = None
        self._is_news = False

    def outcome(self) -> Outcome:
        """What came of it so far."""
        busy = self.is_alive()
        error = f"no answer yet from {self._output.type}" if busy and self._error is None else self._error
        return Outcome(
            output=self._output.name,
            delivered=self._delivered,
            error=error,
            is_news=self._is_news,
            is_busy=busy,
        )

    def record_hanging(self, waited_s: float) -> Outcome | None:
        """Store a failed attempt if the receiver has not answered for half of the time, or longer."""
        current = self._current
        if current is None or time.monotonic() - current[1] < waited_s / 2:
            return None
        self._failed(current[0], DeliveryError(f"no answer within {waited_s:g} s, the scan_wait of [outbox]"))
        return self.outcome()

    def run(self) -> None:
        """Deliver."""
        try:
            self._run()
        except (FimscanError, DeliveryError) as error:
            self._broke(str(error))
        except Exception as error:  # noqa: BLE001  # a thread has nobody above it; its text may have a secret
            self._broke(f"internal error: {type(error).__name__}")
        finally:
            self._ended()

    def _broke(self, text: str) -> None:
        self._error = text
        self.is_broken = True

    def _run(self) -> None:
        if self._now:
            with self._database.begin() as session:
                outbox.try_now(session, self._output.name)
        receiver: Receiver | None = None
        while not self._stopped.is_set():
            with self._database.read() as session:
                due = outbox.due(session, self._output.name, time.time_ns(), _AT_ONCE)
            if not due:
                return
            receiver = receiver or receiver_of(self._output)
            for message in due:
                if self._stopped.is_set() or not self._deliver(receiver, message):
                    return

    def _deliver(self, receiver: Receiver, message: OutboxMessage) -> bool:
        """Try one message; ``False`` if no other one is to be tried now."""
        self._current = (message, time.monotonic())
        try:
            answer = _sent(self._output, receiver, message)
        except DeliveryError as error:
            self._failed(message, error)
            return isinstance(error, RefusedError)
        finally:
            self._current = None
        with self._database.begin() as session:
            outbox.delivered(session, message.number, time.time_ns(), answer)
        self._delivered += 1
        return True

    def _failed(self, message: OutboxMessage, error: DeliveryError) -> None:
        now_ns = time.time_ns()
        next_ns = now_ns + int(delay_s(message) * _NS)
        with self._database.begin() as session:
            outbox.failed(session, message.number, now_ns, next_ns, str(error))
            if not isinstance(error, RefusedError):
                outbox.postpone(session, self._output.name, next_ns)
        self._error = str(error)
        self._is_news |= message.attempts == 0


def _sent(output: Output, receiver: Receiver, message: OutboxMessage) -> str:
    """Send a message; return the receiver's answer. A message that is an error of our own holds up no other one."""
    try:
        return receiver.send(*prepared(output, receiver, message))
    except DeliveryError:
        raise
    except Exception as error:
        raise RefusedError(f"this message cannot be sent: internal error: {type(error).__name__}") from error


def delay_s(message: OutboxMessage) -> float:
    """How long to wait after a failed attempt: 10 seconds, twice as long each time, an hour at most.

    It differs a little from message to message, so that many hosts do not come back at the same moment.
    """
    spread = hashlib.sha256(message.id.encode()).digest()[0] / 255
    return _doubled_s(message.attempts) * (0.8 + 0.4 * spread)


def _doubled_s(times: int) -> float:
    return float(min(_FIRST_DELAY_S * 2.0 ** min(times, _MOST_DOUBLINGS), _LONGEST_DELAY_S))


def prepared(output: Output, receiver: Receiver, message: OutboxMessage) -> tuple[bytes, Envelope]:
    """A message in the format of its output, with its envelope."""
    document: dict[str, Any] = json.loads(message.body or b"{}")
    name = format_of(output)
    body = render(name, document, limit=receiver.limit, line=receiver.one_line)
    head = document["head"]
    fields = {
        "scan": "" if document["to_scan"] is None else str(document["to_scan"]),
        "changes": str(document["summary"]["changes"]),
        "look": str(document["summary"]["look"]),
        "head": "" if head is None else str(head["entry"]),
        "signing-key": signing_key(document) or "",
    }
    envelope = Envelope(
        id=message.id,
        host=document["host"],
        kind=message.kind.value,
        subject=document["subject"],
        severity=document["severity"],
        urgent=message.urgent,
        time_ns=int(datetime.fromisoformat(document["time"]).timestamp()) * _NS,
        content_type=content_type(name),
        fields={key: text for key, text in fields.items() if text},
    )
    return body, envelope


def deliver_after_scan(database: Database, config: Config) -> list[str]:
    """Make the messages of a scan that has just been stored, and try once to deliver them; return what to say.

    It waits for ``[outbox] scan_wait`` at most, and never raises an error: what is not delivered stays in the outbox.
    """
    if not config.output:
        return []
    try:
        said = make_messages(database, config)
        if config.outbox.separate:
            after_delivery(database, config)
            return said
        deliverer = Deliverer(database, config)
        wait_s = config.outbox.scan_wait_s
        outcomes = deliverer.run(wait_s, now=True) or []
        deliverer.stop()
        outcomes += deliverer.record_hanging(wait_s)
        after_delivery(database, config)
    except FimscanError as error:
        return [f"outputs: {error}"]
    except Exception as error:  # noqa: BLE001  # the scan is stored and reported; its result stands
        return [f"outputs: internal error: {type(error).__name__}; what was found waits in the outbox"]
    return said + news(outcomes)


def news(outcomes: Sequence[Outcome]) -> list[str]:
    """What to say about failures that are new."""
    return [
        f"output {one.output}: {one.error}; its messages wait (see 'fimscan notify --list')"
        for one in outcomes
        if one.error is not None and one.is_news
    ]


class Notifier:
    """Makes and delivers messages in a thread of its own, for as long as scans go on.

    Args:
        complain: called with the text of each failure that is new.
        alive: called in each round, some seconds apart, for the watchdog of :meth:`follow`'s caller.
    """

    def __init__(
        self,
        database: Database,
        config: Config,
        complain: Callable[[str], None],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._config = config
        self._complain = complain
        self._alive = alive
        self._stop = SignalFlag()
        self._thread = threading.Thread(target=self.follow, name="outputs", daemon=True)
        self._deliverer = Deliverer(database, config)
        self._evaluate_at = 0.0
        self._elsewhere_since: float | None = None  # ``inf``: it was told

    def start(self) -> None:
        """Begin, if there is any output."""
        if self._config.output:
            self._thread.start()

    def stop(self, wait_s: float = 5.0) -> None:
        """End; a message that is on its way is sent again later."""
        self._stop.set()
        self._deliverer.stop()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        # The next notifier of this process needs the lock that a worker may still have.
        self._deliverer.stop(min(wait_s, _STOP_S))

    def follow(self, *, deliver: bool | None = None) -> None:
        """Make and deliver messages until :meth:`stop` is called."""
        is_delivering = not self._config.outbox.separate if deliver is None else deliver
        last = ""
        while not self._stop.is_set():
            self._alive()
            try:
                settled_ns = time.time_ns() - int(_SETTLE_S * _NS)
                said = make_messages(self._database, self._config, settled_before_ns=settled_ns)
                if is_delivering:
                    said += self._deliver()
                self._evaluate()
                last = ""
            except FimscanError as error:
                said = [f"outputs: {error}"]
            except Exception as error:  # noqa: BLE001  # the service goes on, and tries again
                said = [f"outputs: internal error: {type(error).__name__}"]
            for text in said:
                if text != last:
                    self._complain(text)
                last = text
            self._stop.wait(_POLL_S)

    def _evaluate(self) -> None:
        """Store now and then whether the outputs work."""
        if time.monotonic() >= self._evaluate_at:
            after_delivery(self._database, self._config)
            self._evaluate_at = time.monotonic() + min(_EVALUATE_S, self._config.outbox.late_after_s)

    def _deliver(self) -> list[str]:
        """Deliver; return what to say. That another process has the lock is told once, if it has it for long."""
        outcomes = self._deliverer.run(_POLL_S)
        if outcomes is not None:
            self._elsewhere_since = None
            if any(outcome.delivered for outcome in outcomes):
                self._evaluate_at = 0.0
            return news(outcomes)
        if self._elsewhere_since is None:
            self._elsewhere_since = time.monotonic()
        if time.monotonic() - self._elsewhere_since < _LONG_ELSEWHERE_S:
            return []
        self._elsewhere_since = math.inf
        text = "outputs: another fimscan has been delivering for a minute, so this one sends nothing until it ends"
        return [f"{text} (is there a second 'schedule' or 'notify --follow'?)"]
