"""Children that serve one connection after the other: the end of each is told as its own."""

import signal

import pytest

from harness.client import Client
from harness.fronts import FRONTS

C_REUSE = [front for front in FRONTS if front.reuse and front.language == "c"]


@pytest.mark.parametrize(
    ("order", "end"),
    [("crash", (-1, signal.SIGSEGV)), ("_exit=9", (9, 0)), ("status=4", (4, 0))],
)
@pytest.mark.parametrize("front", C_REUSE, ids=lambda front: front.name)
def test_the_end_of_a_child_is_that_of_its_last_connection(front, serve, order, end):
    """One child serves the first and the second client. Where the second ends it, another
    serves the third."""
    server = serve(front, "--handler", "obey", "--max-children", 1)
    orders = ["exit=1", order if order != "status=4" else "exit=4", "exit=3"]
    for number, word in enumerate(orders, 1):
        with Client(server.address) as client:
            client.send(word.encode() + b"\n")
            client.rest()
        server.wait_event("ended", id=number)
    server.finish()
    pids, ends = zip(
        *[
            (event["pid"], (event["exit_code"], event["exit_signal"]))
            for event in sorted(server.events("ended"), key=lambda event: event["id"])
        ]
    )
    assert ends == ((1, 0), end, (3, 0))
    assert pids[0] == pids[1]
    assert (pids[1] == pids[2]) == (order == "status=4")
    assert server.stats()["crashed"] == (order == "crash")
