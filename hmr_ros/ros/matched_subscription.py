"""A subscription that requests no stricter QoS than its publishers offer."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def reliability_for(setting: str, offered: list[ReliabilityPolicy]) -> ReliabilityPolicy:
    """`auto`: reliable only when all publishers offer it, because a reliable subscription receives nothing from a best-effort one.

    The choice matters: best-effort images larger than the middleware's shared-memory segment are mostly lost between processes.
    """
    if setting != "auto":
        return {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}[setting]
    everyone = offered and all(policy == ReliabilityPolicy.RELIABLE for policy in offered)
    return ReliabilityPolicy.RELIABLE if everyone else ReliabilityPolicy.BEST_EFFORT


class MatchedSubscription:
    """Subscribed from creation to `close`; `refresh` follows publishers that come, go or change.

    topic: resolved. callback: as `create_subscription` takes it. latched: also receive the last message sent before subscribing,
    where all publishers keep one.
    """

    def __init__(self, node, kind, topic: str, setting: str, callback: Callable, latched: bool = False):
        self.topic = topic
        self._node, self._kind, self._setting, self._callback = node, kind, setting, callback
        self._latched = latched
        self._subscription = None
        self._asked: tuple[ReliabilityPolicy, DurabilityPolicy] | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Check the publishers again. Subscribe anew and return True if they offer another QoS."""
        offered = [info.qos_profile for info in self._node.get_publishers_info_by_topic(self.topic)]
        kept = self._latched and all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
        asked = (
            reliability_for(self._setting, [profile.reliability for profile in offered]),
            DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
        )
        if asked == self._asked or (not offered and self._asked is not None):
            return False
        self.close()
        self._asked = asked
        self._subscription = self._node.create_subscription(self._kind, self.topic, self._callback, depth_one(*asked))
        return True

    def describe(self) -> str:
        publishers = self._node.count_publishers(self.topic)
        return f"{self.topic} ({publishers} publishers, {self._asked[0].name.lower() if self._asked else 'closed'})"

    def close(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None


def depth_one(reliability: ReliabilityPolicy, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    """Depth 1: with more, a node that is slower than the camera works on ever older messages."""
    return QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=reliability, durability=durability)
