"""The mail programs that people have, from Debian, against the built binary."""
import mailbox
import pathlib
import tempfile
import textwrap
import unittest

import mail_client
from harness import PASSWORD, ServerCase, needs, run


def settings_file(folder, name, text):
    """Writes a client's settings with the permissions that clients insist on."""
    path = pathlib.Path(folder) / name
    path.write_text(textwrap.dedent(text))
    path.chmod(0o600)
    return path


class Senders(ServerCase):
    def arrived(self, subject):
        self.assertIn(subject, mail_client.subjects(self.server, "bob@example.test"))

    def test_swaks_to_the_mx_port(self):
        needs("swaks")
        run("swaks", "--server", self.server.address, "--port", self.server.port("smtp"), "--from", "x@elsewhere.example",
            "--to", "bob@example.test", "--header", "Subject: swaks mx")
        self.arrived("swaks mx")

    def test_swaks_submits_with_starttls_and_each_mechanism(self):
        needs("swaks")
        for mechanism in ("PLAIN", "LOGIN"):
            run("swaks", "--server", self.server.address, "--port", self.server.port("submission"), "--tls", "--auth", mechanism,
                "--auth-user", "ann@example.test", "--auth-password", PASSWORD, "--from", "ann@example.test",
                "--to", "bob@example.test", "--header", f"Subject: swaks {mechanism}")
            self.arrived(f"swaks {mechanism}")

    def test_swaks_over_lmtp(self):
        needs("swaks")
        run("swaks", "--protocol", "LMTP", "--server", self.server.address, "--port", self.server.port("lmtp"),
            "--from", "x@elsewhere.example", "--to", "bob@example.test,ann@example.test", "--header", "Subject: swaks lmtp")
        self.arrived("swaks lmtp")

    def test_curl_sends(self):
        needs("curl")
        with tempfile.NamedTemporaryFile("w", suffix=".eml", newline="") as mail:
            mail.write(mail_client.message("curl smtp"))
            mail.flush()
            run("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", self.server.ca_file(), "--insecure",
                "--url", f"smtp://{self.server.address}:{self.server.port('submission')}", "--user", f"ann@example.test:{PASSWORD}",
                "--mail-from", "ann@example.test", "--mail-rcpt", "bob@example.test", "--upload-file", mail.name)
        self.arrived("curl smtp")

    def test_msmtp_sends(self):
        needs("msmtp")
        with tempfile.TemporaryDirectory() as folder:
            rc = settings_file(folder, "msmtprc", f"""\
                account default
                host {self.server.address}
                port {self.server.port("submissions")}
                tls on
                tls_starttls off
                tls_certcheck off
                auth on
                user ann@example.test
                password "{PASSWORD}"
                from ann@example.test
                """)
            run("msmtp", f"--file={rc}", "bob@example.test", stdin=mail_client.message("msmtp").replace("\r\n", "\n"))
        self.arrived("msmtp")


class Readers(ServerCase):
    COUNT = 25

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for n in range(cls.COUNT):
            mail_client.deliver(cls.server, "x@elsewhere.example", ["bob@example.test", "ann@example.test"],
                                mail_client.message(f"number {n}", extra="Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n"))

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def maildir(self, name):
        """An empty maildir in the test's folder."""
        box = mailbox.Maildir(self.folder / name)
        return self.folder / name, box

    def curl(self, url):
        needs("curl")
        return run("curl", "--silent", "--show-error", "--insecure", "--user", f"bob@example.test:{PASSWORD}", url).stdout

    def test_curl_reads_imap(self):
        base = f"imaps://{self.server.address}:{self.server.port('imaps')}"
        self.assertIn("INBOX", self.curl(base))
        self.assertIn("Subject: number 2", self.curl(f"{base}/INBOX;MAILINDEX=3"))

    def test_curl_reads_pop3(self):
        base = f"pop3s://{self.server.address}:{self.server.port('pop3s')}"
        self.assertEqual(len(self.curl(base).split("\n")) - 1, self.COUNT)
        self.assertIn("Subject: number 0", self.curl(f"{base}/1"))

    def test_mbsync_mirrors_both_ways(self):
        needs("mbsync")
        path, box = self.maildir("mbsync")
        rc = settings_file(self.folder, "mbsyncrc", f"""\
            IMAPAccount postrider
            Host {self.server.address}
            Port {self.server.port("imap")}
            User ann@example.test
            Pass "{PASSWORD}"
            SSLType None
            AuthMechs LOGIN

            IMAPStore far
            Account postrider

            MaildirStore near
            Path {self.folder}/
            Inbox {path}

            Channel inbox
            Far :far:INBOX
            Near :near:INBOX
            Create Near
            Expunge Both
            Sync All
            SyncState {self.folder}/state-
            """)
        run("mbsync", "-c", rc, "-a")
        self.assertEqual(len(box), self.COUNT)
        box.add(mail_client.message("written offline").replace("\r\n", "\n"))
        key = next(key for key, m in box.items() if m["subject"] == "number 7")
        box.remove(key)
        run("mbsync", "-c", rc, "-a")
        there = mail_client.subjects(self.server, "ann@example.test")
        self.assertIn("written offline", there)
        self.assertNotIn("number 7", there)
        self.assertEqual(len(there), self.COUNT)

    def test_offlineimap_mirrors(self):
        needs("offlineimap")
        rc = settings_file(self.folder, "offlineimaprc", f"""\
            [general]
            accounts = test
            metadata = {self.folder}/meta
            ui = quiet
            [Account test]
            localrepository = near
            remoterepository = far
            [Repository near]
            type = Maildir
            localfolders = {self.folder}/offlineimap
            [Repository far]
            type = IMAP
            remotehost = {self.server.address}
            remoteport = {self.server.port("imap")}
            remoteuser = bob@example.test
            remotepass = {PASSWORD}
            ssl = no
            starttls = no
            auth_mechanisms = LOGIN
            folderfilter = lambda name: name == 'INBOX'
            """)
        run("offlineimap", "-o", "-c", rc)
        self.assertEqual(len(mailbox.Maildir(self.folder / "offlineimap" / "INBOX")), self.COUNT)

    def test_getmail_fetches_by_pop3(self):
        needs("getmail")
        sink = self.folder / "fetched"
        # An external program, because getmail writes no maildir for root.
        mda = settings_file(self.folder, "mda", f"#!/bin/sh\ncat >> {sink}\n")
        mda.chmod(0o700)
        settings_file(self.folder, "getmailrc", f"""\
            [retriever]
            type = SimplePOP3Retriever
            server = {self.server.address}
            port = {self.server.port("pop3")}
            username = bob@example.test
            password = {PASSWORD}
            [destination]
            type = MDA_external
            path = {mda}
            allow_root_commands = true
            [options]
            delete = false
            read_all = false
            """)
        for _ in range(2):
            run("getmail", f"--getmaildir={self.folder}")
            self.assertEqual(sink.read_text().count("\nSubject: number"), self.COUNT, "the second run finds nothing new")

    def test_fetchmail_fetches_by_each_protocol(self):
        needs("fetchmail")
        for protocol in ("imap", "pop3"):
            sink = self.folder / f"fetched-{protocol}"
            rc = settings_file(self.folder, f"fetchmailrc-{protocol}", f"""\
                poll {self.server.address} port {self.server.port(protocol)} protocol {protocol}
                  username "bob@example.test" password "{PASSWORD}" keep fetchall sslproto ""
                  mda "cat >> {sink}; echo >> {sink}"
                """)
            run("fetchmail", "--fetchmailrc", rc, "--nodetach", "--pidfile", self.folder / f"pid-{protocol}",
                "--idfile", self.folder / f"ids-{protocol}", env={"HOME": str(self.folder), "USER": "root", "LOGNAME": "root"})
            self.assertEqual(sink.read_text().count("\nSubject: number"), self.COUNT, protocol)

    def test_neomutt_opens_the_mailbox_and_saves_a_message(self):
        needs("neomutt")
        saved = self.folder / "saved"
        rc = settings_file(self.folder, "neomuttrc", f"""\
            set folder = "imap://{self.server.address}:{self.server.port("imap")}/"
            set spoolfile = "+INBOX"
            set imap_user = "bob@example.test"
            set imap_pass = "{PASSWORD}"
            set ssl_starttls = no
            set ssl_force_tls = no
            set mbox_type = mbox
            set confirmcreate = no
            set quit = yes
            set wait_key = no
            set header_cache = ""
            """)
        run("script", "-qec", f"neomutt -n -F {rc} -e 'push <copy-message>{saved}<enter><quit>'", self.folder / "typescript",
            env={"TERM": "xterm", "HOME": str(self.folder)}, timeout=60)
        self.assertIn("Subject: number", saved.read_text())


if __name__ == "__main__":
    unittest.main()
