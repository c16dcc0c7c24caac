"""What is on each side of a synchronisation, in one form, so that two sides are equal exactly if they agree.

A side is {folder name: Counter of (hash of the octets with LF line ends, flags)}. Only Python's own modules read here,
none of the clients under test.
"""
import collections
import hashlib
import imaplib
import os
import pathlib
import re

from harness import PASSWORD
from real_mail import from_modified_utf7, modified_utf7

MAILDIR_FLAGS = {"S": r"\Seen", "R": r"\Answered", "F": r"\Flagged", "D": r"\Draft", "T": r"\Deleted", "P": "$Forwarded"}


# Header fields that clients write into their copies for themselves: mbsync, neomutt.
MARKS = re.compile(rb"^(?:X-TUID|Content-Length|Lines|Tags): [^\n]*\n", re.MULTILINE)


def digest(octets):
    head, end, body = octets.replace(b"\r\n", b"\n").partition(b"\n\n")
    return hashlib.sha256(MARKS.sub(b"", head + b"\n")[:-1] + end + body).hexdigest()[:20]


def side(entries, carried):
    """Sorts (folder, octets, flags) into a side; of the flags, those the client carries."""
    folders = collections.defaultdict(collections.Counter)
    for folder, octets, flags in entries:
        folders[folder][digest(octets), frozenset(flags) & frozenset(carried)] += 1
    return dict(folders)


def server_entries(server, login, folders=None):
    """Every message of every folder (or of these), through imaplib, in runs of 200."""
    with imaplib.IMAP4(server.address, server.port("imap")) as client:
        client.login(login, PASSWORD)
        for folder in folders or folder_names(client):
            status, data = client.select(modified_utf7(folder), readonly=True)
            assert status == "OK", (folder, data)
            for start in range(1, int(data[0]) + 1, 200):
                _, answer = client.fetch(f"{start}:{min(start + 199, int(data[0]))}", "(FLAGS BODY.PEEK[])")
                for part in answer:
                    if isinstance(part, tuple):
                        flags = re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()
                        yield folder, part[1], [flag for flag in flags if flag != r"\Recent"]


def folder_names(client):
    """The names of all folders, decoded."""
    lines = (line.decode() for line in client.list()[1])
    return [from_modified_utf7(re.search(r'"/" "?(.*?)"?$', line).group(1)) for line in lines]


def maildir_entries(root, name=lambda relative: relative):
    """Every message of every maildir below `root`; `name` tells the folder of a path relative to it."""
    for cur in sorted(pathlib.Path(root).rglob("cur")):
        folder = name(str(cur.parent.relative_to(root)))
        for file in [*cur.iterdir(), *(cur.parent / "new").iterdir()]:
            letters = file.name.rpartition(":2,")[2] if ":2," in file.name else ""
            yield folder, file.read_bytes(), [MAILDIR_FLAGS[letter] for letter in letters if letter in MAILDIR_FLAGS]


def mail_entries(mails):
    return ((mail.folder, mail.octets, mail.flags) for mail in mails)


def differences(one, other, most=8):
    """The first few differences in words; empty if the sides agree."""
    found = []
    for folder in sorted(one.keys() | other.keys()):
        left, right = one.get(folder, collections.Counter()), other.get(folder, collections.Counter())
        if left != right:
            found.append(f"{folder!r}: {sum(left.values())} and {sum(right.values())} messages; "
                         f"only there {list((left - right).items())[:2]}, only here {list((right - left).items())[:2]}")
    return found[:most]
