"""imapflow and nodemailer, from npm, against the built binary."""
import json
import os
import pathlib
import subprocess
import unittest

from harness import PASSWORD, ServerCase, needs, run

NPM = pathlib.Path(__file__).parent / "npm"


class Npm(ServerCase):
    @classmethod
    def setUpClass(cls):
        needs("node", "npm")
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=NPM, check=True, capture_output=True, env=os.environ)
        super().setUpClass()

    def test_nodemailer_submits_and_imapflow_reads_it_in_idle(self):
        at = {"host": self.server.address, "submission": self.server.port("submission"), "imap": self.server.port("imaps"),
              "ca": str(self.server.ca_file()), "user": "ann@example.test", "password": PASSWORD}
        run("node", NPM / "clients.mjs", json.dumps(at))


if __name__ == "__main__":
    unittest.main()
