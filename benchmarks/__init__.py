"""The layer beside code written by hand, its peers and the drivers alone: `make bench`."""
