"""smtplib, imaplib and poplib against the built binary."""
import imaplib
import json
import poplib
import smtplib
import unittest

import mail_client
from harness import PASSWORD, ServerCase


class Sending(ServerCase):
    def test_a_message_to_the_mx_port_is_in_the_inbox_when_the_250_comes(self):
        reply = mail_client.deliver(self.server, "x@elsewhere.example", ["bob@example.test"], mail_client.message("to bob"))
        self.assertIn("to bob", mail_client.subjects(self.server, "bob@example.test"))
        receipt = next(word for word in reply.split() if len(word) == 13 and word.isalnum())
        self.assertIn("delivered", json.dumps(self.server.json("trace", receipt)))

    def test_the_mx_port_relays_for_nobody(self):
        with smtplib.SMTP(self.server.address, self.server.port("smtp")) as smtp:
            smtp.ehlo("client.example")
            smtp.mail("x@elsewhere.example")
            self.assertEqual(smtp.rcpt("y@elsewhere.example")[0], 550)
            self.assertEqual(smtp.rcpt("nobody@example.test")[0], 550)
            self.assertEqual(smtp.rcpt("bob@example.test")[0], 250)

    def test_submission_needs_a_login_and_keeps_to_own_addresses(self):
        with smtplib.SMTP(self.server.address, self.server.port("submission")) as smtp:
            smtp.starttls(context=mail_client.trusting(self.server))
            smtp.ehlo()
            self.assertEqual(smtp.mail("ann@example.test")[0], 530)
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                smtp.login("ann@example.test", "wrong password")
            smtp.login("ann@example.test", PASSWORD)
            refused = smtp.mail("bob@example.test")
            self.assertEqual(refused[0] // 100, 5, refused)

    def test_submission_over_implicit_tls_adds_what_is_missing_and_drops_bcc(self):
        context = mail_client.trusting(self.server)
        text = "From: ann@example.test\r\nTo: bob@example.test\r\nBcc: ann@example.test\r\nSubject: fixed up\r\n\r\nHi\r\n"
        with smtplib.SMTP_SSL(self.server.address, self.server.port("submissions"), context=context) as smtp:
            smtp.login("ann@example.test", PASSWORD)
            smtp.sendmail("ann@example.test", ["bob@example.test"], text)
        message = mail_client.bodies(self.server, "bob@example.test")[-1].decode()
        head = message.split("\r\n\r\n")[0].lower()
        self.assertIn("\r\ndate:", head)
        self.assertIn("\r\nmessage-id:", head)
        self.assertNotIn("\r\nbcc:", head)

    def test_every_octet_of_a_large_body_arrives(self):
        body = "".join(f"line {n} {'x' * (n % 70)}\r\n.dot {n}\r\n" for n in range(40_000))
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], mail_client.message("large", body=body))
        self.assertTrue(mail_client.bodies(self.server, "bob@example.test")[-1].endswith(body.encode()))


class Reading(ServerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for n in range(5):
            mail_client.deliver(cls.server, "x@elsewhere.example", ["bob@example.test"], mail_client.message(f"number {n}"))

    def test_imap_flags_search_copy_move_expunge(self):
        with mail_client.imap(self.server, "bob@example.test") as client:
            self.assertEqual(client.search(None, "SUBJECT", '"number 3"')[1], [b"4"])
            client.store("1", "+FLAGS", r"(\Flagged work)")
            self.assertEqual(client.search(None, "KEYWORD", "work")[1], [b"1"])
            self.assertEqual(client.create("Projects/2026")[0], "OK")
            self.assertEqual(client.copy("1:2", "Projects/2026")[0], "OK")
            client.store("5", "+FLAGS", r"\Deleted")
            self.assertEqual(client.expunge()[1], [b"5"])
        with mail_client.imap(self.server, "bob@example.test", mailbox="Projects/2026") as client:
            self.assertEqual(client.search(None, "ALL")[1], [b"1 2"])
            self.assertEqual(client.search(None, "FLAGGED")[1], [b"1"])

    def test_imap_append_and_fetch_give_the_same_octets(self):
        text = mail_client.message("appended", extra="X-Odd: \t  folded\r\n  again\r\n").encode()
        with mail_client.imap(self.server, "ann@example.test", mailbox="Drafts") as client:
            self.assertEqual(client.append("Drafts", r"(\Draft)", imaplib.Time2Internaldate(1_700_000_000), text)[0], "OK")
            client.noop()
            self.assertEqual(client.fetch("1", "(BODY.PEEK[])")[1][0][1], text)

    def test_imap_over_tls(self):
        with imaplib.IMAP4_SSL(self.server.address, self.server.port("imaps"), ssl_context=mail_client.trusting(self.server)) as client:
            self.assertEqual(client.login("bob@example.test", PASSWORD)[0], "OK")
            self.assertIn(b"IDLE", client.capability()[1][0].split())

    def test_pop3_lists_reads_and_deletes(self):
        before = len(mail_client.subjects(self.server, "bob@example.test"))
        with mail_client.pop3(self.server, "bob@example.test") as client:
            count, octets = client.stat()
            self.assertEqual(count, before)
            lines = client.retr(1)[1]
            self.assertIn(b"Subject: number 0", lines)
            self.assertEqual(client.list(1).split()[2], str(sum(len(line) + 2 for line in lines)).encode())
            uidl = client.uidl()[1]
            self.assertEqual(len(set(uidl)), count)
            client.dele(count)
        self.assertEqual(len(mail_client.subjects(self.server, "bob@example.test")), before - 1)

    def test_pop3_locks_the_maildrop(self):
        with mail_client.pop3(self.server, "ann@example.test"):
            with self.assertRaisesRegex(poplib.error_proto, "IN-USE"):
                with mail_client.pop3(self.server, "ann@example.test"):
                    pass

    def test_pop3_over_tls(self):
        client = poplib.POP3_SSL(self.server.address, self.server.port("pop3s"), context=mail_client.trusting(self.server))
        self.assertIn("UIDL", client.capa())
        client.quit()


if __name__ == "__main__":
    unittest.main()
