"""Redis: events and alerts in streams, one holder for each role, a server of our own."""
