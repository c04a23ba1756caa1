"""The whole of Lowtide in one process, on one virtual clock, from one seed.

A market is drawn from the seed and told by models of venues in frames as they write them. The real
adapters, sessions and books make events of these, the real conflation, engine, plan and queue make
posts, and a model of Telegram takes them. Faults are drawn from the same seed. The oracle compares
what came of it with the same market without faults, and with what the models know.

What is a model here, and not the product: the venues, the wires, Redis (lists and a hash whose
writes are durable at once), Telegram, and the loops of the roles around the pure parts.
"""
