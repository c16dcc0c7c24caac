"""A real DNS server (knot) with a signed root of its own, signed zones below it and unsigned ones, on loopback."""
import pathlib
import shutil
import subprocess
import tempfile

from harness import needs, run, wait_until

TOOLS = "/usr/sbin:/usr/bin:/sbin:/bin"


class SignedDns:
    """`zones`: zone name to zone-file lines; those in `signed` are signed, those in `broken` have a wrong DS record."""

    def __init__(self, address, zones, signed, broken=()):
        needs("knotd", "keymgr", "kdig")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postrider-signed-dns-"))
        self.address, self.anchors = address, self.folder / "anchors"
        self.write_config(zones, signed)
        for zone in [".", *(f"{name}." for name in signed)]:
            self.keymgr(zone, "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes")
        name, kind, data = self.keymgr(".", "dnskey").split(" ", 2)
        self.anchors.write_text(f"{name} 3600 IN {kind} {data}")
        for zone, records in zones.items():
            self.write_zone(f"{zone}.", f"{zone}.zone", [f"ns.{zone}. A 127.0.0.1", *records])
        self.write_zone(".", "root.zone", [line for zone in zones for line in self.delegation(zone, zone in signed, zone in broken)])
        self.log = (self.folder / "log").open("w")
        self.process = subprocess.Popen([shutil.which("knotd", path=TOOLS), "-c", self.folder / "knot.conf"], stdout=self.log, stderr=self.log)
        wait_until(lambda: "RRSIG" in self.ask(".", "SOA"), f"knot does not answer: {(self.folder / 'log').read_text()}")

    def write_config(self, zones, signed):
        listed = "".join(
            f"  - domain: {name}\n    file: {file}\n" + ("    dnssec-signing: on\n    dnssec-policy: test\n" if is_signed else "")
            for name, file, is_signed in [(".", "root.zone", True), *((f"{zone}.", f"{zone}.zone", zone in signed) for zone in zones)])
        (self.folder / "knot.conf").write_text(
            f"server:\n  listen: {self.address.replace(':', '@')}\n  rundir: {self.folder}\n"
            f"database:\n  storage: {self.folder}\nlog:\n  - target: stderr\n    any: warning\n"
            "policy:\n  - id: test\n    manual: on\n    single-type-signing: on\n    algorithm: ecdsap256sha256\n"
            f"template:\n  - id: default\n    storage: {self.folder}\n    zonefile-sync: -1\n    journal-content: none\nzone:\n{listed}")

    def write_zone(self, name, file, records):
        ns = "ns.root-servers.test." if name == "." else f"ns.{name}"
        head = f"$ORIGIN {name}\n$TTL 5\n@ SOA {ns} hostmaster.test. 1 60 60 60 5\n@ NS {ns}\n"
        glue = f"{ns} A 127.0.0.1\n" if name == "." else ""
        (self.folder / file).write_text(head + glue + "\n".join(records) + "\n")

    def delegation(self, zone, is_signed, is_broken):
        lines = [f"{zone}. NS ns.{zone}.", f"ns.{zone}. A 127.0.0.1"]
        if is_signed:
            ds = next(line for line in self.keymgr(f"{zone}.", "ds").splitlines() if " 13 2 " in line)
            lines.append(f"{ds[:-4]}0000" if is_broken else ds)
        return lines

    def keymgr(self, *words):
        return run(shutil.which("keymgr", path=TOOLS), "-c", self.folder / "knot.conf", *words).stdout.strip()

    def ask(self, name, kind):
        address, port = self.address.split(":")
        done = subprocess.run(["kdig", "+dnssec", "+timeout=1", "+retry=0", f"@{address}", "-p", port, name, kind], capture_output=True, text=True)
        return done.stdout

    def remove(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
