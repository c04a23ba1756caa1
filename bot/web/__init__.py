"""What others may ask of a running Lowtide: alive, ready, and its numbers for Prometheus."""
