"""History from public archives: which files there are, and how they get into the data directory."""
