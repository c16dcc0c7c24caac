"""A day with Thunderbird, from Debian and without a screen, against the built binary.

Every step is checked on the server by another client (imaplib), and in Thunderbird's own view of the folder.
"""
import contextlib
import unittest

import mail_client
from harness import ServerCase, needs, wait_until
from thunderbird import Thunderbird

ANN = "ann@example.test"
PASSWORD_CLEARTEXT = 3  # nsMsgAuthMethod.passwordCleartext: within TLS, what the probe finds and prefers


class ThunderbirdDay(ServerCase):
    def setUp(self):
        needs("thunderbird")
        self.thunderbird = Thunderbird()
        self.addCleanup(self.thunderbird.remove)

    def deliver(self, subject, body="Hello.\r\n"):
        extra = "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nContent-Type: text/plain; charset=utf-8\r\n"
        mail_client.deliver(self.server, "x@elsewhere.example", [ANN], mail_client.message(subject, to=ANN, body=body, extra=extra).encode())

    def is_on_server(self, mailbox, *subjects):
        """Whether another client sees exactly these subjects there."""
        return sorted(mail_client.subjects(self.server, ANN, mailbox)) == sorted(subjects)

    def on_server(self, mailbox, *subjects):
        wait_until(lambda: self.is_on_server(mailbox, *subjects), f"only {subjects} in {mailbox}")

    def get_messages_until_shown(self, folder, *subjects):
        """Presses "Get Messages", now and then again, until Thunderbird has exactly these subjects there."""
        for _ in range(10):
            self.thunderbird.step("getMessages", folder)
            with contextlib.suppress(AssertionError):
                return wait_until(lambda: self.shown(folder) == sorted(subjects), "", seconds=5)
        self.assertEqual(self.shown(folder), sorted(subjects))

    def flags_on_server(self, subject, *flags):
        """Waits until the message has all of these flags on the server."""
        def there():
            with mail_client.imap(self.server, ANN) as client:
                found = client.search(None, "SUBJECT", f'"{subject}"', *(f"KEYWORD {f}" if f.startswith("$") else f for f in flags))
            return found[1] != [b""]
        wait_until(there, f"{subject!r} is {flags}")

    def shown(self, folder):
        return sorted(message["subject"] for message in self.thunderbird.step("list", folder))

    def in_thunderbird(self, folder, *subjects):
        """Waits until Thunderbird has exactly these subjects there."""
        seen = lambda: self.shown(folder) == sorted(subjects)
        try:
            wait_until(seen, "")
        except AssertionError:
            self.assertEqual(self.shown(folder), sorted(subjects))

    def test_sets_up_reads_moves_deletes_searches_goes_offline_and_comes_back(self):
        for n in range(8):
            self.deliver(f"number {n}", f"The body of {n}: Grüße.\r\n")
        do = self.thunderbird.step
        self.set_up()

        do("open", "INBOX")
        self.in_thunderbird("INBOX", *(f"number {n}" for n in range(8)))
        self.assertIn("The body of 3: Grüße.", do("read", "INBOX", "number 3"))
        self.flags_on_server("number 3", "SEEN")

        do("createFolder", "", "Über & mehr")
        do("createFolder", "Über & mehr", "日本")
        do("move", "INBOX", ["number 0", "number 1"], "Über & mehr/日本")
        self.on_server('"&ANw-ber &- mehr/&ZeVnLA-"', "number 0", "number 1")
        do("remove", "INBOX", ["number 2"])
        self.on_server("Trash", "number 2")
        self.on_server("INBOX", *(f"number {n}" for n in range(3, 8)))

        do("flag", "INBOX", "number 4")
        do("tag", "INBOX", "number 4", "$label1")
        self.flags_on_server("number 4", "FLAGGED", "$label1")
        self.assertEqual(do("search", "INBOX", [["Body", "of 5: Grüße"]]), ["number 5"])
        self.assertEqual(sorted(do("search", "INBOX", [["Subject", "NUMBER"], ["Sender", "ann"]])), [f"number {n}" for n in range(3, 8)])
        self.assertEqual(do("search", "Über & mehr/日本", [["Body", "of 1"]]), ["number 1"])

        self.deliver("while it watches")
        self.in_thunderbird("INBOX", *(f"number {n}" for n in range(3, 8)), "while it watches")

        do("send", "bob@example.test", "Grüße", "Wie geht's? äöü")
        mail_client.wait_for_subject(self.server, "bob@example.test", "=?UTF-8?B?R3LDvMOfZQ==?=")
        self.on_server("Sent", "=?UTF-8?B?R3LDvMOfZQ==?=")

        do("emptyTrash")
        self.on_server("Trash")
        self.work_offline()

    def set_up(self):
        """The account, and what was found out about the server on the way."""
        found = self.thunderbird.set_up_account(self.server, ANN, "Ann")
        self.assertEqual((found["incoming"], found["outgoing"]), (PASSWORD_CLEARTEXT, PASSWORD_CLEARTEXT))
        self.thunderbird.step("open", "INBOX")
        self.thunderbird.step("waitForFolder", "Trash")
        kinds = {folder["path"]: folder["kind"] for folder in self.thunderbird.step("folders")}
        self.assertEqual(kinds, {"INBOX": ["Inbox"], "Archive": ["Archive"], "Drafts": ["Drafts"], "Junk": ["Junk"], "Sent": ["SentMail"], "Trash": ["Trash"]})

    def work_offline(self):
        """Changes on both sides while they do not see each other; both end with the changes of both.

        Flags go in a session of their own: of flags and moves together Thunderbird plays back only the first, also to Dovecot.
        """
        do = self.thunderbird.step
        do("goOffline", ["INBOX"])
        do("remove", "INBOX", ["number 6"])
        do("move", "INBOX", ["number 7"], "Archive")
        self.deliver("while it was away")
        with mail_client.imap(self.server, ANN) as client:
            client.store(client.search(None, "SUBJECT", '"number 3"')[1][0].decode(), "+FLAGS", r"\Deleted")
            client.expunge()
        do("goOnline")
        self.on_server("Trash", "number 6")
        self.on_server("Archive", "number 7")
        left = ("number 4", "number 5", "while it watches", "while it was away")
        self.on_server("INBOX", *left)
        self.get_messages_until_shown("INBOX", *left)

        do("goOffline", ["INBOX"])
        self.assertIn("The body of 4", do("read", "INBOX", "number 4"))
        do("flag", "INBOX", "number 5")
        do("goOnline")
        self.flags_on_server("number 5", "FLAGGED")
        self.flags_on_server("number 4", "SEEN")
        self.deliver("welcome back")
        self.get_messages_until_shown("INBOX", *left, "welcome back")

    def test_fetches_by_pop3(self):
        bob = "bob@example.test"
        for n in range(3):
            mail_client.deliver(self.server, "x@elsewhere.example", [bob], mail_client.message(f"popped {n}"))
        self.thunderbird.set_up_account(self.server, bob, "Bob", incoming=self.server.port("pop3s"), type="pop3")
        self.thunderbird.step("getMail")
        kept = [f"popped {n}" for n in range(3)]
        self.in_thunderbird("Inbox", *kept)
        self.assertEqual([s for s in mail_client.subjects(self.server, bob) if s in kept], kept, "left on the server, as is the default")


if __name__ == "__main__":
    unittest.main()
