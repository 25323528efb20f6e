"""Object detection: several kinds of detectors on any convolutional backbone.

anchors   boxes of reference, fitted to the data
detecting what every detector can do
network   backbone, neck and head: pixels → (n, places, numbers)
heads     kinds of detectors: RetinaNet, FCOS, Faster R-CNN, SSDLite
targets   which anchor stands for which object
loss      focal loss and a loss of the boxes
decoding  outputs → boxes in pixels of the picture
frames    from a picture to the network's rectangle and back
augment   pictures with their boxes, changed at random
mosaic    four pictures in one
starts    whole pretrained detectors to begin with
queries   whole detectors of transformers: RT-DETR, RT-DETR v2, D-FINE
examples  training examples with boxes
"""
