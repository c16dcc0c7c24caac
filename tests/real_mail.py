"""Mail as it is found in mailboxes: written by many programs, in many charsets, of all sizes. The same seed, the same mail.

`mailboxes` makes the truth that a test compares all sides with; `fill` puts it on a server. Nothing here reads mail.
"""
import base64
import collections
import contextlib
import datetime
import imaplib
import quopri
import random
import socket

from harness import PASSWORD

FOLDERS = {"INBOX": 40, "Sent": 12, "Archive": 6, "Archive/2025": 14, "Archive/2025/Q1 & Q2": 4, "Lists/rust users": 12,
           "Entwürfe (alt)": 3, "日本語/受信箱": 5, "a~b'c": 2, "v1.2": 2}
FLAGS = (r"\Seen", r"\Answered", r"\Flagged", r"\Draft", "$Forwarded", "work")
CHARSETS = {
    "utf-8": "Grüße, привет, 日本語, עברית 🙂", "iso-8859-1": "Größe, façade, señor", "iso-8859-15": "20 € für Überraschung",
    "windows-1251": "Добрый день, отчёт", "koi8-r": "Привет из Москвы", "iso-2022-jp": "こんにちは会議の件", "gb18030": "你好，会议记录",
    "euc-kr": "안녕하세요 회의", "windows-1252": "“Quoted” — naïve", "us-ascii": "Plain words",
}
WORDS = ("meeting invoice report draft project question answer release server backup holiday contract offer travel budget review "
         "minutes schedule ticket update reminder newsletter order shipping payment password photo family weekend").split()

Mail = collections.namedtuple("Mail", "folder flags date octets")


class Writer:
    """Writes one message after another from one source of chance."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.ids = []

    def words(self, least, most):
        return " ".join(self.chance.choice(WORDS) for _ in range(self.chance.randint(least, most)))

    def message(self, number, date):
        """A whole message with CRLF line ends, some of whose lines are longer or emptier than RFC 5322 likes."""
        charset = self.chance.choice(list(CHARSETS))
        sample = CHARSETS[charset]
        message_id = f"<{number}.{self.chance.getrandbits(48):x}@{self.chance.choice(('mail', 'lists', 'app'))}.example>"
        fields = [f"Return-Path: <bounce-{number}@lists.example>"] if self.chance.random() < 0.7 else []
        fields += [f"Received: from relay{hop}.example ([192.0.2.{hop + 1}])\r\n\tby mx.example with ESMTPS id {number:x}{hop}\r\n\t"
                   f"for <ann@example.test>; {date:%a, %d %b %Y %H:%M:%S} +0000" for hop in range(self.chance.randint(0, 4))]
        fields += [f"Date: {date:%a, %d %b %Y %H:%M:%S} {self.chance.choice(('+0000', '+0200', '-0800', 'GMT', '+0530'))}",
                   f"From: {self.encoded(sample, charset)} <{self.chance.choice(WORDS)}@{self.chance.choice(WORDS)}.example>",
                   "To: " + ",\r\n ".join(f"\"{self.words(1, 2)}\" <r{n}@example.test>" for n in range(self.chance.choice((1, 1, 1, 2, 5, 40)))),
                   f"Subject: {self.chance.choice(('', 'Re: ', 'Fwd: ', 'AW: ', '[list] '))}{self.encoded(f'{sample} {number}', charset)}",
                   f"Message-ID: {message_id}"]
        if self.ids and self.chance.random() < 0.4:
            parents = self.chance.sample(self.ids, min(len(self.ids), self.chance.randint(1, 6)))
            fields += [f"In-Reply-To: {parents[-1]}", "References: " + "\r\n ".join(parents)]
        self.ids = [*self.ids[-200:], message_id]
        if self.chance.random() < 0.15:
            fields += ["List-Id: <users.lists.example>", "List-Unsubscribe: <https://lists.example/u/1>", "Precedence: list"]
        head, body = self.body(sample, charset)
        return "\r\n".join([*fields, "MIME-Version: 1.0", *head, "", ""]).encode() + body

    def encoded(self, text, charset):
        """An encoded-word, or the bare text where it is ASCII."""
        if text.isascii():
            return text
        return f"=?{charset}?B?{base64.b64encode(text.encode(charset, 'replace')).decode()}?="

    def text(self, sample, charset, subtype="plain"):
        """A text part: its header fields and its octets, in one of the transfer encodings."""
        lines = [f"{sample} {self.words(3, 14)}" for _ in range(self.chance.choice((1, 5, 20, 60, 200)))]
        if self.chance.random() < 0.1:
            lines += ["x" * 990, ".", "..", "From here on", ">From there", ""]
        octets = "\r\n".join(lines).encode(charset, "replace") + b"\r\n"
        field = f"Content-Type: text/{subtype}; charset={charset}"
        encoding = self.chance.choice(("8bit", "quoted-printable", "base64"))
        if encoding == "base64":
            octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
        if encoding == "quoted-printable":
            octets = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        return [field, f"Content-Transfer-Encoding: {encoding}"], octets

    def body(self, sample, charset):
        shape = self.chance.choices(("text", "alternative", "mixed", "report", "empty", "forwarded"), (40, 30, 18, 3, 2, 7))[0]
        text = self.text(sample, charset)
        if shape == "text":
            return text
        if shape == "empty":
            return ["Content-Type: text/plain"], b""
        if shape == "alternative":
            return self.multipart("alternative", text, self.text(f"<p>{sample}</p>", charset, "html"))
        if shape == "report":
            status = ["Content-Type: message/delivery-status"], b"Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; x@y.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
            return self.multipart('report; report-type="delivery-status"', text, status)
        if shape == "forwarded":
            inner_head, inner = text
            octets = "\r\n".join(["From: x@y.example", "Subject: inner", *inner_head, "", ""]).encode() + inner
            return self.multipart("mixed", self.text(sample, charset), (["Content-Type: message/rfc822"], octets))
        return self.multipart("mixed", self.multipart("alternative", text, self.text(sample, charset, "html")), self.attachment())

    def attachment(self):
        size = self.chance.choices((30, 1_000, 8_000, 30_000, 120_000), (10, 10, 10, 4, 1))[0]
        octets = base64.encodebytes(self.chance.randbytes(size)).replace(b"\n", b"\r\n")
        return ["Content-Type: application/pdf; name*0*=utf-8''Rechnung%20f%C3%BC; name*1=r.pdf",
                "Content-Disposition: attachment; filename=\"=?utf-8?q?Rechnung_f=C3=BCr.pdf?=\"", "Content-Transfer-Encoding: base64"], octets

    def multipart(self, subtype, *parts):
        boundary = f"=_{self.chance.getrandbits(64):x}"
        octets = b"This is a multipart message.\r\n" + b"".join(
            f"--{boundary}\r\n".encode() + "\r\n".join([*head, "", ""]).encode() + body + b"\r\n" for head, body in parts)
        return [f"Content-Type: multipart/{subtype}; boundary=\"{boundary}\""], octets + f"--{boundary}--\r\n".encode()


def mailboxes(count, seed=1):
    """`count` messages spread over FOLDERS, oldest first."""
    writer = Writer(seed)
    date = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    for number in range(count):
        date += datetime.timedelta(minutes=writer.chance.randint(1, 90))
        folder = writer.chance.choices(list(FOLDERS), list(FOLDERS.values()))[0]
        flags = frozenset(flag for flag in FLAGS if writer.chance.random() < (0.7 if flag == r"\Seen" else 0.08))
        yield Mail(folder, flags, date, writer.message(number, date))


def modified_utf7(name):
    """A mailbox name as IMAP4rev1 sends it (RFC 3501 §5.1.3), quoted."""
    out, pending = "", ""
    for letter in name + "\0":
        if " " <= letter <= "~" or letter == "\0":
            if pending:
                out += "&" + base64.b64encode(pending.encode("utf-16-be")).decode().rstrip("=").replace("/", ",") + "-"
            out, pending = out + (letter if letter != "&" else "&-"), ""
        else:
            pending += letter
    return '"' + out[:-1].replace("\\", "\\\\").replace('"', '\\"') + '"'


def from_modified_utf7(name):
    """The other way, for one name without its quotes."""
    out, rest = "", name
    while "&" in rest:
        plain, _, rest = rest.partition("&")
        shifted, _, rest = rest.partition("-")
        padded = shifted.replace(",", "/") + "=" * (-len(shifted) % 4)
        out += plain + (base64.b64decode(padded).decode("utf-16-be") if shifted else "&")
    return out + rest


def fill(server, login, mails, batch=40):
    """Appends the mails with MULTIAPPEND and LITERAL+, a batch a command, each answer read before the next."""
    folders = collections.defaultdict(list)
    for mail in mails:
        folders[mail.folder].append(mail)
    with contextlib.closing(socket.create_connection((server.address, server.port("imap")))) as connection, connection.makefile("rb") as answers:
        def command(octets):
            connection.sendall(b"a " + octets + b"\r\n")
            while not (line := answers.readline()).startswith(b"a "):
                assert line, "the server closed the connection"
            return line

        answers.readline()
        assert command(f'LOGIN "{login}" "{PASSWORD}"'.encode()).startswith(b"a OK")
        for folder, content in folders.items():
            name = modified_utf7(folder).encode()
            command(b"CREATE " + name)
            command(b"SUBSCRIBE " + name)
            for start in range(0, len(content), batch):
                line = command(b"APPEND " + name + b"".join(append_part(mail) for mail in content[start:start + batch]))
                assert line.startswith(b"a OK"), line


def append_part(mail):
    date = imaplib.Time2Internaldate(mail.date)
    return f" ({' '.join(sorted(mail.flags))}) {date} {{{len(mail.octets)}+}}\r\n".encode() + mail.octets
