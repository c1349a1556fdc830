"""Networks of ours as ONNX graphs, written node by node: milliseconds where an exporter of torch takes many seconds."""
