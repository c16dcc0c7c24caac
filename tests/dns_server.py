"""A real DNS server (knot, from Debian) for the zones of a test, on loopback and a high port."""
import pathlib
import shutil
import signal
import subprocess
import tempfile

from harness import free_port, needs, wait_until


class Dns:
    """Knot serving `zones`: a dict of zone name to zone-file lines. A zone that is `None` cannot be read: the answer is SERVFAIL."""

    def __init__(self, zones, address=None):
        needs("knotd", "kdig")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-dns-"))
        self.address = address or f"127.0.0.1:{free_port()}"
        self.readable = {zone: records for zone, records in zones.items() if records is not None}
        for zone, records in self.readable.items():
            self.write_zone(zone, records)
        listed = "".join(f"  - domain: {zone}.\n    file: {zone}.zone\n" for zone in zones)
        config = self.folder / "knot.conf"
        config.write_text(
            f"server:\n  listen: {self.address.replace(':', '@')}\n  rundir: {self.folder}\n"
            f"database:\n  storage: {self.folder}\n"
            f"log:\n  - target: stderr\n    any: {'warning' if self.readable == zones else 'critical'}\n"
            f"template:\n  - id: default\n    storage: {self.folder}\n"
            f"zone:\n{listed}")
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen([shutil.which("knotd", path="/usr/sbin:/usr/bin:/sbin"), "-c", config], stdout=self.log, stderr=self.log)
        first = next(iter(self.readable))
        wait_until(lambda: self.ask(first, "SOA"), f"knot does not answer: {(self.folder / 'log').read_text()}")

    def ask(self, name, kind):
        """What the server says, as kdig prints it."""
        address, port = self.address.split(":")
        done = subprocess.run(["kdig", "+short", "+timeout=1", "+retry=0", f"@{address}", "-p", port, name, kind], capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, zone, records):
        """Gives a zone other records; returns when they are served."""
        serial = int(self.ask(zone, "SOA").split()[2]) + 1
        self.write_zone(zone, records, serial)
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.ask(zone, "SOA").split()[2:3] == [str(serial)], f"knot serves the new {zone}")

    def write_zone(self, zone, records, serial=1):
        head = f"$ORIGIN {zone}.\n$TTL 1\n@ SOA ns.{zone}. hostmaster.{zone}. {serial} 60 60 60 1\n@ NS ns.{zone}.\nns A 127.0.0.1\n"
        (self.folder / f"{zone}.zone").write_text(head + "\n".join(records) + "\n")

    def remove(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
