"""ProtAnno: pairs of proteins and property texts from UniProt, sampled and written as shards.

``python -m train.protanno.build --help`` is the program. `read_shards` and `ShardSet` of
`train.protanno.shards` are what a trainer reads the result with.
"""
