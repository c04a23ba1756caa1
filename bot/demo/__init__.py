"""The demo: a made recording of a real crash, and what plays it."""
