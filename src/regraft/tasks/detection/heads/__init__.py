"""What stands on the maps of a backbone: one kind of detector each, on torchvision's parts.

rows       which there are, as a table; light
base       what every head can do
dense      what heads with answers at fixed places share
retina     RetinaNet
fcos       FCOS: a place answers for itself, without anchors
ssdlite    SSDLite: a light head, without a feature pyramid
two_stage  Faster R-CNN: first where, then what
necks      between a backbone's maps and the head
"""
