"""Training objectives: one file each, pure functions of tensors."""
