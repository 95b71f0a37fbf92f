"""What is never kept: files whose name or content says that they hold secrets.

A name counts wherever the file is: /srv/chroot/etc/shadow has the same secrets as /etc/shadow. A name that begins with
that of a secret counts as well: editors and tools make ``shadow-``, ``server.key.bak`` and ``.shadow.swp``. In doubt, a
file is not kept. docs/how-to/see-what-changed.md lists the rules.
"""

from __future__ import annotations

import re
from itertools import chain

from fimscan.model.texts import NotKept

RULES_VERSION = 2
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
    # what was typed: commands with passwords
    *(b"[a-z0-9]*_history", b"history", b"lesshst", b"viminfo"),
    *(b"fetchmailrc", b"msmtprc", b"muttrc", b"smbcred.*", b"vncpasswd", b"erlang\\.cookie", b"authkeys?", b"keyfile"),
    *(b"crypto_keyfile.*", b"vault[-_]?pass.*", b"userlist\\.txt", b"users\\.acl", b"passwd\\.(?:client|md5)"),
    *(b"auth\\.txt", b"login\\.txt", b"wp-config\\.php"),
    *(b"monitrc", b"upsd\\.users", b"tomcat-users\\.xml", b"rclone\\.conf", b"hostapd\\.wpa_psk", b"terraformrc"),
)
_NAME = re.compile(rb"[.#_,]*(?:" + b"|".join(_NAMES) + b")" + _END, re.DOTALL)
_SUFFIXES = (
    *(b"key", b"pem", b"p12", b"p8", b"pfx", b"jks", b"jceks", b"keystore", b"truststore", b"kdbx?", b"keytab", b"ppk"),
    *(b"gpg", b"pgp", b"kbx", b"agekey", b"psk", b"nmconnection", b"ovpn", b"secret", b"secrets", b"token", b"pass"),
    *(b"kwallet", b"keyring", b"cred", b"creds", b"privkey", b"der", b"contents", b"env"),
    *(
        b"priv",
        b"private",
        b"pw",
        b"scrt",
        b"wpa_psk",
        b"passwd",
        b"shadow",
        b"cookie",
        b"tfstate",
        b"keyfile",
        b"password",
    ),
)
_SUFFIX = re.compile(rb".*\.(?:" + b"|".join(_SUFFIXES) + b")" + _END, re.DOTALL)
_PART_OF_NAME = (
    *(b"credential", b"secret", b"privkey", b"private_key", b"private-key", b"passphrase", b"-shadow", b"_shadow"),
    *(b"deploy_key", b"deploy-key", b"deploykey", b"serverkey", b"server_key", b"tls_key", b"ssl_key"),
)
_DIRECTORIES = frozenset(
    (
        *(b"private", b".gnupg", b"private-keys-v1.d", b".aws", b".azure", b".kube", b".docker", b".password-store"),
        *(b"gcloud", b"system-connections", b"wireguard", b"wpa_supplicant", b"iwd", b"credstore", b"keyrings-private"),
        *(b"credstore.encrypted", b"cryptsetup-keys.d", b"krb5kdc", b"secrets", b"secret", b"vault", b".netrc.d"),
        *(b"private_keys", b"private-keys", b"ssl-private", b"tls-private", b"accounts-v02", b"luks", b"ppp-secrets"),
        *(b".vnc", b"keys", b".erlang"),
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
    parts = directory.split(b"/")
    if _NAME.fullmatch(base) and parts[-1] != b"pam.d":  # password-auth is no password
        return True
    if _SUFFIX.fullmatch(base) or any(part in base for part in _PART_OF_NAME):
        return True
    if not _DIRECTORIES.isdisjoint(parts):
        return True
    if parts[-1] == b".ssh" and not _PUBLIC_SSH.fullmatch(base):
        return True
    return any(part in lowered for part in _SUBDIRECTORIES)


# Each pattern is linear: fixed words, and bounded repetition behind them. It is searched only in a content that has one
# of the words, in small letters: looking for words is a hundred times faster.
_TOKENS: tuple[tuple[tuple[bytes, ...], re.Pattern[bytes]], ...] = (
    # PEM, OpenSSH, SSH2 and PGP private keys; those of PuTTY, age, OpenVPN and WireGuard
    ((b"private key",), re.compile(rb"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")),
    ((b"openvpn static key",), re.compile(rb"BEGIN OpenVPN Static key")),
    ((b"putty-user-key-file-", b"age-secret-key-1"), re.compile(rb"PuTTY-User-Key-File-|AGE-SECRET-KEY-1")),
    (
        (b"privatekey", b"presharedkey"),
        re.compile(rb"^[ \t]{0,20}(?:PrivateKey|PresharedKey)[ \t]{0,20}[:=]", re.MULTILINE | re.IGNORECASE),
    ),
    # the same in base64, as Kubernetes has them: anything that begins like PEM and is no certificate
    ((b"ls0tls1crudjti",), re.compile(rb"LS0tLS1CRUdJTi(?!BDRVJU|BQVUJM)")),
    (
        (b'"d"', b'"private_key"', b'"privatekey"'),
        re.compile(rb'"(?:d|private_key|privateKey)"[ \t]{0,20}:[ \t]{0,20}"'),
    ),
    # secret keys of minisign and signify, of JSON (JWK) and Ceph; what Ansible encrypted by a password
    ((b" secret key",), re.compile(rb"(?:minisign|signify)[a-z ]{0,20} secret key")),
    ((b'"kty"',), re.compile(rb'"k"[ \t]{0,20}:[ \t]{0,20}"')),
    (
        (b"key",),
        re.compile(rb"^[ \t]{0,20}key[ \t]{0,20}=[ \t]{0,20}[A-Za-z0-9+/]{30,60}={1,2}[ \t]{0,20}\r?$", re.MULTILINE),
    ),
    ((b"$ansible_vault;",), re.compile(rb"\$ANSIBLE_VAULT;")),
    # password hashes of PostgreSQL, GRUB, Redis, HTTP digests, SNMP
    (
        (b'"md5', b"scram-sha-", b"pbkdf2.sha"),
        re.compile(rb'"md5[0-9a-f]{32}"|SCRAM-SHA-(?:1|256)\$[0-9]{1,9}:|pbkdf2\.sha[0-9]{1,3}\.[0-9]{1,9}\.'),
    ),
    (
        (b"user ",),
        re.compile(rb"^[ \t]{0,20}user[ \t]{1,9}[^ \t\n]{1,64}[ \t][^\n#>]{0,200}(?:#[0-9a-f]{64}|>\S)", re.MULTILINE),
    ),
    ((b":",), re.compile(rb"^[^:\s]{1,64}:[^:\n]{1,64}:[0-9a-f]{32}\r?$", re.MULTILINE)),
    (
        (b"createuser", b"rwcommunity", b"rocommunity"),
        re.compile(rb"^[ \t]{0,20}(?:createUser|r[wo]community6?)[ \t]{1,20}\S", re.MULTILINE | re.IGNORECASE),
    ),
    # password hashes of LDAP; those of crypt(3) are below
    (
        (b"{ssha", b"{sha", b"{smd5}", b"{md5}", b"{crypt}", b"{plain}", b"{cleartext}", b"userpassword::"),
        re.compile(
            rb"\{(?:SSHA|SHA|SMD5|MD5|CRYPT)[0-9]{0,3}\}[A-Za-z0-9+/=$.]{8}|\{(?:PLAIN|CLEARTEXT)\}\S"
            rb"|userPassword::[ \t]{0,9}\S",
            re.IGNORECASE,
        ),
    ),
    # tokens that say what they are
    (
        (b"akia", b"asia", b"abia", b"acca"),
        re.compile(rb"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"),
    ),
    (
        (b"aws_secret_access_key", b"aws_session_token"),
        re.compile(rb"aws_secret_access_key|aws_session_token", re.IGNORECASE),
    ),
    (
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-"),
        re.compile(rb"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}|glpat-[A-Za-z0-9_-]{20}"),
    ),
    (
        (b"xox", b"hooks.slack.com"),
        re.compile(rb"xox[abeoprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/T"),
    ),
    ((b"aiza", b"ya29."), re.compile(rb"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20}")),
    ((b"k_live_", b"sg."), re.compile(rb"[rs]k_live_[0-9A-Za-z]{16}|SG\.[\w-]{16,22}\.[\w-]{16}")),
    (
        (b"npm_", b"pypi-agei", b"dop_v1_", b"hvs.", b"hvb.", b"sk-"),
        re.compile(
            rb"npm_[A-Za-z0-9]{36}|pypi-AgEI|dop_v1_[0-9a-f]{32}|hv[sb]\.[A-Za-z0-9_-]{20}"
            rb"|(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20}"
        ),
    ),
    ((b"eyj",), re.compile(rb"eyJ[A-Za-z0-9_-]{8,500}\.eyJ[A-Za-z0-9_-]{8}")),
    (
        (b"accountkey=", b"sharedaccesskey=", b"authorization:"),
        re.compile(
            rb"(?:AccountKey|SharedAccessKey)=|Authorization:[ \t]{0,8}(?:Bearer|Basic)[ \t]{1,8}[\w+/=.~-]{8}",
            re.IGNORECASE,
        ),
    ),
    # a password as an argument of a command, in SQL, or in PHP; shells have such lines in their history
    (
        (b"mysql", b"mariadb", b"sshpass", b"curl", b"wget", b"--pass"),
        re.compile(
            rb"(?:mysql|mariadb)[a-z_-]{0,20}[ \t][^\n]{0,200}?[ \t]-p[^\s$'\"-][^\s]{2}"
            rb"|sshpass[ \t]{1,9}-p[ \t]{0,9}[^\s$]"
            rb"|(?:curl|wget)[ \t][^\n]{0,200}?[ \t](?:-u|--user)[ =]?[^\s:$]{1,64}:[^\s$]{3}"
            rb"|--pass(?:word|phrase|wd)?[ =][\"']?[^\s\"'$=<\[{(-][^\s]{3}"
        ),
    ),
    ((b"identified by",), re.compile(rb"IDENTIFIED[ \t]{1,9}BY[ \t]{1,9}['\"]", re.IGNORECASE)),
    (
        (b"define",),
        re.compile(
            rb"define[ \t]{0,9}\([ \t]{0,9}['\"][A-Z0-9_]{0,40}(?:PASSWORD|PASS|KEY|SALT|SECRET|TOKEN)['\"][ \t]{0,9},"
            rb"[ \t]{0,9}['\"][^'\"\n]{4}"
        ),
    ),
    # a URL with a password
    ((b"://",), re.compile(rb"://[^/\s:@\"']{0,100}:[^/\s:@\"']{1,200}@")),
)
_HASH = re.compile(
    rb"\$(?:1|2[abxy]?|3|5|6|7|8|y|gy|md5|sha1|apr1|argon2(?:i|d|id)|scrypt|pbkdf2[-\w]{0,20})\$[./A-Za-z0-9$=,+-]{4,40}"
)
_LONG_HASH = 24
_BEFORE_HASH = (b":", b'"', b"'", b"=")
_OLD_HASH = re.compile(rb":!{0,2}[./A-Za-z0-9]{13}:[0-9]{0,10}:")  # DES, in the second field of a line
# The same in a file of names and passwords only: small and capital letters, and digits, points or slashes.
_PAIR = re.compile(
    rb"^[\w.@-]{1,64}:(?=[./A-Za-z0-9]{0,12}[A-Z])(?=[./A-Za-z0-9]{0,12}[a-z])[./A-Za-z0-9]{13}\r?$", re.MULTILINE
)
_MOST_NAME = 64

# A word for a secret, and a value behind it, in small letters. Only on lines that are no comments: examples are in
# every other file.
_WORDS = (
    *(b"password", b"passphrase", b"passcode", b"passwd", b"pwd", b"psk", b"secret", b"apikey", b"api_key", b"api-key"),
    *(b"authtok", b"auth_tok", b"auth-tok", b"accesskey", b"access_key", b"access-key", b"_token", b"-token", b"token"),
    *(
        b"pass",
        b"bindpw",
        b"rootpw",
        b"encryptionkey",
        b"encryption_key",
        b"encryption-key",
        b"requirepass",
        b"masterauth",
    ),
)
_ASSIGNED = re.compile(
    rb"(?:pass(?:word|phrase|code)|(?<![a-z])passwd(?=[^:\n]{0,40}=)|(?<![a-z])(?:pwd|psk)|secret|api[-_]?key"
    rb"|auth[-_]?tok(?:en)?|access[-_]?key|(?:access|bearer|private)[-_]?token|bindpw|rootpw|encryption[-_]?key)"
    rb"[\w.-]{0,40}[\"']?[ \t]{0,20}(?:=>|[:=>])[ \t]{0,20}[\"']?"
    rb"(?!(?:yes|no|true|false|none|null|ask|prompt|optional|required|disabled|enabled|default)\b)"
    rb"[^\s\"'<>/$%{(\[*#;,][^\s\"'<]{2,200}[\"']?[ \t]{0,20}(?:$|[,;<}\r#])",
    re.MULTILINE,
)
# Shorter names, which need more to be sure: DB_PASS=, "pass = ", mount options, attributes of XML, tokens.
_SHORT = re.compile(
    rb"(?<![a-z])(?:[a-z0-9]{1,20}[-_.])?(?:auth|db|user|my|root|smtp|ldap|admin)?pass"
    rb"[\"']?[ \t]{0,20}(?:=>|=|:(?=[ \t\"']))[ \t]{0,20}[\"']?"
    rb"(?!(?:yes|no|true|false|none|null|ask|prompt|optional|required)\b)[^\s\"'<>/$%{(\[*#;,=][^\s\"',;<]{2}"
    rb"|[ ,]pass(?:word|wd)?=[^\s\"',$/%{(\[<][^\s,]{2}"
    rb"|pass(?:word|wd|phrase)?=\"[^\"\n$%{<]{3,200}\""
    rb"|(?<![a-z])(?:[a-z0-9]{1,20}[-_.]){0,3}token[\"']?[ \t]{0,20}(?:=>|[:=])[ \t]{0,20}[\"']?"
    rb"[a-z0-9._~+-][a-z0-9._~+/=-]{11}"
    rb"|secret[ \t]{1,20}\"[^\"\n]{4,200}\"",
    re.MULTILINE,
)
# A path is no secret; base64 may begin like one.
_BASE64 = re.compile(rb"(?:pass(?:word|phrase)?|secret|key)[\"']?[ \t]{0,20}[:=][ \t]{0,20}[\"']?/[a-z0-9/]{0,100}[+=]")
# Without "=": chap-secrets, .netrc, ppp, ldap.conf, redis.
_SPOKEN = re.compile(
    rb"^[ \t]{0,40}(?:bindpw|rootpw|requirepass|masterauth|password|passphrase|secret"
    rb"|(?:machine[ \t]{1,9}\S{1,100}[ \t]{1,9})?login[ \t]{1,9}\S{1,100}[ \t]{1,9}password)"
    rb"[ \t]{1,20}[\"']?[^\s\"'<>/$%{(\[*#;,=:][^\s\"']{3,200}[\"']?[ \t]{0,20}\r?$",
    re.MULTILINE,
)
_PAM = re.compile(rb"[ \t]*password[ \t]+(?:required|requisite|sufficient|optional|include|substack|\[)")
_COMMENTS = (b"#", b";", b"// ", b"--")  # "//server/share" is a line of fstab


def secret_content(content: bytes) -> bool:
    """Whether there is private material in a text."""
    small = content.lower()
    if any(pattern.search(content) for words, pattern in _TOKENS if any(word in small for word in words)):
        return True
    if any(_is_hash(content, found) for found in _HASH.finditer(content)):
        return True
    if any(_is_second_field(content, found.start()) for found in _OLD_HASH.finditer(content)):
        return True
    if _PAIR.search(content):
        return True
    if not any(word in small for word in _WORDS):
        return False
    assigned = chain(_ASSIGNED.finditer(small), _SHORT.finditer(small), _BASE64.finditer(small))
    return any(not _is_comment(small, found) for found in assigned) or any(
        not _PAM.match(found[0]) for found in _SPOKEN.finditer(small)
    )


def _is_hash(content: bytes, found: re.Match[bytes]) -> bool:
    """Whether it is a whole hash, or stands where one stands: shell scripts have ``$1$2`` as well."""
    before = content[max(found.start() - 4, 0) : found.start()].rstrip(b" \t!*")
    return len(found[0]) >= _LONG_HASH or before.endswith(_BEFORE_HASH)


def _is_second_field(content: bytes, colon: int) -> bool:
    begin = content.rfind(b"\n", max(colon - _MOST_NAME, 0), colon) + 1 or (0 if colon <= _MOST_NAME else colon)
    return begin < colon and b":" not in content[begin:colon]


def _is_comment(text: bytes, found: re.Match[bytes]) -> bool:
    begin = text.rfind(b"\n", 0, found.start()) + 1
    return text[begin : found.end()].lstrip().startswith(_COMMENTS)


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
