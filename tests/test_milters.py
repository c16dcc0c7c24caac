"""Milters beside the server: one that does anything, OpenDKIM, OpenDMARC and Rspamd, as Debian has them."""
import base64
import hashlib
import json
import pathlib
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile
import unittest

import mail_client
from harness import PASSWORD, Server, answers, free_port, needs, run, wait_until

# pymilter is a module of Debian's own Python.
PYTHON = "/usr/bin/python3"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


class Program:
    """One milter as a process of its own."""

    def __init__(self, case, *command, port=None):
        self.command, self.port, self.process = command, port, None
        case.addClassCleanup(self.stop)

    def start(self):
        log = subprocess.DEVNULL
        self.process = subprocess.Popen([str(word) for word in self.command], stdout=log, stderr=log)
        wait_until(self.ready, f"{self.command[0]} does not start")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command} ended with {self.process.returncode}")
        return answers("127.0.0.1", self.port)

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class MilterCase(unittest.TestCase):
    """A server with milters; each test class says which."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-milter-"))
        cls.folder.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    @classmethod
    def serve(cls, settings):
        cls.server = Server(accounts=("ann", "bob", "cyd"), settings=settings)
        cls.addClassCleanup(cls.server.remove)
        cls.server.start()

    def mx(self, subject, *extra, sender="eve@far.example", recipients=("bob@example.test",), body="Hello.\r\n"):
        """Delivers to the MX port; the reply to the message."""
        fields = "".join(f"{field}\r\n" for field in extra)
        text = mail_client.message(subject, sender, recipients[0], body, fields)
        return mail_client.deliver(self.server, sender, recipients, text)

    def refused(self, *arguments, **options):
        """The reply of a refusal at the end of the message."""
        with self.assertRaises(AssertionError) as caught:
            self.mx(*arguments, **options)
        return caught.exception.args[0]

    def found(self, subject, login="bob@example.test", mailbox="INBOX"):
        """The message with that subject."""
        def look():
            marked = f"Subject: {subject}\r\n".encode()
            return [body for body in mail_client.bodies(self.server, login, mailbox) if marked in body.split(b"\r\n\r\n")[0] + b"\r\n"]
        return wait_until(look, f"{subject} in {login} {mailbox}")[0]

    def trail(self, reply):
        """What `trace` tells of the receipt in a reply."""
        receipt = next(word for word in reply.split() if re.fullmatch(r"[0-9a-z]{13}", word))
        return self.server.json("trace", receipt)[0]["events"]

    def advice(self, reply):
        return [event["details"] for event in self.trail(reply) if event["event"] == "advised"]


class Obedient(MilterCase):
    """Everything that a milter can hear and do."""

    @classmethod
    def setUpClass(cls):
        if not pathlib.Path("/usr/lib/python3/dist-packages/Milter").exists():
            raise unittest.SkipTest("not installed: python3-milter")
        super().setUpClass()
        cls.heard_file, port = cls.folder / "heard", free_port()
        script = pathlib.Path(__file__).with_name("obedient_milter.py")
        cls.milter = Program(cls, PYTHON, script, f"inet:{port}@127.0.0.1", cls.heard_file, port=port).start()
        cls.serve('relay_networks = ["127.0.0.0/8"]\n'
                  f'[[milter]]\nname = "obedient"\naddress = "127.0.0.1:{port}"\nmessage_timeout = "2s"\nmessage_octets = "2 MiB"\n')

    def heard(self):
        return [json.loads(line) for line in self.heard_file.read_text().splitlines()]

    def about(self, marker):
        """What the milter heard over the connection on which a field of the header had this text."""
        heard = self.heard()
        link = next(one["link"] for one in heard if any(marker in value for _, value in one.get("fields", [])))
        return [one for one in heard if one["link"] == link]

    def test_every_stage_is_told_with_its_macros(self):
        reply = self.mx("all stages")
        receipt = reply.split()[1] if reply.split()[0] == "2.6.0" else reply.split()[0]
        heard = self.about("all stages")
        self.assertEqual([one["stage"] for one in heard][:7], ["connect", "hello", "mail", "rcpt", "data", "eoh", "eom"])
        connect, hello, mail, rcpt, _, eoh, eom = heard[:7]
        self.assertEqual((connect["name"], connect["address"]), ("[127.0.0.1]", "127.0.0.1"))
        self.assertEqual(connect["macros"]["{daemon_name}"], "smtp")
        self.assertEqual(connect["macros"]["{client_addr}"], "127.0.0.1")
        self.assertEqual((hello["name"], mail["address"], rcpt["address"]), ("client.example", "<eve@far.example>", "<bob@example.test>"))
        self.assertEqual(mail["macros"]["{mail_addr}"], "eve@far.example")
        self.assertEqual(rcpt["macros"]["{rcpt_addr}"], "bob@example.test")
        self.assertEqual(eom["macros"]["i"], receipt)
        self.assertEqual(eoh["fields"], [["From", "eve@far.example"], ["To", "bob@example.test"], ["Subject", "all stages"]])
        self.assertEqual(eom["octets"], len("Hello.\r\n"))

    def test_a_submission_is_told_with_login_and_tls(self):
        text = mail_client.message("a submission", "ann@example.test", "bob@example.test")
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], text)
        body = self.found("a submission")
        heard = self.about("a submission")
        mail = next(one for one in heard if one["stage"] == "mail")
        self.assertEqual((mail["macros"]["{auth_authen}"], mail["macros"]["{daemon_name}"]), ("ann@example.test", "submission"))
        self.assertTrue(mail["macros"]["{auth_type}"] and mail["macros"]["{tls_version}"].startswith("TLSv1."))
        fields = next(one["fields"] for one in heard if one["stage"] == "eoh")
        self.assertIn("Message-ID", [name for name, _ in fields])
        self.assertIn(b"DKIM-Signature:", body)

    def test_headers_change(self):
        reply = self.mx("before", "X-Mailer: old", "X-Do: add-header one", "X-Do: insert-header two", "X-Do: insert-below three",
                        "X-Do: change-subject after", "X-Do: delete-mailer")
        body = self.found("after").decode()
        names = [line.split(":")[0] for line in body.split("\r\n\r\n")[0].split("\r\n") if line[0] not in " \t"]
        self.assertEqual(names, ["Return-Path", "X-Inserted", "Received", "X-Below", "From", "To", "Subject"] + ["X-Do"] * 5 + ["X-Added"])
        self.assertIn("X-Added: one\r\n", body)
        [advice] = self.advice(reply)
        self.assertEqual((advice["by"], advice["decision"]), ("obedient", "accept"))
        self.assertIn("change header 1 Subject: after", advice["changes"])

    def test_mail_that_it_marks_goes_into_junk(self):
        self.mx("marked by a stranger", "X-Spam: Yes")
        self.found("marked by a stranger")
        self.mx("marked by a milter", "X-Do: mark")
        self.found("marked by a milter", mailbox="Junk")

    def test_recipients_and_sender_change(self):
        self.mx("readdressed", "X-Do: add-recipient <cyd@example.test>", "X-Do: delete-recipient <bob@example.test>",
                "X-Do: change-from <new@far.example>", recipients=("bob@example.test", "ann@example.test"))
        self.assertIn(b"Return-Path: <new@far.example>", self.found("readdressed", "cyd@example.test"))
        self.found("readdressed", "ann@example.test")
        self.assertNotIn("readdressed", mail_client.subjects(self.server, "bob@example.test"))

    def test_a_recipient_without_a_place_is_left_out(self):
        reply = self.mx("nobody", "X-Do: add-recipient <nobody@example.test>")
        self.found("nobody")
        self.assertIn({"recipient": "nobody@example.test", "targets": []}, [event["details"] for event in self.trail(reply)])

    def test_the_body_is_replaced(self):
        self.mx("other body", "X-Do: replace-body new words", body="old words\r\n")
        _, _, body = self.found("other body").partition(b"\r\n\r\n")
        self.assertEqual(body, b"new words\r\n" * 9000)

    def test_a_submission_is_signed_after_its_changes(self):
        text = mail_client.message("signed late", "ann@example.test", "bob@example.test", extra="X-Do: replace-body changed\r\n")
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], text)
        body = self.found("signed late")
        self.assertIn(b"changed\r\n", body)
        # The body hash is that of the new body (relaxed): it is a fixed text.
        signed = re.search(rb"bh=([^;]+);", body).group(1).replace(b"\r\n", b"").replace(b" ", b"").replace(b"\t", b"")
        self.assertEqual(base64.b64decode(signed), hashlib.sha256(b"changed\r\n" * 9000).digest())

    def test_a_large_message_is_told_in_pieces(self):
        self.mx("large", body="0123456789abcde\r\n" * 60_000)
        self.assertEqual(next(one for one in self.about("large") if one["stage"] == "eom")["octets"], 17 * 60_000)

    def test_a_message_that_is_too_large_is_not_told(self):
        reply = self.mx("too large", body="0123456789abcde\r\n" * 140_000)
        self.assertEqual(self.advice(reply)[0]["decision"], "none")

    def test_a_message_is_held(self):
        reply = self.mx("held", "X-Do: quarantine looks odd")
        [waiting] = [message for message in self.server.json("queue", "list") if message["held"]]
        self.assertNotIn("held", mail_client.subjects(self.server, "bob@example.test"))
        self.assertEqual(self.advice(reply)[0]["decision"], "quarantine")
        self.server.cli("queue", "release", waiting["id"])
        self.found("held")

    def test_a_message_is_thrown_away(self):
        reply = self.mx("thrown away", "X-Do: discard")
        self.assertNotIn("thrown away", mail_client.subjects(self.server, "bob@example.test"))
        self.assertIn("discarded", [event["event"] for event in self.trail(reply)])
        reply = self.mx("thrown away early", sender="discard-x@far.example")
        self.assertIn("discarded", [event["event"] for event in self.trail(reply)])

    def test_refusals_are_heard(self):
        code, words = self.refused("no", "X-Do: reject go away")[:2]
        self.assertEqual(code, 554)
        self.assertRegex(words.decode(), r"^5\.7\.1 go away; receipt \w+$")
        [advice] = [event["details"] for event in self.trail(words.decode()) if event["event"] == "advised"]
        self.assertEqual((advice["by"], advice["decision"]), ("obedient", "reject"))
        self.assertEqual(self.refused("later", "X-Do: tempfail")[0], 451)
        with smtplib.SMTP(self.server.address, self.server.port("smtp")) as smtp:
            smtp.ehlo("client.example")
            self.assertEqual(smtp.mail("reject-me@far.example"), (550, b"5.1.1 not this one"))
            self.assertEqual(smtp.mail("defer-me@far.example")[0], 451)
            self.assertEqual(smtp.mail("eve@far.example")[0], 250)
            self.server.cli("alias", "add", "reject-all@example.test", "bob@example.test")
            self.assertEqual(smtp.rcpt("reject-all@example.test"), (550, b"5.1.1 not this one"))
            self.assertEqual(smtp.rcpt("bob@example.test")[0], 250)
            self.assertEqual(smtp.data(mail_client.message("one of two"))[0], 250)
        self.found("one of two")

    def test_one_connection_serves_many_transactions(self):
        with smtplib.SMTP(self.server.address, self.server.port("smtp")) as smtp:
            smtp.ehlo("client.example")
            for number in range(3):
                smtp.sendmail("eve@far.example", ["bob@example.test"], mail_client.message(f"number {number} of three"))
                smtp.mail("eve@far.example")
                smtp.rset()
        self.assertEqual(sum(one["stage"] == "eom" for one in self.about("number 0 of three")), 3)
        self.assertEqual(self.about("number 0 of three")[0]["link"], self.about("number 2 of three")[0]["link"])

    def test_progress_extends_the_deadline(self):
        self.mx("slow", "X-Do: progress 1")
        self.found("slow")

    def test_a_milter_that_is_too_slow_defers(self):
        code, words = self.refused("too slow", "X-Do: sleep 4")[:2]
        self.assertEqual(code, 451, words)

    def test_mail_comes_again_while_the_milter_is_down(self):
        with smtplib.SMTP(self.server.address, self.server.port("smtp")) as smtp:
            smtp.ehlo("client.example")
            send = lambda subject: smtp.sendmail("eve@far.example", ["bob@example.test"], mail_client.message(subject))
            send("before the break")
            self.milter.stop(signal.SIGKILL)
            try:
                with self.assertRaises(smtplib.SMTPSenderRefused) as caught:
                    send("during the break")
                self.assertEqual(caught.exception.smtp_code, 451)
                self.assertIn(b"4.7.1", caught.exception.smtp_error)
            finally:
                self.milter.start()
            send("after the break")
        self.found("after the break")
        self.assertNotIn("during the break", mail_client.subjects(self.server, "bob@example.test"))


class Absent(MilterCase):
    """A milter that is not there, and what the settings say about that."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        port = free_port()
        cls.serve(f'[[milter]]\nname = "gone"\naddress = "127.0.0.1:{port}"\non_failure = "accept"\n'
                  f'[[milter]]\nname = "strict"\naddress = "unix:{cls.folder}/none"\non_failure = "reject"\nlisteners = ["submission"]\n')

    def test_mail_goes_on_where_it_may(self):
        reply = self.mx("unasked")
        self.found("unasked")
        [advice] = self.advice(reply)
        self.assertEqual((advice["by"], advice["decision"]), ("gone", "none"))
        self.assertIn("Connection refused", advice["changes"][0])

    def test_mail_is_refused_where_it_must(self):
        with smtplib.SMTP(self.server.address, self.server.port("submission")) as smtp:
            smtp.starttls(context=mail_client.trusting(self.server))
            smtp.login("ann@example.test", PASSWORD)
            self.assertEqual(smtp.mail("ann@example.test")[0], 554)


class OpenDkim(MilterCase):
    """OpenDKIM signs what users send and verifies what other servers bring."""

    @classmethod
    def setUpClass(cls):
        needs("opendkim", "openssl")
        super().setUpClass()
        key = cls.folder / "key.pem"
        run("openssl", "genrsa", "-out", key, "2048")
        key.chmod(0o600)
        public = run("openssl", "rsa", "-in", key, "-pubout").stdout
        text = "".join(line for line in public.splitlines() if "-----" not in line)
        keys = cls.folder / "public"
        keys.write_text(f"od._domainkey.example.test v=DKIM1; k=rsa; p={text}\n")
        cls.port = free_port()
        settings = cls.folder / "opendkim.conf"
        settings.write_text(f"Socket inet:{cls.port}@127.0.0.1\nDomain example.test\nSelector od\nKeyFile {key}\nMode sv\nSyslog no\n"
                            f"TestPublicKeys {keys}\nAuthservID opendkim.example.test\nAlwaysAddARHeader yes\nInternalHosts csl:192.0.2.1\n"
                            "OversignHeaders From\nRequireSafeKeys no\nBackground no\nPeerList csl:192.0.2.1\n")
        cls.milter = Program(cls, "opendkim", "-f", "-x", settings, port=cls.port).start()
        cls.serve(f'[[milter]]\nname = "opendkim"\naddress = "inet:{cls.port}@127.0.0.1"\n')

    def test_what_is_signed_on_its_way_out_verifies_on_its_way_in(self):
        text = mail_client.message("signed by opendkim", "ann@example.test", "bob@example.test", body="Hello,\r\n\r\nworld  .\r\n", extra="X-Folded: one\r\n two\r\n")
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], text)
        signed = self.found("signed by opendkim").decode()
        self.assertIn("s=od", signed)
        _, _, message = signed.partition("DKIM-Signature")
        sent = "DKIM-Signature" + message
        mail_client.deliver(self.server, "ann@example.test", ["cyd@example.test"], sent)
        verified = self.found("signed by opendkim", "cyd@example.test").decode()
        results = [line for line in verified.replace("\r\n\t", " ").replace("\r\n ", " ").split("\r\n") if line.startswith("Authentication-Results: opendkim")]
        self.assertRegex(results[0], r"dkim=pass .*header\.s=od")

    def test_a_change_on_the_way_is_noticed(self):
        text = mail_client.message("changed on the way", "ann@example.test", "bob@example.test")
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], text)
        signed = self.found("changed on the way").decode()
        sent = "DKIM-Signature" + signed.partition("DKIM-Signature")[2].replace("Hello.", "Hullo.")
        mail_client.deliver(self.server, "ann@example.test", ["cyd@example.test"], sent)
        self.assertRegex(self.found("changed on the way", "cyd@example.test").decode(), r"opendkim\.example\.test;\s+dkim=fail")


class OpenDmarc(MilterCase):
    """OpenDMARC sees our results and adds its own."""

    @classmethod
    def setUpClass(cls):
        needs("opendmarc")
        super().setUpClass()
        cls.port = free_port()
        settings = cls.folder / "opendmarc.conf"
        settings.write_text(f"Socket inet:{cls.port}@127.0.0.1\nAuthservID dmarc.example.test\nTrustedAuthservIDs mx.example.test\nSyslog no\n"
                            f"IgnoreHosts /dev/null\nBackground no\nPidFile {cls.folder}/pid\nSPFIgnoreResults no\nSPFSelfValidate no\n")
        cls.milter = Program(cls, "opendmarc", "-f", "-c", settings, port=cls.port).start()
        cls.serve(f'[[milter]]\nname = "opendmarc"\naddress = "127.0.0.1:{cls.port}"\n')

    def test_its_results_are_in_the_message(self):
        reply = self.mx("judged by dmarc")
        self.assertRegex(self.found("judged by dmarc").decode(), r"Authentication-Results: dmarc\.example\.test; dmarc=\w+")
        self.assertEqual(self.advice(reply)[0]["by"], "opendmarc")


class Rspamd(MilterCase):
    """Rspamd's proxy in self-scan mode, without Redis and without the network."""

    @classmethod
    def setUpClass(cls):
        needs("rspamd")
        super().setUpClass()
        cls.port = free_port()
        settings = cls.folder / "rspamd.conf"
        # The whole list of public suffixes takes it minutes to compile on a small machine.
        (cls.folder / "tlds").write_text("com\nnet\norg\ntest\n")
        settings.write_text(
            'options { url_tld = "%(folder)s/tlds"; pidfile = "%(folder)s/pid"; filters = "chartable,dkim,regexp"; dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }\n'
            ' one_shot = false; cache_file = "%(folder)s/symbols"; hs_cache_dir = "%(folder)s"; control_socket = "%(folder)s/control mode=0600"; gtube_patterns = "all"; }\n'
            'logging { type = "file"; filename = "%(folder)s/log"; level = "info"; }\n'
            'metric { name = "default"; actions { reject = 15; "add header" = 6; greylist = 400; } }\n'
            'actions { reject = 15; add_header = 6; }\n'
            'modules { path = "/usr/share/rspamd/plugins/milter_headers.lua"; }\n'
            'milter_headers { use = ["x-spamd-result", "x-rspamd-queue-id"]; extended_headers_rcpt = ["bob@example.test"]; skip_local = false; skip_authenticated = false; }\n'
            'lua = "/usr/share/rspamd/rules/rspamd.lua";\n'
            'worker "rspamd_proxy" { bind_socket = "127.0.0.1:%(port)d"; milter = yes; timeout = 20s; count = 1;\n'
            ' upstream "local" { default = yes; self_scan = yes; } reject_message = "Spam, says Rspamd"; }\n' % {"folder": cls.folder, "port": cls.port})
        cls.milter = Program(cls, "rspamd", "-f", "-i", "-c", settings, port=cls.port).start()
        cls.serve(f'[[milter]]\nname = "rspamd"\naddress = "127.0.0.1:{cls.port}"\n')

    def test_wanted_mail_goes_on_with_its_fields(self):
        self.mx("wanted")
        self.assertIn(b"X-Spamd-Result:", self.found("wanted"))

    def test_spam_is_refused_with_its_words(self):
        code, words = self.refused("a test pattern", body=GTUBE + "\r\n")[:2]
        self.assertEqual(code, 554)
        self.assertIn(b"Gtube pattern", words)

    def test_a_submission_is_scanned_too(self):
        text = mail_client.message("scanned", "ann@example.test", "bob@example.test")
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], text)
        self.assertIn(b"X-Spamd-Result:", self.found("scanned"))


if __name__ == "__main__":
    unittest.main()
