"""Drives a real Thunderbird without a screen, through the Marionette port that it has for its own tests.

What is done inside is in thunderbird.js, one function a step. This is no WebDriver client: it starts one process with
a profile of its own, calls steps, and ends it.
"""
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile

from harness import PASSWORD, PATIENCE_SECONDS, wait_until

STEPS = (pathlib.Path(__file__).parent / "thunderbird.js").read_text()
PREFERENCES = {
    "marionette.port": 0,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "extensions.update.enabled": False,
    "mail.provider.enabled": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "mail.biff.show_alert": False,
    "mail.biff.play_sound": False,
    "mail.rights.version": 1,
    "mailnews.auto_config.guess.timeout": 20,
    "offline.autoDetect": False,
    "services.settings.server": "data:,nothing",
}


class Thunderbird:
    """One Thunderbird process with a new profile."""

    def __init__(self):
        self.profile = pathlib.Path(tempfile.mkdtemp(prefix="postrider-thunderbird-"))
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
        (self.profile / "user.js").write_text("".join(lines))
        self.log = self.profile / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["thunderbird", "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", self.profile],
                stdout=log, stderr=log, env={**os.environ, "HOME": str(self.profile)})
        port = wait_until(self.marionette_port, "Thunderbird opens its Marionette port")
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.stream = self.socket.makefile("rb")
        self.sent = 0
        self.receive()
        self.command("WebDriver:NewSession", capabilities={})
        self.command("Marionette:SetContext", value="chrome")
        self.command("WebDriver:SetTimeouts", script=PATIENCE_SECONDS * 1000)

    def marionette_port(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Thunderbird ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}")
        file = self.profile / "MarionetteActivePort"
        return int(file.read_text() or 0) if file.exists() else 0

    def receive(self):
        """One packet: its length, a colon, JSON."""
        length = b""
        while not length.endswith(b":"):
            octet = self.stream.read(1)
            assert octet, "Thunderbird closed the connection"
            length += octet
        return json.loads(self.stream.read(int(length[:-1])))

    def command(self, name, **parameters):
        self.sent += 1
        packet = json.dumps([0, self.sent, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(packet), packet))
        _, _, error, result = self.receive()
        assert not error, f"{name}: {error['message']}" if error else ""
        return result

    def step(self, name, *words):
        """Runs one step of thunderbird.js and returns what it resolves to."""
        script = (STEPS + "const words = [...arguments], report = words.pop();"
                  f"(async () => steps.{name}(...words))().then((value) => report({{ value }}),"
                  " (error) => report({ error: `${error}\\n${error?.stack}` }));")
        outcome = self.command("WebDriver:ExecuteAsyncScript", script=script, args=list(words), sandbox="system")["value"]
        assert "error" not in outcome, f"Thunderbird, {name}{words}: {outcome.get('error')}"
        return outcome.get("value")

    def set_up_account(self, server, user, name, **options):
        """A new account as the account hub makes it, once the server's own certificate is accepted."""
        ports = {"incoming": server.port("imaps"), "submissions": server.port("submissions")} | options
        der = ssl.PEM_cert_to_DER_cert(server.ca_file().read_text())
        base64 = "".join(ssl.DER_cert_to_PEM_cert(der).splitlines()[1:-1])
        self.step("trust", "localhost", list(v for v in ports.values() if isinstance(v, int)), base64)
        return self.step("setUpAccount", {"host": "localhost", "user": user, "password": PASSWORD, "name": name, **ports})

    def remove(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()
        shutil.rmtree(self.profile, ignore_errors=True)
