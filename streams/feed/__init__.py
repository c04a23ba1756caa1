"""One venue live, and all venues together: sockets, polls and books, and what they publish."""
