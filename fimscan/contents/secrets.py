"""What is never kept: files whose name or content says that they hold secrets.

A name counts wherever the file is: /srv/chroot/etc/shadow has the same secrets as /etc/shadow. A name that begins with
that of a secret counts as well: editors and tools make ``shadow-``, ``server.key.bak`` and ``.shadow.swp``. In doubt, a
file is not kept. docs/how-to/see-what-changed.md lists the rules.
"""

from __future__ import annotations

import re

from fimscan.model.texts import NotKept

RULES_VERSION = 1
"""Increase it with every change of the rules: what is kept is then judged again."""

# After the name: its end, or what does not continue the word.
_END = rb"(?:$|[^a-z0-9].*)"
_NAMES = (
    *(b"g?shadow", b"opasswd", b"master\\.passwd", b"spwd\\.db", b"sasldb2?", b"sasl_passwd", b"smbpasswd"),
    *(b"passdb", b"secrets\\.tdb", b"pgpass", b"netrc", b"my\\.cnf", b"mylogin\\.cnf", b"debian\\.cnf", b"htpasswd"),
    *(b"htdigest", b"git-credentials", b"dockercfg", b"npmrc", b"pypirc", b"s3cfg", b"boto", b"rndc\\.key", b"tsig"),
    *(b"wpa_supplicant.*", b"chap-secrets", b"pap-secrets", b"ipsec\\.secrets", b"kubeconfig", b"vault-token"),
    *(b"krb5\\.keytab", b"crypttab\\.key", b"random[-_]seed", b"identity", b"id_.*", b"ssh_host_.*", b"evidence-key"),
    *(b"fimscan\\.db", b"secring", b"authinfo", b"pgp", b"tokens?", b"password", b"passphrase", b"dh_key"),
)
_NAME = re.compile(rb"[.#_,]*(?:" + b"|".join(_NAMES) + b")" + _END, re.DOTALL)
_SUFFIXES = (
    *(b"key", b"pem", b"p12", b"p8", b"pfx", b"jks", b"jceks", b"keystore", b"truststore", b"kdbx?", b"keytab", b"ppk"),
    *(b"gpg", b"pgp", b"kbx", b"agekey", b"psk", b"nmconnection", b"ovpn", b"secret", b"secrets", b"token", b"pass"),
    *(b"kwallet", b"keyring", b"cred", b"creds", b"privkey", b"der", b"contents", b"env"),
)
_SUFFIX = re.compile(rb".*\.(?:" + b"|".join(_SUFFIXES) + b")" + _END, re.DOTALL)
_PART_OF_NAME = (b"credential", b"secret", b"privkey", b"private_key", b"private-key")
_DIRECTORIES = frozenset(
    (
        *(b"private", b".gnupg", b"private-keys-v1.d", b".aws", b".azure", b".kube", b".docker", b".password-store"),
        *(b"gcloud", b"system-connections", b"wireguard", b"wpa_supplicant", b"iwd", b"credstore", b"keyrings-private"),
        *(b"credstore.encrypted", b"cryptsetup-keys.d", b"krb5kdc", b"secrets", b"secret", b"vault", b".netrc.d"),
        *(b"private_keys", b"private-keys", b"ssl-private", b"tls-private", b"accounts-v02", b"luks", b"ppp-secrets"),
    )
)
_SUBDIRECTORIES = (
    *(b"/letsencrypt/accounts/", b"/letsencrypt/keys/", b"/letsencrypt/archive/", b"/letsencrypt/live/"),
    *(b"/.local/share/keyrings/", b"/openvpn/keys/", b"/var/lib/fimscan/", b"/etc/ipsec.d/private/"),
)
# What is public in ~/.ssh. Keys there have any name.
_PUBLIC_SSH = re.compile(rb"(?:authorized_keys|known_hosts|config|rc|environment)(?:$|[^a-z].*)", re.DOTALL)


def secret_name(path: bytes) -> bool:
    """Whether the path is that of a file with secrets."""
    lowered = path.lower()
    directory, _, base = lowered.rpartition(b"/")
    if _NAME.fullmatch(base) or _SUFFIX.fullmatch(base) or any(part in base for part in _PART_OF_NAME):
        return True
    parts = directory.split(b"/")
    if not _DIRECTORIES.isdisjoint(parts):
        return True
    if parts[-1] == b".ssh" and not _PUBLIC_SSH.fullmatch(base):
        return True
    return any(part in lowered for part in _SUBDIRECTORIES)


_CRYPT = rb"1|2[abxy]?|3|5|6|7|8|y|gy|md5|sha1|apr1|argon2(?:i|d|id)|scrypt|pbkdf2[-\w]{0,20}"
# Each is linear: fixed words, and bounded repetition after them.
_TOKENS = re.compile(
    b"|".join(
        (
            # PEM, OpenSSH, SSH2 and PGP private keys; those of PuTTY, age, OpenVPN and WireGuard
            rb"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY",
            rb"-{5}BEGIN OpenVPN Static key",
            rb"PuTTY-User-Key-File-",
            rb"AGE-SECRET-KEY-1",
            rb"(?m:^[ \t]{0,20}(?i:PrivateKey|PresharedKey)[ \t]{0,20}=)",
            # the same in base64, as Kubernetes has them: anything that begins like PEM and is no certificate
            rb"LS0tLS1CRUdJTi(?!BDRVJU|BQVUJM)",
            rb'"(?:d|private_key|privateKey)"[ \t]{0,20}:[ \t]{0,20}"',
            # password hashes of crypt(3), Apache and LDAP
            rb"(?::[!*]{0,2}|[\"'=][ \t]{0,4})\$(?:%s)\$[./A-Za-z0-9$=,+-]{4}" % _CRYPT,
            rb"\$(?:%s)\$[./A-Za-z0-9$=,+-]{20}" % _CRYPT,
            rb"(?m:^[^:\n]{1,64}:!{0,2}[./A-Za-z0-9]{13}:[0-9]{0,10}:)",
            rb"\{(?:SSHA|SHA|SMD5|MD5|CRYPT)[0-9]{0,3}\}[A-Za-z0-9+/=$.]{8}",
            # tokens that say what they are
            rb"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])",
            rb"(?i:aws_secret_access_key|aws_session_token)",
            rb"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}|glpat-[A-Za-z0-9_-]{20}",
            rb"xox[abeoprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/T",
            rb"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20}",
            rb"[rs]k_live_[0-9A-Za-z]{16}|SG\.[\w-]{16,22}\.[\w-]{16}|SK[0-9a-f]{32}",
            rb"npm_[A-Za-z0-9]{36}|pypi-AgEI|dop_v1_[0-9a-f]{32}|hv[sb]\.[A-Za-z0-9_-]{20}|sk-[A-Za-z0-9_-]{20}",
            rb"eyJ[A-Za-z0-9_-]{8,500}\.eyJ[A-Za-z0-9_-]{8}",
            rb"(?i:AccountKey=|SharedAccessKey=|Authorization:[ \t]{0,8}(?:Bearer|Basic)[ \t])",
            # a URL with a password
            rb"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^/\s:@\"']{0,100}:[^/\s:@\"']{1,200}@",
        )
    )
)
# A word for a secret, and a value behind it. Only on lines that are no comments: examples are in every other file.
_ASSIGNED = re.compile(
    rb"(?i:pass(?:word|phrase|code)|(?<![a-z])passwd(?=[^:\n]{0,40}=)|(?<![a-z])(?:pwd|psk)|secret|api[-_]?key|auth[-_]?tok(?:en)?"
    rb"|access[-_]?key|(?:access|bearer|private)[-_]?token|bindpw|rootpw|encryption[-_]?key)"
    rb"[\w.-]{0,40}[\"']?[ \t]{0,20}[:=>][ \t]{0,20}[\"']?"
    rb"(?!(?i:yes|no|true|false|none|null|ask|prompt|optional|required|disabled|enabled|default)\b)"
    rb"[^\s\"'<>/$%{(\[*#;,][^\s\"'<]{3,200}[\"']?[ \t]{0,20}(?:$|[,;<}\r#])",
    re.MULTILINE,
)
# Without "=": chap-secrets, .netrc, ppp, ldap.conf, redis.
_SPOKEN = re.compile(
    rb"^[ \t]{0,40}(?i:bindpw|rootpw|requirepass|masterauth|password|passphrase|secret"
    rb"|(?:machine[ \t]{1,9}\S{1,100}[ \t]{1,9})?login[ \t]{1,9}\S{1,100}[ \t]{1,9}password)"
    rb"[ \t]{1,20}[\"']?[^\s\"'<>/$%{(\[*#;,=:][^\s\"']{3,200}[\"']?[ \t]{0,20}\r?$",
    re.MULTILINE,
)
_PAM = re.compile(rb"[ \t]*(?i:password)[ \t]+(?:required|requisite|sufficient|optional|include|substack|\[)")
_COMMENTS = (b"#", b";", b"//", b"--")


def secret_content(content: bytes) -> bool:
    """Whether there is private material in a text."""
    if _TOKENS.search(content):
        return True
    return any(
        not content[content.rfind(b"\n", 0, found.start()) + 1 : found.end()].lstrip().startswith(_COMMENTS)
        for found in _ASSIGNED.finditer(content)
    ) or any(not _PAM.match(found[0]) for found in _SPOKEN.finditer(content))


def refusal(path: bytes, content: bytes) -> NotKept | None:
    """Why a content is not kept; ``None`` if it is."""
    if secret_name(path):
        return NotKept.SECRET_NAME
    return content_refusal(content)


def content_refusal(content: bytes) -> NotKept | None:
    """The same by content alone."""
    if b"\0" in content:
        return NotKept.BINARY
    return NotKept.SECRET_CONTENT if secret_content(content) else None
