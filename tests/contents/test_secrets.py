"""No secret is kept, under whatever name and in whatever file; ordinary configuration is."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.contents.secrets import content_refusal, refusal, secret_name
from fimscan.model import NotKept

SECRET_PATHS = [
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd", "/etc/shadow.dpkg-old"),
    *("/srv/chroot/etc/shadow", "/etc/.shadow.swp", "/etc/#shadow#", "/etc/shadow~", "/etc/SHADOW.bak", "/etc/shadow+"),
    *("/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key.old", "/root/.ssh/id_rsa", "/home/a/.ssh/deploy"),
    *("/etc/nginx/server.key", "/etc/nginx/server.key.bak", "/etc/nginx/server.pem", "/etc/x.p12", "/etc/x.jks"),
    *("/etc/ssl/private/anything", "/etc/pki/tls/private/localhost.crt", "/root/.gnupg/gpg.conf", "/etc/krb5.keytab"),
    *("/root/.pgpass", "/root/.netrc", "/root/.my.cnf", "/root/.aws/credentials", "/etc/app/credentials.xml"),
    *("/etc/wpa_supplicant/wpa_supplicant.conf", "/etc/wpa_supplicant.conf", "/etc/ppp/chap-secrets"),
    *("/etc/NetworkManager/system-connections/home.nmconnection", "/etc/wireguard/wg0.conf", "/etc/ipsec.secrets"),
    *("/srv/app/.env", "/srv/app/.env.production", "/root/.docker/config.json", "/root/.kube/config"),
    *("/var/lib/fimscan/fimscan.db", "/var/lib/fimscan/evidence-key.pem", "/mnt/backup/fimscan.db.contents"),
    *("/etc/letsencrypt/accounts/x/private_key.json", "/root/.local/share/keyrings/login.keyring", "/etc/x/db.kdbx"),
    *("/root/.bash_history", "/root/.mysql_history", "/root/.viminfo", "/root/.vnc/passwd", "/etc/passwd.shadow"),
    *(
        "/etc/old-shadow",
        "/etc/ssl/serverkey",
        "/etc/exim4/passwd.client",
        "/etc/proftpd/ftpd.passwd",
        "/etc/backup.pw",
    ),
    *("/etc/borg-passphrase", "/etc/rsync.password", "/etc/.smbcred", "/root/.vault_pass", "/srv/terraform.tfstate"),
    *("/etc/opendkim/keys/x/default.private", "/etc/luks.keyfile", "/crypto_keyfile.bin", "/etc/corosync/authkey"),
    *("/root/.fetchmailrc", "/etc/msmtprc", "/var/lib/rabbitmq/.erlang.cookie", "/etc/pgbouncer/userlist.txt"),
    *("/home/a/deploy_key", "/etc/openvpn/auth.txt", "/etc/monit/monitrc", "/srv/www/wp-config.php"),
    "/etc/\udcff/\nshadow".replace("\n", "") + "\n",
]
ORDINARY_PATHS = [
    *("/etc/passwd", "/etc/passwd-", "/etc/group", "/etc/sudoers", "/etc/sudoers.d/admins", "/etc/ssh/sshd_config"),
    *("/root/.ssh/authorized_keys", "/home/a/.ssh/config", "/etc/pam.d/common-password", "/etc/pam.d/password-auth"),
    *("/etc/crontab", "/etc/cron.d/backup", "/etc/hosts", "/etc/environment", "/etc/nsswitch.conf", "/etc/keyboard"),
    *("/etc/systemd/system/x.service", "/etc/ld.so.preload", "/usr/bin/env-update", "/etc/monkey.conf"),
]


@pytest.mark.parametrize("path", SECRET_PATHS)
def test_files_with_secrets_are_known_by_name(path: str) -> None:
    """Wherever they are, and as copies that editors and package managers make."""
    assert refusal(path.encode("utf-8", "surrogateescape"), b"harmless\n") is NotKept.SECRET_NAME


@pytest.mark.parametrize("path", ORDINARY_PATHS)
def test_ordinary_configuration_is_not_refused_by_name(path: str) -> None:
    """Above all, the files that intruders change."""
    assert not secret_name(path.encode())


@given(
    st.sampled_from([b"shadow", b"gshadow", b"id_rsa", b".netrc", b".pgpass", b"server.key", b"a.pem", b"krb5.keytab"]),
    st.binary(max_size=8).filter(lambda text: b"/" not in text and b"\0" not in text),
    st.sampled_from([b"/etc", b"/", b"/home/x/y z"]),
)
def test_nothing_behind_a_name_makes_it_harmless(name: bytes, more: bytes, directory: bytes) -> None:
    """Backups have any suffix, unless it continues the word."""
    if not more[:1].isalnum():
        assert secret_name(directory + b"/" + name + more)


PEM = "-----BEGIN {}-----\nMIIEvQ\n-----END {}-----\n"
SECRET_TEXTS = {
    "pkcs8": PEM.format("PRIVATE KEY", "PRIVATE KEY"),
    "rsa": PEM.format("RSA PRIVATE KEY", "RSA PRIVATE KEY"),
    "encrypted": PEM.format("ENCRYPTED PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    "openssh": PEM.format("OPENSSH PRIVATE KEY", "OPENSSH PRIVATE KEY"),
    "pgp": PEM.format("PGP PRIVATE KEY BLOCK", "PGP PRIVATE KEY BLOCK"),
    "ssh2": "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n",
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519\n",
    "kubeconfig": "client-key-data: " + base64.b64encode(b"-----BEGIN RSA PRIVATE KEY-----\nx").decode() + "\n",
    "wireguard": "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n",
    "shadow": "root:$6$salt$hash:19000:0:99999:7:::\n",
    "yescrypt": "eve:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7:1::::::\n",
    "des": "bob:ab1cdEfGhIjKl:19000:0:99999:7:::\n",
    "passwd with a hash": "bob:$1$abcdefgh$0123456789012345678901:1000:1000::/:/bin/sh\n",
    "htpasswd": "bob:$apr1$abcdefgh$0123456789012345678901\n",
    "kickstart": "rootpw --iscrypted $6$abcdefghijklmnop$0123456789012345678901\n",
    "ldap": "olcRootPW: {SSHA}0123456789abcdef0123456789abcdef\n",
    "aws": "key = AKIAIOSFODNN7EXAMPLE\n",
    "aws secret": "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    "github": "token: ghp_0123456789abcdefghijABCDEFGHIJ012345\n",
    "gitlab": "x glpat-0123456789abcdefghij\n",
    "slack": "xoxb-0123456789-0123456789\n",
    "jwt": "a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig\n",
    "url": "http_proxy=http://user:hunter2@proxy:3128\n",
    "database": 'url = "postgresql://fimscan:s3cret@db/fimscan"\n',
    "password": "user = app\npassword = hunter2\n",
    "yaml": "db:\n  password: 'hunter2'\n",
    "json": '{"db_password": "hunter2", "x": 1}\n',
    "xml": "<a><password>hunter2</password></a>\n",
    "unit": 'Environment="API_KEY=0123456789"\n',
    "redis": "requirepass hunter2\n",
    "netrc": "machine x login y password hunter2\n",
    "sssd": "ldap_default_authtok = hunter2\n",
    "short": "username=a\npassword=abc\n",
    "pass": "DB_PASS=hunter22\nAuthPass=hunter22\n",
    "rclone": "[x]\ntype = sftp\npass = abcd1234-_x\n",
    "php": "define('DB_PASSWORD', 'hunter22');\n",
    "php array": "'password' => 'hunter22',\n",
    "salt": "define('AUTH_KEY', 'put your unique phrase');\n",
    "xml attribute": '<user username="a" password="hunter22" roles="x"/>\n',
    "fstab": "//server/x /mnt cifs username=a,password=hunter22 0 0\n",
    "kubernetes": "- user:\n    token: abcdefghijkl\n",
    "token": "dns_cloudflare_api_token = 0123456789abcdef0123456789abcdef\n",
    "base64": "password=/a/b/c+dE9==\n",
    "named": 'key "x" { algorithm hmac-sha256; secret "abcdefghijklmnop=="; };\n',
    "ceph": "[client.admin]\n\tkey = AQBSdFhbAAAAABAAuvUGJ0Q2yN0X0g==\n",
    "dnssec": "Private-key-format: v1.3\nPrivateKey: abcd==\n",
    "jwk": '{"kty":"oct","k": "abcdabcd"}\n',
    "minisign": "untrusted comment: minisign encrypted secret key\n",
    "ansible": "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
    "grub": "password_pbkdf2 root grub.pbkdf2.sha512.10000.AAAA.BBBB\n",
    "postgresql": '"user" "md5abcdef0123456789abcdef0123456789"\n',
    "redis users": "user alice on >hunter22 ~* +@all\n",
    "htdigest": "admin:realm:5f4dcc3b5aa765d61d8327deb882cf99\n",
    "htpasswd by crypt": "admin:rl5FQ0JX8ZzNQ\n",
    "snmp": "createUser bob SHA hunter22\n",
    "dovecot": "bob:{PLAIN}hunter22:1000:1000::/home/bob\n",
    "base64 of a hash": "userPassword:: e1NTSEF9aGVsbG8=\n",
    "sql": "CREATE USER x IDENTIFIED BY 'hunter22';\n",
    "cron job": "0 3 * * * root mysqldump -uroot -pHunter22 x\n",
    "sshpass": "sshpass -p hunter22 ssh x\n",
    "curl": "curl -s -u admin:hunter2 http://x\n",
    "option": "tool --password hunter22 --verbose\n",
    "late": "# comment\n" * 5000 + "PASSWORD=hunter2\n",
}


@pytest.mark.parametrize("text", SECRET_TEXTS.values(), ids=SECRET_TEXTS)
def test_private_material_is_known_by_content(text: str) -> None:
    """A key is a key, whatever its file is called, and whatever stands around it."""
    for around in (text, f"a = 1\n{text}b = 2\n", text.replace("\n", "\r\n")):
        assert refusal(b"/etc/harmless.conf", around.encode()) is NotKept.SECRET_CONTENT, around


ORDINARY_TEXTS = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:*:65534:65534::/:/usr/sbin/nologin\n",
    "group": "sudo:x:27:alice,bob\n",
    "sudoers": "Defaults env_reset\n%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n",
    "sshd_config": "PermitRootLogin no\nPasswordAuthentication yes\nPermitEmptyPasswords no\n",
    "nsswitch": "passwd:         files systemd\ngroup: files\npasswd: files\n",
    "pam": "password  required  pam_unix.so obscure yescrypt\npassword [success=1 default=ignore] pam_unix.so\n",
    "login.defs": "PASS_MAX_DAYS 99999\nENCRYPT_METHOD SHA512\n",
    "certificate": PEM.format("CERTIFICATE", "CERTIFICATE"),
    "public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGlR alice@host\n",
    "comment": "# password = hunter2example\n; secret = example\n",
    "switch": "password = yes\nrequire_password: true\npassword_file = /etc/x/pw\n",
    "script": '#!/bin/sh\necho "$1$2$3"\nread -r PASSWORD\nuse "$PASSWORD"\n',
    "certificate in base64": "ca: " + base64.b64encode(b"-----BEGIN CERTIFICATE-----\nx").decode() + "\n",
    "hosts": "127.0.0.1 localhost\n::1 ip6-localhost\n",
    "crontab": "17 * * * * root cd / && run-parts --report /etc/cron.hourly\n0 1 * * * root bypass=1 /x\n",
    "fstab": "UUID=0 / ext4 errors=remount-ro 0 1\n//server/x /mnt cifs credentials=/etc/x/c 0 0\n",
    "nginx": "location / { proxy_pass http://backend; }\nuser www-data;\n",
    "unit": "[Service]\nUser=app\nExecStart=/usr/bin/x --password-file /etc/x\n",
    "csrf": "csrf_token = true\ntoken = short\n",
    "tmpfiles": "d /run/user 0755 root root -\nuser alice\n",
    "digest list": "usr/bin/x: 0123456789abcdef0123456789abcdef\n",
    "empty": "",
}


@pytest.mark.parametrize("text", ORDINARY_TEXTS.values(), ids=ORDINARY_TEXTS)
def test_ordinary_configuration_is_kept(text: str) -> None:
    """A rule that refuses everything would be of no use."""
    assert content_refusal(text.encode()) is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_binary_content_is_not_kept(before: bytes, after: bytes) -> None:
    """A NUL byte is in no text."""
    assert content_refusal(before + b"\0" + after) is NotKept.BINARY


@pytest.mark.parametrize(
    "piece",
    [b"a", b"password", b"password = ", b"# password = secret1 ", b"secret-", b" ", b"eyJ", b"x://", b"-", b"a:",
     b"eyJ" + b"a" * 400, b"://:", b"login a ", b"----- BEGIN ", b"$6$", b"LS0tLS1CRUdJTi", b"<password>", b"\n\t",
     b"mysql ", b"curl -u ", b"\nuser a ", b"define('", b"a-", b"a-token", b"1.", b"pass=", b"define ( 'KEY", b"\na:b:",
     b"secret ", b"--pass ", b'password="', b"\na:Aa", b"key = ", b"password = /a"],
)  # fmt: skip
def test_no_content_makes_the_rules_slow(piece: bytes) -> None:
    """256 KiB of anything is judged in moments: whoever can write a watched file chooses its content."""
    content = piece * (256_000 // len(piece))
    begun = time.process_time()
    content_refusal(content)
    assert time.process_time() - begun < 3
