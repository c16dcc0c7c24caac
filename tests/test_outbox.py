"""The Outbox with programs as people have them: Python's smtplib sends with a hold, imaplib and POP3 call back."""
import smtplib
import unittest

import mail_client
from harness import PASSWORD, ServerCase, wait_until

ANN, BOB = "ann@example.test", "bob@example.test"


def submit_later(server, subject, seconds, recipients=(BOB,)):
    """Ann submits with FUTURERELEASE."""
    with smtplib.SMTP(server.address, server.port("submission")) as smtp:
        smtp.starttls(context=mail_client.trusting(server))
        smtp.login(ANN, PASSWORD)
        smtp.sendmail(ANN, list(recipients), mail_client.message(subject), mail_options=[f"HOLDFOR={seconds}"])


class Outbox(ServerCase):
    def waiting(self, mailbox="Outbox"):
        return mail_client.subjects(self.server, ANN, mailbox)

    def came(self, subject):
        return subject in mail_client.subjects(self.server, BOB)

    def queued(self):
        return len(self.server.json("queue", "list"))

    def test_deleting_in_the_outbox_calls_back(self):
        before = self.queued()
        submit_later(self.server, "deleted", 3600)
        submit_later(self.server, "to the trash", 3600)
        submit_later(self.server, "a draft again", 3600)
        self.assertEqual(self.queued(), before + 3)
        with mail_client.imap(self.server, ANN, mailbox="Outbox") as client:
            self.assertIn(rb"\Scheduled", client.list('""', "Outbox")[1][0])
            for subject, target in (("to the trash", "Trash"), ("a draft again", "Drafts")):
                number = client.search(None, "SUBJECT", f'"{subject}"')[1][0].decode()
                self.assertEqual(client._simple_command("MOVE", number, target)[0], "OK")
            number = client.search(None, "SUBJECT", '"deleted"')[1][0].decode()
            client.store(number, "+FLAGS", r"\Deleted")
            client.expunge()
        self.assertEqual(self.queued(), before)
        self.assertIn("a draft again", self.waiting("Drafts"))
        with mail_client.imap(self.server, ANN, mailbox="Drafts") as client:
            self.assertTrue(client.search(None, "DRAFT")[1][0])
        self.assertFalse(any(map(self.came, ("deleted", "to the trash", "a draft again"))))

    def test_what_is_marked_as_deleted_stays_and_leaves_when_the_mark_is_taken_back(self):
        submit_later(self.server, "second thoughts", 1)
        with mail_client.imap(self.server, ANN, mailbox="Outbox") as client:
            number = client.search(None, "SUBJECT", '"second thoughts"')[1][0].decode()
            client.store(number, "+FLAGS", r"\Deleted")
            submit_later(self.server, "after it", 1)
            wait_until(lambda: self.came("after it"), "the one that is not marked")
            self.assertFalse(self.came("second thoughts"))
            client.store(number, "-FLAGS", r"\Deleted")
            wait_until(lambda: self.came("second thoughts"), "the one that is no longer marked")

    def test_it_leaves_the_outbox_when_it_is_sent(self):
        submit_later(self.server, "soon", 2)
        self.assertIn("soon", self.waiting())
        wait_until(lambda: self.came("soon"), "mail whose time has come")
        wait_until(lambda: "soon" not in self.waiting(), "an Outbox without it")

    def test_everything_waits_where_the_account_says_so(self):
        self.server.cli("user", "hold", ANN, "30s")
        self.addCleanup(self.server.cli, "user", "hold", ANN, "0s")
        self.assertEqual(self.server.json("user", "hold", ANN)["hold_seconds"], 30)
        mail_client.submit(self.server, ANN, [BOB], mail_client.message("undone"))
        self.assertIn("undone", self.waiting())
        self.assertFalse(self.came("undone"))
        with mail_client.imap(self.server, ANN, mailbox="Outbox") as client:
            number = client.search(None, "SUBJECT", '"undone"')[1][0].decode()
            self.assertEqual(client._simple_command("MOVE", number, "Drafts")[0], "OK")
        self.assertIn("undone", self.waiting("Drafts"))

    def test_who_did_not_get_it_is_seen_there(self):
        self.server.cli("alias", "add", "gone@example.test", BOB)
        submit_later(self.server, "in vain", 2, ("gone@example.test", ANN))
        self.server.cli("user", "add", "short@example.test", "--password-stdin", stdin=PASSWORD + "\n")
        submit_later(self.server, "to nobody", 2, ("short@example.test",))
        self.server.cli("--yes", "user", "remove", "short@example.test")
        wait_until(lambda: mail_client.bodies(self.server, ANN, "Outbox") and
                   any(b"X-Failed-Recipients: short@example.test\r\n" in body for body in mail_client.bodies(self.server, ANN, "Outbox")),
                   "the failed recipient in the Outbox")
        with mail_client.imap(self.server, ANN, mailbox="Outbox") as client:
            self.assertTrue(client.search(None, "FLAGGED", "UNSEEN", "KEYWORD", "$SubmitFailed")[1][0])
        wait_until(lambda: "in vain" in mail_client.subjects(self.server, ANN), "the other one")

    def test_pop3_calls_back_too(self):
        self.server.cli("user", "pop3", ANN, "--folders", "INBOX,Outbox")
        self.addCleanup(self.server.cli, "user", "pop3", ANN, "--folders", "INBOX")
        submit_later(self.server, "by pop3", 3600)
        before = self.queued()
        with mail_client.pop3(self.server, ANN) as client:
            count, _ = client.stat()
            for number in range(1, count + 1):
                if any(line == b"Subject: by pop3" for line in client.top(number, 0)[1]):
                    client.dele(number)
        self.assertEqual(self.queued(), before - 1)


class OutboxAfterPowerCut(ServerCase):
    def test_what_was_called_back_stays_so_and_what_waits_leaves_when_the_server_is_back(self):
        submit_later(self.server, "called back", 5)
        submit_later(self.server, "kept", 5)
        with mail_client.imap(self.server, ANN, mailbox="Outbox") as client:
            number = client.search(None, "SUBJECT", '"called back"')[1][0].decode()
            client.store(number, "+FLAGS", r"\Deleted")
            client.expunge()
        self.server.kill()
        self.server.start()
        wait_until(lambda: "kept" in mail_client.subjects(self.server, BOB), "what was kept")
        self.assertNotIn("called back", mail_client.subjects(self.server, BOB))
        self.assertEqual(self.server.json("queue", "list"), [])


if __name__ == "__main__":
    unittest.main()
