"""Starts real Postrider processes on loopback for the tests in this folder, and nothing else.

A `Server` is one process with its own data directory, its own 127.0.0.x address and free ports. Everything is
reached as a user would: the settings file, the command line, the sockets. `POSTRIDER` names the binary.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("POSTRIDER", ROOT / "target" / "ci" / "postrider"))
PASSWORD = "correct horse battery"
PATIENCE_SECONDS = 60


def free_port(address="127.0.0.1"):
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """Waits until `condition()` is true and returns its value; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


def answers(address, port):
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


def run(*command, stdin="", check=True, env=None, timeout=120):
    """Runs a command to its end; fails with what it printed unless it exits 0."""
    done = subprocess.run([str(word) for word in command], input=stdin, text=True, capture_output=True,
                          timeout=timeout, env={**os.environ, **(env or {})})
    if check and done.returncode:
        raise AssertionError(f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def needs(*programs):
    """Skips the test where a program is missing; with CI=true a missing program is a failure."""
    missing = [p for p in programs if not shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if missing and os.environ.get("CI") != "true":
        raise unittest.SkipTest(f"not installed: {', '.join(missing)}")
    if missing:
        raise AssertionError(f"not installed: {', '.join(missing)}")


class Server:
    """One Postrider process and what a test needs to reach it."""

    PROTOCOLS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "lmtp")

    def __init__(self, hostname="mx.example.test", address="127.0.0.1", domains=("example.test",), accounts=("ann", "bob"), ports=None, settings=""):
        self.hostname, self.address, self.domains = hostname, address, domains
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-test-"))
        self.data = self.folder / "data"
        self.config = self.folder / "postrider.toml"
        self.log = self.folder / "log"
        self.ports = {name: free_port(address) for name in self.PROTOCOLS} | (ports or {})
        self.process = None
        self.config.write_text(self.settings_text(settings))
        for domain in domains:
            self.cli("domain", "add", domain)
        for account in accounts:
            self.add_account(f"{account}@{domains[0]}")

    def settings_text(self, extra):
        """The whole settings file: everything on loopback, nothing left to a default that needs the outside."""
        listeners = "".join(
            f'\n[[listener]]\nprotocol = "{name}"\naddress = "{self.address}:{port}"\n' for name, port in self.ports.items())
        return (f'hostname = "{self.hostname}"\ndata = "{self.data}"\n'
                f'allow_plaintext_login = ["127.0.0.0/8"]\n{extra}{listeners}')

    def add_account(self, address, password=PASSWORD):
        self.cli("user", "add", address, "--password-stdin", stdin=password + "\n")

    def cli(self, *words, **options):
        """Runs the command line against this server (or its data directory while it is down)."""
        return run(BINARY, "--config", self.config, *words, **options)

    def json(self, *words):
        return json.loads(self.cli("--output", "json", *words).stdout)

    def start(self, *options, env=None):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BINARY, "--config", self.config, "serve", *options], stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})})
        wait_until(self.ready, f"{self.hostname} does not start:\n{self.log_tail()}")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.hostname} ended with {self.process.returncode}:\n{self.log_tail()}")
        return all(answers(self.address, port) for port in self.ports.values())

    def log_tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def kill(self):
        """As a power cut would, but for what the kernel holds."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; a server that does not end by itself has failed."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)

    def port(self, protocol):
        return self.ports[protocol]

    def ca_file(self):
        """The certificate that the server made for itself."""
        return self.data / "tls" / "cert.pem"

    def remove(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class ServerCase(unittest.TestCase):
    """A test case with one running server for all of its tests."""

    SETTINGS = ""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(settings=cls.SETTINGS)
        cls.addClassCleanup(cls.server.remove)
        cls.server.start()

    def run(self, result=None):
        failed = lambda: len(result.failures) + len(result.errors) if result else 0
        before = failed()
        result = super().run(result)
        if failed() > before and self.server.log.exists():
            print(f"--- log of {self.server.hostname}\n{self.server.log_tail()}")
        return result
