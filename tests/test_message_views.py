"""ENVELOPE and BODYSTRUCTURE over real IMAP against the view that Python's `email` has of the same octets.

The messages are not ours: `POSTRIDER_TESTDATA` names their folder (default `../shared/testdata` beside the
project). Where it is absent the test says so and passes, unless `CI=true`. Every difference is listed below with its
reason; some come and go with Python's versions, so that one that is no more is no failure.
"""
import email
import email.header
import email.policy
import email.utils
import os
import pathlib
import re
import unittest

import mail_client
from harness import ROOT, ServerCase

FOLDER = pathlib.Path(os.environ.get("POSTRIDER_TESTDATA", ROOT.parent / "shared" / "testdata")) / "mime"
SUFFIXES = (".eml", ".msg", ".txt", "")

# What we read otherwise: the messages and their fields, by reason.
KNOWN = {
    "A line that is no field ends the header for Python; we go on with the next field.": {
        "mime4j/obsolete.msg": "date subject",
        "ruby-mail/plain_emails/raw_email_incorrect_header.eml": "date subject from to message-id",
        "ruby-mail/rfc2822/example13.eml": "date subject from to message-id",
        "stalwart-mail-parser/eml/malformed/019.eml": "date subject to message-id parts",
    },
    "RFC 2046 §5.1.1 ends a boundary at 70 octets and with no space; Python takes longer and other ones.": {
        "mime4j/very-long-boundary.msg": "parts", "mime4j/very-very-long-boundary.msg": "parts", "mime4j/weird-boundary.msg": "parts",
    },
    "One boundary is used on two levels, or stands within a header: we nest as deep as the lines allow.": {
        "python-email/msg_15.txt": "parts text", "python-email/msg_39.txt": "parts text",
        "stalwart-mail-parser/eml/malformed/003.eml": "parts text", "stalwart-mail-parser/eml/malformed/005.eml": "text",
        "stalwart-mail-parser/eml/malformed/013.eml": "parts", "stalwart-mail-parser/eml/thirdparty/012.eml": "parts",
    },
    "A boundary behind a boundary: we have an empty part there, Python none.": {
        "python-email/msg_37.txt": "parts", "stalwart-mail-parser/eml/malformed/000.eml": "parts text",
        "stalwart-mail-parser/eml/malformed/007.eml": "text",
    },
    "Extended parameters stay as they are written (`charset*`), as other servers have it.": {
        "python-email/msg_32.txt": "text", "python-email/msg_33.txt": "text",
    },
    "Content-Transfer-Encoding is a token, and 7bit where it is empty.": {
        "ruby-mail/error_emails/content_transfer_encoding_empty.eml": "text",
        "ruby-mail/error_emails/content_transfer_encoding_qp_with_space.eml": "text",
    },
    "A Content-Type that Python does not unfold.": {"stalwart-mail-parser/eml/malformed/017.eml": "parts text"},
    "Addresses outside the grammar: we keep what can be kept.": {
        "python-email/msg_43.txt": "from", "ruby-mail/error_emails/missing_body.eml": "to",
        "ruby-mail/plain_emails/mix_caps_content_type.eml": "from", "ruby-mail/plain_emails/raw_email_multiple_from.eml": "from to",
        "ruby-mail/plain_emails/raw_email_with_at_display_name.eml": "to",
    },
    "A comment beside a name: Python shows it as part of the name.": {"ruby-mail/rfc2822/example10.eml": "from to"},
}


def corpus():
    """Every message, by its name; nothing where there is no corpus."""
    if not FOLDER.is_dir():
        if os.environ.get("CI") == "true":
            raise AssertionError(f"{FOLDER} is absent")
        raise unittest.SkipTest(f"{FOLDER} is absent")
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        octets = path.read_bytes() if path.is_file() and path.suffix in SUFFIXES else b""
        if octets and b":" in octets.split(b"\n")[0] and "_decoded" not in path.name and b"\0" not in octets:
            found[str(path.relative_to(FOLDER))] = re.sub(b"\r?\n", b"\r\n", octets)
    return found


class Reader:
    """Reads the parenthesised lists of a FETCH answer: strings, numbers, NIL, lists."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def value(self):
        octets = self.octets
        while octets[self.at] in b" ":
            self.at += 1
        if octets[self.at] in b"(":
            return self.list()
        if octets[self.at] in b'"':
            return self.quoted()
        literal = re.compile(rb"\{(\d+)\}\r\n").match(octets, self.at)
        if literal:
            self.at = literal.end() + int(literal[1])
            return octets[literal.end():self.at]
        atom = re.compile(rb"[^ ()]+").match(octets, self.at)
        self.at = atom.end()
        return None if atom[0] == b"NIL" else int(atom[0]) if atom[0].isdigit() else atom[0]

    def list(self):
        self.at += 1
        values = []
        while self.octets[self.at] not in b")":
            values.append(self.value())
            while self.octets[self.at] in b" ":
                self.at += 1
        self.at += 1
        return values

    def quoted(self):
        found = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(self.octets, self.at)
        self.at = found.end()
        return re.sub(rb"\\(.)", rb"\1", found[1])


def decoded(value):
    """A text without its encoded words, spaces counted once; None is the empty text."""
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    try:
        text = str(email.header.make_header(email.header.decode_header(text)))
    except (LookupError, ValueError, UnicodeError):
        pass
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return re.sub(r"[\s\ufffd]+", " ", text).strip()


def our_addresses(items):
    return [(decoded(name), f"{decoded(mailbox)}@{decoded(host)}".strip("@")) for name, _, mailbox, host in items or () if host is not None]


def their_addresses(message, name):
    values = [decoded_raw(value) for value in message.get_all(name, ())][:1]
    return [(decoded(name), address) for name, address in email.utils.getaddresses(values) if address]


def decoded_raw(value):
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def our_outline(part):
    """`mixed(text/plain image/png)` of a BODYSTRUCTURE."""
    if isinstance(part[0], list):
        parts = [each for each in part if isinstance(each, list)]
        children = parts[:next(at for at, each in enumerate(part) if not isinstance(each, list))]
        return f"multipart/{part[len(children)].decode().lower()}({' '.join(map(our_outline, children))})"
    kind = f"{part[0].decode()}/{part[1].decode()}".lower()
    return f"{kind}({our_outline(part[8])})" if kind == "message/rfc822" and isinstance(part[8], list) else kind


def their_outline(message):
    """The same of Python's tree. Other messages than message/rfc822 have no structure in IMAP, and a multipart has a part."""
    kind, payload = message.get_content_type(), message.get_payload()
    if isinstance(payload, list) and (message.is_multipart() and message.get_content_maintype() == "multipart" or kind == "message/rfc822"):
        return f"{kind}({' '.join(map(their_outline, payload))})"
    return f"{kind}(text/plain)" if message.get_content_maintype() == "multipart" else kind


def charset_and_encoding(part):
    """Of the first leaf of a BODYSTRUCTURE."""
    while isinstance(part[0], list):
        part = part[0]
    parameters = part[2] or []
    named = {parameters[at].decode().lower().rstrip("*"): parameters[at + 1].decode("utf-8", "replace") for at in range(0, len(parameters), 2)}
    return named.get("charset", "").lower(), part[5].decode().lower()


def their_charset_and_encoding(message):
    while isinstance(message.get_payload(), list) and message.get_content_maintype() == "multipart" and message.get_payload():
        message = message.get_payload()[0]
    if message.get_content_maintype() == "multipart":
        return "us-ascii", "7bit"
    # RFC 2045 §5.2: a part that says nothing of itself is text in US-ASCII.
    is_text = message.get_content_type() == "text/plain"
    charset = message.get_param("charset", "") if message.get("content-type") else "us-ascii" * is_text
    charset = email.utils.collapse_rfc2231_value(charset) if charset else ""
    return charset.lower(), str(message.get("content-transfer-encoding", "7bit")).strip().lower()


def differences(octets, envelope, structure):
    """The fields in which both views differ."""
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    ours = {
        "date": decoded(envelope[0]), "subject": decoded(envelope[1]),
        "from": our_addresses(envelope[2]), "to": our_addresses(envelope[5]), "cc": our_addresses(envelope[6]), "bcc": our_addresses(envelope[7]),
        "in-reply-to": decoded(envelope[8]), "message-id": decoded(envelope[9]),
        "parts": our_outline(structure), "text": charset_and_encoding(structure),
    }
    theirs = {name: decoded(decoded_raw(message.get(name, ""))) for name in ("date", "subject", "in-reply-to", "message-id")}
    theirs |= {name: their_addresses(message, name) for name in ("from", "to", "cc", "bcc")}
    theirs |= {"parts": their_outline(message), "text": their_charset_and_encoding(message)}
    # Python does not guess what 8-bit octets in a header mean; we do.
    same = ascii_of if not message_header(octets).isascii() else lambda view: view
    return {name: (ours[name], theirs[name]) for name in ours if same(ours[name]) != same(theirs[name])}


def message_header(octets):
    return octets.split(b"\r\n\r\n")[0]


def ascii_of(view):
    """What is ASCII of a view, or of the views in it."""
    if isinstance(view, (list, tuple)):
        return [ascii_of(each) for each in view]
    return re.sub(r"\\+ufffd|[^!-~]", "", view)


class Views(ServerCase):
    def test_envelope_and_structure_are_as_python_reads_them(self):
        messages = corpus()
        found = {}
        with mail_client.imap(self.server, "ann@example.test") as client:
            for number, (name, octets) in enumerate(messages.items(), 1):
                status, answer = client.append("INBOX", None, None, octets)
                self.assertEqual(status, "OK", (name, answer))
                status, answer = client.fetch(str(number), "(ENVELOPE BODYSTRUCTURE)")
                self.assertEqual(status, "OK", name)
                whole = b"".join(b"\r\n".join(piece) if isinstance(piece, tuple) else piece for piece in answer)
                _, envelope, _, structure = Reader(whole[whole.index(b"("):]).list()
                for field, views in differences(octets, envelope, structure).items():
                    found[f"{name}: {field}"] = views
        self.assertGreater(len(messages), 250)
        known = {f"{name}: {field}" for listed in KNOWN.values() for name, fields in listed.items() for field in fields.split()}
        new = "\n".join(f"{key}\n  ours   {found[key][0]}\n  python {found[key][1]}" for key in sorted(found.keys() - known))
        self.assertFalse(new, f"{len(messages)} messages\n{new}")


if __name__ == "__main__":
    unittest.main()
