"""Where frames go: JSON lines, plain lines for a pipe, or coloured lines on a terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from typing import TextIO

from spiderwebd.client.transport import Frame
from spiderwebd.client.wording import visible, words

STYLES = {
    "session.receive": "bold",
    "session.accepted": "green",
    "agent.plan": "cyan",
    "agent.status": "green",
    "agent.state": "blue",
    "agent.progress": "dim",
    "agent.heartbeat": "magenta",
    "memory.event": "yellow",
    "session.gap": "red",
}
"""Style of a frame's lines on a terminal, in rich's words."""

WARNING_STATES = ("blocked", "failed", "cancelled", "expired", "interrupted")


class Output:
    """Prints frames as the user asked for; every line is flushed, so that a pipe sees it at once."""

    def __init__(self, *, as_json: bool, environment: Mapping[str, str], out: TextIO, notes: TextIO) -> None:
        """Print to `out`, and what is no frame (notes, errors) to `notes`."""
        self.as_json = as_json
        self.terminal = out.isatty()
        self._colours = self.terminal and not as_json and not environment.get("NO_COLOR")
        self._out = out
        self._notes = notes

    @classmethod
    def standard(cls, *, as_json: bool, environment: Mapping[str, str]) -> Output:
        """Return one for this process's standard output and standard error."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # The locale may be unable to write what the daemon says; that is no reason to fail.
                stream.reconfigure(errors="backslashreplace")
        return cls(as_json=as_json, environment=environment, out=sys.stdout, notes=sys.stderr)

    def frame(self, frame: Frame) -> None:
        """Print one frame."""
        if self.as_json:
            self._line(json.dumps(frame, ensure_ascii=False, separators=(",", ":")))
            return
        if frame["type"] == "error":
            self.note("\n".join(words(frame)))
            return
        style = STYLES.get(frame["type"], "")
        if frame.get("status") in WARNING_STATES:
            style = "red"
        for line in words(frame):
            self._line(line, style)

    def line(self, text: str) -> None:
        """Print a line that is an answer, but not a frame."""
        self._line(visible(text))

    def note(self, text: str) -> None:
        """Tell the user something about the client itself, on standard error."""
        print(f"spiderweb: {visible(text)}", file=self._notes, flush=True)

    def _line(self, text: str, style: str = "") -> None:
        if self._colours and style:
            from rich.console import Console  # 40 ms that only a terminal pays
            from rich.text import Text

            Console(file=self._out, soft_wrap=True, highlight=False).print(Text(text, style=style))
        else:
            print(text, file=self._out, flush=True)
