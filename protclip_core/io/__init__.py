"""Files in and out: FASTA, compressed streams, HDF5 stores, crash-safe writing."""
