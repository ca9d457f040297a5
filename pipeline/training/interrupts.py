"""Ctrl-C and SIGTERM as a wish to stop at the next safe point."""

import signal
import threading
from types import FrameType, TracebackType


class StopRequest:
    """`with StopRequest() as stop:` notes the signals in `stop.requested` and lets the work go on; the old handlers come back at the end.

    Only the main thread can hold handlers; elsewhere it notes nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        else:
            self.before = {}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
