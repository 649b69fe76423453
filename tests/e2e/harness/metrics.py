"""Metrics, read by the parser of a program that scrapes them."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families


class Metrics:
    """The samples of one text, by their names and the value of their one label."""

    def __init__(self, text):
        assert text.endswith("# EOF\n"), text[-200:]
        self.families = list(text_string_to_metric_families(text))
        self.samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in self.families
            for sample in family.samples
        }

    def get(self, name, *label):
        return self.samples[("forkserve_" + name, *label)]

    def by(self, name):
        """The values of a metric by its label."""
        name = "forkserve_" + name
        return {rest[0]: value for (this, *rest), value in self.samples.items() if this == name}

    def check(self):
        """What holds while nothing is going on."""
        ended = sum(self.by("connections_ended_total").values())
        refused = sum(self.by("connections_refused_total").values())
        live = sum(self.by("connections").values())
        assert self.get("connections_accepted_total") == ended + refused + live, self.samples
        assert self.get("connection_duration_seconds_count") == ended, self.samples
        return self
