"""Boxes: pictures with objects in them, from COCO JSON, Pascal VOC, YOLO or CSV.

form      Boxes: what one picture holds; Listing: what annotation files say before it is believed
coco, voc, yolo, rows  readers, each from files to a Listing
checks    Listing → Dataset: each faulty box by file and row, left out or repaired
writing   Dataset → any of the formats
kinds     which reader a source is for
"""
