"""What others may ask of a running Lowtide: alive, ready, its numbers for Prometheus, its page."""
