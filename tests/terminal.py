"""A program in a terminal of its own, for mail programs that have only a screen: keys in, text out. It knows no cursor."""
import os
import pty
import re
import select
import shutil
import signal
import struct
import fcntl
import termios
import time

from harness import PATIENCE_SECONDS

ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-Za-z]|[=>78cDEHM])")


class Terminal:
    """One program with 200 columns and 50 lines."""

    def __init__(self, *command, env=None):
        path = shutil.which(command[0])
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execve(path, [str(word) for word in command], {**os.environ, "TERM": "xterm", **(env or {})})
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.shown = b""

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds):
        """Takes what the program shows within this time; False once it has ended."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            octets = os.read(self.master, 65536)
        except OSError:
            return False
        self.shown = (self.shown + octets)[-1_000_000:]
        return bool(octets)

    def text(self):
        return ESCAPES.sub(b"", self.shown).decode(errors="replace")

    def wait_for(self, pattern, seconds=PATIENCE_SECONDS):
        """Waits until the pattern is shown and forgets what was shown up to now."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text()):
            if not self.read(0.1) or time.monotonic() > end:
                raise AssertionError(f"{pattern!r} is not shown but\n{self.text()[-3000:]}")
        self.shown = b""

    def wait(self, seconds=PATIENCE_SECONDS):
        """Waits until the program ends by itself."""
        end = time.monotonic() + seconds
        while self.read(0.1):
            if time.monotonic() > end:
                raise AssertionError(f"the program does not end:\n{self.text()[-3000:]}")

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)
