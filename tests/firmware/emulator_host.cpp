// A caller with a declaration of the class of its own, as experiments have: it knows libraries by
// their names only. host local|global EVENTS (LIBRARY FILE INPUTS OUTPUTS)...
#include <any>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#ifdef WITH_AP
#include "ap_fixed.h"
using Input = ap_fixed<8, 4>;
using Output = ap_ufixed<6, 3, AP_RND_CONV, AP_SAT>;
#else
using Input = float;
using Output = double;
#endif
namespace hls4mlEmulator {
class Model {
public:
    virtual void prepare_input(std::any input) = 0;
    virtual void predict() = 0;
    virtual void read_result(std::any result) = 0;
    virtual ~Model() = default;
};
}
using hls4mlEmulator::Model;
struct Library {
    void* handle = nullptr;
    int inputs = 0, outputs = 0;
    std::vector<float> x;
    std::vector<std::vector<double>> y;
    std::string file;
    std::shared_ptr<Model> model() const {
        auto* create = reinterpret_cast<Model* (*)()>(dlsym(handle, "create_model"));
        auto* destroy = reinterpret_cast<void (*)(Model*)>(dlsym(handle, "destroy_model"));
        return std::shared_ptr<Model>(create(), destroy);
    }
};
int main(int argc, char** argv) {
    const int events = std::atoi(argv[2]), threads = 3;
    std::vector<Library> all;
    for (int i = 3; i + 3 < argc; i += 4) {
        const int mode = argv[1][0] == 'g' ? RTLD_GLOBAL : RTLD_LOCAL;
        Library one;
        one.handle = dlopen(argv[i], RTLD_NOW | mode);
        one.file = argv[i + 1];
        one.inputs = std::atoi(argv[i + 2]);
        one.outputs = std::atoi(argv[i + 3]);
        if (!one.handle) { std::puts(dlerror()); return 2; }
        one.x.resize(std::size_t(events * one.inputs));
        std::FILE* file = std::fopen((one.file + ".x").c_str(), "rb");
        if (std::fread(one.x.data(), 4, one.x.size(), file) != one.x.size()) return 3;
        std::fclose(file);
        one.y.assign(threads, std::vector<double>(std::size_t(events * one.outputs)));
        all.push_back(one);
    }
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
        running.emplace_back([&, t] {
            std::vector<std::shared_ptr<Model>> models;
            for (const auto& one : all) models.push_back(one.model());
            for (int e = 0; e < events; ++e) {
                for (std::size_t m = 0; m < all.size(); ++m) {
                    Library& one = all[m];
                    std::vector<Input> in(one.x.begin() + e * one.inputs, one.x.begin() + (e + 1) * one.inputs);
                    std::vector<Output> out(std::size_t(one.outputs));
                    models[m]->prepare_input(in.data());
                    models[m]->predict();
                    models[m]->read_result(out.data());
                    for (int i = 0; i < one.outputs; ++i) one.y[t][e * one.outputs + i] = double(out[i]);
                }
            }
        });
    }
    for (auto& thread : running) thread.join();
    for (auto& one : all) {
        for (auto& y : one.y) if (y != one.y[0]) return 4;
        std::FILE* file = std::fopen((one.file + ".y").c_str(), "wb");
        std::fwrite(one.y[0].data(), 8, one.y[0].size(), file);
        std::fclose(file);
        try { one.model()->prepare_input(1); } catch (const std::invalid_argument& error) { std::puts(error.what()); }
    }
    return 0;
}
