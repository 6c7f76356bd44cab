"""The `spiderweb` command: argv to an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from spiderwebd.client.arguments import parser
from spiderwebd.client.desk import Desk
from spiderwebd.client.errors import ClientError, Exit
from spiderwebd.client.output import Output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (`spiderweb --help` lists them)."""
    arguments = parser().parse_args(argv)
    # Ending by a signal must still remember how far the session was seen.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    output = Output.standard(as_json=arguments.json, environment=os.environ)
    try:
        status: Exit = arguments.command(Desk(arguments, os.environ, output))
    except ClientError as error:
        output.note(str(error))
        status = error.exit
    except KeyboardInterrupt:
        status = Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as `head` does. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = Exit.DONE
    return int(status)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
