// The firmware's answer inside a C++ framework: ONNX Runtime's C++ interface and nothing else.
//
//   g++ -std=c++17 -O2 firmware_onnx.cpp -I<onnxruntime>/include -L<onnxruntime>/lib -lonnxruntime
//   ./a.out build/demo/firmware.onnx < events.txt
//
// Reads events from the standard input, one after the other, and prints their scores.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <iostream>
#include <vector>

// begin
class Firmware {
 public:
  explicit Firmware(const char* path) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session = Ort::Session(env, path, options);
    input = session.GetInputNameAllocated(0, allocator).get();
    output = session.GetOutputNameAllocated(0, allocator).get();
    shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
    for (size_t axis = 1; axis < shape.size(); ++axis) size *= shape[axis];
  }

  // The first output's numbers for events of `size` numbers each, one after the other.
  std::vector<float> operator()(std::vector<float>& events) {
    shape[0] = static_cast<int64_t>(events.size()) / size;
    const char *in = input.c_str(), *out = output.c_str();
    auto x = Ort::Value::CreateTensor<float>(memory, events.data(), events.size(), shape.data(),
                                             shape.size());
    auto y = session.Run(Ort::RunOptions{nullptr}, &in, &x, 1, &out, 1);
    const float* scores = y[0].GetTensorData<float>();
    return {scores, scores + y[0].GetTensorTypeAndShapeInfo().GetElementCount()};
  }

  int64_t size = 1;

 private:
  Ort::Env env;
  Ort::Session session{nullptr};
  Ort::AllocatorWithDefaultOptions allocator;
  Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
  std::string input, output;
  std::vector<int64_t> shape;
};
// end

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: firmware_onnx FIRMWARE.onnx < events.txt\n", stderr);
    return 2;
  }
  Firmware firmware(argv[1]);
  std::vector<float> events;
  for (float number; std::cin >> number;) events.push_back(number);
  for (float score : firmware(events)) std::printf("%.17g\n", score);
}
