"""What the scenarios are written in: servers, clients, /proc, injected faults."""
