"""What waits to be sent: in order, again after a failure, with pauses that grow, and not without end."""

from __future__ import annotations

from suture.agent.webhook import Webhook


def test_what_is_not_taken_is_sent_again_in_order_after_growing_pauses() -> None:
    now, sent, broken = [0.0], list[bytes](), [True]

    def send(body: bytes) -> str:
        if broken[0]:
            return "down"
        sent.append(body)
        return ""

    hook = Webhook(send, lambda: now[0])
    hook.add(b"1")
    hook.add(b"2")
    tried = []
    for second in range(20):
        now[0] = float(second)
        if hook.work():
            tried.append(second)
    assert tried == [0, 1, 3, 7, 15]
    broken[0] = False
    now[0] = 31.0
    assert hook.work() == "" and sent == [b"1", b"2"]


def test_so_many_wait_and_the_oldest_go_first() -> None:
    sent: list[bytes] = []

    def send(body: bytes) -> str:
        sent.append(body)
        return ""

    hook = Webhook(send)
    for n in range(1010):
        hook.add(b"%d" % n)
    while len(sent) < 1000:
        hook.work()
    assert hook.lost == 10 and sent[0] == b"10" and sent[-1] == b"1009"
