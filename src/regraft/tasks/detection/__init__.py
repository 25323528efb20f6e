"""Object detection: RetinaNet (Lin et al. 2017, arXiv 1708.02002) on any convolutional backbone.

anchors   boxes of reference, fitted to the data
network   backbone, feature pyramid, head: pixels → (n, anchors, classes + 4)
targets   which anchor stands for which object
loss      focal loss and a loss of the boxes
decoding  outputs → boxes in pixels of the picture
frames    from a picture to the network's rectangle and back
augment   pictures with their boxes, changed at random
examples  training examples with boxes
"""
