"""The same mail judged by us, by OpenDKIM and OpenDMARC, and by rspamd, each of them asking the same DNS server by itself.

Every case says what we find. Where another program finds something else, the case says what and why; where it says nothing, the verdicts
are the same.
"""
import dataclasses
import pathlib
import re
import shutil
import smtplib
import sys
import tempfile
import unittest

import mail_client
from dns_server import Dns
from harness import Server, free_port, run, wait_until
from jail import needs_package
from verifiers import OpenDkim, OpenDmarc, Rspamd, dns_address

GOOD, BAD = "192.0.2.1", "192.0.2.9"
SPF = f'@ TXT "v=spf1 ip4:{GOOD} -all"'
BOUNCE = f'bounce TXT "v=spf1 ip4:{GOOD} -all"'
KEY, NEWS_KEY = "key at @", "key at news"
# Why others find something else.
STRICT = "OpenDMARC 1.4.2 takes relaxed for strict alignment where it has a list of public suffixes (its pull request 354)"
OLDER = "it finds organizations by the list of public suffixes (RFC 7489)"
NO_NP = "it does not know np= (RFC 9989 §4.7)"
FIRST = "it takes the first of several policies; RFC 9989 §4.10 wants none of them"
TO_THE_LETTER = "it reads no policy without p=, and none with one that is misspelt; RFC 9989 §4.10.1 makes it p=none where reports are wanted"
BAD_VERSION = "it takes any version that starts so for a broken policy; RFC 9989 §4.7 ignores such a record"
NO_SPACES = "it wants v=DMARC1 without spaces; RFC 9989 §4.8 allows them"
NO_SPACES_IN_P = "it takes a policy with spaces around the = for one without p="
NO_ANSWER = "it takes a failure of DNS for a name that has no policy; RFC 9989 §5.3.6 wants nothing concluded from it"
FAILED = "it takes a failure of DNS in SPF or DKIM for a failure of the message; RFC 9989 §5.3.6 wants nothing concluded from it"


NOT_OURS = "it passes a body of which only the first part is signed; we say so (RFC 6376 §8.2)"
KEYS_FAIL = "it says fail where a key cannot be used, not permerror (RFC 8601 §2.7.1)"
UNTIMELY = "what an untimely signature is called is open: RFC 8601 §2.7.1 has policy for what receivers do not accept"
PASSED_OVER = "it says nothing of signatures that it cannot use"
NO_SERVICE = "it does not read s= of key records (RFC 6376 §3.6.1)"
NO_HASH = "it does not read h= of key records (RFC 6376 §3.6.1)"
NO_STRICT = "it does not read t=s of key records (RFC 6376 §3.6.1)"
WEAK = "it takes RSA keys of 512 bits, which RFC 8301 §3.2 forbids"


def policy(text, at=""):
    return f'_dmarc{at} TXT "v=DMARC1; {text}"'


@dataclasses.dataclass
class Case:
    """One message in the name of `NAME.test`, whose zone has `zone`; the verdict is result and policy."""
    name: str
    zone: list
    ours: str
    author: str = "joe@{}"
    sender: str = "joe@{}"
    ip: str = BAD
    signed: str = ""
    changed: bool = False
    # Program to verdict and reason.
    otherwise: dict = dataclasses.field(default_factory=dict)

    @property
    def domain(self):
        return f"{self.name}.test"

    def wanted(self, program):
        verdict, _why = self.otherwise.get(program, (self.ours, ""))
        return verdict


DMARC = [
    Case("spf", [SPF, policy("p=reject")], "pass reject", ip=GOOD),
    Case("spf-fails", [SPF, policy("p=reject")], "fail reject"),
    Case("spf-soft", ['@ TXT "v=spf1 ~all"', policy("p=quarantine")], "fail quarantine"),
    Case("spf-neutral", ['@ TXT "v=spf1 ?all"', policy("p=quarantine")], "fail quarantine"),
    Case("spf-twice", [SPF, '@ TXT "v=spf1 +all"', policy("p=reject")], "fail reject", ip=GOOD),
    Case("monitored", [SPF, policy("p=none")], "fail none"),
    Case("nothing", [SPF], "none"),
    Case("dkim", [SPF, KEY, policy("p=reject")], "pass reject", signed="{}"),
    Case("dkim-changed", [SPF, KEY, policy("p=reject")], "fail reject", signed="{}", changed=True),
    Case("dkim-no-key", [SPF, policy("p=reject")], "fail reject", signed="{}"),
    # Alignment.
    Case("relaxed", [BOUNCE, policy("p=reject")], "pass reject", sender="b@bounce.{}", ip=GOOD),
    Case("strict", [BOUNCE, policy("p=reject; aspf=s")], "fail reject", sender="b@bounce.{}", ip=GOOD,
         otherwise={"opendmarc": ("pass reject", STRICT)}),
    Case("dkim-relaxed", [NEWS_KEY, policy("p=reject")], "pass reject", signed="news.{}"),
    Case("dkim-strict", [NEWS_KEY, policy("p=reject; adkim=s")], "fail reject", signed="news.{}",
         otherwise={"opendmarc": ("pass reject", STRICT)}),
    Case("dkim-exact", [KEY, policy("p=reject; adkim=s")], "pass reject", signed="{}"),
    Case("of-others", [policy("p=reject")], "fail reject", sender="joe@spf.test", ip=GOOD),
    Case("signed-by-others", [policy("p=reject")], "fail reject", signed="dkim.test"),
    Case("no-sender", [f'mx TXT "v=spf1 ip4:{GOOD} -all"', policy("p=reject")], "pass reject", sender="", ip=GOOD),
    # Sub-domains.
    Case("sub", [policy("p=reject; sp=quarantine")], "fail quarantine", author="joe@mail.{}"),
    Case("sub-inherits", [policy("p=quarantine")], "fail quarantine", author="joe@mail.{}"),
    Case("sub-own", [policy("p=reject"), policy("p=none", ".mail")], "fail none", author="joe@mail.{}"),
    Case("sub-aligned", [BOUNCE, policy("p=reject")], "pass reject", author="joe@mail.{}", sender="b@bounce.{}", ip=GOOD),
    # Records that are odd.
    Case("pct", [policy("p=reject; pct=0")], "fail reject"),
    Case("two-policies", [policy("p=reject"), policy("p=none")], "none",
         otherwise={"opendmarc": ("fail none", FIRST), "rspamd": ("permerror", "it calls several policies a broken one")}),
    Case("odd-version", ['_dmarc TXT "v=DMARC10; p=reject"'], "none",
         otherwise={"opendmarc": ("permerror", BAD_VERSION)}),
    Case("odd-policy", [policy("p=odd")], "permerror"),
    Case("odd-policy-reports", [policy("p=odd; rua=mailto:d@odd-policy-reports.test")], "fail none",
         otherwise={"opendmarc": ("permerror", TO_THE_LETTER), "rspamd": ("permerror", TO_THE_LETTER)}),
    Case("no-policy-reports", [policy("rua=mailto:d@no-policy-reports.test")], "fail none",
         otherwise={"opendmarc": ("permerror", TO_THE_LETTER)}),
    Case("odd-sub", [policy("p=reject; sp=odd")], "permerror", author="joe@mail.{}"),
    Case("spaces", ['_dmarc TXT "v = DMARC1 ; p = reject ;"'], "fail reject",
         otherwise={"opendmarc": ("none", NO_SPACES), "rspamd": ("fail none", NO_SPACES_IN_P)}),
    Case("in-parts", ['_dmarc TXT "v=DMARC1; p=rej" "ect"'], "fail reject"),
    # What RFC 9989 added.
    Case("testing", [policy("p=reject; t=y")], "fail reject"),
    Case("not-there", [policy("p=none; np=reject")], "fail reject", author="joe@missing.{}",
         otherwise={"opendmarc": ("fail none", NO_NP), "rspamd": ("fail none", NO_NP)}),
    Case("silent-parent", [SPF, policy("p=reject", ".mail")], "fail reject", author="joe@mail.{}", ip=GOOD,
         otherwise={"opendmarc": ("pass reject", OLDER), "rspamd": ("pass reject", OLDER)}),
    # DNS does not answer.
    Case("broken", None, "temperror",
         otherwise={"opendmarc": ("none", NO_ANSWER)}),
    Case("broken-key", [SPF, policy("p=reject")], "temperror reject", signed="{}",
         otherwise={"opendmarc": ("fail reject", FAILED)}),
    Case("broken-spf", ['@ TXT "v=spf1 include:broken.test -all"', policy("p=reject")], "temperror reject",
         otherwise={"opendmarc": ("fail reject", FAILED)}),
    Case("broken-spf-signed", ['@ TXT "v=spf1 include:broken.test -all"', KEY, policy("p=reject")], "pass reject", signed="{}"),
]


SPF_SYMBOLS = {"R_SPF_ALLOW": "pass", "R_SPF_FAIL": "fail", "R_SPF_SOFTFAIL": "softfail", "R_SPF_NEUTRAL": "neutral", "R_SPF_NA": "none",
               "R_SPF_PERMFAIL": "permerror", "R_SPF_DNSFAIL": "temperror"}
PASS_OR_NOT = "its library says pass or fail, and nothing between"
SPF_OTHERWISE = {
    **{(name, "opendmarc"): ("fail", PASS_OR_NOT) for name in ("spf-soft", "spf-neutral", "spf-twice", "broken")},
    **{(name, "opendmarc"): ("tempfail", "its word for temperror") for name in ("broken-spf", "broken-spf-signed")},
}


@dataclasses.dataclass
class Signed:
    """One message with signatures of `signer.test`: how it is signed, what becomes of it on its way, and the results we find."""
    name: str
    ours: str
    # Of each signature: selector, and what is special about it.
    signatures: list = dataclasses.field(default_factory=lambda: [{}])
    on_the_way: tuple = ()
    otherwise: dict = dataclasses.field(default_factory=dict)

    def wanted(self, program):
        verdict, _why = self.otherwise.get(program, (self.ours, ""))
        return verdict


SIMPLE, RELAXED = b"simple", b"relaxed"
REFOLDED = (b"Subject: a  long", b"Subject:  a\r\n long")
SPACED = (b"Hello  from", b"Hello from")
LATER, PAST = b"4000000000", b"1000000000"
DKIM = [
    Signed("relaxed-relaxed", "pass", [{"canonicalize": (RELAXED, RELAXED)}]),
    Signed("simple-simple", "pass", [{"canonicalize": (SIMPLE, SIMPLE)}]),
    Signed("relaxed-simple", "pass", [{"canonicalize": (RELAXED, SIMPLE)}]),
    Signed("simple-relaxed", "pass", [{"canonicalize": (SIMPLE, RELAXED)}]),
    Signed("ed25519", "pass", [{"selector": b"e"}]),
    Signed("both", "pass pass", [{}, {"selector": b"e"}]),
    Signed("refolded", "pass", on_the_way=REFOLDED),
    Signed("refolded-simple", "fail", [{"canonicalize": (SIMPLE, RELAXED)}], REFOLDED),
    Signed("spaced", "pass", on_the_way=SPACED),
    Signed("spaced-simple", "fail", [{"canonicalize": (RELAXED, SIMPLE)}], SPACED),
    Signed("body-changed", "fail", on_the_way=(b"afar", b"nearby")),
    Signed("body-changed-ed25519", "fail", [{"selector": b"e"}], (b"afar", b"nearby")),
    Signed("header-changed", "fail", on_the_way=(b"a  long", b"a short")),
    Signed("header-changed-ed25519", "fail", [{"selector": b"e"}], (b"a  long", b"a short")),
    Signed("author-added", "fail", on_the_way=(b"From: ", b"From: ceo@signer.test\r\nFrom: ")),
    Signed("unsigned-field-added", "pass", on_the_way=(b"From: ", b"X-List: x\r\nFrom: ")),
    Signed("text-added", "fail", on_the_way=(b"afar.", b"afar.\r\n-- \r\nA footer")),
    Signed("length", "pass", [{"length": True}]),
    Signed("length-and-text-added", "policy", [{"length": True}], (b"afar.\r\n", b"afar.\r\n-- \r\nA footer\r\n"),
           otherwise={"opendkim": ("pass", NOT_OURS), "rspamd": ("pass", NOT_OURS)}),
    Signed("one-of-two", "fail pass", [{"canonicalize": (RELAXED, SIMPLE)}, {}], SPACED,
           otherwise={"rspamd": ("pass fail", "it tells them by result, not in their order")}),
    Signed("expires-later", "pass", [{"tags": {b"x": LATER}}]),
    Signed("expired", "policy", [{"tags": {b"t": PAST, b"x": b"1000000001"}}],
           otherwise={"opendkim": ("permerror", UNTIMELY), "rspamd": ("", PASSED_OVER)}),
    Signed("from-the-future", "policy", [{"tags": {b"t": LATER}}],
           otherwise={"opendkim": ("permerror", UNTIMELY), "rspamd": ("", PASSED_OVER)}),
    Signed("expires-before-it-was-made", "permerror", [{"tags": {b"t": b"1000000001", b"x": PAST}}],
           otherwise={"rspamd": ("", PASSED_OVER)}),
    Signed("no-key", "permerror", [{"selector": b"none", "key": b"s"}],
           otherwise={"opendkim": ("fail", KEYS_FAIL)}),
    Signed("revoked", "permerror", [{"selector": b"revoked", "key": b"s"}],
           otherwise={"opendkim": ("fail", KEYS_FAIL)}),
    Signed("other-key", "fail", [{"selector": b"s", "key": b"other"}]),
    Signed("other-service", "permerror", [{"selector": b"service", "key": b"s"}],
           otherwise={"opendkim": ("fail", KEYS_FAIL), "rspamd": ("pass", NO_SERVICE)}),
    Signed("other-hash", "permerror", [{"selector": b"hash", "key": b"s"}],
           otherwise={"opendkim": ("fail", KEYS_FAIL), "rspamd": ("pass", NO_HASH)}),
    Signed("weak-key", "policy", [{"selector": b"weak"}],
           otherwise={"rspamd": ("pass", WEAK)}),
    Signed("identity", "pass", [{"identity": b"joe@signer.test"}]),
    Signed("identity-below", "pass", [{"identity": b"joe@sub.signer.test"}]),
    Signed("identity-below-strict", "permerror", [{"selector": b"strict", "key": b"s", "identity": b"joe@sub.signer.test"}],
           otherwise={"opendkim": ("fail", KEYS_FAIL), "rspamd": ("pass", NO_STRICT)}),
    Signed("author-not-signed", "permerror", [{"tags": {b"h": b"subject : date"}}],
           otherwise={"rspamd": ("", PASSED_OVER)}),
]


class Client(smtplib.SMTP):
    """Speaks for a client at another address (PROXY protocol)."""

    def __init__(self, ip, *arguments, **options):
        self.ip = ip
        super().__init__(*arguments, **options)

    def _get_socket(self, host, port, timeout):
        sock = super()._get_socket(host, port, timeout)
        sock.sendall(f"PROXY TCP4 {self.ip} 127.0.0.1 4000 25\r\n".encode())
        return sock


class SecondOpinions(unittest.TestCase):
    """One server that asks OpenDKIM and OpenDMARC as milters, and refuses nothing; rspamd gets what came out of it."""

    @classmethod
    def setUpClass(cls):
        needs_package(None)
        sys.path.append("/usr/lib/python3/dist-packages")
        cls.addClassCleanup(sys.path.remove, "/usr/lib/python3/dist-packages")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-opinions-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.make_keys()
        cls.dns = Dns(cls.zones(), dns_address())
        cls.addClassCleanup(cls.dns.remove)
        milters = [("opendkim", OpenDkim(cls.dns.address)), ("opendmarc", OpenDmarc(cls.dns.address, ["test"]))]
        cls.rspamd = Rspamd(cls.dns.address)
        for verifier in (cls.rspamd, *(milter for _, milter in milters)):
            cls.addClassCleanup(verifier.remove)
        cls.port = free_port()
        cls.server = Server(settings=(
            f'dns = ["{cls.dns.address}"]\n\n[authentication]\ndmarc = "ignore"\n\n[filter]\ncheck = false\n'
            + "".join(f'\n[[milter]]\nname = "{name}"\naddress = "{milter.address}"\n' for name, milter in milters)
            + f'\n[[listener]]\nprotocol = "smtp"\naddress = "127.0.0.1:{cls.port}"\nproxy_protocol_from = ["127.0.0.0/8"]\n'))
        cls.addClassCleanup(cls.server.remove)
        cls.dns.write("example.test", [SPF, policy("p=reject"), *(key["dns"] for key in cls.server.json("dkim", "list", "example.test"))])
        cls.server.start()

    @classmethod
    def make_keys(cls):
        """RSA keys of OpenSSL's, and one for Ed25519."""
        import nacl.encoding
        import nacl.signing
        cls.keys, cls.public = {}, {}
        for name, bits in (("s", 2048), ("other", 2048), ("weak", 512)):
            path = cls.folder / name
            run("openssl", "genrsa", "-traditional", "-out", path, str(bits))
            public = run("openssl", "rsa", "-in", path, "-pubout").stdout
            cls.keys[name] = path.read_bytes()
            cls.public[name] = "k=rsa; p=" + "".join(line for line in public.splitlines() if "-----" not in line)
        key = nacl.signing.SigningKey.generate()
        cls.keys["e"] = key.encode(nacl.encoding.Base64Encoder)
        cls.public["e"] = "k=ed25519; p=" + key.verify_key.encode(nacl.encoding.Base64Encoder).decode()

    @classmethod
    def key_record(cls, name, key="s", extra=""):
        text = f"v=DKIM1; {extra}{cls.public.get(key, key)}"
        return f"{name} TXT " + " ".join(f'"{text[at:at + 200]}"' for at in range(0, len(text), 200))

    @classmethod
    def zones(cls):
        made = {KEY: cls.key_record("s._domainkey"), NEWS_KEY: cls.key_record("s._domainkey.news")}
        zones = {"test": []}
        for case in DMARC:
            zones[case.domain] = case.zone and ["mail A 192.0.2.7", *(made.get(line, line) for line in case.zone)]
        # A zone of its own that cannot be read.
        zones["broken-key.test"] += ["_domainkey NS ns"]
        zones["signer.test"] = [cls.key_record(f"{name}._domainkey", key, extra) for name, key, extra in [
            ("s", "s", ""), ("e", "e", ""), ("weak", "weak", ""), ("revoked", "p=", ""), ("service", "s", "s=other; "),
            ("hash", "s", "h=sha1; "), ("strict", "s", "t=s; ")]]
        return zones | {"_domainkey.broken-key.test": None, "example.test": []}

    def judged(self, name, text, ip, sender, helo):
        """Sends a message; what all programs found."""
        with Client(ip, "127.0.0.1", self.port) as smtp:
            smtp.ehlo(helo)
            smtp.sendmail(sender, ["bob@example.test"], text)
        marked = f"<{name}@test>".encode()
        found = lambda: [body for body in mail_client.bodies(self.server, "bob@example.test") if marked in body]
        [stored] = wait_until(found, name)
        header = re.sub(rb"\r\n[ \t]+", b" ", stored.split(b"\r\n\r\n")[0]).decode()
        results = [line.split(": ", 1)[1] for line in header.split("\r\n") if line.startswith("Authentication-Results: ")]
        of = lambda name: " ; ".join(line.split(";", 1)[1] for line in results if line.startswith(name))
        return {"ours": of("mx.example.test"), "opendkim": of("opendkim.test"), "opendmarc": of("opendmarc.test"),
                "rspamd": self.rspamd.symbols(text, ip, sender, helo)}

    def judged_case(self, case):
        """The same of a case, once for all tests."""
        if case.name not in self.known:
            text = self.message(case.name, case.author.format(case.domain))
            if case.signed:
                text = self.signed(text, case.signed.format(case.domain).encode()) + text
            if case.changed:
                text = text.replace(b"afar.", b"nearby.")
            self.known[case.name] = self.judged(case.name, text, case.ip, case.sender.format(case.domain), f"mx.{case.domain}")
        return self.known[case.name]

    known = {}

    def message(self, name, author):
        return (f"From: {author}\r\nTo: bob@example.test\r\nSubject: a  long subject\r\n"
                f"Date: Fri, 20 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{name}@test>\r\n\r\nHello  from \t afar.\r\n").encode()

    def signed(self, text, domain, selector=b"s", key=None, tags={}, **how):
        """A signature of dkimpy's, with more tags."""
        import dkim

        class Signer(dkim.DKIM):
            def gen_header(self, fields, *rest, **options):
                kept = [(name, value) for name, value in fields if name not in tags]
                return super().gen_header(kept[:-1] + list(tags.items()) + kept[-1:], *rest, **options)

            def default_sign_headers(self):
                # As those that oversign do: nobody can add another.
                return super().default_sign_headers() + [b"from"]

        key = self.keys[(key or selector).decode()]
        algorithm = b"ed25519-sha256" if selector == b"e" else b"rsa-sha256"
        how.setdefault("canonicalize", (RELAXED, RELAXED))
        return Signer(text, signature_algorithm=algorithm, minkey=512).sign(selector, domain, key, **how)

    def compare(self, cases, verdicts):
        """Every program's verdict is as its case has it."""
        wrong = []
        for case in cases:
            found = verdicts(case)
            for program in (*found, *case.otherwise):
                if program in found and found[program][0] != case.wanted(program):
                    wrong.append(f"{case.name}: {program} says {found[program][0]}, not {case.wanted(program)}: {found[program][1]}")
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_dmarc(self):
        def verdicts(case):
            found = self.judged_case(case)
            return {"ours": (dmarc_of(found["ours"]), found["ours"]), "opendmarc": (dmarc_of(found["opendmarc"]), found["opendmarc"]),
                    "rspamd": (dmarc_of_symbols(found["rspamd"]), found["rspamd"])}
        self.compare(DMARC, verdicts)

    def test_what_we_sign_is_good_to_all(self):
        for ip, subject in ((GOOD, "ours"), (BAD, "ours-forwarded")):
            mail_client.submit(self.server, "ann@example.test", ["ann@example.test"], self.message(subject, "ann@example.test"))
            marked = f"<{subject}@test>".encode()
            found = lambda: [body for body in mail_client.bodies(self.server, "ann@example.test") if marked in body]
            [stored] = wait_until(found, subject)
            # As it would have left: without what the milters have said of it here.
            sent = re.sub(rb"^Authentication-Results: .*?\r\n(?=\S)", b"", stored[stored.index(b"DKIM-Signature:"):], flags=re.M | re.S)
            said = self.judged(subject, sent, ip, "ann@example.test", "mx.example.test")
            self.assertEqual([dkim_of(said["ours"]), dkim_of(said["opendkim"])], ["pass pass"] * 2, said)
            self.assertEqual(len(said["rspamd"]["R_DKIM_ALLOW"]), 2, said)
            self.assertEqual([dmarc_of(said["ours"]), dmarc_of(said["opendmarc"]), dmarc_of_symbols(said["rspamd"])], ["pass reject"] * 3, said)

    def test_spf(self):
        def verdicts(case):
            found = self.judged_case(case)
            [ours] = re.findall(r"spf=(\w+)[^;]* smtp\.mailfrom", found["ours"])
            opendmarc = re.search(r"spf=(\w+)", found["opendmarc"])
            rspamd = [result for name, result in SPF_SYMBOLS.items() if name in found["rspamd"]]
            return {"ours": (ours, found["ours"]), "opendmarc": (opendmarc and opendmarc[1], found["opendmarc"]),
                    "rspamd": (" ".join(rspamd), found["rspamd"])}
        wrong = []
        for case in DMARC:
            found = verdicts(case)
            for program in ("opendmarc", "rspamd"):
                wanted, _why = SPF_OTHERWISE.get((case.name, program), (found["ours"][0], ""))
                if found[program][0] != wanted:
                    wrong.append(f"{case.name}: {program} says {found[program]}, not {wanted}")
        self.assertFalse(wrong, "\n" + "\n".join(wrong))

    def test_dkim(self):
        def verdicts(case):
            text = self.message(case.name, "joe@signer.test")
            text = b"".join(self.signed(text, b"signer.test", **signature) for signature in case.signatures) + text
            if case.on_the_way:
                self.assertIn(case.on_the_way[0], text)
                text = text.replace(*case.on_the_way)
            found = self.judged(case.name, text, BAD, "joe@signer.test", "mx.signer.test")
            return {"ours": (dkim_of(found["ours"]), found["ours"]), "opendkim": (dkim_of(found["opendkim"]), found["opendkim"]),
                    "rspamd": (dkim_of_symbols(found["rspamd"]), found["rspamd"])}
        self.compare(DKIM, verdicts)


class Chains(unittest.TestCase):
    """What we forward is sealed (ARC): others read our seals and we theirs, alone and one over the other."""

    @classmethod
    def setUpClass(cls):
        sys.path.append("/usr/lib/python3/dist-packages")
        cls.addClassCleanup(sys.path.remove, "/usr/lib/python3/dist-packages")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-chains-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        key = cls.folder / "key"
        run("openssl", "genrsa", "-traditional", "-out", key, "2048")
        public = run("openssl", "rsa", "-in", key, "-pubout").stdout
        text = "v=DKIM1; k=rsa; p=" + "".join(line for line in public.splitlines() if "-----" not in line)
        cls.key, port = key.read_bytes(), free_port("127.0.0.4")
        cls.there = Server("mx.there.test", "127.0.0.4", ("there.test",), ports={"smtp": port})
        cls.addClassCleanup(cls.there.remove)
        cls.port = free_port()
        cls.server = Server()
        cls.addClassCleanup(cls.server.remove)
        keys = [line["dns"] for line in cls.server.json("dkim", "list", "example.test")]
        cls.dns = Dns({
            "test": [], "example.test": keys, "there.test": ["@ MX 10 mx", "mx A 127.0.0.4"],
            "signer.test": [SPF, "s._domainkey TXT " + " ".join(f'"{text[at:at + 200]}"' for at in range(0, len(text), 200))],
        })
        cls.addClassCleanup(cls.dns.remove)
        cls.rspamd = Rspamd(cls.dns.address, ("signer.test", "s", key))
        cls.addClassCleanup(cls.rspamd.remove)
        settings = cls.server.config.read_text()
        cls.server.config.write_text(
            f'dns = ["{cls.dns.address}"]\noutbound_port = {port}\n{settings}\n[[listener]]\nprotocol = "smtp"\n'
            f'address = "127.0.0.1:{cls.port}"\nproxy_protocol_from = ["127.0.0.0/8"]\n')
        cls.server.cli("alias", "add", "away@example.test", "bob@there.test")
        cls.there.start()
        cls.server.start()

    def message(self, subject):
        return (f"From: joe@signer.test\r\nTo: away@example.test\r\nSubject: {subject}\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n"
                f"Message-ID: <{subject}@signer.test>\r\n\r\nHello  from \t afar.\r\n").encode()

    def forwarded(self, subject, text):
        """The message as it left us."""
        with Client(GOOD, "127.0.0.1", self.port) as smtp:
            smtp.ehlo("mx.signer.test")
            smtp.sendmail("joe@signer.test", ["away@example.test"], text)
        marked = f"Subject: {subject}\r\n".encode()
        found = lambda: [body for body in mail_client.bodies(self.there, "bob@there.test") if marked in body]
        [body] = wait_until(found, subject)
        return body[body.index(b"ARC-Seal:"):]

    def sealed_by_dkimpy(self, text):
        import dkim
        results = b"Authentication-Results: signer.test; spf=pass smtp.mailfrom=joe@signer.test\r\n"
        sealed = dkim.arc_sign(results + text, b"s", b"signer.test", self.key, b"signer.test", linesep=b"\r\n")
        return b"".join(sealed) + text

    def verdicts(self, text):
        """What each says of a chain."""
        import dkim

        def look_up(name, timeout=5):
            said = self.dns.ask((name.decode() if isinstance(name, bytes) else name).rstrip("."), "TXT")
            return "".join(re.findall(r'"([^"]*)"', said)).encode() or None
        path = self.folder / "tried.eml"
        path.write_bytes(text)
        [one] = self.server.json("explain", "--file", path, "--ip", GOOD, "--helo", "mx.signer.test", "--from", "joe@signer.test")
        [ours] = [check["result"] for check in one["checks"] if check["check"] == "arc"] or ["none"]
        symbols = self.rspamd.symbols(text, GOOD, "joe@signer.test")
        names = {"ARC_ALLOW": "pass", "ARC_REJECT": "fail", "ARC_INVALID": "fail", "ARC_NA": "none", "ARC_DNSFAIL": "temperror"}
        [rspamd] = [result for name, result in names.items() if name in symbols]
        return {"ours": ours, "dkimpy": dkim.arc_verify(text, dnsfunc=look_up)[0].decode(), "rspamd": rspamd}

    def all_say(self, verdict, text):
        self.assertEqual(self.verdicts(text), {"ours": verdict, "dkimpy": verdict, "rspamd": verdict}, text.decode())

    def test_seals_of_all_are_read_by_all(self):
        ours = self.forwarded("ours", self.message("ours"))
        for text in (ours, self.sealed_by_dkimpy(self.message("dkimpy")), self.rspamd.sealed(self.message("rspamd"), GOOD, "joe@signer.test")):
            self.all_say("pass", text)
            self.all_say("fail", text.replace(b"afar.", b"nearby."))
            self.all_say("fail", text.replace(b"spf=pass", b"spf=fail", 1))

    def test_seals_over_seals(self):
        theirs = self.sealed_by_dkimpy(self.message("theirs first"))
        both = self.forwarded("theirs first", theirs)
        self.assertIn(b"ARC-Seal: i=2;", both)
        self.all_say("pass", both)
        third = self.sealed_by_dkimpy(both)
        self.all_say("pass", third)
        again = self.forwarded("rspamd first", self.rspamd.sealed(self.message("rspamd first"), GOOD, "joe@signer.test"))
        self.all_say("pass", again)
        self.all_say("pass", self.sealed_by_dkimpy(again))
        # Of two seals below its own rspamd 3.4 seals so that it does not verify itself: it seals over one.
        last = self.rspamd.sealed(self.forwarded("rspamd last", self.message("rspamd last")), GOOD, "joe@signer.test")
        self.assertIn(b"ARC-Seal: i=2;", last)
        self.all_say("pass", last)

    def test_a_broken_chain_stays_broken(self):
        broken = self.sealed_by_dkimpy(self.message("broken")).replace(b"afar.", b"nearby.")
        with Client(GOOD, "127.0.0.1", self.port) as smtp:
            smtp.ehlo("mx.signer.test")
            smtp.sendmail("joe@signer.test", ["away@example.test"], broken)
        found = lambda: [body for body in mail_client.bodies(self.there, "bob@there.test") if b"Subject: broken\r\n" in body]
        [body] = wait_until(found, "broken")
        self.assertNotIn(b"i=2;", body)
        self.assertIn(b"arc=fail", body)


def dmarc_of(results):
    """`fail reject` of an Authentication-Results field."""
    found = re.search(r"dmarc=(\w+)(?: \(p=(\w+))?", results)
    result, asked = found.groups() if found else ("nothing", None)
    return result if result == "none" else " ".join(filter(None, (result, asked and asked.lower())))


def dmarc_of_symbols(symbols):
    """The same of what rspamd found; the policy is among the symbol's options, also where it was not to be applied (pct)."""
    names = {"DMARC_POLICY_ALLOW": "pass", "DMARC_POLICY_REJECT": "fail", "DMARC_POLICY_QUARANTINE": "fail",
             "DMARC_POLICY_SOFTFAIL": "fail", "DMARC_NA": "none", "DMARC_BAD_POLICY": "permerror", "DMARC_DNSFAIL": "temperror"}
    found = [(result, option) for name, result in names.items() for option in symbols.get(name, []) + [""] if name in symbols]
    asked = [option for _, option in found if option in ("none", "quarantine", "reject")]
    return " ".join([found[0][0], *asked]) if found else "nothing"


def dkim_of(results):
    """The results of all signatures, from the top."""
    return " ".join(re.findall(r"\bdkim=(\w+)", results))


def dkim_of_symbols(symbols):
    names = {"R_DKIM_ALLOW": "pass", "R_DKIM_REJECT": "fail", "R_DKIM_TEMPFAIL": "temperror", "R_DKIM_PERMFAIL": "permerror", "R_DKIM_NA": "none"}
    return " ".join(result for name, result in names.items() if name in symbols for _ in symbols[name] or [""])


if __name__ == "__main__":
    unittest.main()
