"""Documentation tells the truth about the code, and the code has nothing that documentation leaves out."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import fimscan
from fimscan import grouping, model
from fimscan.cli.main import cli
from fimscan.config import Config, parse_config
from fimscan.pipeline.health import registry
from fimscan.scan.path_status import Place
from tools import make_reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
MAX_README_LINES = 120
FIRST_ERROR = 14
NOT_REPLAYED = ("rm ", "python3", "/opt/", "ln ", "apt-get", "adduser", "chown", "deluser")
# Options of other programs that prose speaks of, in backquotes.
FOREIGN_OPTIONS = {"--size"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of each code block."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


# --------------------------------------------------------------------------------------------------------------------
# Pages


def test_the_readme_fits_on_two_screens() -> None:
    """At most 120 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_generated_pages_are_fresh() -> None:
    """'make docs' was run since the code changed."""
    assert make_reference.stale() == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found.setdefault(slug, 0)
        found[slug] += 1
        if count:
            found[f"{slug}-{count}"] = 1
    return set(found)


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and an anchor that it has."""
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert target.suffix == ".md" and anchor in anchors(target), link


def test_every_page_is_two_steps_from_the_readme() -> None:
    """README links the index, the index links every page."""
    reached = {ROOT / "README.md"}
    for _ in range(2):
        for page in [page for page in reached if page.suffix == ".md"]:
            targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if ":" not in link}
            reached |= {target for target in targets if target.is_file()}
    missing = [name_of(page) for page in PAGES if page not in reached]
    # A decision is found by their list, which the index links.
    assert [name for name in missing if not name.startswith("docs/adr/0")] == []
    listed = {(DOCS / "adr" / link).resolve() for link in links(DOCS / "adr/README.md")}
    assert [name_of(page) for page in DOCS.glob("adr/0*.md") if page.resolve() not in listed] == []


def test_the_site_lists_every_page() -> None:
    """mkdocs.yml names each page but the single decisions, and no other."""
    listed = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert sorted(listed) == sorted(page for page in pages if not page.startswith("adr/0"))


@every_page
def test_named_tests_exist(page: Path) -> None:
    """A test, or a file of tests, that a page names is there."""
    everything = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for name in re.findall(r"`(test_\w+)`", prose(page)):
        assert f"def {name}(" in everything, name
    for path in re.findall(r"`((?:tests|benchmarks|conf|demo|tools)/[\w./-]+)`", prose(page)):
        assert (ROOT / path).exists(), path


# --------------------------------------------------------------------------------------------------------------------
# Commands and options


def command_lines(page: Path) -> Iterator[list[str]]:
    """Every call of fimscan in a page's code blocks, as words."""
    for language, text in blocks(page):
        if language not in ("console", "sh"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if language == "sh":
                yield from calls(line)
            elif line.startswith(("# ", "$ ")):
                yield from calls(line[2:])


def calls(line: str) -> Iterator[list[str]]:
    """The calls of fimscan in one line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    for is_operator, group in itertools.groupby(lexer, lambda word: set(word) <= set("|&;<>()")):
        words = list(group)
        if not is_operator and words and Path(words[0]).name == "fimscan":
            yield words[1:]


def parse(words: list[str]) -> None:
    """Have click read a command line, without running it."""
    context = cli.make_context("fimscan", list(words))
    command: click.Command = cli
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        assert rest, f"{' '.join(words)}: no command"
        found = command.get_command(context, rest[0])
        assert found is not None, f"{' '.join(words)}: no command {rest[0]}"
        context = found.make_context(rest[0], rest[1:], parent=context)
        command = found


@every_page
def test_every_command_line_parses(page: Path) -> None:
    """What a page tells to type exists, with these options and values."""
    for words in command_lines(page):
        try:
            parse(words)
        except click.exceptions.Exit:  # --help and --version
            continue
        except click.ClickException as error:
            pytest.fail(f"fimscan {' '.join(words)}: {error.format_message()}")


def test_command_lines_are_found_and_wrong_ones_are_refused() -> None:
    """The test above does not pass over nothing, nor over what does not exist."""
    assert sum(len([*command_lines(page)]) for page in PAGES) > 50
    assert [*calls("fimscan audit rules > x && augenrules --load | fimscan diff --path '/a b'")] == [
        ["audit", "rules"],
        ["diff", "--path", "/a b"],
    ]
    for wrong in (["frobnicate"], ["scan", "--fast"], ["diff", "--from", "x"], ["audit", "delete"]):
        with pytest.raises((click.ClickException, AssertionError)):
            parse(wrong)


@pytest.mark.parametrize("gap", model.GapReason)
def test_the_page_for_unattributed_changes_says_what_to_do_about_each_gap(gap: model.GapReason) -> None:
    assert f"`{gap}`" in (DOCS / "how-to" / "why-unattributed.md").read_text()


ENTRIES = [*make_reference.commands()]
CONFIGURATION = [*make_reference.keys()]
OPTIONS = {
    name
    for entry in ENTRIES
    for option in entry.parameters
    for name in (*option.opts, *option.secondary_opts)
    if name.startswith("--")
} | {"--help"}


@every_page
def test_options_in_prose_exist(page: Path) -> None:
    """`--option` in a text is one of ours, or of another program that is named above."""
    found = set(re.findall(r"`(?:fimscan [^`]*?)?(--[a-z][a-z_-]*)", prose(page)))
    assert found - OPTIONS - FOREIGN_OPTIONS == set()


@every_page
def test_commands_in_prose_exist(page: Path) -> None:
    """`fimscan WORD` in a text is a command."""
    for words in re.findall(r"`fimscan ([a-z][a-z-]*(?: [a-z-]+)?)", prose(page)):
        first, _, second = words.partition(" ")
        command = cli.get_command(click.Context(cli), first)
        assert command is not None, words
        if isinstance(command, click.Group) and second:
            assert command.get_command(click.Context(command), second) is not None, words


def test_every_command_and_option_is_in_the_reference() -> None:
    """The page is generated; this is what it must have got."""
    page = (DOCS / "reference/cli.md").read_text()
    assert [entry.words for entry in ENTRIES if f"\n## {entry.words}\n" not in page] == []
    assert [name for name in OPTIONS - {"--help"} if f"`{name}" not in page] == []
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert headings == [entry.words for entry in ENTRIES]


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.words for entry in ENTRIES])
def test_the_help_of_each_command_has_an_example(entry: make_reference.Entry) -> None:
    """One line that parses, calls this command, and is not broken on a terminal of 80 columns."""
    (example,) = [text for text in entry.paragraphs if text.startswith("Example: ")]
    assert example == entry.paragraphs[-1]
    (words,) = calls(example.removeprefix("Example: "))
    parse(words)
    assert " ".join(["fimscan", *without_options(words)]).startswith(entry.words)
    arguments = [*entry.words.split()[1:], "--help"]
    shown = CliRunner().invoke(cli, arguments, prog_name="fimscan", terminal_width=80)
    assert shown.exit_code == 0
    assert f"  {example}\n" in shown.output


def without_options(words: list[str]) -> list[str]:
    """A call without what comes before the command."""
    return without_options(words[2:]) if words[:1] in (["--config"], ["--db"]) else words


def test_every_command_is_used_in_an_example() -> None:
    """Some page shows how each command is called."""
    used = {" ".join(without_options(words)[:2]) for page in PAGES for words in command_lines(page)}
    leaves = [entry.words.removeprefix("fimscan ") for entry in ENTRIES if not entry.is_group]
    # Below groups a command has two words; others may be followed by anything.
    assert [leaf for leaf in leaves if not any(f"{line} ".startswith(f"{leaf} ") for line in used)] == []


# --------------------------------------------------------------------------------------------------------------------
# Configuration


def sections() -> dict[str, set[str]]:
    """Every section with its keys."""
    found = {}
    for name, field in Config.model_fields.items():
        kind = make_reference.LISTS.get(name, field.annotation)
        found[name] = set(kind.model_fields)  # type: ignore[union-attr]  # each section is a model
    return found


def test_every_key_is_in_the_reference() -> None:
    """By section, and no other key."""
    page = (DOCS / "reference/configuration.md").read_text()
    parts = re.split(r"^## (\w+)$", page, flags=re.MULTILINE)[1:]
    described = {
        name: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert described == sections()


def test_every_key_has_a_text() -> None:
    """conf/fimscan.toml has a comment above each."""
    assert [f"{key.section} {key.name}" for key in CONFIGURATION if not key.text] == []


@every_page
def test_keys_in_prose_exist(page: Path) -> None:
    """`[section] key` names a key of the configuration."""
    known = sections()
    for section, key in re.findall(r"`\[{1,2}(\w+)\]{1,2} (\w+)", prose(page)):
        assert key in known.get(section, ()), f"[{section}] {key}"


@every_page
def test_configurations_are_valid(page: Path) -> None:
    """A TOML block is a configuration, once it has something to watch."""
    for language, text in blocks(page):
        if language == "toml":
            parse_config(text if "[[watch]]" in text else f'{text}\n[[watch]]\npath = "/x"\n')


# --------------------------------------------------------------------------------------------------------------------
# Exit codes, verdicts, documents, checks


def codes(part: str) -> set[int]:
    """The codes of the tables below a heading of the page of exit codes."""
    page = (DOCS / "reference/exit-codes.md").read_text()
    text = re.split(rf"^## {part}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]
    return {int(code) for code in re.findall(r"^\|(?: `[^`]*` \|)? (\d+) \|", text, re.MULTILINE)}


def test_exit_codes_are_those_of_the_program() -> None:
    """The page, and --help, have the codes of all errors."""
    assert codes("Errors") == {code for code, _ in make_reference.error_codes()}
    assert codes("scan and diff") == {0, 1, 2, 4, 8}
    epilog = cli.epilog or ""
    assert {int(code) for code in re.findall(r"^ *(\d+)  ", epilog, re.MULTILINE)} == codes("Errors")


@every_page
def test_exit_codes_in_prose_exist(page: Path) -> None:
    """'exits with 25' names a code that there is."""
    for code in re.findall(r"\bexits? with (\d+)", prose(page)):
        assert int(code) in {0, 1, 2, 4, 8, *codes("Errors")}, code


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Verdicts", model.Verdict),
        ("Reasons", model.Reason),
        ("Roles", model.Role),
        ("Gaps", model.GapReason),
        ("Kinds of change", model.ChangeKind),
        ("Breaches", model.Breach),
        ("Unreadable files", model.UnreadableReason),
        ("Login origin", model.LoginSource),
        ("Program origin", model.ExeOrigin),
        ("Package classes", model.PackageClass),
        ("Package proofs", model.PackageProof),
        ("Package reasons", model.PackageReason),
        ("Package facts", model.PackageFact),
        ("Text facts", model.TextFactKind),
        ("Contents not shown", model.NotKept),
    ],
)
def test_words_of_answers_are_explained(heading: str, expected: Iterable[str]) -> None:
    """Each value is in the table of its heading, and no other."""
    page = (DOCS / "reference/verdicts-and-reasons.md").read_text()
    text = re.split(rf"^## {heading}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == sorted(expected)


def test_every_reason_of_a_rank_and_every_place_is_explained() -> None:
    """In the tables of the page, in the order of urgency, and no others."""
    page = (DOCS / "explanation/what-stands-out.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == list(grouping.RankReason)
    places = [(place.name, place.technique, "yes" if place.is_packaged else "no") for place in grouping.PLACES]
    assert re.findall(r"^\| ([^|]*) \| (T[\d.]+) \|.*\| (yes|no) \|$", page, re.MULTILINE) == places


def test_every_document_is_described() -> None:
    """Each name of a JSON document in the code is on the page, and the other way round."""
    source = "".join(path.read_text() for path in Path(fimscan.__file__).parent.rglob("*.py"))
    names = set(re.findall(r'"(fimscan\.[a-z-]+/\d+)"', source))
    page = (DOCS / "reference/json.md").read_text()
    assert set(re.findall(r"^\| `(fimscan\.[a-z-]+/\d+)` \|", page, re.MULTILINE)) == names


def test_the_page_of_json_has_the_actions_and_places() -> None:
    """What a document may say instead of a number."""
    page = (DOCS / "reference/json.md").read_text()
    assert [action.value for action in model.Action if f"`{action}`" not in page] == []
    assert [place.value for place in Place if place is not Place.MONITORED and f"`{place}`" not in page] == []


def check_names() -> set[str]:
    """The names of all checks: what is handed first to the functions that make one."""
    found: set[str] = set()
    for path in Path(fimscan.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        makers = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".checks")
            for alias in node.names
        } & {"Check", "critical", "graded", "note", "ok", "warning"}
        if not makers:
            continue
        everywhere = dict(assignments(tree))
        # A maker may be chosen first: grade = note if ... else warning.
        makers |= {name for name, value in everywhere.items() if names_in(value) & makers}
        for part in tree.body:
            assigned = {**everywhere, **dict(assignments(part))}
            for call in ast.walk(part):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in makers:
                    named = [keyword.value for keyword in call.keywords if keyword.arg == "name"]
                    value = (call.args or named)[0]
                    value = assigned.get(value.id, value) if isinstance(value, ast.Name) else value
                    assert isinstance(value, ast.Constant), f"{path.name}:{call.lineno}: a check without a plain name"
                    found.add(str(value.value))
    return found


def names_in(value: ast.expr) -> set[str]:
    """The names that an expression speaks of."""
    return {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}


def assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of each assignment to a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                else:
                    pairs = zip([target], [node.value], strict=True)
                yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))


def test_every_check_is_described() -> None:
    """Each check of doctor and audit status is on the page with its id, and the other way round."""
    page = (DOCS / "reference/checks.md").read_text()
    assert dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE)) == registry.IDS
    assert check_names() == set(registry.IDS)


#: As released. An id is never taken away or given to another check: monitoring systems rely on it.
CHECK_IDS = (
    "audit.boot audit.daemon audit.daemon-config audit.disk audit.enabled audit.failure-flag "
    "audit.file-systems audit.io-uring audit.kernel audit.last-read audit.log audit.lost audit.mounts "
    "audit.parsed audit.queue audit.queue-limit audit.rate-limit audit.rotation audit.rules "
    "audit.rules-at-boot audit.rules-removed audit.suppressed clock.set configuration.file contents.file "
    "controls.failed database.integrity database.open disk.space files.trusted metrics.written outputs.delivery "
    "process.privileges scan.last scan.unreadable schedule.missed schedule.started schedule.times selftest.last "
    "watch.path witness.fanotify "
)


def test_ids_of_checks_are_only_added() -> None:
    """Each is of one check, and all of the list above are there."""
    ids = list(registry.IDS.values())
    assert len(ids) == len(set(ids))
    assert sorted(ids) == CHECK_IDS.split()


# --------------------------------------------------------------------------------------------------------------------
# Words


def test_the_glossary_is_in_order() -> None:
    """Found by its first letter."""
    words = re.findall(r"^\| ([a-z][a-z ]*) \|", (DOCS / "reference/glossary.md").read_text(), re.MULTILINE)
    words.remove("word")
    assert words == sorted(words) and len(words) == len(set(words)) > 40


# --------------------------------------------------------------------------------------------------------------------
# The tutorial


def transcript(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, output) of each command in a page's consoles."""
    for language, text in blocks(page):
        if language == "console":
            _, *parts = re.split(r"^[#$] (.*)\n", text, flags=re.MULTILINE)
            yield from ((command, output.splitlines()) for command, output in zip(parts[::2], parts[1::2], strict=True))


def rows_in(lines: Iterable[str], directory: str) -> list[str]:
    """What a report says of which file: ``modified #1 high prices.csv``."""
    pattern = rf"^(added|removed|modified|moved|attributes) +(#\d+) +(\w+) +{re.escape(directory)}/(\S+)$"
    return [" ".join(match.groups()) for line in lines if (match := re.match(pattern, line))]


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """Its commands find the files that it shows; who did it is left to the tests that use audit."""
    shop = tmp_path / "shop"
    database = f"sqlite:///{tmp_path}/fim.db"
    ours = [sys.executable, "-m", "fimscan", "--config", str(tmp_path / "fimscan.toml"), "--db", database]
    compared = 0
    for command, expected in transcript(DOCS / "tutorial/first-finding.md"):
        if "audit" in command or command.startswith(NOT_REPLAYED):
            continue
        if re.match(r"(fimscan|mkdir|echo '|echo \"|printf|sed|cd) ?", command):
            text = command.replace("/srv/shop", str(shop))
            if text.startswith("fimscan "):
                text = shlex.join(ours) + text.removeprefix("fimscan").replace("scan -v", "scan -v --no-audit")
            where = shop if shop.exists() else tmp_path
            done = subprocess.run(text, shell=True, cwd=where, capture_output=True, text=True, check=False)
            assert done.returncode < FIRST_ERROR, (command, done.stderr)
            found = rows_in(done.stdout.splitlines(), str(shop))
            assert found == rows_in(expected, "/srv/shop"), command
            compared += len(found)
    assert compared > 5
