"""SIGKILL at random moments under load: every acknowledged message is there afterwards, once, in every mailbox it was for.

`POSTRIDER_KILLS` says how often (default 200). The seed is printed; `POSTRIDER_SEED` repeats a run's timing.
"""
import contextlib
import os
import random
import smtplib
import threading
import time
import unittest

import mail_client
from harness import PASSWORD, Server

KILLS = int(os.environ.get("POSTRIDER_KILLS", "200"))
SEED = int(os.environ.get("POSTRIDER_SEED", random.SystemRandom().randrange(10**9)))
ACCOUNTS = tuple(f"user{n}" for n in range(4))
SENDERS = 6
# Every FULL_CHECK_EVERY-th kill all mail ever acknowledged is compared, otherwise what is new since the last.
FULL_CHECK_EVERY = 25


class Load:
    """Threads that send until the server is gone, and remember what was promised."""

    def __init__(self, server, round_number):
        self.server, self.round_number = server, round_number
        self.promised = {account: [] for account in ACCOUNTS}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.send, args=(n,)) for n in range(SENDERS)]

    def send(self, sender):
        rng = random.Random(f"{SEED} {self.round_number} {sender}")
        with contextlib.suppress(OSError, smtplib.SMTPException):
            smtp = smtplib.SMTP(self.server.address, self.server.port("smtp"), timeout=20)
            smtp.ehlo("load.example")
            for count in range(10_000):
                self.one(smtp, rng, f"r{self.round_number}s{sender}n{count}")

    def one(self, smtp, rng, name):
        to = rng.sample(ACCOUNTS, rng.choice((1, 1, 1, 3)))
        # Now and then a body that is streamed into a file of its own.
        body = "x" * 70 + "\r\n"
        body *= rng.choice((1, 20, 60, 60, 60, 6_000))
        text = mail_client.message(name, "load@load.example", ", ".join(to), body)
        smtp.mail("load@load.example")
        for account in to:
            smtp.rcpt(f"{account}@example.test")
        code, _ = smtp.data(text)
        if code == 250:
            with self.lock:
                for account in to:
                    self.promised[account].append(name)

    def run_for(self, seconds):
        for thread in self.threads:
            thread.start()
        time.sleep(seconds)
        self.server.kill()
        for thread in self.threads:
            thread.join()


class Crash(unittest.TestCase):
    def setUp(self):
        self.server = Server(accounts=ACCOUNTS)
        self.addCleanup(self.server.remove)
        # What is known to be in each mailbox, and how much of it has been compared.
        self.promised = {account: set() for account in ACCOUNTS}
        self.compared = dict.fromkeys(ACCOUNTS, 0)

    def test_no_acknowledged_message_is_lost_or_doubled(self):
        print(f"seed {SEED}, {KILLS} kills", flush=True)
        rng = random.Random(SEED)
        for kill in range(1, KILLS + 1):
            self.server.start()
            load = Load(self.server, kill)
            load.run_for(rng.uniform(0.02, 0.4))
            for account, names in load.promised.items():
                self.promised[account].update(names)
            self.server.cli("store", "check", *([] if kill % FULL_CHECK_EVERY == 0 or kill == KILLS else ["--quick"]))
            self.compare_all(kill)
        total = sum(len(names) for names in self.promised.values())
        print(f"{total} acknowledged deliveries survived {KILLS} kills")
        self.assertGreater(total, 10 * KILLS, "the load was too small to prove anything")

    def compare_all(self, kill):
        full = kill % FULL_CHECK_EVERY == 0 or kill == KILLS
        self.server.start()
        for account in ACCOUNTS:
            if full:
                self.compared[account] = 0
            self.compare(account, full, kill)
        self.server.kill()

    def compare(self, account, full, kill):
        found = self.read(account, self.compared[account] + 1)
        self.assertEqual(len(found), len(set(found)), f"{account}: a message came twice")
        wanted = {name for name in self.promised[account] if full or name.startswith(f"r{kill}s")}
        self.assertEqual(wanted - set(found), set(), f"{account}: promised and lost")
        self.compared[account] += len(found)

    def read(self, account, first):
        """The subjects from sequence number `first` on."""
        with mail_client.imap(self.server, f"{account}@example.test", PASSWORD) as client:
            _, data = client.status("INBOX", "(MESSAGES)")
            count = int(data[0].split()[-1].strip(b")"))
            if count < first:
                return []
            _, data = client.fetch(f"{first}:{count}", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            return [part[1].decode().split(":", 1)[1].strip() for part in data if isinstance(part, tuple)]


if __name__ == "__main__":
    unittest.main()
