"""Run scenarios: prepare, record the baseline, act, scan, compare fimscan's answers with the truth."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from demo.auditd import Daemon, any_daemon, remove_rules, why_not
from tests.lab.bench import EarlyProcess, Lab, end_all
from tests.lab.forks import ForkTracker
from tests.lab.ground import Installation, Unavailable, forget_log, installed, load_rules
from tests.lab.judge import Answers, Judgement, broken, judge, judge_noise, skipped
from tests.lab.noise import RATE, Noise, noise
from tests.lab.scenario import Scenario, Steps
from tests.lab.volume import Volume, kind_here

_SOME_CHANGE = tuple(range(8))
_ROTATE_AT = 300_000
_PATIENCE = 600.0
# File times may have whole seconds, and one second may be missing: events must be further apart than that.
_APART_COARSE = 3.1
# After this wait, times of whole seconds differ from earlier ones.
_NEXT_SECOND = 1.1
# Larger than a noisy run needs, so that only the scenario about lost events loses any.
_LOGS = 999


@dataclass
class Result:
    """All judgements of one run, with the document and the schema of the scenarios that ran together.

    ``noise_rows`` counts the changes made by the noise; ``noise_wrong`` are those attributed to another process.
    """

    judgements: list[Judgement] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, Any] = field(default_factory=dict)
    noise_calls: int = 0
    noise_seconds: float = 0.0
    noise_rows: int = 0
    noise_wrong: list[str] = field(default_factory=list)
    rotations: int = 0


@dataclass
class _Play:
    """One running scenario."""

    scenario: Scenario
    lab: Lab
    acting: Steps
    ended: Judgement | None = None

    def begin_anew(self) -> None:
        """Reset the scenario, so that it can run again."""
        self.lab.expected.clear()
        self.lab.unmodified.clear()
        self.lab.alive.clear()
        self.acting, self.ended = self.scenario.act(self.lab), None

    def step(self) -> None:
        """Run to the baseline; a second call runs to the end. If its code fails, the scenario is skipped or broken."""
        if self.ended is not None:
            return
        name, group = self.scenario.name, self.scenario.group
        try:
            next(self.acting, None)
        except Unavailable as reason:
            self.ended = skipped(name, group, str(reason))
        except Exception as error:
            self.ended = broken(name, group, error)

    def judged(self, answers: Answers) -> Judgement:
        """The judgement, also if the scenario's code failed."""
        if self.ended is None:
            try:
                return judge(self.lab, self.scenario.group, answers)
            except Unavailable as reason:
                return skipped(self.scenario.name, self.scenario.group, str(reason))
        return self.ended

    def clean_up(self) -> None:
        """End the processes that it left running, and undo its changes."""
        self.acting.close()
        end_all(self.lab.alive)


@dataclass(frozen=True)
class Ground:
    """What all scenarios share."""

    daemon: Daemon
    forks: ForkTracker
    early: EarlyProcess
    volume: Volume | None = None

    def on(self, volume: Volume) -> Ground:
        """The same stage on another file system."""
        return replace(self, volume=volume)

    @property
    def place(self) -> Path | None:
        """The directory below which a new installation watches."""
        return None if self.volume is None else Path(mkdtemp(prefix="lab-", dir=self.volume.root))

    def forget_log(self) -> None:
        """Remove earlier logs, if the lab started the daemon: a new installation reads all that exist."""
        if self.daemon.is_ours:
            forget_log(self.daemon)


@contextmanager
def open_ground(*, own: bool = False) -> Iterator[Ground]:
    """Provide an audit system for the lab; with ``own``, a running auditd is stopped meanwhile."""
    if reason := why_not():
        raise Unavailable(reason)
    with ForkTracker() as forks, TemporaryDirectory(prefix="fimscan-auditd-") as directory:
        early = EarlyProcess(forks)
        try:
            with any_daemon(Path(directory), logs=_LOGS, own=own) as daemon:
                yield Ground(daemon, forks, early)
        finally:
            early.end()


def play_together(
    scenarios: Sequence[Scenario], ground: Ground, *, noisy: bool = False, noise_rate: int = RATE
) -> Result:
    """Run scenarios that do not disturb each other, each in its own directory, between the same two scans."""
    result = Result()
    ground.forget_log()
    with ExitStack() as stack:
        installation, rules = stack.enter_context(installed_on(ground))
        plays = [_play(scenario, installation, ground, rules) for scenario in scenarios]
        for play in plays:
            stack.callback(play.clean_up)
            play.step()
        settle(plays, installation, ground, rules)
        loud: list[Noise] = []
        if noisy:
            loud = stack.enter_context(
                noise([installation.watched, *(play.lab.here for play in plays)], rate=noise_rate)
            )
            stack.enter_context(_rotation(ground.daemon, result))
        began = time.monotonic()
        document = _between_scans(installation, plays, ground)
        if noisy:
            result.noise_calls = sum(source.stop() for source in loud)
            result.noise_seconds = time.monotonic() - began
        answers = Answers(document, stack.enter_context(installation.explanations()))
        result.document = document
        result.schema = json.loads(installation.run("diff", "--schema").stdout)
        result.judgements += [play.judged(answers) for play in plays]
        if noisy:
            result.noise_rows, result.noise_wrong = judge_noise(answers, [source.pid for source in loud])
    return result


def play_alone(scenario: Scenario, ground: Ground, *, noisy: bool = False) -> Judgement:
    """Run a scenario that disturbs the audit system."""
    ground.forget_log()
    with ExitStack() as stack:
        installation, rules = stack.enter_context(installed_on(ground, scenario.config))
        play = _play(scenario, installation, ground, rules)
        stack.callback(play.clean_up)
        play.step()
        if noisy:
            stack.enter_context(noise([play.lab.here], processes=1))
        if play.ended is not None:
            return play.ended
        document = _between_scans(installation, [play], ground)
        return play.judged(Answers(document, stack.enter_context(installation.explanations())))


@contextmanager
def installed_on(ground: Ground, config: str = "") -> Iterator[tuple[Installation, list[str]]]:
    place = ground.place
    if place is not None:
        place.chmod(0o755)
    try:
        with installed(ground.daemon.log, config, place) as made:
            yield made
    finally:
        if place is not None:
            rmtree(place, ignore_errors=True)


def settle(plays: Sequence[_Play], installation: Installation, ground: Ground, rules: list[str]) -> None:
    """On an overlay, make what was prepared the lowest layer.

    A scenario whose preparation left a process running is prepared again afterwards: the process would keep its files
    open in the layer that is unmounted.
    """
    if ground.volume is None or not ground.volume.has_layers:
        return
    running = [play for play in plays if any(process.poll() is None for process in play.lab.alive)]
    for play in running:
        play.clean_up()
    remove_rules(rules)
    ground.volume.settle()
    rules[:] = load_rules(installation)
    for play in running:
        play.begin_anew()
        play.step()


def _reload_rules(installation: Installation, rules: list[str]) -> None:
    remove_rules(rules)
    rules[:] = load_rules(installation)


def _play(scenario: Scenario, installation: Installation, ground: Ground, rules: list[str]) -> _Play:
    here, elsewhere = installation.watched / scenario.name, installation.elsewhere / scenario.name
    here.mkdir()
    elsewhere.mkdir()
    lab = Lab(scenario.name, here, elsewhere, ground.forks, ground.daemon, ground.early, rules)
    lab.reload_rules = partial(_reload_rules, installation, rules)
    lab.kind = kind_here() if ground.volume is None else ground.volume.kind
    if ground.volume is not None:
        lab.counts_links = ground.volume.counts_links
        lab.apart_s = _APART_COARSE if ground.volume.coarse else lab.apart_s
    return _Play(scenario, lab, scenario.act(lab))


def _between_scans(installation: Installation, plays: Sequence[_Play], ground: Ground) -> dict[str, Any]:
    installation.run("scan", timeout=_PATIENCE)
    if ground.volume is not None and ground.volume.coarse:
        # Otherwise, preparation and change may fall into one second. Then a file that has the same content again has
        # the same times, too, and nothing shows that it was written.
        time.sleep(_NEXT_SECOND)
    for play in plays:
        play.step()
    installation.run("scan", codes=_SOME_CHANGE, timeout=_PATIENCE)
    said = installation.run("diff", "--format", "json", codes=_SOME_CHANGE, timeout=_PATIENCE).stdout
    document: dict[str, Any] = json.loads(said)
    return document


@contextmanager
def _rotation(daemon: Daemon, result: Result) -> Iterator[None]:
    """Rotate the log whenever it has a few hundred kilobytes, if the lab started the daemon."""
    if not daemon.is_ours:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            try:
                size = os.path.getsize(daemon.log)
            except FileNotFoundError:
                continue  # between the rename and the creation of the new log
            if size > _ROTATE_AT:
                daemon.rotate()
                result.rotations += 1
                _wait_until_smaller(daemon.log, size, over)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _wait_until_smaller(log: str, size: int, over: threading.Event) -> None:
    while not over.wait(0.005):
        try:
            if os.path.getsize(log) < size:
                return
        except FileNotFoundError:
            continue
