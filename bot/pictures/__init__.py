"""Pictures of a price and a metric: drawn as SVG, made a PNG in a process of their own."""
