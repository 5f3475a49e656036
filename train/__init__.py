"""Everything that only training needs; it imports `protclip_core`, never the reverse.

Start at `train.pretrain`, which reads from top to bottom.
"""
