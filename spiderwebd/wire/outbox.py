"""What waits for one link: bounded by frames and bytes, filled without waiting, emptied by one writer."""

from __future__ import annotations

from collections import deque

import trio

BATCH_FRAMES = 64
"""Frames handed to the writer at once: enough to share one wake-up, few enough to stop soon."""


class Outbox:
    """Frames for one link, in order; none is ever dropped from the middle.

    One sender takes batches, anybody in the same trio thread pushes. A batch that was taken counts
    against both bounds until the next one is asked for, which says that it was written.
    """

    __slots__ = (
        "_closed",
        "_max_bytes",
        "_max_frames",
        "_progress",
        "_pushed",
        "_taken_bytes",
        "_taken_frames",
        "_waiting",
        "_wake",
        "_written",
        "bytes",
    )

    def __init__(self, *, max_frames: int, max_bytes: int) -> None:
        """Hold at most `max_frames` frames and `max_bytes` bytes of UTF-8, whichever is less."""
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[str, int]] = deque()
        self._taken_frames = 0
        self._taken_bytes = 0
        self._pushed = 0
        self._written = 0
        self._wake: trio.Event | None = None
        self._progress: trio.Event | None = None
        self._closed = False
        self.bytes = 0
        """Bytes of UTF-8 not yet written, the batch being written included."""

    def __len__(self) -> int:
        """Count the frames not yet written, the batch being written included."""
        return len(self._waiting) + self._taken_frames

    @property
    def closed(self) -> bool:
        """Whether pushing has ended; what waits may still be taken."""
        return self._closed

    def push(self, text: str) -> bool:
        """Put one frame at the end; False, and nothing changed, when full or closed. Never waits."""
        # surrogatepass: a fault of the renderer shows where the frame is sent, not in the pusher.
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self._closed or len(self) >= self._max_frames or self.bytes + size > self._max_bytes:
            return False
        self._waiting.append((text, size))
        self._pushed += 1
        self.bytes += size
        self.wake()
        return True

    def wake(self) -> None:
        """Let a waiting `next_batch` return, even with nothing."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    def close(self, *, discard: bool = False) -> None:
        """End pushing. With `discard`, also forget what no batch has taken yet. Idempotent."""
        self._closed = True
        if discard:
            self.bytes -= sum(size for _, size in self._waiting)
            self._waiting.clear()
        self.wake()
        self._tell_progress()

    async def next_batch(self) -> list[str]:
        """Wait for frames and take up to BATCH_FRAMES of them, as `take` does.

        Empty when woken for another reason; empty for good once closed. Only one task may wait here.
        """
        self._count_written()
        if self._waiting or self._closed:
            await trio.lowlevel.checkpoint()
        else:
            self._wake = trio.Event()
            await self._wake.wait()
        return self.take(BATCH_FRAMES, self._max_bytes)

    def take(self, max_frames: int, max_bytes: int) -> list[str]:
        """Take what waits, up to both bounds but one frame at least; empty when nothing waits.

        Asking again says that the last batch was written.
        """
        self._count_written()
        batch: list[str] = []
        if not self._waiting:
            return batch
        taken = 0
        while self._waiting and len(batch) < max_frames:
            text, size = self._waiting[0]
            if batch and taken + size > max_bytes:
                break
            self._waiting.popleft()
            batch.append(text)
            taken += size
        self._taken_frames, self._taken_bytes = len(batch), taken
        return batch

    def _count_written(self) -> None:
        if self._taken_frames:
            self._written += self._taken_frames
            self.bytes -= self._taken_bytes
            self._taken_frames = self._taken_bytes = 0
            self._tell_progress()

    async def drained(self) -> bool:
        """Wait until all that was pushed so far is written, so that a replay can come in pages.

        What others push meanwhile does not prolong it. False when the outbox closed instead.
        """
        await trio.lowlevel.checkpoint()
        goal = self._pushed
        while self._written < goal and not self._closed:
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()
        return not self._closed

    def _tell_progress(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None
