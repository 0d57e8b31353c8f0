"""From models of Keras, ONNX and HGQ2 to hls4ml's graph."""
