"""Extensions that few programs have yet, by Python's imaplib with the few steps that it lacks, by curl and by mbsync."""
import imaplib
import mailbox
import pathlib
import tempfile
import unittest
import zlib

import mail_client
import real_mail
from agreement import mail_entries, maildir_entries, side
from harness import PASSWORD, ServerCase, needs, run
from test_command_clients import settings_file
from test_synchronisation import mbsync_settings

ANN, BOB = "ann@example.test", "bob@example.test"


class CompressedIMAP4(imaplib.IMAP4):
    """imaplib's client with COMPRESS=DEFLATE (RFC 4978); counts the octets that cross the wire from the server."""

    inflate = deflate = None
    waiting = b""
    octets = 0

    def compress(self):
        status, _ = self._simple_command("COMPRESS", "DEFLATE")
        assert status == "OK"
        self.deflate, self.inflate = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)

    def send(self, data):
        if self.deflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        super().send(data)

    def more(self):
        octets = self.sock.recv(65536)
        if not octets:
            raise self.abort("the server closed the connection")
        self.octets += len(octets)
        self.waiting += self.inflate.decompress(octets)

    def take(self, length):
        taken, self.waiting = self.waiting[:length], self.waiting[length:]
        return taken

    def read(self, size):
        if not self.inflate:
            return super().read(size)
        while len(self.waiting) < size:
            self.more()
        return self.take(size)

    def readline(self):
        if not self.inflate:
            return super().readline()
        while b"\n" not in self.waiting:
            self.more()
        return self.take(self.waiting.index(b"\n") + 1)


imaplib.Commands.setdefault("COMPRESS", ("AUTH", "SELECTED"))
imaplib.Commands.setdefault("NOTIFY", ("AUTH", "SELECTED"))


class Compression(ServerCase):
    def test_a_mailbox_is_the_same_through_deflate_and_fewer_octets(self):
        mails = [mail for mail in real_mail.mailboxes(300, seed="deflate") if mail.folder == "INBOX"]
        real_mail.fill(self.server, ANN, mails)
        with CompressedIMAP4(self.server.address, self.server.port("imap")) as client:
            client.login(ANN, PASSWORD)
            self.assertIn(b"COMPRESS=DEFLATE", client.capability()[1][0].split())
            client.compress()
            client.select()
            _, answer = client.fetch("1:*", "(BODY.PEEK[])")
            got = [part[1] for part in answer if isinstance(part, tuple)]
            self.assertEqual(client._simple_command("COMPRESS", "DEFLATE")[0], "NO", "once is enough")
            self.assertEqual(client.append("INBOX", None, None, mail_client.message("compressed").encode() * 2)[0], "OK")
        self.assertEqual(got, [mail.octets for mail in mails])
        self.assertLess(client.octets, 0.85 * sum(map(len, got)))
        self.assertIn("compressed", mail_client.subjects(self.server, ANN))


class Notification(ServerCase):
    def test_news_in_another_mailbox_comes_without_asking(self):
        with mail_client.imap(self.server, ANN) as watcher, mail_client.imap(self.server, ANN, mailbox="Drafts") as other:
            self.assertEqual(watcher._simple_command("NOTIFY", "SET", "(selected (MessageNew MessageExpunge FlagChange))", "(personal (MessageNew MessageExpunge))")[0], "OK")
            watcher.response("STATUS")
            other.append("Drafts", None, None, mail_client.message("draft").encode())
            # No command is sent: the next line that the server writes is the news.
            self.assertRegex(watcher.readline(), rb'^\* STATUS "?Drafts"? \(.*MESSAGES 1\b')
            mail_client.deliver(self.server, "x@elsewhere.example", [ANN], mail_client.message("here"))
            self.assertEqual(watcher.readline(), b"* 1 EXISTS\r\n")


class Sharing(ServerCase):
    """Ann shares a mailbox with Bob; both mirror all they have with mbsync."""

    TEAM = "Other users/ann@example.test/Team"

    def setUp(self):
        needs("mbsync")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def mirror(self, login):
        """Brings this user's mirror up to date and returns its folder."""
        near = self.folder / login
        near.mkdir(exist_ok=True)
        run("mbsync", "-c", settings_file(self.folder, f"mbsyncrc-{login}", mbsync_settings(self.server, login, near)), "-a")
        return near

    def team(self, near, folder):
        return side((("Team", octets, flags) for _, octets, flags in maildir_entries(near / folder)), (r"\Flagged",))

    def test_what_one_writes_the_other_gets(self):
        mails = [mail._replace(folder="Team") for mail in real_mail.mailboxes(60, seed="team")]
        real_mail.fill(self.server, ANN, mails)
        self.assertFalse((self.mirror(BOB) / self.TEAM).exists(), "nobody has shared anything yet")
        with mail_client.imap(self.server, ANN) as client:
            self.assertEqual(client.setacl("Team", BOB, "lrswite")[0], "OK")
        self.assertEqual(side(mail_entries(mails), (r"\Flagged",)), self.team(self.mirror(BOB), self.TEAM))

        box = mailbox.Maildir(self.folder / BOB / self.TEAM, create=False)
        message = mailbox.MaildirMessage(mail_client.message("Bob was here").replace("\r\n", "\n"))
        message.set_subdir("cur")
        message.set_flags("FS")
        box.add(message)
        box.remove(next(iter(box.keys())))
        self.mirror(BOB)
        self.assertEqual(self.team(self.mirror(ANN), "Team"), self.team(self.folder / BOB, self.TEAM))
        self.assertIn("Bob was here", mail_client.subjects(self.server, ANN, "Team"))
        self.assertEqual(len(mail_client.subjects(self.server, ANN, "Team")), len(mails))

        with mail_client.imap(self.server, ANN) as client:
            self.assertEqual(client.deleteacl("Team", BOB)[0], "OK")
        with self.assertRaises(AssertionError):
            with mail_client.imap(self.server, BOB, mailbox=f'"{self.TEAM}"'):
                pass


class Tokens(ServerCase):
    SETTINGS = "[oauth]\nown_tokens = true\n"

    def setUp(self):
        needs("curl")
        self.token = self.server.cli("token", "add", BOB, "--name", "curl").stdout.split()[-1]

    def curl(self, url, *words, token=None, check=True):
        return run("curl", "--silent", "--show-error", "--insecure", "--ssl-reqd", "--user", f"{BOB}:", "--oauth2-bearer", token or self.token, *words, url, check=check)

    def at(self, protocol):
        return f"{protocol}://{self.server.address}:{self.server.port(protocol)}"

    def test_curl_signs_in_by_bearer_token_everywhere(self):
        with tempfile.NamedTemporaryFile("w", suffix=".eml", newline="") as mail:
            mail.write(mail_client.message("by token", sender=BOB, to=BOB))
            mail.flush()
            submission = f"smtps://{self.server.address}:{self.server.port('submissions')}"
            self.curl(submission, "--mail-from", BOB, "--mail-rcpt", BOB, "--upload-file", mail.name)
        self.assertIn("Subject: by token", self.curl(f"{self.at('imaps')}/INBOX;MAILINDEX=1").stdout)
        self.assertIn("Subject: by token", self.curl(f"{self.at('pop3s')}/1").stdout)

    def test_a_wrong_or_revoked_token_signs_nobody_in(self):
        wrong = self.token[:-1] + ("x" if self.token[-1] != "x" else "y")
        self.assertNotEqual(self.curl(self.at("imaps"), token=wrong, check=False).returncode, 0)
        for line in self.server.json("token", "list", BOB):
            self.server.cli("token", "revoke", BOB, line["number"])
        self.assertNotEqual(self.curl(self.at("imaps"), check=False).returncode, 0)

    def test_a_token_is_a_password_for_programs_that_know_no_tokens(self):
        with mail_client.imap(self.server, BOB, password=self.token) as client:
            self.assertEqual(client.noop()[0], "OK")
