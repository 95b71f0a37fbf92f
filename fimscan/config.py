"""Read the configuration from TOML; all problems are reported at once, each with its key and line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fimscan.errors import ConfigError
from fimscan.model import RetentionKind, Severity
from fimscan.timing import interval_seconds, parse_timetable
from fimscan.trust import trust_problem

SEARCH_PATH = ("./fimscan.toml", "/etc/fimscan/fimscan.toml")

_LARGEST = 16 << 20  # bytes of a configuration file; a device would never end
_OF_FILE = "file"  # what is validated: a file, not a stored configuration

Algorithm = Literal["xxh3_128", "sha256", "sha512", "blake3"]
Policy = Literal["full", "attributes", "append-only"]
Reread = Literal["always", "ctime"]


def _check_schedule(text: str, info: ValidationInfo) -> str:
    # Only in a file: the stored configuration of an earlier scan must stay readable.
    if info.context == _OF_FILE:
        try:
            parse_timetable(text)
        except ValueError as error:
            raise ValueError(f'neither a cron expression ("*/30 * * * *") nor an interval ("15m"): {error}') from None
    return text


_SIZE = re.compile(r"(\d+)\s*(?:([kKMG])(iB|B)?)?", re.ASCII)
_POWERS = {"k": 1, "K": 1, "M": 2, "G": 3}


def _check_interval(text: str) -> str:
    if interval_seconds(text) is None:
        raise ValueError('not an interval ("1s", "5m")')
    return text


def _check_jitter(text: str) -> str:
    if text != "0s" and interval_seconds(text) is None:
        raise ValueError('not an interval ("5m"), and not "0s"')
    return text


def _check_size(text: str) -> str:
    if not _SIZE.fullmatch(text.strip()):
        raise ValueError('not a size ("256k", "64M", "1G", "64MiB", or bytes)')
    return text


def _bytes(size: str) -> int:
    match = _SIZE.fullmatch(size.strip())
    assert match is not None, "checked when it was read"
    base = 1024 if match[3] == "iB" else 1000
    unit: int = base ** _POWERS.get(match[2], 0)
    return int(match[1]) * unit


def _check_ionice(text: str) -> str:
    if not re.fullmatch(r"none|idle|best-effort:[0-7]", text):
        raise ValueError("must be none, idle, or best-effort:0 (highest) to best-effort:7 (lowest), as in ionice(1)")
    return text


def _check_absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    if "\0" in text:
        raise ValueError("must not contain a NUL byte")
    return os.path.normpath(text).replace("//", "/")


def _check_single_path(text: str) -> str:
    if any(character in text for character in "*?["):
        raise ValueError("must be the path of one file, not a pattern: each secret is named by itself")
    return _check_absolute(text)


def _check_key(text: str) -> str:
    if not re.fullmatch(r"[\w.:-]{1,31}", text):
        raise ValueError("1 to 31 letters, digits, '_', '-', '.' or ':' (the key of an audit rule)")
    return text


Schedule = Annotated[str, AfterValidator(_check_schedule)]
Interval = Annotated[str, AfterValidator(_check_interval)]
Jitter = Annotated[str, AfterValidator(_check_jitter)]
Size = Annotated[str, AfterValidator(_check_size)]
AbsolutePath = Annotated[str, AfterValidator(_check_absolute)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Database(_Section):
    """Where results are stored: an SQLAlchemy URL."""

    url: str = "sqlite:////var/lib/fimscan/fimscan.db"


class Audit(_Section):
    """Which audit logs to read, which ``node=`` names are this host, and the key of fimscan's audit rules."""

    enabled: bool = True
    nodes: tuple[str, ...] = ()
    logs: tuple[AbsolutePath, ...] = ("/var/log/audit/audit.log",)
    socket: AbsolutePath | Literal[""] = ""
    key: Annotated[str, AfterValidator(_check_key)] = "fimscan"
    io_uring_rule: bool = True


class ScanSettings(_Section):
    """Scope, limits and priorities of scans. ``workers`` 0 means one per core; any other 0 means no limit."""

    workers: int = Field(default=0, ge=0, le=256)
    cross_mounts: bool = False
    file_timeout: Interval = "10m"
    stall_timeout: Interval = "1m"
    nice: int = Field(default=0, ge=0, le=19)
    ionice: Annotated[str, AfterValidator(_check_ionice)] = "none"
    max_bytes_per_s: Size = "0"
    max_files_per_s: int = Field(default=0, ge=0)
    max_holes: Size = "256G"
    drop_cache: bool = False

    @property
    def file_timeout_s(self) -> float:
        """``file_timeout`` in seconds."""
        return float(interval_seconds(self.file_timeout) or 0)

    @property
    def stall_timeout_s(self) -> float:
        """``stall_timeout`` in seconds."""
        return float(interval_seconds(self.stall_timeout) or 0)

    @property
    def max_bytes(self) -> int:
        """``max_bytes_per_s`` in bytes per second; 0 for no limit."""
        return _bytes(self.max_bytes_per_s)

    @property
    def max_hole_bytes(self) -> int:
        """``max_holes`` in bytes; 0 for no limit."""
        return _bytes(self.max_holes)


class Watch(_Section):
    """One directory (or file) to monitor."""

    path: AbsolutePath
    exclude: tuple[str, ...] = ()
    policy: Policy = "full"
    digests: tuple[Algorithm, ...] = ("xxh3_128", "sha256")
    reread: Reread = "always"
    severity: Severity = "high"
    category: str = "configuration"
    rationale: str = ""
    keep: int = Field(default=0, ge=0)
    keep_content: bool = False
    keep_content_of_secrets: tuple[Annotated[str, AfterValidator(_check_single_path)], ...] = ()

    @field_validator("exclude")
    @classmethod
    def _patterns_can_match(cls, patterns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Only in a file: the stored configuration of an earlier scan must stay readable.
        if not (patterns and info.context == _OF_FILE and "path" in info.data):
            return patterns
        from fimscan.excludes import pattern_problem

        for number, pattern in enumerate(patterns, 1):
            if problem := pattern_problem(pattern, info.data["path"]):
                raise ValueError(f"pattern {number} can never match: {problem}")
        return patterns

    @model_validator(mode="after")
    def _keep_is_of_logs(self) -> Watch:
        if self.keep and self.policy != "append-only":
            raise ValueError('keep: only with policy = "append-only"')
        return self

    @model_validator(mode="after")
    def _content_can_be_kept(self) -> Watch:
        if self.keep_content:
            if self.policy != "full":
                raise ValueError('keep_content: only with policy = "full"')
            if "sha256" not in self.digests:
                raise ValueError('keep_content: content is kept by its SHA-256; add "sha256" to digests')
        elif self.keep_content_of_secrets:
            raise ValueError("keep_content_of_secrets: only with keep_content = true")
        for path in self.keep_content_of_secrets:
            if path != self.path and not path.startswith(self.path.rstrip("/") + "/"):
                raise ValueError(f"keep_content_of_secrets: {path} is not below {self.path}")
        return self

    @model_validator(mode="after")
    def _digests_include_the_fast_one(self) -> Watch:
        if len(set(self.digests)) != len(self.digests):
            raise ValueError("digests: one is listed twice")
        if "xxh3_128" not in self.digests:
            raise ValueError('digests: "xxh3_128" must be among them (it is always recorded)')
        return self


class ScheduleSettings(_Section):
    """When ``fimscan schedule`` scans and reads the audit log."""

    scan: Schedule = "*/30 * * * *"
    full: Schedule = "0 3 * * 0"
    audit: Schedule = "1m"
    selftest: Schedule | Literal[""] = ""
    jitter: Jitter = "0s"

    @property
    def jitter_s(self) -> int:
        """``jitter`` in seconds."""
        return interval_seconds(self.jitter) or 0


class LiveSettings(_Section):
    """Live looks: how ``fimscan schedule`` looks at single files between scans."""

    enabled: bool = True
    debounce: Interval = "1s"
    max_delay: Interval = "10s"
    max_size: Size = "64M"

    @property
    def debounce_s(self) -> float:
        """``debounce`` in seconds."""
        return float(interval_seconds(self.debounce) or 0)

    @property
    def max_delay_s(self) -> float:
        """``max_delay`` in seconds."""
        return float(interval_seconds(self.max_delay) or 0)

    @property
    def max_size_bytes(self) -> int:
        """``max_size`` in bytes."""
        return _bytes(self.max_size)


class WitnessSettings(_Section):
    """Whether ``fimscan schedule`` uses the second witness."""

    fanotify: bool = True


class ContentSettings(_Section):
    """Where the content of files is kept (``keep_content``), and how much of it. ``""`` is beside the database."""

    file: AbsolutePath | Literal[""] = ""
    max_file_size: Size = "256k"
    quota: Size = "64M"

    @property
    def max_file_bytes(self) -> int:
        """``max_file_size`` in bytes."""
        return _bytes(self.max_file_size)

    @property
    def quota_bytes(self) -> int:
        """``quota`` in bytes."""
        return _bytes(self.quota)


class Review(_Section):
    """Whether a reviewer may decide about changes of their own."""

    own_changes: Literal["warn", "refuse", "allow"] = "warn"


class Evidence(_Section):
    """The key that signs bundles; it is created at the first use."""

    key: AbsolutePath = "/var/lib/fimscan/evidence-key.pem"
    organization: str = ""


OutputType = Literal["command", "file", "syslog", "journald", "webhook", "smtp", "sendmail"]
OutputFormat = Literal["text", "json", "ecs", "ocsf", "cef", "splunk-cim", "wazuh", "hash-log"]
SyslogFacility = Literal[
    "auth", "authpriv", "daemon", "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]
# The keys of an output besides those that every type has, and those of them that a type cannot do without.
_OUTPUT_KEYS: Mapping[str, tuple[str, ...]] = {
    "command": ("command",),
    "file": ("path",),
    "syslog": ("address", "facility", "ca_file", "cert_file", "key_file"),
    "journald": ("path",),
    "webhook": ("url", "url_file", "secret_file", "ca_file"),
    "smtp": ("address", "security", "user", "password_file", "ca_file", "sender", "to"),
    "sendmail": ("command", "sender", "to"),
}
_OUTPUT_NEEDS: Mapping[str, tuple[str, ...]] = {
    "command": ("command",),
    "file": ("path",),
    "syslog": ("address",),
    "smtp": ("address", "to"),
    "sendmail": ("to",),
}
_SYSLOG_ADDRESS = re.compile(r"unix:/.+|(?:udp|tcp|tls)://(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]@?#]+)(?::\d{1,5})?")
_SMTP_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]@?#]+)(?::\d{1,5})?")
_MAIL_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+(?:@[\w.-]+)?", re.ASCII)


def _check_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,39}", text):
        raise ValueError("1 to 40 letters, digits, '_', '-' or '.', a letter or digit first")
    return text


def _check_mail_address(text: str) -> str:
    if not text or text.startswith("-") or not _MAIL_ADDRESS.fullmatch(text):
        raise ValueError("not a mail address (root, admin@example.org)")
    return text


def _check_secret_source(text: str) -> str:
    if not text:
        return text
    if text.startswith("env:"):
        if not re.fullmatch(r"env:[A-Za-z_]\w*", text):
            raise ValueError('not the name of an environment variable ("env:FIMSCAN_SECRET")')
        return text
    return _check_absolute(text)


SecretSource = Annotated[str, AfterValidator(_check_secret_source)]
MailAddress = Annotated[str, AfterValidator(_check_mail_address)]


def _check_age(text: str) -> str:
    if text != "forever" and interval_seconds(text) is None:
        raise ValueError('not an age ("400d"), and not "forever"')
    return text


Age = Annotated[str, AfterValidator(_check_age)]


class Retention(_Section):
    """How old what is in the database becomes, and when what is older is removed. PCI DSS 10.5.1 asks for 12 months."""

    prune: Schedule | Literal["off"] = "off"
    findings: Age = "400d"
    scans: Age = "400d"
    accesses: Age = "90d"
    controls: Age = "400d"
    outbox: Age = "90d"
    contents: Age = "400d"

    def ages_ns(self) -> dict[RetentionKind, int | None]:
        """The age of each kind in nanoseconds; ``None`` is forever."""
        found: dict[RetentionKind, int | None] = {}
        for kind in RetentionKind:
            seconds = interval_seconds(getattr(self, kind.value))
            found[kind] = None if seconds is None else seconds * 10**9
        return found


class Output(_Section):
    """One receiver of what scans find. Secrets are in files or in the environment, never in the configuration."""

    name: Annotated[str, AfterValidator(_check_name)]
    type: OutputType
    format: OutputFormat | Literal[""] = ""
    one_per: Literal["", "set", "scan"] = ""
    min_severity: Severity = "low"
    verdicts: tuple[Literal["confirmed", "likely", "contested", "unattributed"], ...] = ()
    kinds: tuple[Literal["added", "removed", "modified", "moved", "attributes"], ...] = ()
    sets: Literal["all", "look"] = "all"
    problems: bool = True
    all_is_well: bool = False
    max_changes: int = Field(default=20, ge=1, le=200)
    timeout: Interval = "10s"
    command: tuple[str, ...] = ()
    path: AbsolutePath | Literal[""] = ""
    address: str = ""
    facility: SyslogFacility = "local0"
    url: str = ""
    url_file: SecretSource = ""
    secret_file: SecretSource = ""
    ca_file: AbsolutePath | Literal[""] = ""
    cert_file: AbsolutePath | Literal[""] = ""
    key_file: AbsolutePath | Literal[""] = ""
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: SecretSource = ""
    sender: MailAddress | Literal[""] = ""
    to: tuple[MailAddress, ...] = ()

    @model_validator(mode="after")
    def _has_the_keys_of_its_type(self) -> Output:
        mine = _OUTPUT_KEYS[self.type]
        own = {key for keys in _OUTPUT_KEYS.values() for key in keys}
        for key in sorted((own & self.model_fields_set) - set(mine)):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f'{key}: not for type = "{self.type}", which has {", ".join(mine)}')
        for key in _OUTPUT_NEEDS.get(self.type, ()):
            if not getattr(self, key):
                raise ValueError(f'{key}: required for type = "{self.type}"')
        return self

    @model_validator(mode="after")
    def _reaches_somewhere(self) -> Output:
        if self.command and not self.command[0].startswith("/"):
            raise ValueError("command: the program must be an absolute path; no shell runs it")
        if self.type == "syslog" and not _SYSLOG_ADDRESS.fullmatch(self.address):
            raise ValueError("address: write unix:/dev/log, udp://host:514, tcp://host:601 or tls://host:6514")
        if self.type == "smtp":
            if not _SMTP_ADDRESS.fullmatch(self.address):
                raise ValueError("address: write host or host:port")
            if bool(self.user) != bool(self.password_file):
                raise ValueError("user and password_file: give both, or none")
            if self.user and self.security == "none":
                raise ValueError('security: a password is not sent unencrypted; use "starttls" or "tls"')
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file: give both, or none")
        return self

    @model_validator(mode="after")
    def _url_has_no_secret(self) -> Output:
        if self.type != "webhook":
            return self
        if bool(self.url) == bool(self.url_file):
            raise ValueError("url, url_file: give one of them")
        if self.url and not re.fullmatch(r"https?://[^\s@?#]+", self.url):
            raise ValueError(
                "url: write https://host/path; an URL with a password, a token or a query belongs into url_file"
            )
        return self

    @property
    def timeout_s(self) -> float:
        """``timeout`` in seconds."""
        return float(interval_seconds(self.timeout) or 0)


class OutboxSettings(_Section):
    """How long a scan waits for receivers, and how much may wait for each of them."""

    separate: bool = False
    scan_wait: Interval = "5s"
    max_messages: int = Field(default=10_000, ge=10)
    max_size: Size = "64M"
    max_age: Interval = "30d"
    late_after: Interval = "1h"

    @property
    def scan_wait_s(self) -> float:
        """``scan_wait`` in seconds."""
        return float(interval_seconds(self.scan_wait) or 0)

    @property
    def max_bytes(self) -> int:
        """``max_size`` in bytes."""
        return _bytes(self.max_size)

    @property
    def max_age_s(self) -> float:
        """``max_age`` in seconds."""
        return float(interval_seconds(self.max_age) or 0)

    @property
    def late_after_s(self) -> float:
        """``late_after`` in seconds."""
        return float(interval_seconds(self.late_after) or 0)


class SelftestSettings(_Section):
    """Where the file of ``fimscan selftest`` is made, and how long receivers are waited for."""

    path: AbsolutePath | Literal[""] = ""
    wait: Interval = "30s"

    @property
    def wait_s(self) -> float:
        """``wait`` in seconds."""
        return float(interval_seconds(self.wait) or 0)


def _check_textfile(text: str) -> str:
    if not text.endswith(".prom"):
        raise ValueError("must end in .prom: node_exporter reads no other file")
    return _check_absolute(text)


_LISTEN = re.compile(r"(127(?:\.\d{1,3}){3}|localhost|\[::1\]):(\d{1,5})")


def _check_listen(text: str) -> str:
    match = _LISTEN.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise ValueError("only on the loopback, which has no other users: write 127.0.0.1:9808 or [::1]:9808")
    return text


class MetricsSettings(_Section):
    """Where metrics for Prometheus are written or served."""

    textfile: Annotated[str, AfterValidator(_check_textfile)] | Literal[""] = ""
    listen: Annotated[str, AfterValidator(_check_listen)] | Literal[""] = ""

    @property
    def listen_address(self) -> tuple[str, int] | None:
        """(address, port) of ``listen``; ``None`` if nothing is to be served."""
        match = _LISTEN.fullmatch(self.listen)
        return None if match is None else (match[1].strip("[]"), int(match[2]))


class Config(_Section):
    """The whole configuration, immutable."""

    database: Database = Database()
    audit: Audit = Audit()
    scan: ScanSettings = ScanSettings()
    watch: tuple[Watch, ...] = Field(min_length=1)
    schedule: ScheduleSettings = ScheduleSettings()
    live: LiveSettings = LiveSettings()
    witness: WitnessSettings = WitnessSettings()
    contents: ContentSettings = ContentSettings()
    review: Review = Review()
    evidence: Evidence = Evidence()
    retention: Retention = Retention()
    outbox: OutboxSettings = OutboxSettings()
    selftest: SelftestSettings = SelftestSettings()
    metrics: MetricsSettings = MetricsSettings()
    output: tuple[Output, ...] = ()

    @model_validator(mode="after")
    def _outputs_are_distinct(self) -> Config:
        names = [output.name for output in self.output]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"output: the name {name} is used twice")
        return self

    @model_validator(mode="after")
    def _paths_are_distinct(self) -> Config:
        seen: set[str] = set()
        for watch in self.watch:
            if watch.path in seen:
                raise ValueError(f"watch: {watch.path} is listed twice")
            seen.add(watch.path)
        return self

    def canonical(self) -> str:
        """The effective configuration with defaults, as JSON with sorted keys."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=2)

    @classmethod
    def from_canonical(cls, text: str) -> Config:
        """The inverse of :meth:`canonical`, for the configuration of an earlier scan."""
        return cls.model_validate(_tuples(json.loads(text)))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of :meth:`canonical`; a weakened configuration shows as a change between scans."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def find_config(environ: Mapping[str, str] = os.environ, ignored: Callable[[str], None] = lambda _why: None) -> str:
    """Find the configuration file: ``$FIMSCAN_CONFIG``, ``./fimscan.toml``, ``/etc/fimscan/fimscan.toml``.

    Nobody named ``./fimscan.toml``, so one that somebody else could have put there is skipped; ``ignored`` is told why.

    Raises:
        ConfigError: there is none.
    """
    if named := environ.get("FIMSCAN_CONFIG"):
        return named
    skipped = ""
    for candidate in SEARCH_PATH:
        if not os.path.lexists(candidate):
            continue
        if candidate.startswith("./") and (problem := trust_problem(candidate, alone=True)) is not None:
            skipped = f"{candidate} is ignored: {problem}"
            continue
        if skipped:
            ignored(skipped)
        return candidate
    there = f" ({skipped})" if skipped else ""
    raise ConfigError(f"no configuration file in {' or '.join(SEARCH_PATH)}{there}; create one with 'fimscan init'")


def load_config(path: str) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: ``problems`` has one entry per problem, with file, line and key; or others could have written it.
    """
    if (problem := trust_problem(path)) is not None:
        raise ConfigError(f"the configuration {path} is not read: {problem}")
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST >> 20} MiB, so it is no configuration")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error
    return parse_config(text, path)


def parse_config(text: str, name: str = "fimscan.toml") -> Config:
    """Check TOML text; messages use ``name``. Raises :class:`ConfigError` as :func:`load_config`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        line = at[1] if at else str(text.count("\n") + 1)
        raise ConfigError(f"{name}:{line}: not valid TOML: {error}") from error
    # Without watches nothing would be monitored; pydantic would only report a missing key.
    if problems := list(_plain_problems(table)):
        raise ConfigError(f"{name}: {problems[0]}", tuple(f"{name}: {p}" for p in problems))
    try:
        return Config.model_validate(_tuples(table), context=_OF_FILE)
    except ValidationError as error:
        lines = _key_lines(text)
        # A list that is empty because its items are invalid: only the items are reported.
        items = [item for item in error.errors() if item["type"] != "too_short"] or error.errors()
        problems = [_describe(item, lines, name) for item in sorted(items, key=lambda i: _line(i, lines))]
        raise ConfigError(f"{name}: {len(problems)} problem(s) in the configuration", tuple(problems)) from error


def _plain_problems(table: dict[str, Any]) -> list[str]:
    """Problems for which pydantic's messages would be unclear."""
    watch = table.get("watch")
    if watch is None or watch == []:
        return ['nothing to monitor: add a [[watch]] section with a path, e.g. path = "/etc"']
    for name in ("watch", "output"):
        if isinstance(table.get(name), dict):
            return [f"{name} must be a list of sections: write [[{name}]], with two brackets"]
    return []


def _tuples(value: object) -> Any:
    """Convert TOML arrays to tuples, so that strict validation gives immutable values."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _key_lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Map key paths to line numbers: ``tomllib`` keeps none. Only headers and keys at line starts are found."""
    lines: dict[tuple[str | int, ...], int] = {}
    counts: dict[str, int] = {}
    section: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            parts = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                index = counts.get(header[2], 0)
                counts[header[2]] = index + 1
                section = (*parts, index)
            else:
                section = parts
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            parts = tuple(part.strip().strip("\"'") for part in key[1].split("."))
            lines.setdefault((*section, *parts), number)
    return lines


def _line(item: Any, lines: dict[tuple[str | int, ...], int]) -> int:
    """The line of a key, or of the innermost section around it in the file; 0 if unknown."""
    known: tuple[str | int, ...] = tuple(item["loc"])
    while known and known not in lines:
        known = known[:-1]
    return lines.get(known, 0)


def _describe(item: Any, lines: dict[tuple[str | int, ...], int], name: str) -> str:
    location: tuple[str | int, ...] = tuple(item["loc"])
    line = _line(item, lines)
    where = f"{name}:{line}" if line else name
    dotted = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    message = str(item["msg"]).removeprefix("Value error, ")
    match item["type"]:
        case "extra_forbidden":
            message = "unknown key; see fimscan.toml(5) for every key there is"
        case "missing":
            message = "this key is required"
    return f"{where}: {dotted}: {message}" if dotted else f"{where}: {message}"
