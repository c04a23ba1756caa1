"""Pure rules: events in, alerts out. Imports streams.events and streams.durations only."""
