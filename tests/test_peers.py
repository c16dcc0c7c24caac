"""Exim, OpenSMTPD and Postfix as the other side, in both directions: TLS, BDAT, DSN, SMTPUTF8, and mail that wants to be two mails."""
import contextlib
import email
import pathlib
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import unittest

import mail_client
from dns_server import Dns
from harness import PASSWORD, Server, answers, free_port, needs, run, wait_until
from jail import Jail, needs_package
from test_relay import POSTFIX_SERVICES, queue_settings

ANN = "ann@alpha.test"
ALPHA, EXIM, OPEN, POSTFIX = "127.0.0.2", "127.0.0.9", "127.0.0.10", "127.0.0.11"
ZONES = {
    "alpha.test": ["@ MX 10 mx", f"mx A {ALPHA}"],
    "exim.test": ["@ MX 10 mx", f"mx A {EXIM}"],
    "open.test": ["@ MX 10 mx", f"mx A {OPEN}"],
    "fix.test": ["@ MX 10 mx", f"mx A {POSTFIX}"],
}


class Peer:
    """What a test needs of another server: its domain, and what its user bob has."""

    def __init__(self, jail, domain, address, port):
        self.jail, self.domain, self.address, self.port = jail, domain, address, port
        self.bob = f"bob@{domain}"

    def log(self):
        files = [self.jail.output, *self.jail.path("var/log").rglob("*log")]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def remove(self):
        self.jail.remove()

    def maildir(self):
        return self.jail.path("home/bob/Maildir")

    def messages(self):
        """What bob has, as parsed messages."""
        folder = self.maildir()
        if not folder.exists():
            return []
        return [email.message_from_bytes(path.read_bytes()) for part in ("new", "cur") for path in sorted((folder / part).glob("*"))]

    def having(self, words):
        """Bob's messages that hold these words anywhere."""
        return [message for message in self.messages() if words in str(message.as_bytes(), "utf-8", "replace")]

    def wait_for(self, words):
        return wait_until(lambda: self.having(words), f"{words!r} at {self.bob}:\n{self.log()[-3000:]}")[0]

    def send(self, sender, recipient, text, options=(), recipient_options=()):
        """Hands a message to it for sending; it relays for its own address."""
        with smtplib.SMTP(self.address, self.port, timeout=30, source_address=(self.address, 0)) as client:
            client.ehlo("client.test")
            client.sendmail(sender, [recipient], text, mail_options=options, rcpt_options=recipient_options)


def exim(port, alpha_port):
    jail = Jail("exim4-daemon-light", ["/usr/sbin/exim4", "/bin/sh"], ["Debian-exim", "bob"])
    for folder in ("var/spool/exim4", "var/log/exim4"):
        jail.folder(folder, "Debian-exim", 0o750)
    jail.folder("home/bob", "bob")
    jail.certificate("mx.exim.test", "Debian-exim")
    jail.write("etc/exim4/exim4.conf", f"""\
keep_environment =
primary_hostname = mx.exim.test
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
domainlist inside = exim.test
local_interfaces = <; [{EXIM}]:{port}
tls_advertise_hosts = *
tls_certificate = /etc/cert.pem
tls_privatekey = /etc/key.pem
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
accept_8bitmime = true
acl_smtp_mail = everything
acl_smtp_rcpt = recipients
acl_smtp_data = everything
log_file_path = /var/log/exim4/%slog
log_selector = +tls_cipher +smtp_protocol_error +smtp_syntax_error
host_lookup =
begin acl
everything:
  accept
recipients:
  accept domains = +inside
    verify = recipient
  accept hosts = {EXIM}
  deny message = no relaying
begin routers
inside:
  driver = accept
  domains = +inside
  local_parts = bob : b\u00f6b
  transport = box
outside:
  driver = manualroute
  domains = ! +inside
  route_list = * {ALPHA}
  self = send
  transport = out
begin transports
box:
  driver = appendfile
  maildir_format
  directory = /home/bob/Maildir
  create_directory
  user = bob
out:
  driver = smtp
  port = {alpha_port}
  interface = {EXIM}
  hosts_require_tls = *
  hosts_try_chunking = *
begin retry
* * F,1h,2s
""")
    jail.start("/usr/sbin/exim4", "-bdf", "-q1s")
    return Peer(jail, "exim.test", EXIM, port)


def opensmtpd(port, alpha_port):
    jail = Jail("opensmtpd", ["/usr/sbin/smtpd", "/usr/sbin/smtpctl", "/usr/libexec/opensmtpd/mail.maildir", "/bin/sh"],
                ["opensmtpd", "opensmtpq", "bob"])
    jail.folder("var/spool/smtpd", "root", 0o711)
    jail.folder("var/lib/opensmtpd/empty", "root")
    jail.folder("home/bob", "bob")
    jail.certificate("mx.open.test")
    jail.write("etc/mailname", "open.test\n")
    jail.write("etc/aliases", "")
    jail.write("etc/smtpd.conf", f"""\
pki mx.open.test cert "/etc/cert.pem"
pki mx.open.test key "/etc/key.pem"
listen on {OPEN} port {port} tls pki mx.open.test hostname mx.open.test
action "inside" maildir "/home/bob/Maildir" user bob
action "outside" relay host "smtp+tls://{ALPHA}:{alpha_port}" tls no-verify helo mx.open.test src {OPEN}
match from any for domain "open.test" rcpt-to "bob@open.test" action "inside"
match from src {OPEN} for any action "outside"
match from local for domain "alpha.test" action "outside"
""")
    jail.start("/usr/sbin/smtpd", "-dv")
    return Peer(jail, "open.test", OPEN, port)


class PostfixPeer(Peer):
    """An instance of the installed Postfix with its own folders."""

    def __init__(self, port, alpha_port):
        super().__init__(None, "fix.test", POSTFIX, port)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-postfix-"))
        self.folder.chmod(0o755)
        for name in ("config", "spool", "data", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        (self.folder / "mail").chmod(0o777)
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=mx.fix.test",
            "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem")
        (self.folder / "config" / "main.cf").write_text(self.settings(alpha_port))
        lines = [f"{POSTFIX}:{port} inet n - n - - smtpd", *POSTFIX_SERVICES]
        (self.folder / "config" / "master.cf").write_text("\n".join(lines) + "\n")
        self.command("start")

    def settings(self, alpha_port):
        return f"""\
compatibility_level = 3.6
myhostname = mx.fix.test
mydestination =
queue_directory = {self.folder}/spool
data_directory = {self.folder}/data
inet_interfaces = 127.0.0.1
smtp_bind_address = {POSTFIX}
inet_protocols = ipv4
mynetworks = {POSTFIX}/32
maillog_file = {self.folder}/maillog
maillog_file_prefixes = {self.folder}
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = fix.test
virtual_mailbox_base = {self.folder}/mail
virtual_mailbox_maps = inline:{{bob@fix.test=bob/, b\u00f6b@fix.test=bob/}}
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1000
transport_maps = inline:{{alpha.test=smtp:[{ALPHA}]:{alpha_port}}}
smtp_tls_security_level = encrypt
smtpd_tls_security_level = may
smtpd_tls_cert_file = {self.folder}/cert.pem
smtpd_tls_key_file = {self.folder}/key.pem
smtpd_tls_received_header = yes
smtputf8_enable = yes
smtpd_discard_ehlo_keywords =
"""

    def command(self, word):
        """Runs `postfix` to its end. Its output goes to a file: the daemon would keep a pipe open."""
        with (self.folder / "output").open("ab") as output:
            return subprocess.run(["postfix", "-c", self.folder / "config", word], stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode

    def log(self):
        files = (self.folder / name for name in ("output", "maillog"))
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def maildir(self):
        return self.folder / "mail" / "bob"

    def remove(self):
        self.command("stop")
        wait_until(lambda: not answers(self.address, self.port), "postfix ends")
        shutil.rmtree(self.folder, ignore_errors=True)


class Peers:
    """What all peers are put through; `make` starts one."""

    @classmethod
    def setUpClass(cls):
        cls.need()
        cls.dns = Dns(ZONES)
        cls.addClassCleanup(cls.dns.remove)
        port = free_port(ALPHA)
        cls.alpha = Server("mx.alpha.test", ALPHA, ("alpha.test",), ports={"smtp": port}, settings=queue_settings(cls.dns, port))
        cls.addClassCleanup(cls.alpha.remove)
        cls.alpha.start()
        cls.peer = cls.make(port, port)
        cls.addClassCleanup(cls.peer.remove)
        wait_until(lambda: answers(cls.peer.address, port), f"{cls.__name__} listens:\n{cls.peer.log()}")

    @contextlib.contextmanager
    def submission(self):
        with smtplib.SMTP(ALPHA, self.alpha.port("submission"), timeout=30) as client:
            client.starttls(context=ssl._create_unverified_context())
            client.login(ANN, PASSWORD)
            yield client

    def submit(self, recipient, text, options=(), recipient_options=()):
        with self.submission() as client:
            client.sendmail(ANN, [recipient], text, mail_options=options, rcpt_options=recipient_options)

    def report(self, words):
        """The delivery report in ann's mailbox that holds the words: its recipients' fields."""
        bodies = lambda: [b for b in mail_client.bodies(self.alpha, ANN) if words.encode() in b and b"delivery-status" in b]
        found = wait_until(bodies, f"a report with {words!r}:\n{self.peer.log()[-3000:]}")
        return self.fields(email.message_from_bytes(found[0]))

    def fields(self, report):
        # OpenSMTPD calls a report of success multipart/mixed.
        self.assertIn(report.get_content_type(), ("multipart/report", "multipart/mixed"))
        status = next(part for part in report.walk() if part.get_content_type().endswith("delivery-status"))
        return status.get_payload()[1]

    def received(self, subject):
        """The message with the subject in ann's mailbox, parsed."""
        mail_client.wait_for_subject(self.alpha, ANN, subject)
        found = [b for b in mail_client.bodies(self.alpha, ANN) if f"Subject: {subject}".encode() in b]
        self.assertEqual(len(found), 1)
        return email.message_from_bytes(found[0])

    def test_it_takes_our_mail(self):
        body = "Hello.\r\n.one dot\r\n..\r\n" + "long line " * 90 + "\r\n" + "many lines\r\n" * 20_000
        self.submit(self.peer.bob, mail_client.message("to the peer", ANN, self.peer.bob, body))
        message = self.peer.wait_for("Subject: to the peer")
        self.assertEqual(message.get_payload().replace("\r\n", "\n"), body.replace("\r\n", "\n"))
        wait_until(lambda: not self.alpha.json("queue", "list"), "our queue is empty again")

    def test_we_take_its_mail_over_tls(self):
        body = "Hello.\r\n.one dot\r\n..\r\n" + "many lines\r\n" * 20_000
        self.peer.send(self.peer.bob, ANN, mail_client.message("from the peer", self.peer.bob, ANN, body))
        message = self.received("from the peer")
        self.assertEqual(message.get_payload().replace("\r\n", "\n"), body.replace("\r\n", "\n"))
        self.assertIn("ESMTPS", message.get_all("Received")[0])

    def test_what_it_refuses_bounces_here(self):
        nobody = f"nobody@{self.peer.domain}"
        self.submit(nobody, mail_client.message("to nobody", ANN, nobody))
        fields = self.report(nobody)
        self.assertEqual((fields["Action"], fields["Status"][0]), ("failed", "5"))
        self.assertIn(self.peer.domain, fields["Remote-MTA"])

    def test_what_we_refuse_bounces_there(self):
        self.peer.send(self.peer.bob, "stranger@alpha.test", mail_client.message("to your stranger", self.peer.bob, "stranger@alpha.test"))
        report = self.peer.wait_for("stranger@alpha.test")
        self.assertIn("5.1.1", str(report.as_bytes(), "utf-8", "replace"))

    def test_our_request_for_a_report_of_success_reaches_it(self):
        self.submit(self.peer.bob, mail_client.message("with report", ANN, self.peer.bob), ["RET=HDRS", "ENVID=our+2Did"], ["NOTIFY=SUCCESS,FAILURE"])
        self.peer.wait_for("Subject: with report")
        fields = self.report("Subject: with report")
        self.assertIn(fields["Action"], ("delivered", "relayed"))
        self.assertEqual(fields["Status"][0], "2")

    def test_its_request_for_a_report_of_success_is_served(self):
        self.peer.send(self.peer.bob, ANN, mail_client.message("please report", self.peer.bob, ANN), ["ENVID=their+2Did"], ["NOTIFY=SUCCESS"])
        self.received("please report")
        report = self.peer.wait_for("their-id")
        self.assertEqual(self.fields(report)["Action"], "delivered")

    def test_eight_bit_text_arrives_as_it_is(self):
        text = mail_client.message("in eight bits", ANN, self.peer.bob, "Grüße\r\n", 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\n'
                                   "Content-Transfer-Encoding: 8bit\r\n").encode()
        self.submit(self.peer.bob, text, ["BODY=8BITMIME"])
        self.assertIn("Grüße", str(self.peer.wait_for("in eight bits").get_payload(decode=True), "utf-8"))

    def test_nothing_is_smuggled_through_us(self):
        """Ends of data that some servers believe in (RFC 5321 §4.1.1.4 knows one): never two mails from one."""
        for number, end in enumerate(["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n\n.\n\n", "\r\n\0.\r\n"]):
            inner = f"MAIL FROM:<{ANN}>\r\nRCPT TO:<{self.peer.bob}>\r\nDATA\r\nSubject: smuggled {number}\r\n\r\nx"
            text = f"Subject: outer {number}\r\n\r\nbefore{end}{inner}\r\n.\r\n"
            taken = self.submit_octets(text.encode())
            if taken:
                self.peer.wait_for(f"outer {number}")
        self.submit(self.peer.bob, mail_client.message("the last one", ANN, self.peer.bob))
        self.peer.wait_for("the last one")
        subjects = [str(message["Subject"]) for message in self.peer.messages()]
        smuggled = [subject for subject in subjects if subject.startswith("smuggled")]
        self.assertEqual(smuggled, [])
        wait_until(lambda: not self.alpha.json("queue", "list"), "our queue is empty again")

    def submit_octets(self, octets):
        """Whether the octets behind DATA were taken as one message."""
        with self.submission() as client:
            client.ehlo("client.test")
            client.mail(ANN)
            client.rcpt(self.peer.bob)
            client.putcmd("DATA")
            self.assertEqual(client.getreply()[0], 354)
            client.send(octets)
            code, _ = client.getreply()
            return code == 250

    def test_nothing_is_smuggled_past_it_into_us(self):
        """The same through the peer: whatever it makes of such ends, we take no more mails than it sends."""
        for number, end in enumerate(["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r"]):
            text = f"Subject: theirs {number}\r\n\r\nbefore{end}MAIL FROM:<x@y.test>\r\nRCPT TO:<{ANN}>\r\nDATA\r\nSubject: slipped {number}\r\n\r\nx\r\n.\r\n"
            self.hand_octets(text.encode())
        self.peer.send(self.peer.bob, ANN, mail_client.message("their last one", self.peer.bob, ANN))
        mail_client.wait_for_subject(self.alpha, ANN, "their last one")
        envelopes = [b for b in mail_client.bodies(self.alpha, ANN) if b.startswith(b"Return-Path: <x@y.test>")]
        # A peer that itself takes a bare end of line for the end has sent two: then each came in a transaction of its own.
        own = self.peer.log().count("x@y.test")
        self.assertTrue(not envelopes or own, envelopes)

    def hand_octets(self, octets, recipient=ANN):
        with socket.create_connection((self.peer.address, self.peer.port), 30, source_address=(self.peer.address, 0)) as raw:
            reader = raw.makefile("rb")
            reader.readline()
            for command in ("HELO client.test", f"MAIL FROM:<{self.peer.bob}>", f"RCPT TO:<{recipient}>", "DATA"):
                raw.sendall(command.encode() + b"\r\n")
                reader.readline()
            raw.sendall(octets)
            reader.readline()


class Postfix(Peers, unittest.TestCase):
    need = staticmethod(lambda: needs("postfix"))
    make = PostfixPeer

    def test_our_mail_goes_over_tls_in_chunks(self):
        self.submit(self.peer.bob, mail_client.message("in chunks", ANN, self.peer.bob))
        received = self.peer.wait_for("Subject: in chunks").get_all("Received")[0]
        self.assertIn("using TLSv1.3", received)
        # Where mail came by BDAT, Postfix counts it when the client quits.
        wait_until(lambda: " bdat=" in self.peer.log(), "postfix counts BDAT")

    def test_what_must_not_be_smuggled_would_be_believed_here(self):
        """What the test of smuggling rests on: this Postfix, as Debian configures it, makes two mails of one that we must not send."""
        inner = f"MAIL FROM:<x@y.test>\r\nRCPT TO:<{self.peer.bob}>\r\nDATA\r\nSubject: the second\r\n\r\nx"
        self.hand_octets(f"Subject: the first\r\n\r\nbefore\n.\r\n{inner}\r\n.\r\n".encode(), self.peer.bob)
        self.assertNotIn("before", str(self.peer.wait_for("Subject: the second")))

    def test_internationalized_mail_goes_both_ways(self):
        recipient = "böb@fix.test"
        self.submit(recipient, mail_client.message("grüße", ANN, recipient).encode(), ["SMTPUTF8", "BODY=8BITMIME"])
        self.peer.wait_for("Subject: grüße")
        self.peer.send(recipient, ANN, mail_client.message("schöne grüße", recipient, ANN).encode(), ["SMTPUTF8", "BODY=8BITMIME"])
        words = "schöne grüße".encode()
        found = wait_until(lambda: [b for b in mail_client.bodies(self.alpha, ANN) if words in b], f"it arrives:\n{self.peer.log()[-3000:]}")
        self.assertIn(f"Return-Path: <{recipient}>".encode(), found[0])


class Exim(Peers, unittest.TestCase):
    need = staticmethod(lambda: needs_package("exim4-daemon-light"))
    make = staticmethod(exim)

    def test_our_mail_goes_over_tls_in_chunks(self):
        self.submit(self.peer.bob, mail_client.message("in chunks", ANN, self.peer.bob))
        self.peer.wait_for("Subject: in chunks")
        arrivals = [line for line in self.peer.log().splitlines() if f"<= {ANN}" in line]
        self.assertTrue(any("esmtps " in line and " K " in line for line in arrivals), arrivals)

    def test_its_mail_comes_in_chunks(self):
        self.peer.send(self.peer.bob, ANN, mail_client.message("chunked", self.peer.bob, ANN))
        self.received("chunked")
        departures = lambda: [line for line in self.peer.log().splitlines() if f"=> {ANN}" in line]
        wait_until(departures, "exim's log says that it was sent")
        self.assertTrue(any(" K " in line and "X=TLS" in line for line in departures()), departures())

    def test_internationalized_mail_goes_there(self):
        recipient = "böb@exim.test"
        text = mail_client.message("grüße", ANN, recipient).encode()
        self.submit(recipient, text, ["SMTPUTF8", "BODY=8BITMIME"])
        self.peer.wait_for("Subject: grüße")

    def test_internationalized_mail_comes_from_there(self):
        text = mail_client.message("schöne grüße", "böb@exim.test", ANN).encode()
        self.peer.send("böb@exim.test", ANN, text, ["SMTPUTF8", "BODY=8BITMIME"])
        found = wait_until(lambda: [b for b in mail_client.bodies(self.alpha, ANN) if "schöne grüße".encode() in b], f"it arrives:\n{self.peer.log()[-3000:]}")
        self.assertIn("Return-Path: <böb@exim.test>".encode(), found[0])

    def test_an_internationalized_sender_hears_of_a_failure(self):
        """EAI: the report of a failure goes to a sender whose address is UTF-8 (RFC 6533)."""
        text = mail_client.message("für niemanden", "böb@exim.test", "far@alpha.test").encode()
        self.alpha.cli("alias", "add", "far@alpha.test", "nobody@missing.exim.test")
        self.peer.send("böb@exim.test", "far@alpha.test", text, ["SMTPUTF8", "BODY=8BITMIME"])
        report = self.peer.wait_for("nobody@missing.exim.test")
        self.assertEqual(report.get_content_type(), "multipart/report")


class OpenSmtpd(Peers, unittest.TestCase):
    """Debian 12's version fails in every handshake as the server (it was built for another OpenSSL): our mail goes in clear then."""

    need = staticmethod(lambda: needs_package("opensmtpd"))
    make = staticmethod(opensmtpd)


if __name__ == "__main__":
    unittest.main()
