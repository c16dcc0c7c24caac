"""What is refused at its end is kept in the Rejects of those it was for: seen and taken out over IMAP, and by command."""
import re
import smtplib
import socket
import struct
import unittest

import mail_client
from dns_server import Dns
from harness import Server, free_port

ANN, BOB = "ann@example.test", "bob@example.test"
STRANGER, THEIRS = "192.0.2.66", "192.0.2.1"


class Stranger(smtplib.SMTP):
    """A server elsewhere, for which the PROXY protocol speaks."""

    def __init__(self, address, *server):
        self.from_address = address
        super().__init__(*server)

    def _get_socket(self, host, port, timeout):
        connected = socket.create_connection((host, port), timeout)
        addresses = socket.inet_aton(self.from_address) + socket.inet_aton("192.0.2.250") + struct.pack(">HH", 4711, 25)
        connected.sendall(b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack(">H", len(addresses)) + addresses)
        return connected


class Rejects(unittest.TestCase):
    SETTINGS = '[filter]\njunk_points = 1\nreject_points = 2\n[rejects]\nkeep = "3d"\n'

    @classmethod
    def setUpClass(cls):
        cls.dns = Dns({
            "test": [],
            "far.test": [f'@ TXT "v=spf1 ip4:{THEIRS} -all"', '_dmarc TXT "v=DMARC1; p=reject"'],
        })
        cls.addClassCleanup(cls.dns.remove)
        port = free_port()
        cls.server = Server(ports={"smtp": 0}, accounts=("ann", "bob", "carl"), settings=f'dns = ["{cls.dns.address}"]\n{cls.SETTINGS}')
        cls.addClassCleanup(cls.server.remove)
        listener = f'address = "127.0.0.1:{port}"\nproxy_protocol_from = ["127.0.0.0/8"]'
        cls.server.config.write_text(re.sub(r'address = "127\.0\.0\.1:0"', listener, cls.server.config.read_text()))
        cls.server.ports["smtp"] = port
        cls.server.start()

    def brought(self, peer, to, subject, extra=""):
        """Brings a message in joe's name; code and words of the reply."""
        text = mail_client.message(subject, "joe@far.test", to, extra=f"Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n{extra}")
        with Stranger(peer, self.server.address, self.server.port("smtp")) as smtp:
            smtp.ehlo("mx.far.test")
            self.assertEqual((smtp.mail("joe@far.test")[0], smtp.rcpt(to)[0]), (250, 250))
            code, words = smtp.data(text)
        return code, words.decode()

    def refused(self, *message):
        """The same, refused; its receipt."""
        code, words = self.brought(*message)
        self.assertEqual(code, 550, words)
        return words.rsplit(" ", 1)[1]

    def folders(self, login):
        with mail_client.imap(self.server, login) as client:
            return [line.decode() for line in client.list()[1]]

    def points(self, receipt):
        [one] = self.server.json("explain", receipt)
        return one["readers"][0]["points"]

    def move(self, login, subject, target):
        with mail_client.imap(self.server, login, mailbox="Rejects") as client:
            number = client.search(None, "SUBJECT", f'"{subject}"')[1][0].decode()
            self.assertEqual(client._simple_command("MOVE", number, target)[0], "OK")

    def test_forged_mail_is_kept_with_its_reason_and_stays_refused_after_a_release(self):
        self.assertFalse(any("Rejects" in line for line in self.folders(ANN)), "hidden until the first one comes")
        receipt = self.refused(STRANGER, ANN, "forged")
        [listed] = [line for line in self.folders(ANN) if "Rejects" in line]
        self.assertNotIn("\\Junk", listed)
        [body] = mail_client.bodies(self.server, ANN, "Rejects")
        self.assertIn(b"X-Postrider-Rejected: 550 5.7.1 Not authenticated as from far.test, whose DMARC policy", body)
        self.assertIn(receipt.encode(), body)
        self.assertIn(b"dmarc=fail", body)
        self.assertTrue(body.endswith(b"\r\n\r\nHello.\r\n"), body)
        self.move(ANN, "forged", "INBOX")
        self.assertIn("forged", mail_client.subjects(self.server, ANN))
        [trail] = self.server.json("trace", receipt)
        self.assertEqual([event["event"] for event in trail["events"]][-2:], ["kept", "readmitted"])
        self.refused(STRANGER, ANN, "forged again")
        self.assertEqual(mail_client.subjects(self.server, ANN, "Rejects"), ["forged again"])

    def test_spam_that_was_wanted_has_fewer_points_the_next_time(self):
        program = 'Content-Type: application/x-msdownload; name="a.exe"\r\n'
        first = self.refused(THEIRS, BOB, "program", program)
        [body] = mail_client.bodies(self.server, BOB, "Rejects")
        self.assertIn(b"X-Postrider-Verdict: reject; score=", body)
        [kept] = self.server.json("rejects", "list", BOB)
        self.assertEqual((kept["receipt"], kept["subject"], kept["from"]), (first, "program", "joe@far.test"))
        [one] = self.server.json("explain", first)
        self.assertEqual([(k["account"], k["there"]) for k in one["kept"]], [(BOB, True)])
        self.move(BOB, "program", "INBOX")
        code, words = self.brought(THEIRS, BOB, "program again", program)
        self.assertEqual(code, 250, words)
        self.assertLess(self.points(re.search(r"(\S+) accepted", words)[1]), self.points(first) - 3)
        second = self.refused(STRANGER, BOB, "by command")
        self.assertIn(BOB, self.server.cli("rejects", "release", second).stdout)
        self.assertIn("by command", mail_client.subjects(self.server, BOB))
        self.assertEqual(self.server.json("rejects", "list", BOB), [])
        gone = self.server.cli("rejects", "release", second, check=False)
        self.assertEqual(gone.returncode, 3, gone)
        self.assertIn("postrider rejects list", gone.stderr)
        self.assertEqual(self.server.cli("store", "check").returncode, 0)

    def test_what_a_refusal_named_is_there_after_a_power_cut(self):
        receipts = [self.refused(STRANGER, "carl@example.test", f"number {number}") for number in range(3)]
        self.server.kill()
        self.server.start()
        kept = self.server.json("rejects", "list", "carl@example.test")
        self.assertEqual([one["receipt"] for one in kept], receipts[::-1])
        self.assertEqual(self.server.cli("store", "check").returncode, 0)


if __name__ == "__main__":
    unittest.main()
