"""Training objectives, a file each: a pure function of tensors, and the `Objective` that calls it.

``gc`` whole proteins against whole texts; ``go`` proteins against a bank of texts; ``mlm`` masked
residues from the protein; ``bsr`` masked segments with the help of the text; ``pda`` the residues
that belong to a property.

Each loss is a scalar. With ``ranks``, a group of processes, the average of what the ranks return
is the objective of the whole batch, and so are the averaged gradients.
"""
