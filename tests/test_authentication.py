"""Who mail is from, beside others: OpenDKIM, rspamd and dkimpy verify what we sign, and we what they sign; an OpenDMARC-style
report of theirs is read; what was decided is explained. What all of them find in the same mail is in `test_second_opinions`."""
import gzip
import json
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

import mail_client
from dns_server import Dns
from harness import Server, needs, run
from verifiers import SBIN, Rspamd

THEIRS = "From: joe@far.test\r\nTo: bob@example.test\r\nSubject: from afar\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n" \
         "Message-ID: <afar@far.test>\r\n\r\nHello  from \t afar.\r\n\r\n"


class Signatures(unittest.TestCase):
    """One server with signing keys, whose public halves are in a real DNS server beside those of far.test."""

    @classmethod
    def setUpClass(cls):
        needs("knotd", "kdig")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-signatures-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.server = Server()
        cls.addClassCleanup(cls.server.remove)
        cls.keys = cls.server.json("dkim", "list", "example.test")
        cls.their_key, theirs = cls.key_pair()
        cls.dns = Dns({
            "test": [],
            "example.test": [key["dns"] for key in cls.keys],
            "far.test": [f's._domainkey TXT {theirs}', '@ TXT "v=spf1 -all"', '_dmarc TXT "v=DMARC1; p=reject; rua=mailto:d@far.test"'],
        })
        cls.addClassCleanup(cls.dns.remove)
        text = cls.server.config.read_text()
        cls.server.config.write_text(f'dns = ["{cls.dns.address}"]\n{text}')
        cls.server.start()
        mail_client.submit(cls.server, "ann@example.test", ["bob@example.test"],
                           mail_client.message("signed", "ann@example.test", "bob@example.test"))
        mail_client.wait_for_subject(cls.server, "bob@example.test", "signed")
        cls.ours = mail_client.bodies(cls.server, "bob@example.test")[-1]
        cls.file("ours.eml", cls.ours)

    @classmethod
    def file(cls, name, octets):
        path = cls.folder / name
        path.write_bytes(octets if isinstance(octets, bytes) else octets.encode())
        return path

    @classmethod
    def key_pair(cls):
        """An RSA key of far.test, and its record as a zone file has it."""
        private = cls.folder / "far.key"
        run("openssl", "genrsa", "-traditional", "-out", private, "2048")
        public = run("openssl", "rsa", "-in", private, "-pubout").stdout
        data = "".join(line for line in public.splitlines() if "-----" not in line)
        text = f"v=DKIM1; k=rsa; p={data}"
        return private, " ".join(f'"{text[at:at + 200]}"' for at in range(0, len(text), 200))

    def explained(self, message, **options):
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        [one] = self.server.json("explain", "--file", self.file("tried.eml", message), *words)
        return one

    def results(self, explanation, check):
        return [one["result"] for one in explanation["checks"] if one["check"] == check]

    def test_our_own_signatures_hold(self):
        one = self.explained(self.ours, ip="192.0.2.1", to="bob@example.test")
        self.assertEqual(self.results(one, "dkim"), ["pass", "pass"], one["checks"])
        self.assertEqual(one["again"], "same", one["again_words"])

    def test_opendkim_verifies_ours(self):
        needs("opendkim")
        records = []
        for key in self.keys:
            text = "".join(re.findall(r'"([^"]*)"', key["dns"]))
            records.append(f'{key["selector"]}._domainkey.example.test {text}\n')
        # OpenDKIM knows no Ed25519 in every build: it is asked about the RSA signature.
        rsa = next(key for key in self.keys if key["algorithm"] == "rsa-sha256")
        self.file("keys", "".join(records))
        config = self.file("opendkim.conf", f"Mode v\nTestPublicKeys {self.folder}/keys\nSyslog no\nOmitHeaders *\n")
        message = self.without_other_signatures(rsa["selector"])
        done = run(shutil.which("opendkim", path=SBIN), "-f", "-vvv", "-x", config, "-t", self.file("rsa.eml", message), check=False)
        said = done.stdout + done.stderr
        self.assertIn("verification", said)
        self.assertRegex(said, rf"verification \(s={rsa['selector']},? d=example\.test.*\) succeeded", said)

    def without_other_signatures(self, selector):
        """The message with the one signature alone: fields from the start to the next one."""
        head, body = self.ours.split(b"\r\n\r\n", 1)
        fields = re.split(rb"\r\n(?![ \t])", head)
        kept = [f for f in fields if not f.lower().startswith(b"dkim-signature:") or b"s=" + selector.encode() in re.sub(rb"\s", b"", f)]
        return b"\r\n".join(kept) + b"\r\n\r\n" + body

    def test_rspamd_signs_and_we_verify(self):
        needs("rspamadm")
        signed = run("rspamadm", "mime", "sign", "-t", "dkim", "-d", "far.test", "-s", "s", "-k", self.their_key, "-o", "message",
                     self.file("theirs.eml", THEIRS)).stdout
        self.assertIn("DKIM-Signature", signed)
        one = self.explained(signed, ip="192.0.2.1", helo="mx.far.test")
        self.assertEqual((self.results(one, "dkim"), self.results(one, "dmarc")), (["pass"], ["pass"]), one["checks"])
        changed = self.explained(signed.replace("afar.", "nearby."), ip="192.0.2.1", helo="mx.far.test")
        self.assertEqual((self.results(changed, "dkim"), self.results(changed, "dmarc")), (["fail"], ["fail"]))

    def test_rspamd_verifies_ours(self):
        with Rspamd(self.dns.address) as rspamd:
            found = rspamd.symbols(self.ours, "192.0.2.1", "ann@example.test")
        self.assertEqual(len(found.get("R_DKIM_ALLOW", [])), len(self.keys), found)
        self.assertNotIn("R_DKIM_REJECT", found)

    def test_dkimpy_verifies_both_and_signs(self):
        # Debian's modules, for a Python that is not Debian's, too.
        sys.path.append("/usr/lib/python3/dist-packages")
        self.addCleanup(sys.path.remove, "/usr/lib/python3/dist-packages")
        try:
            import dkim
        except ImportError:
            needs("dkimverify")
            raise
        records = {f'{key["selector"]}._domainkey.example.test.': "".join(re.findall(r'"([^"]*)"', key["dns"])) for key in self.keys}
        look_up = lambda name, timeout=5: records.get(name.decode() if isinstance(name, bytes) else name, "").encode()
        message = dkim.DKIM(self.ours)
        self.assertTrue(all(message.verify(index, dnsfunc=look_up) for index in range(len(self.keys))))
        signature = dkim.sign(THEIRS.encode(), b"s", b"far.test", self.their_key.read_bytes())
        one = self.explained(signature + THEIRS.encode(), ip="192.0.2.1", helo="mx.far.test")
        self.assertEqual(self.results(one, "dkim"), ["pass"], one["checks"])

    def test_a_file_is_refused_as_it_would_be(self):
        one = self.explained(THEIRS, ip="192.0.2.1", helo="mx.far.test", to="bob@example.test", **{"from": "joe@far.test"})
        self.assertEqual((self.results(one, "spf mail from"), self.results(one, "dmarc")), (["fail"], ["fail"]))
        self.assertEqual((one["state"], one["again"]), ("tried", "same"))
        self.assertTrue(any("far.test" in line for line in one["dns"]))
        self.assertTrue(one["reply"].startswith("550 5.7.1 ") and one["command"] == "DATA", one["reply"])
        self.assertTrue(any('authentication.dmarc = "junk"' in line for line in one["otherwise"]), one["otherwise"])
        unknown = self.explained(THEIRS, ip="192.0.2.1", to="nobody@example.test", **{"from": "joe@elsewhere.test"})
        self.assertTrue(unknown["reply"].startswith("550 5.1.1 ") and unknown["command"] == "RCPT", unknown["reply"])

    def test_a_file_that_cannot_be_tried_is_told_why(self):
        def failure(*words, stdin=""):
            done = self.server.cli("--output", "json", "explain", *words, stdin=stdin, check=False)
            return done.returncode, json.loads(done.stdout)["error"]["message"]

        self.assertEqual(failure("--file", "/no/such/file"), (3, "there is no file /no/such/file"))
        self.assertEqual(failure("--file", self.file("empty", b""))[0], 2)
        self.assertIn("no message", failure("--file", "-", stdin="Hello\n\nthere\n")[1])
        self.assertIn("larger than 32 MiB", failure("--file", self.file("large", b"a: b\n" * (8 << 20)))[1])
        self.assertIn("--ip is for", failure("some@id.example", "--ip", "192.0.2.1")[1])
        done = self.server.cli("--output", "json", "explain", "-", stdin=THEIRS)
        self.assertEqual(json.loads(done.stdout)[0]["from"], "<joe@far.test>".strip("<>"))

    def test_reports_of_others_are_summed_up(self):
        xml = ("<feedback><report_metadata><org_name>o.test</org_name><report_id>1</report_id></report_metadata><policy_published>"
               "<domain>example.test</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.7</source_ip><count>200</count>"
               "<policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>"
               "<identifiers><header_from>example.test</header_from></identifiers><auth_results/></record></feedback>")
        [one] = self.server.json("report", "dmarc", self.file("r.xml.gz", gzip.compress(xml.encode())))
        self.assertEqual((one["domain"], one["messages"], one["passed_percent"]), ("example.test", 200, 100.0))
        self.assertIn("safe to move to p=quarantine", one["advice"])


class OwnDomain(unittest.TestCase):
    """A new user's first hour with DNS: what the server prints is published, and the server says whether it is right."""

    def setUp(self):
        needs("knotd", "kdig")
        self.server = Server(accounts=("ann",))
        self.addCleanup(self.server.remove)
        self.dns = Dns({"test": [], "example.test": [], "2.0.192.in-addr.arpa": []})
        self.addCleanup(self.dns.remove)
        self.server.config.write_text(f'dns = ["{self.dns.address}"]\n{self.server.config.read_text()}')

    def check(self, code):
        """What is not as it should be, each record with its state."""
        done = self.server.cli("--output", "json", "domain", "check", "example.test", check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        view = json.loads(done.stdout)
        self.assertEqual(view["ok"], code == 0)
        return {(record["name"], record["type"]): record["state"] for record in view["records"] if record["state"] != "good"}

    def test_what_the_server_prints_is_what_it_finds_right(self):
        missing = self.check(4)
        self.assertEqual(missing.pop(("postmaster@example.test", "address")), "missing")
        self.server.cli("alias", "add", "postmaster@example.test", "ann@example.test")
        self.assertEqual({name for (name, kind), state in missing.items() if state == "missing" and "DKIM" in kind},
                         {key["dns"].split()[0].rstrip(".") for key in self.server.json("dkim", "list", "example.test")})
        printed = self.server.json("domain", "records", "example.test")
        lines = [f'{record["name"]} {record["type"]} {record["data"]}' for record in printed if "mta-sts" not in record["name"]]
        self.dns.write("example.test", lines + ["mx A 192.0.2.25"])
        self.assertEqual(self.check(4), {("192.0.2.25", "PTR"): "missing", ("_dmarc.example.test", "TXT (DMARC)"): "note"})
        self.dns.write("2.0.192.in-addr.arpa", ["25 PTR mx.example.test."])
        self.assertEqual(self.check(0), {("_dmarc.example.test", "TXT (DMARC)"): "note"})
        changed = [re.sub(r"p=none", "p=reject", line) if "_dmarc" in line else line for line in lines]
        self.dns.write("example.test", [line.replace("v=spf1 mx", "v=spf1 ip4:192.0.2.26") for line in changed] + ["mx A 192.0.2.25"])
        self.assertEqual(self.check(4), {("example.test", "TXT (SPF)"): "different"})
        table = self.server.cli("domain", "check", "example.test", check=False).stdout
        self.assertIn("DIFFERENT", table)
        self.assertIn('example.test. TXT "v=spf1 mx -all"', table)

    def test_new_keys_are_looked_for(self):
        printed = self.server.json("domain", "records", "example.test")
        lines = [f'{record["name"]} {record["type"]} {record["data"]}' for record in printed if "mta-sts" not in record["name"]]
        self.dns.write("example.test", lines + ["mx A 192.0.2.25"])
        waiting = self.server.json("dkim", "rotate", "example.test")
        states = self.check(4)
        for key in waiting:
            self.assertEqual(states[(key["dns"].split()[0].rstrip("."), "TXT (DKIM)")], "note")
        self.server.cli("dkim", "activate", "example.test")
        states = self.check(4)
        for key in waiting:
            self.assertEqual(states[(key["dns"].split()[0].rstrip("."), "TXT (DKIM)")], "missing")


if __name__ == "__main__":
    unittest.main()
