"""Runs a program of a Debian package that cannot be installed beside others, in a folder of its own.

Only one mail server can be installed on a Debian system. Others are unpacked by `./ci` into `POSTRIDER_PEERS` (a folder for each
package); a `Jail` copies one of them together with the libraries it needs, gives it users and devices, and runs it there with chroot.
That takes root.
"""
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

from harness import PATIENCE_SECONDS, ROOT, run, wait_until

PEERS = pathlib.Path(os.environ.get("POSTRIDER_PEERS", ROOT / "target" / "peers"))
DEVICES = {"null": (1, 3), "urandom": (1, 9)}


def needs_package(package):
    """Skips the test where the package (none: an installed one) was not unpacked or nobody may run it; with CI=true that is a failure."""
    unpacked = package is None or (PEERS / package).is_dir()
    missing = f"{package} is not unpacked in {PEERS}" if not unpacked else "only root can use chroot" if os.geteuid() else None
    if missing and os.environ.get("CI") == "true":
        raise AssertionError(missing)
    if missing:
        raise unittest.SkipTest(missing)


class Jail:
    """A folder with everything that `programs` of a package need; paths are those inside of it. Without a package they are those installed."""

    def __init__(self, package, programs, users):
        needs_package(package)
        self.root = pathlib.Path(tempfile.mkdtemp(prefix=f"postrider-{package or 'jail'}-"))
        self.root.chmod(0o755)
        if package:
            shutil.copytree(PEERS / package, self.root, symlinks=True, dirs_exist_ok=True)
        for program in programs:
            self.take(program)
        for folder in ("dev", "etc", "home", "tmp", "var/run", "var/mail", "var/log", "var/spool"):
            self.path(folder).mkdir(parents=True, exist_ok=True)
        self.path("tmp").chmod(0o1777)
        self.make_devices()
        self.name_users(users)
        self.write("etc/services", "smtp 25/tcp\nsmtps 465/tcp\nsubmission 587/tcp\n")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.write("etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.output = self.path("output")
        self.process = None

    def path(self, inside):
        return self.root / inside.lstrip("/")

    def write(self, inside, text, mode=0o644):
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def take(self, program):
        """Brings a program's libraries inside, and the program itself if the package does not have it."""
        inside = self.path(program)
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(program, inside)
        own = f"{self.root}/usr/lib/{os.uname().machine}-linux-gnu"
        for library in re.findall(r"/\S+", run("ldd", inside, env={"LD_LIBRARY_PATH": own}).stdout):
            copy = self.path(library.removeprefix(str(self.root)))
            if pathlib.Path(library).is_file() and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, copy)

    def make_devices(self):
        for name, numbers in DEVICES.items():
            path = self.path(f"dev/{name}")
            try:
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*numbers))
                path.chmod(0o666)
            except PermissionError:
                path.touch()

    def name_users(self, users):
        """Users by name; their numbers are of no user outside."""
        self.users = {name: 20001 + place for place, name in enumerate(users)}
        passwd = "".join(f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n" for name, number in self.users.items())
        group = "".join(f"{name}:x:{number}:\n" for name, number in self.users.items())
        self.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n" + passwd)
        self.write("etc/group", "root:x:0:\nmail:x:8:\nnogroup:x:65534:\n" + group)

    def folder(self, inside, user, mode=0o755):
        """A folder that belongs to a user."""
        path = self.path(inside)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        os.chown(path, self.users.get(user, 0), self.users.get(user, 0))

    def certificate(self, name, reader="root"):
        """A self-signed one, in /etc/cert.pem and /etc/key.pem; the reader may read the key."""
        key = self.path("etc/key.pem")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}",
            "-keyout", key, "-out", self.path("etc/cert.pem"))
        key.chmod(0o600)
        os.chown(key, self.users.get(reader, 0), 0)

    def start(self, *command):
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(["chroot", self.root, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True)

    def remove(self):
        """Ends everything that was started inside, and waits until it has."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(PATIENCE_SECONDS)
            wait_until(lambda: not self.is_in_use(), "the processes in the jail end")
        shutil.rmtree(self.root, ignore_errors=True)

    def is_in_use(self):
        """Whether a process still lives inside."""
        for root in pathlib.Path("/proc").glob("[0-9]*/root"):
            try:
                if root.resolve() == self.root:
                    return True
            except OSError:
                continue
        return False
