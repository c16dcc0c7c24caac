"""MTA hooks: a web server beside the mail server is asked about mail and changes it."""
import base64
import http.server
import json
import ssl
import threading
import unittest

import mail_client
from harness import run
from test_milters import MilterCase


def lowered(headers):
    return {name.lower(): value for name, value in headers.items()}


class Hook(http.server.BaseHTTPRequestHandler):
    """Answers by what the subject or the sender says, and keeps what it was told."""

    def do_POST(self):
        octets = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(octets)
        self.server.heard.append((lowered(self.headers), request))
        answer = json.dumps(self.answer(request)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, request):
        if request["envelope"]["from"]["address"].startswith("reject"):
            return {"action": "reject", "response": {"status": 550, "enhancedStatus": "5.7.1", "message": "not you", "disconnect": False}}
        if "message" not in request:
            return {"action": "accept"}
        subject = dict(map(tuple, request["message"]["headers"])).get("Subject", "")
        if subject == "hold":
            return {"action": "quarantine"}
        if subject == "drop":
            return {"action": "discard"}
        if subject == "later":
            return {"action": "reject", "response": {"status": 451, "message": "later"}}
        return {"action": "accept", "response": None, "modifications": [
            {"type": "insertHeader", "index": 0, "name": "X-Top", "value": "top"},
            {"type": "changeHeader", "index": 1, "name": "Subject", "value": subject + " (seen)"},
            {"type": "deleteHeader", "index": 1, "name": "X-Mailer"},
            {"type": "addRecipient", "value": "cyd@example.test", "parameters": None},
            {"type": "replaceContents", "value": request["message"]["contents"].upper()}]}

    def log_message(self, *arguments):
        pass


class Hooks(MilterCase):
    """Over HTTPS with a token; at MAIL and at the end of the message."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        certificate, key, token = cls.folder / "cert.pem", cls.folder / "key.pem", cls.folder / "token"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate)
        token.write_text("t0ken\n")
        cls.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        cls.web.heard = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        cls.web.socket = context.wrap_socket(cls.web.socket, server_side=True)
        threading.Thread(target=cls.web.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.web.server_close)
        cls.addClassCleanup(cls.web.shutdown)
        cls.serve(f'[tls]\nca_file = "{certificate}"\n[[mta_hook]]\nname = "hook"\nurl = "https://localhost:{cls.web.server_port}/hook?x=1"\n'
                  f'stages = ["mail", "data"]\ntoken_file = "{token}"\n')

    def test_a_message_is_shown_and_changed(self):
        reply = self.mx("hello", "X-Mailer: old", body="words\r\n")
        body = self.found("hello (seen)").decode()
        self.assertIn("\r\nX-Top: top\r\nReceived:", body)
        self.assertTrue(body.endswith("\r\n\r\nWORDS\r\n"), body)
        self.assertNotIn("X-Mailer", body)
        self.found("hello (seen)", "cyd@example.test")
        headers, request = next((h, r) for h, r in self.web.heard if r.get("message", {}).get("contents") == "words\r\n")
        self.assertEqual(headers["authorization"], "Bearer t0ken")
        self.assertEqual(request["context"]["stage"], "DATA")
        self.assertEqual(request["context"]["client"]["ip"], "127.0.0.1")
        self.assertEqual(request["context"]["client"]["ehlo"], "client.example")
        self.assertEqual(request["envelope"]["from"]["address"], "eve@far.example")
        self.assertIn(["X-Mailer", "old"], request["message"]["headers"])
        receipt = reply.split()[1] if reply.startswith("2.") else reply.split()[0]
        self.assertEqual(request["context"]["queue"]["id"], receipt)

    def test_a_submission_is_shown_with_its_login(self):
        text = mail_client.message("mine", "ann@example.test", "bob@example.test")
        mail_client.submit(self.server, "ann@example.test", ["bob@example.test"], text)
        self.found("mine (seen)")
        request = next(r for _, r in self.web.heard if ["Subject", "mine"] in r.get("message", {}).get("headers", []))
        self.assertEqual(request["context"]["sasl"]["login"], "ann@example.test")
        self.assertTrue(request["context"]["tls"]["version"].startswith("TLSv1."))

    def test_mail_is_refused_held_and_dropped(self):
        self.assertEqual(self.refused("x", sender="reject@far.example"), b"5.7.1 not you")
        self.assertEqual(self.refused("later")[0], 451)
        self.assertEqual(self.advice(self.mx("hold"))[0]["decision"], "quarantine")
        self.assertIn("discarded", [event["event"] for event in self.trail(self.mx("drop"))])
        self.assertFalse({"hold", "drop"} & set(mail_client.subjects(self.server, "bob@example.test")))


class HookDown(MilterCase):
    """A web server that is not there, and one that says nonsense."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        credentials = cls.folder / "credentials"
        credentials.write_text("user\npass word\n")
        cls.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
        cls.web.heard = []
        threading.Thread(target=cls.web.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.web.server_close)
        cls.addClassCleanup(cls.web.shutdown)
        cls.serve(f'[[mta_hook]]\nname = "nonsense"\nurl = "http://127.0.0.1:{cls.web.server_port}/"\ncredentials_file = "{credentials}"\n')

    def test_mail_comes_again(self):
        self.assertEqual(self.refused("again")[0], 451)
        self.assertEqual(self.web.heard[0]["authorization"], "Basic " + base64.b64encode(b"user:pass word").decode())


class Nonsense(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(lowered(self.headers))
        self.send_error(503)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    unittest.main()
