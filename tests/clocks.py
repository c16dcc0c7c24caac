"""Other times for a server: yesterday, in half a year, or an hour in some seconds (libfaketime, from Debian)."""
import os
import pathlib
import unittest


def needs_clocks():
    """Skips the test where there is no libfaketime; with CI=true that is a failure."""
    if _library() or os.environ.get("CI") == "true":
        assert _library(), "not installed: faketime"
        return
    raise unittest.SkipTest("not installed: faketime")


def _library():
    return next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def clock(seconds=0, speed=1):
    """The environment of a process whose clock is so many seconds ahead and so many times as fast."""
    return {"LD_PRELOAD": str(_library()), "FAKETIME": f"{seconds:+d}s x{speed}"}
