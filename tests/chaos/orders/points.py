"""PURE. The points between a command's request and its result at which something dies (`passages` has us pass them)."""

from typing import Final

# In the order in which a command passes them: the point → whose it is, and what it is.
POINTS: Final[dict[str, tuple[str, str]]] = {
    "issuing": ("web", "before the transaction that queues it commits"),
    "issued": ("web", "after it committed, before the bridge is rung"),
    "rung": ("web", "after the bridge was rung, before the answer to who asked"),
    "claiming": ("bridge", "before the claim commits"),
    "claimed": ("bridge", "after it committed, before the publish"),
    "published": ("bridge", "after the publish left, before the broker's PUBACK"),
    "taken": ("bridge", "after the PUBACK, before `sent` commits"),
    "sent": ("bridge", "after `sent` committed"),
    "received": ("device", "after it came, before the device acts"),
    "acted": ("device", "after the device acted, before it answers"),
    "answered": ("device", "after its answer left"),
    "heard": ("bridge", "after the answer came, before it commits"),
    "settled": ("bridge", "after it committed, before the broker gets its PUBACK"),
    "thanked": ("bridge", "after that PUBACK, before it is announced"),
}
