"""What takes days: the report of yesterday's mail in our name, and the change of signing keys. Two real servers, whose clocks are set."""
import contextlib
import datetime
import re
import smtplib
import socket
import threading
import unittest

import mail_client
from clocks import clock, needs_clocks
from dns_server import Dns
from harness import Server, free_port, needs, wait_until

DAY = 86_400


class Gateway:
    """Takes connections for a server and tells it another address of the client: what comes from loopback is not asked who it is."""

    def __init__(self, address, port, to, client):
        self.to, self.client = to, client
        self.socket = socket.create_server((address, port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self.join, args=(connection,), daemon=True).start()

    def join(self, connection):
        with contextlib.suppress(OSError), connection, socket.create_connection(self.to) as server:
            server.sendall(f"PROXY TCP4 {self.client} 127.0.0.1 4000 25\r\n".encode())
            back = threading.Thread(target=self.copy, args=(server, connection), daemon=True)
            back.start()
            self.copy(connection, server)
            back.join()

    def copy(self, source, sink):
        with contextlib.suppress(OSError):
            while octets := source.recv(65536):
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)

    def remove(self):
        self.socket.close()


class Days(unittest.TestCase):
    """alpha and beta; each sees the other at a public address, as the world would."""

    ADDRESSES = {"alpha": ("127.0.0.2", "192.0.2.2"), "beta": ("127.0.0.4", "192.0.2.4")}

    def setUp(self):
        needs_clocks()
        needs("knotd", "kdig")
        self.port = free_port("127.0.0.2")
        self.servers = {name: self.server(name) for name in self.ADDRESSES}
        self.alpha, self.beta = self.servers["alpha"], self.servers["beta"]
        self.zones = {name: self.zone(name) for name in self.ADDRESSES}
        self.dns = Dns({"test": [], **{f"{name}.test": zone for name, zone in self.zones.items()}})
        self.addCleanup(self.dns.remove)
        for server in self.servers.values():
            server.config.write_text(f'dns = ["{self.dns.address}"]\n{server.config.read_text()}')

    def server(self, name):
        address, _ = self.ADDRESSES[name]
        [(_, client)] = [addresses for other, addresses in self.ADDRESSES.items() if other != name]
        inside = free_port(address)
        settings = (f'outbound_port = {self.port}\n\n[queue]\nretry = ["1s", "1s", "2s"]\n\n[dkim]\nrotate = "180d"\nkeep = "14d"\n\n'
                    f'[[listener]]\nprotocol = "smtp"\naddress = "{address}:{inside}"\nproxy_protocol_from = ["127.0.0.0/8"]\n')
        server = Server(f"mx.{name}.test", address, (f"{name}.test",), ("ann",), ports={"smtp": free_port(address)}, settings=settings)
        self.addCleanup(server.remove)
        server.cli("alias", "add", f"postmaster@{name}.test", f"ann@{name}.test")
        self.addCleanup(Gateway(address, self.port, (address, inside), client).remove)
        return server

    def zone(self, name):
        address, public = self.ADDRESSES[name]
        keys = [key["dns"] for key in self.servers[name].json("dkim", "list", f"{name}.test")]
        return ["@ MX 10 mx", f"mx A {address}", f'mx TXT "v=spf1 ip4:{public} -all"', f'@ TXT "v=spf1 ip4:{public} -all"',
                f'_dmarc TXT "v=DMARC1; p=reject; rua=mailto:postmaster@{name}.test"', *keys]

    def start(self, seconds=0, speed=1):
        for server in self.servers.values():
            server.stop()
            server.start(env=clock(seconds, speed))

    def pass_time(self, server, seconds, speed, words):
        """Lets time pass until a server's log says something. Nothing else is asked meanwhile: deadlines pass as fast."""
        before = server.log.stat().st_size
        self.start(seconds, speed)
        wait_until(lambda: words in server.log.read_text()[before:], f"{words!r}:\n{server.log_tail()}")

    def found(self, server, login, *marks):
        """The first message with all these marks."""
        def look():
            return [body for body in mail_client.bodies(server, login) if all(mark.encode() in body for mark in marks)]
        return wait_until(look, f"{marks} in {login}:\n{self.alpha.log_tail()}\n{self.beta.log_tail()}")[0].decode()

    def send(self, subject, sender="ann@beta.test", to="ann@alpha.test"):
        mail_client.submit(self.servers[sender[4:-5]], sender, [to], mail_client.message(subject, sender, to, extra=f"Message-ID: <{subject}@x>\r\n"))

    def results(self, text):
        """The results in the topmost field of a message."""
        field = re.search(r"^Authentication-Results: (.*?\r\n)(?=\S)", text, re.M | re.S)[1]
        return re.findall(r"\b((?:spf|dkim|dmarc|arc)=\w+)", field)

    def test_yesterdays_mail_is_reported_and_summed_up(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        self.start(-(now.hour * 3600 + now.minute * 60 + now.second + 600))
        self.send("in-their-own-name")
        text = self.found(self.alpha, "ann@alpha.test", "Subject: in-their-own-name")
        self.assertEqual(self.results(text), ["spf=pass", "spf=pass", "dkim=pass", "dkim=pass", "dmarc=pass"], text)
        self.forge()
        self.pass_time(self.alpha, 0, 60, "a DMARC report is on its way")
        self.start()
        report = self.found(self.beta, "ann@beta.test", "Report Domain: beta.test")
        self.assertIn("DKIM-Signature: ", report)
        self.assertEqual(self.results(report), ["spf=pass", "spf=pass", "dkim=pass", "dkim=pass", "dmarc=pass"], report)
        [summary] = wait_until(lambda: self.beta.json("report", "dmarc"), "the report is recognised")
        self.assertEqual((summary["domain"], summary["messages"], summary["passed_percent"]), ("beta.test", 2, 50.0), summary)
        self.assertIn("192.0.2.66", str(summary))
        self.assertEqual(self.alpha.json("report", "dmarc"), [], "alpha had no reports: nothing came to beta in its name that day")

    def forge(self):
        """Mail in beta's name from elsewhere."""
        inside = re.search(r'address = "127\.0\.0\.2:(\d+)"\nproxy_protocol_from', self.alpha.config.read_text())[1]
        with socket.create_connection(("127.0.0.2", int(inside))) as raw:
            raw.sendall(b"PROXY TCP4 192.0.2.66 127.0.0.1 4000 25\r\n")
            smtp = smtplib.SMTP()
            smtp.sock, smtp.file = raw, None
            smtp.getreply()
            smtp.ehlo("eve.test")
            with self.assertRaises(smtplib.SMTPDataError) as refused:
                smtp.sendmail("ann@beta.test", ["ann@alpha.test"], mail_client.message("forged", "ann@beta.test", "ann@alpha.test"))
        self.assertEqual(refused.exception.smtp_code, 550)
        self.assertIn(b"beta.test", refused.exception.smtp_error)

    def test_what_a_server_itself_writes_passes(self):
        self.alpha.cli("alias", "add", "away@alpha.test", "joe@nowhere.test")
        self.start()
        self.send("to-nowhere", to="away@alpha.test")
        bounce = self.found(self.beta, "ann@beta.test", "From: ", "mailer-daemon@mx.alpha.test", "to-nowhere")
        self.assertEqual(self.results(bounce), ["spf=pass", "spf=pass", "dkim=pass", "dkim=pass", "dmarc=pass"], bounce)

    def keys(self):
        """Beta's keys by state."""
        states = {}
        for key in self.beta.json("dkim", "list", "beta.test"):
            states.setdefault(key["state"], []).append(key)
        return states

    def signed_by(self, subject):
        """Sends a message; the selectors that signed it. It verifies."""
        self.send(subject)
        text = self.found(self.alpha, "ann@alpha.test", f"Subject: {subject}")
        self.assertEqual(self.results(text)[2:], ["dkim=pass", "dkim=pass", "dmarc=pass"], text)
        return sorted(re.findall(r"^DKIM-Signature:.*?s=([^;]+);", text, re.M | re.S))

    def test_keys_change_by_schedule_and_all_mail_verifies(self):
        selectors = lambda keys: sorted(key["selector"] for key in keys)
        first = selectors(self.keys()["signing"])
        self.start()
        self.assertEqual(self.signed_by("first-day"), first)
        kept = self.found(self.alpha, "ann@alpha.test", "Subject: first-day")
        # Half a year later new keys are made; the log and the command say what to publish, and the old ones go on signing.
        self.pass_time(self.beta, 181 * DAY, 60, "new signing keys wait")
        self.start(182 * DAY)
        waiting = self.keys()["waiting"]
        self.assertEqual(selectors(self.keys()["signing"]), first)
        for key in waiting:
            self.assertIn(key["selector"], self.beta.log.read_text())
        self.assertEqual(self.signed_by("before-dns"), first)
        # Published: they sign when they have been seen for an hour.
        self.dns.write("beta.test", self.zones["beta"] + [key["dns"] for key in waiting])
        self.pass_time(self.beta, 183 * DAY, 600, "mail is signed with the new keys from now on")
        self.start(184 * DAY)
        self.assertEqual(selectors(self.keys()["retired"]), first)
        self.assertNotIn("waiting", self.keys())
        self.assertEqual(self.signed_by("after-dns"), selectors(waiting))
        self.assertIn("pass", self.again(kept), "what the old keys signed is still good")
        # Two weeks later the old ones are forgotten, and their records can go.
        self.pass_time(self.beta, 199 * DAY, 60, "take their records out of DNS")
        self.dns.write("beta.test", [line for line in self.zones["beta"] if "_domainkey" not in line] + [key["dns"] for key in waiting])
        self.start(200 * DAY)
        self.assertEqual(list(self.keys()), ["signing"])
        self.assertEqual(self.signed_by("last-day"), selectors(waiting))

    def again(self, text):
        """The results of the signatures of a message, as alpha finds them now."""
        path = self.alpha.folder / "kept.eml"
        path.write_text(text[text.index("DKIM-Signature:"):], newline="")
        [one] = self.alpha.json("explain", "--file", path, "--ip", "192.0.2.4", "--helo", "mx.beta.test", "--from", "ann@beta.test")
        return {check["result"] for check in one["checks"] if check["check"] == "dkim"}


if __name__ == "__main__":
    unittest.main()
