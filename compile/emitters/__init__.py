"""The fixed-point graph written for others: ONNX operators, C++, alkaid's trace."""
