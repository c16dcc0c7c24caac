"""Whole synchronisations of large mailboxes by the programs people have; every one ends in agreement of all sides.

The sides are compared by agreement.py. `POSTRIDER_MESSAGES` sets how many messages each client gets; without it the
slow ones get fewer than the quick ones.
"""
import collections
import contextlib
import json
import mailbox
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.parse

import mail_client
import real_mail
from agreement import differences, folder_names, mail_entries, maildir_entries, server_entries, side
from harness import PASSWORD, ServerCase, needs, run, wait_until
from terminal import Terminal
from test_command_clients import settings_file

SYSTEM = (r"\Seen", r"\Answered", r"\Flagged", r"\Draft")
CARRIED_BY_NEOMUTT = (r"\Seen", r"\Answered", r"\Flagged")
LONG_SECONDS = 1800


def amount(usual):
    """How many messages a client gets."""
    return int(os.environ.get("POSTRIDER_MESSAGES", usual))


class Synchronisation(ServerCase):
    """What the tests below share: an account with mail in it, a folder on this side, a comparison."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def account(self, name, count):
        """A new account with `count` real-shaped messages; the messages."""
        self.login = f"{name}@example.test"
        self.server.add_account(self.login)
        mails = list(real_mail.mailboxes(count, seed=name))
        real_mail.fill(self.server, self.login, mails)
        return mails

    def server_side(self, carried=(), folders=None):
        return side(server_entries(self.server, self.login, folders), carried)

    def assert_agree(self, one, other):
        """Both sides hold the same messages with the same flags in the same folders; empty folders aside."""
        self.assertEqual(differences(one, other), [])
        self.assertTrue(one)


class TwoWay(Synchronisation):
    """Mirrors that carry changes in both directions."""

    def two_way(self, mails, synchronise, near, name, carried):
        """First everything comes here, then changes of both sides cross; `synchronise` is run for each."""
        here = lambda: side(maildir_entries(near, name), carried)
        synchronise()
        self.assert_agree(side(mail_entries(mails), carried), here())
        chance = random.Random(7)
        more = self.change_server(chance) + self.change_maildirs(near, name, chance)
        synchronise()
        there = self.server_side(carried)
        self.assert_agree(there, here())
        count = sum(sum(folder.values()) for folder in there.values())
        self.assertEqual(count, len(mails) + more, "every removal and every addition of both sides is there")
        self.assertIn("Neu/Ü & 日本", there)
        synchronise()
        self.assert_agree(there, here())

    def change_server(self, chance):
        """Flags, removals, new mail and a new folder; returns how many messages there are more."""
        more = 0
        with mail_client.imap(self.server, self.login) as client:
            for folder in folder_names(client):
                total = int(client.select(real_mail.modified_utf7(folder))[1][0])
                if total < 8:
                    continue
                client.store(",".join(map(str, chance.sample(range(1, total + 1), total // 8))), "+FLAGS", r"(\Flagged \Answered)")
                client.store("1:3", "-FLAGS", r"(\Seen)")
                client.store(f"{total // 2}", "+FLAGS", r"(\Deleted)")
                more -= len(client.expunge()[1])
            client.append("INBOX", r"(\Seen)", None, mail_client.message("new on the server").encode())
            client.create(real_mail.modified_utf7("Neu/Ü & 日本"))
            client.subscribe(real_mail.modified_utf7("Neu/Ü & 日本"))
            client.append(real_mail.modified_utf7("Neu/Ü & 日本"), r"(\Flagged)", None, mail_client.message("in a new folder").encode())
        return more + 2

    def change_maildirs(self, near, name, chance):
        """Flags (by file names), removals and new mail on this side; returns how many messages there are more."""
        more = 0
        for cur in sorted(pathlib.Path(near).rglob("cur")):
            files = sorted(file for file in cur.iterdir() if ":2," in file.name)
            if len(files) < 20:
                continue
            for file in chance.sample(files, len(files) // 10):
                base, _, letters = file.name.rpartition(":2,")
                file.rename(cur / f"{base}:2,{''.join(sorted(set(letters) ^ {'F'}))}")
            chance.choice(sorted(cur.iterdir())).unlink()
            more -= 1
            if name(str(cur.parent.relative_to(near))) in ("INBOX", "Sent"):
                box = mailbox.Maildir(cur.parent, create=False)
                message = mailbox.MaildirMessage(mail_client.message(f"written in {cur.parent.name}").replace("\r\n", "\n"))
                message.set_subdir("cur")
                message.set_flags("S")
                box.add(message)
                more += 1
        return more

    def test_mbsync(self):
        needs("mbsync")
        mails = self.account("mbsync", amount(10_000))
        near = self.folder / "near"
        near.mkdir()
        rc = settings_file(self.folder, "mbsyncrc", mbsync_settings(self.server, self.login, near))
        self.two_way(mails, lambda: run("mbsync", "-c", rc, "-a", timeout=LONG_SECONDS), near, real_mail.from_modified_utf7, (*SYSTEM, "$Forwarded"))

    def test_offlineimap(self):
        needs("offlineimap")
        mails = self.account("offlineimap", amount(600))
        near = self.folder / "near"
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
            localfolders = {near}
            sep = /
            [Repository far]
            type = IMAP
            remotehost = {self.server.address}
            remoteport = {self.server.port("imap")}
            remoteuser = {self.login}
            remotepass = {PASSWORD}
            ssl = no
            starttls = no
            auth_mechanisms = LOGIN
            maxconnections = 2
            """)
        self.two_way(mails, lambda: run("offlineimap", "-o", "-c", rc, timeout=LONG_SECONDS), near, real_mail.from_modified_utf7, SYSTEM)


class Readers(Synchronisation):
    """Programs that take everything; what they took is what is there, however often they come."""

    def unprivileged(self):
        """The words that run a program as nobody if this is root: getmail delivers nothing as root."""
        if os.geteuid():
            return []
        self.folder.chmod(0o755)
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def test_getmail_by_imap_and_pop3(self):
        needs("getmail")
        mails = self.account("getmail", amount(200))
        words = self.unprivileged()
        for kind, mailboxes in (("IMAP", '("ALL",)'), ("POP3", None)):
            home = self.folder / kind
            home.mkdir()
            box = mailbox.Maildir(home / "box")
            settings_file(home, "getmailrc", f"""\
                [retriever]
                type = Simple{kind}Retriever
                server = {self.server.address}
                port = {self.server.port(kind.lower())}
                username = {self.login}
                password = {PASSWORD}
                {f"mailboxes = {mailboxes}" if mailboxes else ""}
                [destination]
                type = Maildir
                path = {home}/box/
                [options]
                delete = false
                read_all = false
                received = false
                delivered_to = false
                """)
            if words:
                run("chown", "-R", "nobody", home)
            for _ in range(2):
                run(*words, shutil.which("getmail"), f"--getmaildir={home}", timeout=LONG_SECONDS, env={"HOME": str(home)})
            wanted = [mail.octets for mail in mails if kind == "IMAP" or mail.folder == "INBOX"]
            self.assert_agree(side((("", octets, ()) for octets in map(as_fetched, wanted)), ()),
                              side((("", as_fetched(octets), ()) for _, octets, _ in maildir_entries(home / "box", lambda _: "")), ()))

    def test_fetchmail_fetches_every_folder(self):
        needs("fetchmail")
        mails = self.account("fetchmail", amount(1_000))
        for folder in real_mail.FOLDERS:
            sink = self.folder / "batch"
            sink.write_bytes(b"")
            rc = settings_file(self.folder, "fetchmailrc", f"""\
                set invisible
                poll {self.server.address} port {self.server.port("imap")} protocol imap
                  username "{self.login}" password "{PASSWORD}" folder {real_mail.modified_utf7(folder)}
                  keep fetchall no rewrite sslproto "" bsmtp "{sink}"
                """)
            run("fetchmail", "--fetchmailrc", rc, "--nodetach", "--pidfile", self.folder / "pid", "--idfile", self.folder / "ids",
                env={"HOME": str(self.folder), "USER": "root", "LOGNAME": "root"}, timeout=LONG_SECONDS)
            wanted = [mail.octets for mail in mails if mail.folder == folder]
            self.assert_agree(side((("", as_fetched(octets), ()) for octets in wanted), ()),
                              side((("", as_fetched(octets), ()) for octets in batch_messages(sink.read_bytes())), ()))

    def test_neomutt_with_its_header_cache(self):
        needs("neomutt", "script")
        mails = self.account("neomutt", amount(500))
        (self.folder / "Mail").mkdir()
        rc = settings_file(self.folder, "neomuttrc", f"""\
            set folder = "{self.folder}/Mail"
            set imap_user = "{self.login}"
            set imap_pass = "{PASSWORD}"
            set ssl_starttls = no
            set ssl_force_tls = no
            set mbox_type = Maildir
            set confirmcreate = no
            set confirmappend = no
            set quit = yes
            set wait_key = no
            set sort = unsorted
            set header_cache = "{self.folder}/headers"
            set message_cachedir = "{self.folder}/bodies"
            """)
        for turn in ("first", "from the cache"):
            for number, folder in enumerate(real_mail.FOLDERS):
                at = f"imap://{self.server.address}:{self.server.port('imap')}/{urllib.parse.quote(folder)}"
                saved = self.folder / turn.split()[0] / str(number)
                saved.parent.mkdir(exist_ok=True)
                push = f"<tag-pattern>~A<enter><tag-prefix><copy-message>{saved}<enter><quit>"
                run("script", "-qec", f"neomutt -n -F {rc} -f '{at}' -e 'push {push}'".replace("a~b'c", "a~b%27c"), self.folder / "typescript",
                    env={"TERM": "xterm", "HOME": str(self.folder)}, timeout=LONG_SECONDS)
            names = list(real_mail.FOLDERS)
            taken = side(maildir_entries(self.folder / turn.split()[0], lambda number: names[int(number)]), CARRIED_BY_NEOMUTT)
            self.assert_agree(self.server_side(CARRIED_BY_NEOMUTT), taken)
            with mail_client.imap(self.server, self.login) as client:
                client.store("1:9", "+FLAGS", r"(\Flagged \Answered)")

    def test_aerc_exports_every_folder(self):
        needs("aerc")
        mails = self.account("aerc", amount(500))
        settings = self.folder / "aerc"
        settings.mkdir()
        log = self.folder / "log"
        settings_file(settings, "accounts.conf", f"""\
            [test]
            source = imap+insecure://{urllib.parse.quote(self.login)}:{urllib.parse.quote(PASSWORD)}@{self.server.address}:{self.server.port("imap")}
            default = INBOX
            from = {self.login}
            cache-headers = true
            """)
        settings_file(settings, "aerc.conf", f"[general]\nlog-file = {log}\nlog-level = debug\n")
        places = {name: str(self.folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")}
        with contextlib.closing(Terminal("aerc", env=places)) as terminal:
            terminal.wait_for("INBOX")
            for number, folder in enumerate(real_mail.FOLDERS):
                self.export_from_aerc(terminal, log, folder, self.folder / f"box{number}", sum(mail.folder == folder for mail in mails))
        exported = ((folder, as_exported(octets), ()) for number, folder in enumerate(real_mail.FOLDERS) for octets in mbox_messages(self.folder / f"box{number}"))
        self.assert_agree(side(((mail.folder, as_exported(mail.octets), ()) for mail in mails), ()), side(exported, ()))

    def export_from_aerc(self, terminal, log, folder, box, count):
        """Opens the folder and exports it; again while not all of it has been listed."""
        def logged(line, seconds):
            terminal.read(0.02)
            with contextlib.suppress(AssertionError):
                return wait_until(lambda: terminal.read(0.02) and line in log.read_text()[before:], line, seconds)

        def exported():
            nonlocal before
            before = len(log.read_text())
            terminal.type(f":export-mbox {box}\r")
            return logged("for export", 3) and logged(f"messages to {box}.", LONG_SECONDS) and f"Exported {count} of {count} " in log.read_text()[before:]

        before = 0
        terminal.type(f":cf {json.dumps(folder, ensure_ascii=False)}\r")
        wait_until(lambda: terminal.read(0.02) and f"Opening {folder}\n" in log.read_text(), f"aerc opens {folder}")
        wait_until(exported, f"aerc lists and exports {count} messages of {folder}", LONG_SECONDS)

    def test_imapflow_takes_all_and_then_only_what_changed(self):
        needs("node", "npm")
        npm = pathlib.Path(__file__).parent / "npm"
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=npm, check=True, capture_output=True)
        mails = self.account("imapflow", amount(3_000))
        at = {"host": self.server.address, "port": self.server.port("imap"), "user": self.login, "password": PASSWORD, "state": str(self.folder / "state.json")}
        self.assert_agree(side(mail_entries(mails), SYSTEM), self.imapflow(npm, at))
        with mail_client.imap(self.server, self.login) as client:
            client.store("2:20", "+FLAGS", r"(\Flagged)")
            client.store("5,9,21", "+FLAGS", r"(\Deleted)")
            client.expunge()
            client.append("INBOX", None, None, mail_client.message("new").encode())
        self.assert_agree(self.server_side(SYSTEM), self.imapflow(npm, at))

    def imapflow(self, npm, at):
        """Brings imapflow's copy up to date and returns it as a side."""
        run("node", npm / "mirror.mjs", json.dumps(at), timeout=LONG_SECONDS)
        copy = json.loads(pathlib.Path(at["state"]).read_text())
        found = collections.defaultdict(collections.Counter)
        for folder, state in copy.items():
            for message in state["messages"].values():
                found[folder][message["digest"], frozenset(message["flags"]) & frozenset(SYSTEM)] += 1
        return dict(found)


def mbsync_settings(server, login, near):
    """Settings that mirror everything this login sees, both ways."""
    return f"""\
        IMAPAccount postrider
        Host {server.address}
        Port {server.port("imap")}
        User {login}
        Pass "{PASSWORD}"
        SSLType None
        AuthMechs LOGIN

        IMAPStore far
        Account postrider

        MaildirStore near
        Path {near}/
        Inbox {near}/INBOX
        SubFolders Verbatim

        Channel all
        Far :far:
        Near :near:
        Patterns *
        Create Both
        Expunge Both
        Sync All
        CopyArrivalDate yes
        SyncState *
        """


def as_fetched(octets):
    """The message as fetchers leave it: no Return-Path (they take it for the envelope), other folds, one line end at the end.

    getmail also says which folder it was in.
    """
    head, end, body = octets.replace(b"\r\n", b"\n").partition(b"\n\n")
    unfolded = re.sub(rb"[ \t]*\n?[ \t]+", b" ", head)
    fields = [line for line in unfolded.split(b"\n") if not line.startswith((b"Return-Path:", b"X-getmail-"))]
    return b"\n".join(fields) + (end + body).rstrip(b"\n") + b"\n"


def batch_messages(octets):
    """The messages in fetchmail's batch SMTP file."""
    messages, lines = [], None
    for line in octets.replace(b"\r\n", b"\n").split(b"\n"):
        if lines is None:
            lines = [] if line == b"DATA" else None
        elif line == b".":
            messages.append(b"\n".join(lines) + b"\n")
            lines = None
        else:
            lines.append(line[1:] if line.startswith(b".") else line)
    return messages


def mbox_messages(path):
    """The messages in an mbox."""
    messages = (b"\n" + path.read_bytes().replace(b"\r\n", b"\n")).split(b"\nFrom ")[1:]
    return [message.partition(b"\n")[2] for message in messages]


def as_exported(octets):
    """The message as an mbox tells it: of a line with From at its start and one with >From only one is left."""
    return as_fetched(octets).replace(b"\n>From ", b"\nFrom ")


if __name__ == "__main__":
    unittest.main()
