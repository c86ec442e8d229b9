"""A topic's last messages, looked up by their stamps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from hmr_ros.ros.conversions import FrameError, header_stamp_ns
from hmr_ros.ros.matched_subscription import MatchedSubscription
from hmr_ros.ros.node_config import NodeConfig

KEEP = 10
"""Messages remembered per topic: a third of a second at 30 Hz."""


class MessageBuffer:
    """A topic's last messages."""

    def __init__(self, node, kind, topic: str, config: NodeConfig):
        self._warning = ""  # why the last image got no message; empty: it got one
        self._max_gap_ns = config.side_input_max_gap_s * 1e9
        self._messages: deque = deque(maxlen=KEEP)
        self._lock = threading.Lock()
        self._subscription = MatchedSubscription(
            node, kind, node.resolve_topic_name(topic), config.image_reliability, self._on_message
        )

    def at(self, stamp_ns: int, read: Callable):
        """What `read` returns for the message nearest to this time, or None if there is none that is usable. Any thread may call it."""
        with self._lock:
            messages = list(self._messages)
        found = min(messages, key=lambda m: abs(header_stamp_ns(m) - stamp_ns), default=None)
        gap_ns = abs(header_stamp_ns(found) - stamp_ns) if found else 0
        try:
            if found is None:
                raise FrameError("no message has arrived")
            if gap_ns > self._max_gap_ns:
                raise FrameError(f"the message nearest in time is {gap_ns * 1e-9:.2f} s away")
            answer = read(found)
        except FrameError as error:
            self._warning = f"images go without {self._subscription.topic}: {error}"
            return None
        self._warning = ""
        return answer

    def warnings(self) -> list[str]:
        return [self._warning] if self._warning else []

    def refresh(self) -> None:
        self._subscription.refresh()

    def close(self) -> None:
        self._subscription.close()

    def _on_message(self, msg) -> None:
        with self._lock:
            self._messages.append(msg)
