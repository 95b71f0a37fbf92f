"""Workers in rounds: several users change files at the same time, hundreds of times a second, each path once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.soak import worker
from tests.soak.truth import Made, Truth

#: The users of the workers. No account has the numbers above 0.
USERS = (0, 61101, 61102)
_DIRECTORIES = 8
_PATIENCE = 120
# Of a hundred changes. The others are creations.
_SHARES = {"modify": 25, "remove": 15, "chmod": 10, "rename": 10}
_OPENED = 0.25  # of the modified files: a process of root opens them, too, and writes nothing


class Crew:
    """Workers of several users below one directory.

    Args:
        place: the monitored directory.
        truth: is told of each change.
        rounds: for how many rounds there are files to change.
        changes: how many changes a worker makes in each round.
        rate: how many changes a worker makes per second.
        rest: seconds between two rounds.
        seed: of the random choice of changes.
    """

    def __init__(
        self, place: Path, truth: Truth, *, rounds: int, changes: int, rate: float, rest: float, seed: int
    ) -> None:
        self._place = place
        self._truth = truth
        self._changes = changes
        self._rate = rate
        self._rest = rest
        self._random = random.Random(seed)
        self._number = 0
        self._stop = threading.Event()
        self._free = threading.Lock()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="crew", daemon=True)
        self._there = {user: self._prepare(user, rounds * changes) for user in USERS}

    def _prepare(self, user: int, changes: int) -> list[str]:
        """Create the directories of a user, with the files that will be changed."""
        made = []
        for number in range(_DIRECTORIES):
            directory = self._place / f"user{user}" / f"d{number}"
            directory.mkdir(parents=True)
            os.chown(directory, user, user)
        for number in range(changes * sum(_SHARES.values()) // 100):
            path = f"{self._place}/user{user}/d{number % _DIRECTORIES}/there{number}"
            with open(path, "w") as file:
                file.write(f"{path}\n")
            os.chown(path, user, user)
            made.append(path)
        return made

    def start(self) -> None:
        """Begin the rounds."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present round.

        Raises:
            AssertionError: a worker failed.
        """
        self.abandon()
        assert self._failure is None, self._failure

    def abandon(self) -> None:
        """End after the present round, whatever came of it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let no worker run meanwhile."""
        with self._free:
            yield

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._free:
                    self._round()
                self._stop.wait(self._rest)
        except BaseException as error:  # it is raised again by stop()
            self._failure = error

    def _round(self) -> None:
        """Let one worker of each user make its changes, all at the same time, and an innocent process open files."""
        self._number += 1
        orders = [(user, [self._change(user, number) for number in range(self._changes)]) for user in USERS]
        modified = [path for _, changes in orders for what, path, _ in changes if what == "modify"]
        orders.insert(0, (0, [("open", path, "") for path in modified if self._random.random() < _OPENED]))
        running = [(user, changes, self._started(user, changes)) for user, changes in orders]
        for user, changes, process in running:
            said, _ = process.communicate(timeout=_PATIENCE)
            assert process.returncode == 0, f"a worker of user {user} failed"
            self._truth.add(list(_made(user, changes, process.pid, json.loads(said))))

    def _started(self, user: int, changes: list[tuple[str, str, str]]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-IS", worker.__file__]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        assert process.stdin is not None
        process.stdin.write(json.dumps({"user": user, "rate": self._rate, "changes": changes}).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def _change(self, user: int, number: int) -> tuple[str, str, str]:
        new = f"{self._place}/user{user}/d{number % _DIRECTORIES}/new{self._number}-{number}"
        share = self._random.randrange(100)
        for what, percent in _SHARES.items():
            share -= percent
            if share < 0 and self._there[user]:
                known = self._there[user].pop()
                return (
                    ("rename", os.path.join(os.path.dirname(known), os.path.basename(new)), known)
                    if what == "rename"
                    else (what, known, "")
                )
        return "create", new, ""


def _made(user: int, changes: list[tuple[str, str, str]], pid: int, said: dict[str, Any]) -> Iterator[Made]:
    exe = os.path.realpath(sys.executable)
    for (what, path, other), (began_ns, ended_ns) in zip(changes, said["times"], strict=True):
        yield Made(
            what=what,
            path=path,
            other=other,
            pid=pid,
            exe=exe,
            user=user,
            login=said["login"],
            began_ns=began_ns,
            ended_ns=ended_ns,
        )
