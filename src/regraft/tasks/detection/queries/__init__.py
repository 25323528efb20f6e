"""Whole detectors of transformers that answer by queries: RT-DETR, RT-DETR v2, D-FINE.

rows        which there are, as a table; light
checkpoint  a folder or a hub repository: what it holds, and whether it is taken
network     pixels → (n, queries, classes + 4); losses by transformers' own matching
begin       with the user's classes: rows of the same names stay
"""
