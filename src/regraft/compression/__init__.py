"""Compression: the same network in whole numbers, or with fewer channels."""
