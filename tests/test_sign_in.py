"""Bearer tokens, access tokens and TLS certificates with imaplib, smtplib and poplib against the built binary."""
import base64
import imaplib
import json
import pathlib
import poplib
import shutil
import smtplib
import tempfile
import time
import unittest

import mail_client
from harness import ServerCase, free_port, needs, run

ISSUER = "https://id.example.test"
ANN = "ann@example.test"


def segment(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class SignIn(ServerCase):
    @classmethod
    def setUpClass(cls):
        needs("openssl")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.key = cls.folder / "issuer.pem"
        run("openssl", "genrsa", "-out", cls.key, "2048")
        modulus = bytes.fromhex(run("openssl", "rsa", "-in", cls.key, "-noout", "-modulus").stdout.strip().split("=")[1])
        key = {"kty": "RSA", "kid": "k1", "use": "sig", "n": segment(modulus), "e": "AQAB"}
        (cls.folder / "jwks.json").write_text(json.dumps({"keys": [key]}))
        for name, subject in (("ann", ANN), ("nobody", "nobody@example.test"), ("eve", ANN)):
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-addext", f"subjectAltName=email:{subject}", "-addext", "extendedKeyUsage=clientAuth",
                "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", cls.folder / f"{name}.key", "-out", cls.folder / f"{name}.crt")
        known = (cls.folder / "ann.crt").read_text() + (cls.folder / "nobody.crt").read_text()
        (cls.folder / "clients.pem").write_text(known)
        cls.asking = {name: free_port() for name in ("imaps", "pop3s", "submissions")}
        # What is refused here on purpose would make the account wait.
        cls.SETTINGS = (f'[sign_in]\nfree_failures = 100\nban_after = 0\n[oauth]\nown_tokens = true\nissuer = "{ISSUER}"\naudience = ["mail"]\nkeys_file = "{cls.folder}/jwks.json"\n'
                        f'scope = "imap"\ndiscovery_url = "{ISSUER}/.well-known/openid-configuration"\n')
        for name, port in cls.asking.items():
            cls.SETTINGS += (f'[[listener]]\nprotocol = "{name}"\naddress = "127.0.0.1:{port}"\n'
                             f'client_ca_file = "{cls.folder}/clients.pem"\n')
        super().setUpClass()

    def jwt(self, **changes):
        claims = {"iss": ISSUER, "aud": "mail", "exp": int(time.time()) + 300, "scope": "openid imap", "email": ANN} | changes
        signed = segment(b'{"alg":"RS256","kid":"k1"}') + "." + segment(json.dumps(claims).encode())
        (self.folder / "signed").write_text(signed)
        run("openssl", "dgst", "-sha256", "-sign", self.key, "-out", self.folder / "signature", self.folder / "signed")
        return signed + "." + segment((self.folder / "signature").read_bytes())

    def imap(self):
        client = imaplib.IMAP4_SSL(self.server.address, self.server.port("imaps"), ssl_context=mail_client.trusting(self.server))
        self.addCleanup(client.shutdown)
        return client

    def authenticate(self, mechanism, first):
        """Signs in over IMAP; returns what the server said in its challenges."""
        heard, client = [], self.imap()

        def answer(challenge):
            heard.append(challenge)
            if len(heard) == 1:
                return first
            return b"\x01" if mechanism == "OAUTHBEARER" else b""
        try:
            return client.authenticate(mechanism, answer)[0], heard
        except imaplib.IMAP4.error as error:
            return str(error), heard

    @staticmethod
    def bearer(token, user=ANN):
        return f"n,a={user},\x01host=x\x01port=993\x01auth=Bearer {token}\x01\x01".encode()

    @staticmethod
    def google(token, user=ANN):
        return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()

    def test_imaplib_with_tokens_of_the_issuer(self):
        self.assertEqual(self.authenticate("OAUTHBEARER", self.bearer(self.jwt()))[0], "OK")
        self.assertEqual(self.authenticate("XOAUTH2", self.google(self.jwt()))[0], "OK")

    def test_imaplib_hears_why_a_token_is_refused(self):
        for token in (self.jwt(exp=1), self.jwt(aud="web"), self.jwt(scope="openid"), self.jwt(email="bob@example.test"), self.jwt()[:-4] + "AAAA", "x"):
            words, heard = self.authenticate("OAUTHBEARER", self.bearer(token))
            self.assertIn("AUTHENTICATIONFAILED", words)
            told = json.loads(heard[1])
            self.assertEqual((told["status"], told["scope"]), ("invalid_token", "imap"))
            self.assertTrue(told["openid-configuration"].startswith(ISSUER))
        words, heard = self.authenticate("XOAUTH2", self.google("x"))
        self.assertIn("AUTHENTICATIONFAILED", words)
        self.assertEqual(json.loads(heard[1])["status"], "401")

    def test_smtplib_with_tokens(self):
        for mechanism, message in (("XOAUTH2", self.google), ("OAUTHBEARER", self.bearer)):
            with smtplib.SMTP(self.server.address, self.server.port("submission")) as smtp:
                smtp.starttls(context=mail_client.trusting(self.server))
                smtp.ehlo()
                self.assertIn(mechanism, smtp.esmtp_features["auth"])
                with self.assertRaises(smtplib.SMTPAuthenticationError):
                    smtp.auth(mechanism, lambda challenge=None: message("x").decode() if challenge is None else "\x01")
                smtp.auth(mechanism, lambda challenge=None: message(self.jwt()).decode())
                self.assertEqual(smtp.mail(ANN)[0], 250)

    def test_poplib_with_tokens(self):
        for mechanism, message in (("XOAUTH2", self.google), ("OAUTHBEARER", self.bearer)):
            pop = poplib.POP3_SSL(self.server.address, self.server.port("pop3s"), context=mail_client.trusting(self.server))
            self.assertIn(mechanism, pop.capa()["SASL"])
            reply = pop._shortcmd(f"AUTH {mechanism} {base64.b64encode(message(self.jwt())).decode()}")
            self.assertTrue(reply.startswith(b"+OK"), reply)
            self.assertEqual(pop.stat(), (0, 0))
            pop.quit()

    def test_access_tokens_are_passwords_and_bearer_tokens_until_they_are_revoked(self):
        text = self.server.cli("--quiet", "token", "add", ANN, "--name", "phone", "--expires", "1d").stdout.strip()
        self.imap().login(ANN, text)
        self.assertEqual(self.authenticate("OAUTHBEARER", self.bearer(text))[0], "OK")
        self.assertIn("AUTHENTICATIONFAILED", self.authenticate("XOAUTH2", self.google(text, "bob@example.test"))[0])
        with self.assertRaises(imaplib.IMAP4.error):
            self.imap().login("bob@example.test", text)
        listed = self.server.json("token", "list", ANN)
        self.assertEqual([token["name"] for token in listed], ["phone"])
        self.assertNotIn(text, json.dumps(listed))
        self.server.cli("token", "revoke", ANN, str(listed[0]["number"]))
        with self.assertRaises(imaplib.IMAP4.error):
            self.imap().login(ANN, text)
        self.assertIn("AUTHENTICATIONFAILED", self.authenticate("OAUTHBEARER", self.bearer(text))[0])

    def certified(self, name):
        context = mail_client.trusting(self.server)
        if name:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context

    def test_certificates_sign_in(self):
        imap = imaplib.IMAP4_SSL("127.0.0.1", self.asking["imaps"], ssl_context=self.certified("ann"))
        self.assertIn("AUTH=EXTERNAL", imap.capabilities)
        self.assertEqual(imap.authenticate("EXTERNAL", lambda _: b"")[0], "OK")
        imap.logout()
        pop = poplib.POP3_SSL("127.0.0.1", self.asking["pop3s"], context=self.certified("ann"))
        self.assertTrue(pop._shortcmd("AUTH EXTERNAL =").startswith(b"+OK"))
        pop.quit()
        with smtplib.SMTP_SSL("127.0.0.1", self.asking["submissions"], context=self.certified("ann")) as smtp:
            smtp.ehlo()
            self.assertEqual(smtp.mail(ANN)[0], 250, "Thunderbird leaves AUTH out")
            self.assertEqual(smtp.mail("bob@example.test")[0] // 100, 5)

    def test_certificates_that_are_nobodys_or_of_others_do_not(self):
        for name in (None, "nobody"):
            imap = imaplib.IMAP4_SSL("127.0.0.1", self.asking["imaps"], ssl_context=self.certified(name))
            self.assertEqual("AUTH=EXTERNAL" in imap.capabilities, name is not None)
            with self.assertRaises(imaplib.IMAP4.error):
                imap.authenticate("EXTERNAL", lambda _: b"")
            imap.shutdown()
        with self.assertRaises((OSError, imaplib.IMAP4.abort)):
            imaplib.IMAP4_SSL("127.0.0.1", self.asking["imaps"], ssl_context=self.certified("eve"))
        ordinary = imaplib.IMAP4_SSL(self.server.address, self.server.port("imaps"), ssl_context=self.certified("ann"))
        self.assertNotIn("AUTH=EXTERNAL", ordinary.capabilities)
        ordinary.shutdown()


if __name__ == "__main__":
    unittest.main()
