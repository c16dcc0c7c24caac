"""Programs of others that judge mail, each as a process that asks the DNS server of a test and no other.

OpenDMARC and the libraries it is made of ask the servers of /etc/resolv.conf at port 53. So it runs in a `Jail` with such a file of its
own, and the DNS server of the test has an address of its own. That takes root.
"""
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request

from harness import answers, free_port, needs, wait_until
from jail import Jail

SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"


def dns_address():
    """An address of this machine with its port 53 free."""
    for last in range(1, 255):
        address = f"127.0.53.{last}"
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((address, 53))
                udp.bind((address, 53))
            except OSError:
                continue
        return f"{address}:53"
    raise AssertionError("no address has its port 53 free")


class Verifier:
    """One program, from its start to its end, with a folder for its files."""

    def __init__(self, name, dns):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"postrider-{name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.dns_host, self.dns_port = dns.split(":")

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, program, *words):
        command = [shutil.which(program, path=SBIN), *words]
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, cwd=self.folder)
        wait_until(self.ready, f"{program} listens")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(self.said())
        return answers("127.0.0.1", self.port)

    def said(self):
        return "".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("[ol][uo][tg]"))

    def remove(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


class OpenDkim(Verifier):
    """OpenDKIM as a milter that verifies, and writes its results as opendkim.test."""

    def __init__(self, dns):
        needs("opendkim")
        super().__init__("opendkim", dns)
        # Its resolver takes nothing from loopback and knows that .test does not exist, unless it is told otherwise.
        resolver = self.file("unbound.conf", 'server:\n  do-not-query-localhost: no\n  local-zone: "test." nodefault\n')
        config = self.file("opendkim.conf", f"Socket inet:{self.port}@127.0.0.1\nMode v\nSyslog no\nBackground no\nAuthservID opendkim.test\n"
                           f"AlwaysAddARHeader yes\nDNSTimeout 5\nNameservers {self.dns_host}\nResolverConfiguration {resolver}\n"
                           "On-Default accept\nOn-DNSError accept\nOn-BadSignature accept\nOn-NoSignature accept\nOn-KeyNotFound accept\n")
        self.start("opendkim", "-f", "-x", config)


class OpenDmarc:
    """OpenDMARC as a milter: SPF and DMARC are its own, DKIM it believes opendkim.test. It writes its results as opendmarc.test."""

    def __init__(self, dns, suffixes):
        needs("opendmarc")
        program = shutil.which("opendmarc", path=SBIN)
        self.jail = Jail(None, [program], [])
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.jail.write("etc/resolv.conf", f"nameserver {dns.split(':')[0]}\noptions timeout:1 attempts:2\n")
        self.jail.write("etc/suffixes", "".join(f"{suffix}\n" for suffix in suffixes))
        self.jail.write("etc/nobody", "")
        self.jail.write("etc/opendmarc.conf", f"Socket inet:{port}@127.0.0.1\nAuthservID opendmarc.test\nTrustedAuthservIDs opendkim.test\n"
                        "Syslog no\nBackground no\nIgnoreHosts /etc/nobody\nPidFile /var/run/pid\nPublicSuffixList /etc/suffixes\n"
                        "SPFIgnoreResults yes\nSPFSelfValidate yes\nRejectFailures no\nDNSTimeout 5\n")
        self.jail.start(program, "-f", "-c", "/etc/opendmarc.conf")
        wait_until(lambda: answers("127.0.0.1", port), f"opendmarc listens: {self.jail.output.read_text(errors='replace')}")

    def remove(self):
        self.jail.remove()


class Rspamd(Verifier):
    """Rspamd with SPF, DKIM, DMARC and ARC and nothing else, asked over HTTP."""

    def __init__(self, dns, sealer=None):
        """`sealer`: domain, selector and key file with which it seals what it sees of that domain."""
        needs("rspamd")
        super().__init__("rspamd", dns)
        # Its own list takes minutes to compile.
        listed = self.file("suffixes", "com\norg\ntest\n")
        sealing = "sign_inbound = false;"
        if sealer:
            domain, selector, key = sealer
            sealing = (f'sign_inbound = true; sign_local = true; use_domain = "header"; allow_hdrfrom_mismatch = true; use_esld = false; '
                       f'domain {{ "{domain}" {{ path = "{key}"; selector = "{selector}"; }} }}')
        plugins = "".join(f' path = "/usr/share/rspamd/plugins/{name}.lua";\n' for name in ("spf", "dmarc", "arc"))
        config = self.file("rspamd.conf", f"""
options {{ pidfile = "{self.folder}/pid"; dns {{ nameserver = ["{self.dns_host}:{self.dns_port}"]; timeout = 2s; retransmits = 2; }};
  tempdir = "{self.folder}"; filters = "dkim,spf"; control_socket = "{self.folder}/control mode=0600"; hs_cache_dir = "{self.folder}";
  url_tld = "{listed}"; disable_hyperscan = true; local_addrs = []; }}
logging {{ type = "file"; filename = "{self.folder}/log"; level = "info"; }}
modules {{
{plugins}}}
lua = "/usr/share/rspamd/rules/rspamd.lua";
dkim {{ check_local = true; check_authed = true; }}
spf {{ check_local = true; check_authed = true; }}
dmarc {{ check_local = true; check_authed = true; {sealing} }}
arc {{ check_local = true; check_authed = true; {sealing} }}
worker "normal" {{ bind_socket = "{self.address}"; count = 1; }}
""")
        self.start("rspamd", "-f", "-i", "-c", config)

    def asked(self, message, ip, sender, helo="mx.far.test"):
        """Everything it says of a message."""
        headers = {"IP": ip, "From": sender, "Helo": helo, "Rcpt": "bob@example.test", "Hostname": helo}
        request = urllib.request.Request(f"http://{self.address}/checkv2", data=message, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def symbols(self, message, ip, sender, helo="mx.far.test"):
        """The names of what it found, each with its options."""
        return {name: one.get("options", []) for name, one in self.asked(message, ip, sender, helo)["symbols"].items()}

    def sealed(self, message, ip, sender):
        """The message with its seal."""
        added = self.asked(message, ip, sender)["milter"]["add_headers"]
        fields = [(name, one) for name, found in added.items() for one in (found if isinstance(found, list) else [found])]
        return b"".join(f"{name}: {one['value']}\r\n".replace("\r\n\t", "\n\t").replace("\n", "\r\n").replace("\r\r", "\r").encode()
                        for name, one in fields if name.startswith("ARC-")) + message
