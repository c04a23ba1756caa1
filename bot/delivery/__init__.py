"""From a planned post to a confirmed one: durable, in order, at the pace of each chat."""
