"""Models on this machine: listed, installed, verified, removed."""
