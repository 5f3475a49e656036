"""Tensors on disk: bundles, pickles under guard, tokenizer files."""
