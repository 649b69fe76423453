"""What a scraper is told, in every language and process model."""

import json
import os
import re
import signal

from harness.client import Client
from harness.fronts import ROOT
from harness.pages import all_pages

HANDLER = ("--handler", "status")


def outcomes(server, count):
    """Connections that end well, with a status, and by a signal: so many of each."""
    for status in (0, 7):
        for _ in range(count):
            with Client(server.address) as client:
                client.send(bytes([status]))
                assert client.rest() == b""
    for _ in range(count):
        with Client(server.address) as client:
            pid = server.wait_events("forked", 1, peer=client.name)[0]["pid"]
            os.kill(pid, signal.SIGKILL)
            client.rest()


def test_ends_by_their_outcome_and_refusals_by_their_reason(front, serve):
    server = serve(front, *HANDLER, "--deny", "127.0.0.9", "--max-children", 20)
    outcomes(server, 3)
    for _ in range(2):
        with Client(server.address, source="127.0.0.9") as refused:
            assert refused.rest() == b""
    server.finish()
    stats, metrics = server.stats(), server.metrics().check()
    ended = metrics.by("connections_ended_total")
    assert ended == {"ok": 3, "failed": 3, "crashed": 3, "unknown": 0}
    assert (stats["ended"], stats["failed"], stats["crashed"]) == (9, 3, 3)
    refused = metrics.by("connections_refused_total")
    assert refused.pop("denied") == stats["refused_denied"] == 2
    assert refused.pop("unknown") == 0
    assert set(refused.values()) == {0}
    seconds = metrics.get("connection_duration_seconds_sum")
    assert seconds == stats["duration_us_sum"] / 1e6 > 0
    told = sum(event["duration_us"] for event in server.events("ended"))
    # In Python an event has seconds.
    assert abs(told - stats["duration_us_sum"]) <= 9
    assert metrics.get("children_limit") == 20
    assert metrics.get("draining") == 1
    # The listeners are closed, and have no queue any more.
    assert metrics.by("accept_queue_length") == {}


PAGE = next(page for page in all_pages() if page.name == "docs/metrics.md")


def test_what_the_page_the_rules_and_the_dashboard_ask_for_exists(core_front, serve):
    server = serve(core_front)
    server.finish()
    metrics = server.metrics()
    known = {name for name, *_ in metrics.samples}
    # Of listeners, which are closed now.
    known |= {family.name for family in metrics.families}
    known |= {f"{family.name}_total" for family in metrics.families if family.type == "counter"}
    dashboard = json.loads((ROOT / "deploy/forkserve-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 15
    rules = (ROOT / "deploy/forkserve.rules.yml").read_text()
    listed = re.findall(r"^\| `(forkserve_\w+)`", PAGE.marked("metrics"), re.M)
    assert len(listed) == len(metrics.families)
    asked = re.findall(r"forkserve_[a-z_]+", "\n".join([*queries, rules, *listed, PAGE.text]))
    # A function of C, by that name in the page.
    assert set(asked) - {"forkserve_server_metrics"} <= known
