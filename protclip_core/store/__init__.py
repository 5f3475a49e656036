"""The embedding store: its HDF5 format, reader, writer, tools, and the working files of a run."""
