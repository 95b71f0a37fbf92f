"""Audit rules are installed and removed completely or not at all, and rules and files of others stay."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fimscan import audit
from fimscan.audit import KernelAnswer, RulesFile
from fimscan.config import Config, parse_config
from fimscan.errors import InputError
from fimscan.pipeline.audit import rule_install
from fimscan.pipeline.audit.rule_install import install, plan_installation, plan_removal, remove_file
from fimscan.pipeline.audit.rules import rules_text

OTHERS = "-a always,exit -F arch=b64 -S adjtimex -F key=time"
SAVED = "-a always,exit -F arch=b64 -S settimeofday -F key=time"


@dataclass
class Kernel:
    """The loaded rules, as auditctl lists and changes them, in this process."""

    rules: list[str] = field(default_factory=lambda: [OTHERS, SAVED])
    enabled: int = 1
    refuses: str | None = None
    calls: list[str] = field(default_factory=list)

    def ask(self) -> KernelAnswer:
        rules = audit.parse_all("\n".join(self.rules).encode(), os.path.isdir)
        return KernelAnswer(status={"enabled": self.enabled}, rules=rules)

    def run(self, lines: Iterable[str]) -> None:
        for line in lines:
            option, _, rest = line.partition(" ")
            self.calls.append(option)
            if option == "-d":
                self.rules.remove(f"-a {rest}")
            elif self.refuses is None or self.refuses not in line:
                self.rules.append(line)

    def all_keys(self) -> list[str | None]:
        return [rule.key for rule in self.ask().rules]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(audit, "ask", made.ask)
    monkeypatch.setattr(audit, "run_rules", made.run)
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "audit/rules.d"
    made.mkdir(parents=True)
    (made / "10-base.rules").write_text(f"-D\n-b 8192\n{SAVED}\n")
    (made / "99-finalize.rules").write_text("-e 2\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return made


def config_for(*paths: Path, key: str = "k") -> Config:
    watches = "".join(f'[[watch]]\npath = "{path}"\n' for path in paths)
    return parse_config(f'[audit]\nkey = "{key}"\nio_uring_rule = false\n{watches}')


def installed(config: Config, directory: Path, *, processes: bool = False) -> Path:
    plan = plan_installation(config, str(directory), processes=processes)
    assert plan.objections == ()
    install(plan, config)
    return Path(plan.path)


def objections(config: Config, directory: Path) -> str:
    return "; ".join(plan_installation(config, str(directory), processes=False).objections)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_first_installation_and_a_second_one(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """The file is complete, readable by root's group only, before the one that locks; the second changes nothing."""
    config = config_for(tmp_path / "one")
    file = installed(config, directory)
    assert names(directory) == ["10-base.rules", "50-fimscan.rules", "99-finalize.rules"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert audit.judge_file(file.read_bytes()) is RulesFile.OURS
    assert kernel.all_keys().count("k") == len(rule_install.rule_lines(file.read_text())) > 5
    before, calls = file.stat(), len(kernel.calls)
    plan = plan_installation(config, str(directory), processes=False)
    assert (plan.is_written, plan.add, plan.superfluous) == (True, (), ())
    install(plan, config)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(kernel.calls) == calls


def test_what_is_no_longer_wanted_goes_after_the_rest_came(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """Without a moment in which a watched place has no rules; the optional rules go, too; others' stay."""
    installed(config_for(tmp_path / "one"), directory, processes=True)
    assert "k-processes" in kernel.all_keys()
    kernel.calls.clear()
    installed(config_for(tmp_path / "two"), directory)
    assert kernel.calls == sorted(kernel.calls) and set(kernel.calls) == {"-a", "-d"}
    scopes = {rule.scope for rule in kernel.ask().rules if rule.key == "k"}
    assert scopes == {None, (os.fsencode(tmp_path / "two"), True)}
    assert "k-processes" not in kernel.all_keys()
    assert kernel.rules[:2] == [OTHERS, SAVED]


def test_a_rule_stays_where_its_successor_is_refused(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """A rule too many is better than none."""
    installed(config_for(tmp_path / "one"), directory)
    old = f"-a always,exit -F arch=b64 -F dir={tmp_path}/two -F perm=wa -F key=k"
    kernel.rules.append(old)
    kernel.refuses = f"dir={tmp_path}/two"
    installed(config_for(tmp_path / "two"), directory)
    assert old in kernel.rules
    assert all(f"dir={tmp_path}/one" not in rule for rule in kernel.rules)


def test_locked_rules_are_left_for_the_next_boot(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """The file is written; nothing is asked of the kernel that it would refuse."""
    kernel.enabled = 2
    assert installed(config_for(tmp_path / "one"), directory).exists()
    assert kernel.calls == []


def test_a_file_that_was_edited_is_refused(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """One that others wrote, too; nothing is changed."""
    config = config_for(tmp_path / "one")
    file = installed(config, directory)
    changed = config_for(tmp_path / "two")
    assert objections(changed, directory) == ""
    text = file.read_text()
    file.write_text(text + OTHERS + "\n")
    assert "was edited since fimscan wrote it" in objections(changed, directory)
    assert "was edited" in "; ".join(plan_removal(config, str(directory)).objections)
    file.write_text(f"# mine\n{OTHERS}\n")
    assert "was not written by fimscan" in objections(changed, directory)
    file.unlink()
    file.symlink_to("10-base.rules")
    assert "not a regular file" in objections(changed, directory)


def test_a_file_of_an_earlier_version_is_replaced_if_that_loses_nothing(
    kernel: Kernel, directory: Path, tmp_path: Path
) -> None:
    """It has no digest: its rules have to be those of the new one."""
    config = config_for(tmp_path / "one")
    file = directory / "50-fimscan.rules"
    old = '# Written by "fimscan audit rules". Install: save as ...\n' + rules_text(config).partition("\n")[2]
    file.write_text(old)
    assert objections(config, directory) == ""
    file.write_text(old + OTHERS + "\n")
    assert "has no digest" in objections(config, directory)


def test_another_number_is_kept_and_two_files_are_refused(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """An administrator may have renamed the file. Two files would load old rules again."""
    config = config_for(tmp_path / "one")
    file = installed(config, directory)
    file.rename(directory / "30-fimscan.rules")
    assert installed(config_for(tmp_path / "two"), directory).name == "30-fimscan.rules"
    assert "50-fimscan.rules" not in names(directory)
    (directory / "50-fimscan.rules").write_text((directory / "30-fimscan.rules").read_text())
    assert "remove one of them" in objections(config, directory)


def test_a_file_of_another_configuration_is_kept(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """It has rules with another key: neither replaced nor removed."""
    file = installed(config_for(tmp_path / "one", key="other"), directory)
    mine = config_for(tmp_path / "one")
    assert "another key" in objections(mine, directory)
    plan = plan_removal(mine, str(directory))
    assert (plan.path, plan.objections, plan.kept) == (None, (), (str(file),))


def test_rules_that_were_written_into_the_generated_file_are_not_lost(
    kernel: Kernel, directory: Path, tmp_path: Path
) -> None:
    """augenrules replaces that file at the next boot."""
    config = config_for(tmp_path / "one")
    generated = directory.parent / "audit.rules"
    generated.write_text(f"## This file is automatically generated from /etc/audit/rules.d\n{OTHERS}\n")
    assert objections(config, directory) == ""
    generated.write_text(f"-D\n{SAVED}\n")
    assert objections(config, directory) == ""
    generated.write_text(f"-D\n{SAVED}\n{OTHERS}\n")
    assert "was written by hand" in objections(config, directory)


def test_loaded_rules_of_others_that_are_in_no_file_are_named(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """They stay, but the next boot drops them."""
    plan = plan_installation(config_for(tmp_path / "one"), str(directory), processes=False)
    assert [rule.text for rule in plan.unsaved] == [OTHERS]


def test_a_removal_takes_only_fimscans_file(kernel: Kernel, directory: Path, tmp_path: Path) -> None:
    """A second one finds nothing; without the directory there is nothing to remove, and nothing can be installed."""
    config = config_for(tmp_path / "one")
    installed(config, directory)
    plan = plan_removal(config, str(directory))
    assert plan.path is not None and plan.objections == ()
    remove_file(plan.path)
    assert names(directory) == ["10-base.rules", "99-finalize.rules"]
    assert plan_removal(config, str(directory)).path is None
    assert plan_removal(config, str(tmp_path / "none")).path is None
    with pytest.raises(InputError, match="install the package auditd"):
        plan_installation(config, str(tmp_path / "none"), processes=False)
