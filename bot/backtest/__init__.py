"""What a configuration would have said over recorded data: the rules of live over series."""
