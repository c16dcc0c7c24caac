"""A milter (pymilter, over the original libmilter) that does what the message asks for, and writes down what it hears.

    /usr/bin/python3 obedient_milter.py SOCKET LOG

`X-Do` fields of the message name what to do at its end, `X-Do: change-from new@example.test`. The senders and recipients that begin
with a word such as `reject-` are treated so at MAIL and RCPT. Every callback is a line of JSON in LOG.
"""
import itertools
import json
import os
import sys
import time

import Milter

SOCKET, LOG = sys.argv[1:3]
MACROS = ("j", "i", "{daemon_name}", "{client_addr}", "{auth_authen}", "{auth_type}", "{tls_version}", "{cipher}", "{mail_addr}", "{rcpt_addr}")


class Obedient(Milter.Base):
    links = itertools.count()

    def __init__(self):
        self.link = f"{os.getpid()} {next(self.links)}"

    def note(self, stage, **facts):
        macros = {name: self.getsymval(name) for name in MACROS}
        with open(LOG, "a") as log:
            log.write(json.dumps({"stage": stage, "link": self.link, **facts, "macros": {k: v for k, v in macros.items() if v}}) + "\n")

    def early(self, address):
        word = address.strip("<>").split("-")[0].split("@")[0]
        if word == "reject":
            self.setreply("550", "5.1.1", "not this one")
            return Milter.REJECT
        return {"defer": Milter.TEMPFAIL, "discard": Milter.DISCARD, "accept": Milter.ACCEPT}.get(word, Milter.CONTINUE)

    def connect(self, name, family, address):
        self.note("connect", name=name, address=address[0])
        return Milter.CONTINUE

    def hello(self, name):
        self.note("hello", name=name)
        return Milter.CONTINUE

    def envfrom(self, sender, *parameters):
        self.fields, self.octets = [], b""
        self.note("mail", address=sender, parameters=parameters)
        return self.early(sender)

    def envrcpt(self, recipient, *parameters):
        self.note("rcpt", address=recipient)
        return self.early(recipient)

    def data(self):
        self.note("data")
        return Milter.CONTINUE

    def header(self, name, value):
        self.fields.append((name, value))
        return Milter.CONTINUE

    def eoh(self):
        self.note("eoh", fields=self.fields)
        return Milter.CONTINUE

    def body(self, chunk):
        self.octets += chunk
        return Milter.CONTINUE

    def eom(self):
        self.note("eom", octets=len(self.octets))
        for name, value in self.fields:
            if name == "X-Do":
                verb, _, rest = value.partition(" ")
                answer = getattr(self, verb.replace("-", "_") + "_")(rest)
                if answer is not None:
                    return answer
        return Milter.ACCEPT

    def abort(self):
        self.note("abort")
        return Milter.CONTINUE

    def close(self):
        self.note("close")
        return Milter.CONTINUE

    def add_header_(self, rest):
        self.addheader("X-Added", rest)

    def mark_(self, rest):
        self.addheader("X-Spam", "Yes")

    def insert_header_(self, rest):
        self.addheader("X-Inserted", rest, 0)

    def insert_below_(self, rest):
        self.addheader("X-Below", rest, 1)

    def change_subject_(self, rest):
        self.chgheader("Subject", 1, rest)

    def delete_mailer_(self, rest):
        self.chgheader("X-Mailer", 1, "")

    def add_recipient_(self, rest):
        self.addrcpt(rest)

    def delete_recipient_(self, rest):
        self.delrcpt(rest)

    def change_from_(self, rest):
        self.chgfrom(rest)

    def replace_body_(self, rest):
        self.replacebody((rest + "\n").encode() * 9000)

    def quarantine_(self, rest):
        self.quarantine(rest)

    def progress_(self, rest):
        for _ in range(4):
            time.sleep(float(rest))
            self.progress()

    def sleep_(self, rest):
        time.sleep(float(rest))

    def reject_(self, rest):
        self.setreply("554", "5.7.1", rest)
        return Milter.REJECT

    def tempfail_(self, rest):
        return Milter.TEMPFAIL

    def discard_(self, rest):
        return Milter.DISCARD


Milter.factory = Obedient
Milter.set_flags(Milter.CHGBODY + Milter.CHGHDRS + Milter.ADDHDRS + Milter.ADDRCPT + Milter.DELRCPT + Milter.CHGFROM + Milter.QUARANTINE)
Milter.runmilter("obedient", SOCKET, 60)
