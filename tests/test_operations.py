"""What an administrator does with a running server, and what the server does when its surroundings fail."""
import base64
import contextlib
import json
import os
import pathlib
import re
import smtplib
import socket
import struct
import subprocess
import tempfile
import unittest

import mail_client
from harness import BINARY, PASSWORD, Server, ServerCase, free_port, run, wait_until

NOBODY_LISTENS = '[queue]\nretry = ["1h"]\n\n[[route]]\nhosts = ["127.0.0.98:9"]\n'


class Queue(ServerCase):
    """A queue whose only route leads nowhere."""

    SETTINGS = NOBODY_LISTENS

    def queued(self, subject):
        """Submits a message to another domain and returns its queue id once it was tried, or put off with those before it."""
        recipient = f"{subject.replace(' ', '.')}@elsewhere.example"
        mail_client.submit(self.server, "ann@example.test", [recipient], mail_client.message(subject, to=recipient))
        tried = lambda: [e["id"] for e in self.server.json("queue", "list", "--to", recipient) if e["recipients"][0]["last"]]
        return wait_until(tried, f"{recipient} was tried")[0]

    def ids(self):
        return [entry["id"] for entry in self.server.json("queue", "list")]

    def attempts(self, name):
        """How often it was tried."""
        (trail,) = self.server.json("trace", name)
        return [event["event"] for event in trail["events"]].count("attempted")

    def test_hold_and_release(self):
        name = self.queued("held")
        before = self.attempts(name)
        self.server.cli("queue", "hold", name)
        self.assertTrue(self.server.json("queue", "show", name)["held"])
        self.server.cli("queue", "retry", name)
        self.server.cli("queue", "release", name)
        self.assertFalse(self.server.json("queue", "show", name)["held"])
        wait_until(lambda: self.attempts(name) > before, "it is tried again once it is released")

    def test_bounce_tells_the_sender(self):
        name = self.queued("given up")
        self.server.cli("--yes", "queue", "bounce", name)
        wait_until(lambda: any(b"given.up@elsewhere.example" in b for b in mail_client.bodies(self.server, "ann@example.test")), "a report")
        self.assertNotIn(name, self.ids())

    def test_a_report_is_made_by_the_settings_of_the_last_reload(self):
        name = self.queued("renamed")
        text = self.server.config.read_text()
        self.addCleanup(self.server.cli, "reload")
        self.addCleanup(self.server.config.write_text, text)
        self.server.config.write_text(text.replace('hostname = "mx.example.test"', 'hostname = "renamed.example.test"'))
        self.server.cli("reload")
        self.server.cli("--yes", "queue", "bounce", name)
        reports = lambda: [b for b in mail_client.bodies(self.server, "ann@example.test") if b"renamed@elsewhere.example" in b]
        self.assertIn(b"Reporting-MTA: dns; renamed.example.test", wait_until(reports, "a report")[0])

    def test_drop_tells_nobody_but_the_trail(self):
        name = self.queued("dropped")
        self.server.cli("--yes", "queue", "drop", name)
        self.assertNotIn(name, self.ids())
        self.assertIn("drop", json.dumps(self.server.json("trace", name)))
        self.assertFalse(any(b"dropped@elsewhere.example" in b for b in mail_client.bodies(self.server, "ann@example.test")))

    def test_retry_tries_at_once(self):
        name = self.queued("again")
        before = self.attempts(name)
        self.server.cli("queue", "retry", name)
        wait_until(lambda: self.attempts(name) > before, "another attempt, although its destination was down a moment ago")

    def test_a_dry_run_and_a_question_without_an_answer_change_nothing(self):
        name = self.queued("kept")
        self.server.cli("--dry-run", "queue", "drop", name)
        self.assertNotEqual(self.server.cli("queue", "drop", name, check=False).returncode, 0)
        self.assertIn(name, self.ids())

    def test_an_unknown_id_is_exit_code_3(self):
        done = self.server.cli("--output", "json", "queue", "show", "0000000000000", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(json.loads(done.stdout)["error"]["code"], "not_found")


class Surroundings(ServerCase):
    def test_a_second_process_is_refused_and_names_the_first(self):
        done = run(BINARY, "--config", self.server.config, "serve", check=False)
        self.assertEqual(done.returncode, 5)
        self.assertIn(f"process {self.server.process.pid}", done.stderr)

    def test_a_bad_setting_is_named_with_its_line_and_exit_code_2(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "bad.toml"
            config.write_text('hostname = "mx.example.test"\n\n[limits]\nrecipient = 5\n')
            done = run(BINARY, "--config", config, "config", "check", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("bad.toml:4: limits.recipient: unknown key", done.stderr)
        self.assertIn("did you mean limits.recipients?", done.stderr)

    def test_reload_takes_new_settings_and_keeps_sessions(self):
        with mail_client.imap(self.server, "ann@example.test") as client:
            text = self.server.config.read_text()
            self.server.config.write_text("relay_networks = ['127.0.0.0/8']\n" + text)
            self.server.cli("reload")
            self.assertEqual(client.noop()[0], "OK")
        with smtplib.SMTP(self.server.address, self.server.port("smtp")) as smtp:
            smtp.ehlo("client.example")
            smtp.mail("x@elsewhere.example")
            self.assertEqual(smtp.rcpt("y@elsewhere.example")[0], 250)
        self.server.config.write_text("nonsense = 1\n" + text)
        self.assertEqual(self.server.cli("reload", check=False).returncode, 2)
        self.server.config.write_text(text)
        self.server.cli("reload")

    def test_metrics_count_what_was_delivered(self):
        server = Server(ports={"metrics": free_port()})
        self.addCleanup(server.remove)
        server.start()
        mail_client.deliver(server, "x@elsewhere.example", ["bob@example.test"], mail_client.message("counted"))
        page = run("curl", "--silent", f"http://127.0.0.1:{server.port('metrics')}/metrics").stdout
        self.assertIn('\npostrider_messages_accepted_total{source="mx"} 1\n', page)
        self.assertIn('\npostrider_recipients_total{outcome="delivered"} 1\n', page)

    def test_sigterm_ends_the_server_with_clients_connected(self):
        server = Server()
        self.addCleanup(server.remove)
        server.start()
        with contextlib.suppress(OSError, Exception), mail_client.imap(server, "ann@example.test"):
            server.stop()
        self.assertEqual(server.process.returncode, 0)


class Traced(unittest.TestCase):
    def test_sessions_are_written_down_without_passwords(self):
        server = Server()
        self.addCleanup(server.remove)
        folder = server.folder / "sessions"
        server.start("--trace-sessions", folder)
        mail_client.deliver(server, "x@elsewhere.example", ["bob@example.test"], mail_client.message("seen"))
        mail_client.submit(server, "ann@example.test", ["bob@example.test"], mail_client.message("mine"))
        self.assertEqual(mail_client.subjects(server, "bob@example.test"), ["seen", "mine"])
        with mail_client.pop3(server, "bob@example.test") as client:
            client.stat()
        server.stop()
        texts = {file.name: file.read_text() for file in folder.iterdir()}
        for protocol, lines in {
            "smtp": ["C: ehlo client.example", "C: Subject: seen"],
            "submission": ["C: STARTTLS", "@ tls", "[secret]"],
            "imap": ["LOGIN [secret]"],
            "pop3": ["C: PASS [secret]"],
        }.items():
            talks = [text for name, text in texts.items() if f"-{protocol}-" in name]
            self.assertTrue(any(all(line in talk for line in lines) for talk in talks), (protocol, talks))
        for text in texts.values():
            self.assertNotIn(PASSWORD, text)
            self.assertNotIn(base64.b64encode(f"\0ann@example.test\0{PASSWORD}".encode()).decode(), text)
            self.assertNotIn(base64.b64encode(PASSWORD.encode()).decode(), text)


class Proxied(unittest.TestCase):
    def test_the_address_behind_a_trusted_proxy_is_the_peer(self):
        server = Server(ports={"smtp": 0})
        self.addCleanup(server.remove)
        port = free_port()
        text = re.sub(r'address = "127\.0\.0\.1:0"', f'address = "127.0.0.1:{port}"\nproxy_protocol_from = ["127.0.0.0/8"]', server.config.read_text())
        server.config.write_text(text)
        server.ports["smtp"] = port
        server.start()
        addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 4711, 25)
        header = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack(">H", len(addresses)) + addresses
        lines = (b"EHLO proxied.example", b"MAIL FROM:<x@elsewhere.example>", b"RCPT TO:<bob@example.test>", b"DATA", b"Subject: proxied\r\n\r\nhi\r\n.")
        with socket.create_connection(("127.0.0.1", port)) as s, s.makefile("rb") as replies:
            s.sendall(header)
            self.good_reply(replies)
            for line in lines:
                s.sendall(line + b"\r\n")
                self.good_reply(replies)
        self.assertIn(b"192.0.2.7", mail_client.bodies(server, "bob@example.test")[-1])

    def good_reply(self, replies):
        line = replies.readline()
        while line[3:4] == b"-":
            line = replies.readline()
        self.assertIn(line[:1], (b"2", b"3"), line)


class FullDisk(unittest.TestCase):
    """A server whose files are on a small file system of its own."""

    def setUp(self):
        # Larger than what a server holds back (32 MiB) and wants free (64 MiB).
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-full-"))
        self.addCleanup(self.folder.rmdir)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=144m", "tmpfs", self.folder], capture_output=True, text=True)
        if mounted.returncode:
            self.skipTest(f"cannot mount a small file system here: {mounted.stderr.strip()}")
        self.addCleanup(run, "umount", self.folder)
        self.addCleanup(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = str(self.folder)
        self.server = Server()
        self.addCleanup(self.server.remove)
        self.server.start()

    def test_mail_that_fills_the_disk_is_refused_and_deleting_makes_room(self):
        # Incompressible, so that the disk fills.
        filler = base64.encodebytes(os.urandom(1_400_000)).decode().replace("\n", "\r\n")
        count, reply = self.fill(mail_client.message("filler", body=filler))
        self.refused_for_now(reply)
        self.assertGreater(count, 2)
        self.assertEqual(mail_client.subjects(self.server, "bob@example.test"), ["filler"] * count, "every acknowledged message is there")
        self.delete_all()
        self.recovers()

    def test_a_disk_that_another_program_fills_to_the_last_block(self):
        mail_client.deliver(self.server, "x@elsewhere.example", ["bob@example.test"], mail_client.message("early"))
        other = self.folder / "other"
        with contextlib.suppress(OSError), other.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        count, reply = self.fill(mail_client.message("late"))
        self.refused_for_now(reply)
        self.assertEqual(mail_client.subjects(self.server, "bob@example.test"), ["early"] + ["late"] * count)
        self.delete_all()
        other.unlink()
        self.recovers()

    def refused_for_now(self, reply):
        self.assertEqual(reply[0], 452, reply)
        self.assertIn(b"4.3.1", reply[1])

    def delete_all(self):
        with mail_client.imap(self.server, "bob@example.test") as client:
            self.assertEqual(client.store("1:*", "+FLAGS", r"\Deleted")[0], "OK")
            self.assertEqual(client.expunge()[0], "OK")
        self.assertEqual(mail_client.subjects(self.server, "bob@example.test"), [])

    def recovers(self):
        """New mail is taken again, and nothing was damaged."""
        wait_until(lambda: self.accepts(mail_client.message("room again")), "there is room again")
        self.assertEqual(mail_client.subjects(self.server, "bob@example.test"), ["room again"])
        self.server.cli("store", "check")
        self.server.stop()
        self.server.cli("store", "check")

    def fill(self, text):
        """Delivers until something is refused; how many were taken, and the refusal."""
        for count in range(200):
            with smtplib.SMTP(self.server.address, self.server.port("smtp")) as smtp:
                smtp.ehlo("client.example")
                for step in (lambda: smtp.mail("x@elsewhere.example"), lambda: smtp.rcpt("bob@example.test"), lambda: smtp.data(text)):
                    try:
                        reply = step()
                    except smtplib.SMTPDataError as error:
                        reply = error.args
                    if reply[0] // 100 != 2:
                        return count, reply
        self.fail("the disk never filled")

    def accepts(self, text):
        with contextlib.suppress(smtplib.SMTPException, AssertionError):
            mail_client.deliver(self.server, "x@elsewhere.example", ["bob@example.test"], text)
            return True
        return False


if __name__ == "__main__":
    unittest.main()
