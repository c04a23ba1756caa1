"""Pure rules: events in, alerts out. Imports streams.events only."""
