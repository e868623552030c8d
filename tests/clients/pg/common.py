"""What the client programs share: where the server is, checks that all run, what to expect of whom.

libpq's environment variables (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE) say where the
server is. TARN_TEST_SERVER=postgres says that it is PostgreSQL itself: the same programs
pass there, which is what makes their expectations true.
"""

import os
import sys
import time
import traceback

HOST = os.environ["PGHOST"]
PORT = int(os.environ["PGPORT"])
USER = os.environ["PGUSER"]
PASSWORD = os.environ["PGPASSWORD"]
DATABASE = os.environ["PGDATABASE"]

TARN = os.environ.get("TARN_TEST_SERVER", "tarn") == "tarn"

_checks = []


def check(function):
    """Marks a function as one check; the name says the truth that it holds."""
    _checks.append(function)
    return function


def open_defect(reason):
    """Marks a check that PostgreSQL passes and Tarn does not yet; on Tarn it is skipped and counted."""

    def mark(function):
        function.open_defect = reason
        return function

    return mark


def equal(actual, expected):
    assert actual == expected, f"\n  actual:   {actual!r}\n  expected: {expected!r}"


def url(scheme="postgresql"):
    return f"{scheme}://{USER}:{PASSWORD}@{HOST}:{PORT}/{DATABASE}"


def run(setup=None, teardown=None):
    """Runs every check, or those named on the command line, and exits with what came of it."""
    wanted = sys.argv[1:]
    failed = skipped = 0
    if setup:
        setup()
    checks = [c for c in _checks if not wanted or c.__name__ in wanted]
    assert checks, f"no check is named {wanted}"
    for function in checks:
        reason = TARN and getattr(function, "open_defect", None)
        if reason:
            skipped += 1
            print(f"{function.__name__} ... SKIPPED, an open defect: {reason}", flush=True)
            continue
        started = time.monotonic()
        try:
            function()
            verdict = "ok"
        except BaseException:
            failed += 1
            verdict = "FAILED"
            traceback.print_exc(file=sys.stdout)
        print(f"{function.__name__} ... {verdict} ({time.monotonic() - started:.2f} s)", flush=True)
    if teardown:
        teardown()
    print(f"{len(checks) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
