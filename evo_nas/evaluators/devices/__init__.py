"""ONNX files timed here or on another machine; nothing here needs torch."""
