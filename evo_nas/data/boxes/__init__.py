"""Image sets with boxes: VOC folders, COCO JSON, and scenes made of handwritten digits; for detectors."""
