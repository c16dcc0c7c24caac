"""DANE, MTA-STS, REQUIRETLS and TLS reports between real servers: a signed DNS of its own, a web server for policies."""
import contextlib
import gzip
import http.server
import json
import pathlib
import shutil
import smtplib
import socket
import ssl
import tempfile
import threading
import unittest
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import mail_client
from harness import PASSWORD, Server, free_port, needs, run, wait_until
from signed_dns import SignedDns

POLICY = "version: STSv1\r\nmode: enforce\r\nmx: {}\r\nmax_age: 86400\r\n"


class Policies(http.server.BaseHTTPRequestHandler):
    """Serves the policy of the domain that is asked for; a redirect for moved.test."""

    texts = {}

    def do_GET(self):
        domain = self.headers["Host"].split(":")[0].removeprefix("mta-sts.")
        if domain == "moved.test":
            self.send_response(302)
            self.send_header("Location", "https://mta-sts.gamma.test/.well-known/mta-sts.txt")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        text = self.texts.get(domain)
        self.send_response(200 if text and self.path == "/.well-known/mta-sts.txt" else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text or "")))
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_):
        pass


class TransportSecurity(unittest.TestCase):
    """alpha sends; beta is found by DANE, gamma by MTA-STS, plain by neither."""

    @classmethod
    def setUpClass(cls):
        needs("knotd", "keymgr", "openssl")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-transport-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.dns_address, cls.smtp, cls.https = f"127.0.0.1:{free_port()}", free_port("127.0.0.2"), free_port("127.0.0.7")
        cls.make_certificate(["mx.gamma.test", "mta-sts.gamma.test", "mta-sts.delta.test", "mta-sts.moved.test"])
        cls.serve_policies()
        given = f'\n[tls]\ncertificate = "{cls.folder}/cert.pem"\nkey = "{cls.folder}/key.pem"\n'
        cls.beta = cls.server("mx.beta.test", "127.0.0.4", ["beta.test", "wrong.test", "broken.test", "plain.test"])
        cls.gamma = cls.server("mx.gamma.test", "127.0.0.3", ["gamma.test", "delta.test", "moved.test"], given)
        cls.start_dns()
        trust = f'\n[tls]\nca_file = "{cls.folder}/cert.pem"\n'
        checks = f'\n[transport]\ndnssec = "validate"\ntrust_anchors = "{cls.dns.anchors}"\nhttps_port = {cls.https}\n'
        cls.alpha = cls.server("mx.alpha.test", "127.0.0.2", ["alpha.test"], trust + checks)
        for server in (cls.beta, cls.gamma, cls.alpha):
            server.start()

    @classmethod
    def server(cls, hostname, address, domains, tables=""):
        settings = f'dns = ["{cls.dns_address}"]\noutbound_port = {cls.smtp}\n\n[queue]\nretry = ["1s", "1s", "2s"]\nlifetime = "60s"\n'
        server = Server(hostname, address, tuple(domains), ports={"smtp": cls.smtp}, settings=settings + tables)
        cls.addClassCleanup(server.remove)
        for domain in domains[1:]:
            server.cli("alias", "add", f"bob@{domain}", f"bob@{domains[0]}")
        return server

    @classmethod
    def make_certificate(cls, names):
        listed = ",".join(f"DNS:{name}" for name in names)
        (cls.folder / "openssl.conf").write_text(
            "[req]\ndistinguished_name = name\nx509_extensions = own\nprompt = no\n[name]\nCN = test\n"
            f"[own]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = {listed}\n")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-config", cls.folder / "openssl.conf", "-keyout", cls.folder / "key.pem", "-out", cls.folder / "cert.pem")

    @classmethod
    def serve_policies(cls):
        Policies.texts = {"gamma.test": POLICY.format("mx.gamma.test"), "delta.test": POLICY.format("*.elsewhere.test")}
        cls.web = http.server.ThreadingHTTPServer(("127.0.0.7", cls.https), Policies)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cls.folder / "cert.pem", cls.folder / "key.pem")
        cls.web.socket = context.wrap_socket(cls.web.socket, server_side=True)
        threading.Thread(target=cls.web.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.web.server_close)
        cls.addClassCleanup(cls.web.shutdown)

    @classmethod
    def start_dns(cls):
        tlsa = next(r["data"] for r in cls.beta.json("domain", "records", "beta.test") if r["type"] == "TLSA")
        wrong = tlsa[:-8] + "00000000"
        sts = lambda domain: [f"_mta-sts.{domain}. TXT \"v=STSv1; id=1\"", f"mta-sts.{domain}. A 127.0.0.7"]
        zones = {
            "alpha.test": ["@ MX 10 mx", "mx A 127.0.0.2"],
            "beta.test": ["@ MX 10 mx", "mx A 127.0.0.4", f"_{cls.smtp}._tcp.mx TLSA {tlsa}"],
            "wrong.test": ["@ MX 10 mx", "mx A 127.0.0.4", f"_{cls.smtp}._tcp.mx TLSA {wrong}"],
            "broken.test": ["@ MX 10 mx", "mx A 127.0.0.4"],
            "plain.test": ["@ MX 10 mx", "mx A 127.0.0.4"],
            "gamma.test": ["@ MX 10 mx", "mx A 127.0.0.3", *sts("gamma.test")],
            "delta.test": ["@ MX 10 mx.gamma.test.", *sts("delta.test")],
            "moved.test": ["@ MX 10 mx.gamma.test.", *sts("moved.test")],
        }
        cls.dns = SignedDns(cls.dns_address, zones, ["beta.test", "wrong.test", "broken.test"], ["broken.test"])
        cls.addClassCleanup(cls.dns.remove)

    def send(self, recipient, subject, extra=""):
        login = "ann@alpha.test"
        mail_client.submit(self.alpha, login, [recipient], mail_client.message(subject, login, recipient, extra=extra))

    def attempts(self, recipient):
        """The words of the attempts at a recipient, as the trail of the newest message to it tells them."""
        entries = [e for e in self.alpha.json("queue", "list") if recipient in json.dumps(e)]
        return json.dumps(self.alpha.json("trace", entries[-1]["id"])) if entries else ""

    def waits_because(self, recipient, *words):
        wait_until(lambda: all(word in self.attempts(recipient) for word in words), f"{recipient} waits because of {words}: {self.attempts(recipient)}")

    def test_a_server_is_verified_by_dane(self):
        self.send("bob@beta.test", "by dane")
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "by dane")
        self.assertIn("verified by DANE", self.last_trail("bob@beta.test"))

    def last_trail(self, recipient):
        """Everything that alpha's log says of a recipient's relayed message is in its trail."""
        log = self.alpha.log.read_text()
        lines = [line for line in log.splitlines() if "relayed" in line and recipient in line]
        receipt = next(word.split("=")[1] for word in lines[-1].replace('"', "").split() if word.startswith("receipt="))
        return json.dumps(self.alpha.json("trace", receipt))

    def test_a_server_that_its_tlsa_record_does_not_name_gets_nothing(self):
        self.send("bob@wrong.test", "to nobody")
        self.waits_because("bob@wrong.test", "no TLSA record matches", "nothing is sent in clear text")

    def test_bogus_dns_is_a_reason_to_wait(self):
        self.send("bob@broken.test", "bogus")
        self.waits_because("bob@broken.test", "DNSSEC")

    def test_a_policy_is_enforced(self):
        self.send("bob@gamma.test", "by policy")
        mail_client.wait_for_subject(self.gamma, "bob@gamma.test", "by policy")
        self.assertIn("verified, as MTA-STS asks", self.last_trail("bob@gamma.test"))

    def test_a_host_that_the_policy_does_not_name_gets_nothing(self):
        self.send("bob@delta.test", "elsewhere")
        self.waits_because("bob@delta.test", "does not name mx.gamma.test")

    def test_a_policy_that_is_redirected_is_none(self):
        self.send("bob@moved.test", "moved")
        mail_client.wait_for_subject(self.gamma, "bob@gamma.test", "moved")

    def test_tls_can_be_asked_not_to_hinder(self):
        self.send("bob@wrong.test", "rather in clear", "TLS-Required: No\r\n")
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "rather in clear")

    def submit_requiring_tls(self, recipient, subject):
        context = ssl._create_unverified_context()
        with smtplib.SMTP_SSL(self.alpha.address, self.alpha.port("submissions"), context=context, timeout=30) as client:
            client.login("ann@alpha.test", PASSWORD)
            client.sendmail("ann@alpha.test", [recipient], mail_client.message(subject, "ann@alpha.test", recipient), ["REQUIRETLS"])

    def test_tls_can_be_required(self):
        self.submit_requiring_tls("bob@beta.test", "tls required")
        mail_client.wait_for_subject(self.beta, "bob@beta.test", "tls required")

    def test_what_requires_tls_bounces_where_nobody_vouches_for_it(self):
        self.submit_requiring_tls("bob@plain.test", "not there")
        bounce = wait_until(lambda: [b for b in mail_client.bodies(self.alpha, "ann@alpha.test") if b"bob@plain.test" in b], "a bounce")[0]
        self.assertIn(b"5.7.10", bounce)

    def test_check_explains(self):
        def steps(*words, code=0):
            done = self.alpha.cli("--output", "json", "check", *words, check=False)
            self.assertEqual(done.returncode, code, done.stdout)
            return done.stdout
        self.assertIn("certificate verified by DANE", steps("dane", "beta.test"))
        self.assertIn("no TLSA record matches", steps("dane", "wrong.test", code=4))
        self.assertIn("MTA-STS policy, mode enforce", steps("mta-sts", "gamma.test"))
        self.assertIn("does not name", steps("mta-sts", "delta.test", code=4))
        self.assertIn("clear text", steps("smtp", "plain.test"))
        self.assertIn("DNSSEC", steps("smtp", "broken.test", code=4))
        self.assertIn("PROBLEM", self.alpha.cli("check", "dane", "wrong.test", check=False).stdout)

    def test_reports_of_others_are_understood(self):
        report = {"organization-name": "Gamma", "date-range": {"start-datetime": "2026-11-20T00:00:00Z", "end-datetime": "2026-11-20T23:59:59Z"},
                  "report-id": "1", "policies": [{"policy": {"policy-type": "sts", "policy-domain": "alpha.test", "mx-host": "mx.alpha.test"},
                  "summary": {"total-successful-session-count": 7, "total-failure-session-count": 2},
                  "failure-details": [{"result-type": "certificate-expired", "failed-session-count": 2}]}]}
        mail = MIMEMultipart("report", report_type="tlsrpt")
        mail["From"], mail["To"], mail["Subject"] = "tls@gamma.test", "ann@alpha.test", "Report Domain: alpha.test"
        mail["TLS-Report-Domain"] = "alpha.test"
        mail.attach(MIMEText("A report."))
        mail.attach(MIMEApplication(gzip.compress(json.dumps(report).encode()), "tlsrpt+gzip"))
        with smtplib.SMTP(self.alpha.address, self.smtp, timeout=30) as client:
            client.sendmail("tls@gamma.test", ["ann@alpha.test"], mail.as_string())
        [view] = self.alpha.json("report", "tls")
        self.assertEqual((view["domain"], view["well"], view["failed"], view["failures"]), ("alpha.test", 7, 2, ["certificate-expired (2)"]))


class OwnPolicy(unittest.TestCase):
    """A server serves the MTA-STS policy of its domains."""

    def test_our_policy_is_served(self):
        address, port = "127.0.0.8", free_port("127.0.0.8")
        server = Server("mx.own.test", address, ("own.test",), ports={"mta-sts": port}, settings='\n[transport]\nown_mode = "enforce"\n')
        self.addCleanup(server.remove)
        server.start()
        self.assertIn("mx: mx.own.test\r\n", self.fetch(address, port, "mta-sts.own.test"))
        self.assertIn("HTTP/1.1 404", self.fetch(address, port, "mta-sts.other.test"))

    def fetch(self, address, port, host):
        context = ssl._create_unverified_context()
        with socket.create_connection((address, port), 10) as raw, context.wrap_socket(raw, server_hostname=host) as tls:
            tls.sendall(f"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = b""
            with contextlib.suppress(ssl.SSLEOFError):
                while chunk := tls.recv(4096):
                    answer += chunk
            return answer.decode()


if __name__ == "__main__":
    unittest.main()
