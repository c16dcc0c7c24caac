"""Mail between servers: two Postriders and a smarthost, found through a real DNS server; Postfix as the other side."""
import email
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import mail_client
from dns_server import Dns
from harness import Server, answers, free_port, needs, wait_until

ZONES = {
    "alpha.test": ["@ MX 10 mx", "mx A 127.0.0.2"],
    "beta.test": ["@ MX 20 mx2", "@ MX 10 nowhere", "mx2 A 127.0.0.4", "nowhere A 127.0.0.99"],
    "gamma.test": ["@ A 127.0.0.4"],
    "null.test": ["@ MX 0 ."],
    "postfix.test": ["@ MX 10 mx", "mx A 127.0.0.5"],
}

# The services of a Postfix instance, without the one that listens.
POSTFIX_SERVICES = [
    "postlog unix-dgram n - n - 1 postlogd", "pickup unix n - n 60 1 pickup", "qmgr unix n - n 300 1 qmgr",
    "cleanup unix n - n - 0 cleanup", "tlsmgr unix - - n 1000? 1 tlsmgr", "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce", "verify unix - - n - 1 verify",
    "proxymap unix - - n - - proxymap", "smtp unix - - n - - smtp", "relay unix - - n - - smtp", "error unix - - n - - error",
    "retry unix - - n - - error", "virtual unix - n n - - virtual", "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache",
]


def queue_settings(dns, port):
    """Quick retries: a test waits for them."""
    return (f'dns = ["{dns.address}"]\noutbound_port = {port}\n\n'
            '[queue]\nretry = ["1s", "1s", "2s"]\nlifetime = "60s"\ndelay_warning = "30s"\n')


class Servers(unittest.TestCase):
    """A DNS server and alpha.test, which sends by MX."""

    @classmethod
    def setUpClass(cls):
        cls.dns = Dns(ZONES)
        cls.addClassCleanup(cls.dns.remove)
        cls.port = free_port("127.0.0.2")
        cls.alpha = cls.server("alpha.test", "127.0.0.2", ("alpha.test",))
        cls.alpha.start()

    @classmethod
    def server(cls, domain, address, domains, settings=""):
        server = Server(f"mx.{domain}", address, domains, ports={"smtp": cls.port}, settings=settings + queue_settings(cls.dns, cls.port))
        cls.addClassCleanup(server.remove)
        return server

    def send(self, recipient, subject, server=None):
        server = server or self.alpha
        login = f"ann@{server.domains[0]}"
        mail_client.submit(server, login, [recipient], mail_client.message(subject, login, recipient))


class Relay(Servers):
    """beta.test and gamma.test are one server's; smart.test passes on what it is given."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.beta = cls.server("beta.test", "127.0.0.4", ("beta.test", "gamma.test"))
        cls.beta.start()

    def test_a_mail_goes_by_mx_past_a_host_that_is_down(self):
        self.send("bob@beta.test", "by mx")
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "by mx")
        wait_until(lambda: not self.alpha.json("queue", "list"), "the queue is empty again")

    def test_a_domain_without_mx_is_reached_at_its_address(self):
        self.beta.cli("alias", "add", "carol@gamma.test", "bob@beta.test")
        self.send("carol@gamma.test", "by address")
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "by address")

    def bounce(self, recipient, subject):
        self.send(recipient, subject)
        found = wait_until(lambda: [b for b in mail_client.bodies(self.alpha, "ann@alpha.test") if recipient.encode() in b], f"a bounce for {recipient}")
        report = email.message_from_bytes(found[-1])
        self.assertEqual(report.get_content_type(), "multipart/report")
        status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
        return status.get_payload()[1]

    def test_an_unknown_user_bounces(self):
        self.assertRegex(self.bounce("nobody@beta.test", "to nobody")["Status"], r"^5\.1\.1")

    def test_a_null_mx_bounces_at_once(self):
        self.assertRegex(self.bounce("x@null.test", "to null")["Status"], r"^5\.1\.10")

    def test_a_domain_that_does_not_exist_bounces(self):
        self.assertRegex(self.bounce("x@missing.alpha.test", "to nowhere")["Status"], r"^5\.1\.2|^5\.4\.4")

    def test_a_server_that_was_down_gets_its_mail_later(self):
        self.beta.stop()
        try:
            self.send("bob@beta.test", "after the break")
            wait_until(lambda: any(e for e in self.alpha.json("queue", "list")), "it waits in the queue")
        finally:
            self.beta.start()
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "after the break")

    def test_a_mail_goes_over_a_smarthost(self):
        smart = self.server("smart.test", "127.0.0.3", ("smart.test",), 'relay_networks = ["127.0.0.0/8"]\n')
        smart.start()
        route = f'\n[[route]]\nrecipient_domains = ["beta.test"]\nhosts = ["127.0.0.3:{self.port}"]\n'
        origin = Server("mx.origin.test", "127.0.0.6", ("origin.test",), settings=queue_settings(self.dns, self.port) + route)
        self.addCleanup(origin.remove)
        origin.start()
        self.send("bob@beta.test", "over two hops", origin)
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "over two hops")
        body = next(b for b in mail_client.bodies(self.beta, "bob@beta.test") if b"over two hops" in b)
        self.assertIn(b"mx.smart.test", body)
        self.assertIn(b"mx.origin.test", body)


class Postfix(Servers):
    """Postfix as the other side, in both directions: an instance of its own with its own folders."""

    @classmethod
    def setUpClass(cls):
        needs("postfix", "postmap")
        super().setUpClass()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-postfix-"))
        cls.folder.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.start_postfix()

    @classmethod
    def start_postfix(cls):
        config, spool, data = (cls.folder / name for name in ("config", "spool", "data"))
        for folder in (config, spool, data, cls.folder / "mail"):
            folder.mkdir()
        shutil.chown(data, "postfix")
        (cls.folder / "mail").chmod(0o777)
        # Postfix accepts only addresses of an interface in inet_interfaces; the address it listens on is in master.cf.
        (config / "main.cf").write_text(f"""\
compatibility_level = 3.6
myhostname = mx.postfix.test
mydestination =
queue_directory = {spool}
data_directory = {data}
inet_interfaces = 127.0.0.1
smtp_bind_address = 127.0.0.5
inet_protocols = ipv4
mynetworks = 127.0.0.5/32
maillog_file = {cls.folder}/maillog
maillog_file_prefixes = {cls.folder}
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = postfix.test
virtual_mailbox_base = {cls.folder}/mail
virtual_mailbox_maps = static:bob
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1000
transport_maps = inline:{{alpha.test=smtp:[127.0.0.2]:{cls.port}}}
smtp_tls_security_level = may
smtputf8_enable = no
""")
        (config / "master.cf").write_text("\n".join([f"127.0.0.5:{cls.port} inet n - n - - smtpd", *POSTFIX_SERVICES]) + "\n")
        cls.addClassCleanup(cls.stop_postfix)
        if cls.postfix("start"):
            raise AssertionError(f"postfix does not start:\n{cls.postfix_log()}")
        wait_until(lambda: answers("127.0.0.5", cls.port), "postfix listens")

    @classmethod
    def postfix(cls, command):
        """Runs `postfix` to its end. Its output goes to a file: the daemon would keep a pipe open."""
        with (cls.folder / "output").open("ab") as output:
            return subprocess.run(["postfix", "-c", cls.folder / "config", command], stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode

    @classmethod
    def postfix_log(cls):
        files = (cls.folder / name for name in ("output", "maillog"))
        return "\n".join(file.read_text() for file in files if file.exists())

    @classmethod
    def stop_postfix(cls):
        """Stops it, by force if it does not end, and waits until it has."""
        cls.postfix("stop")
        wait_until(lambda: not answers("127.0.0.5", cls.port), "postfix ends")

    def test_postfix_takes_our_mail(self):
        self.send("bob@postfix.test", "to postfix")
        box = self.folder / "mail" / "bob"
        wait_until(lambda: box.exists() and b"Subject: to postfix" in box.read_bytes(), "the mail in postfix's mailbox")

    def test_we_take_mail_from_postfix(self):
        subprocess.run(["sendmail", "-C", self.folder / "config", "-f", "bob@postfix.test", "ann@alpha.test"], check=True, text=True,
                       input="Subject: from postfix\n\nHello.\n.leading dot\n")
        mail_client.wait_for_subject(self.alpha, "ann@alpha.test", "from postfix")


if __name__ == "__main__":
    unittest.main()
