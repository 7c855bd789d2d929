"""An artifact as an ONNX model of the fake level; needs the library onnx."""
