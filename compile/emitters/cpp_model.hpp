#ifdef SAMEBITS_AP_TYPES
#include "ap_fixed.h"
#include "ap_int.h"
#define AP(...) , __VA_ARGS__
#else
#define AP(...)
#endif

namespace {

[[noreturn]] void refuse(const std::string& what) {
    throw std::invalid_argument(SAMEBITS_NAME "_v" SAMEBITS_VERSION ": " + what);
}

// One input or output of several, which come as a std::vector<std::any>.
const std::any& part(
    const std::any& given, std::size_t number, std::size_t count, const char* what
) {
    const auto* const all = std::any_cast<std::vector<std::any>>(&given);
    if (!all && count == 1) return given;
    if (!all || all->size() != count) {
        refuse(std::string(what) + ": wanted a std::vector<std::any> with one for each");
    }
    return (*all)[number];
}

template <class T> double real(const T& v) {
    if constexpr (std::is_arithmetic_v<T>) return double(v);
    else return v.to_double();
}

template <class T, class RAW> bool copied(const std::any& given, std::size_t size, RAW* to) {
    const T* from = nullptr;
    if (const auto* const p = std::any_cast<T*>(&given)) from = *p;
    else if (const auto* const q = std::any_cast<const T*>(&given)) from = *q;
    if (!from) return false;
    for (std::size_t i = 0; i < size; ++i) to[i] = RAW(real(from[i]));
    return true;
}

template <class T> bool written(const std::any& given, std::size_t size, const double* from) {
    const auto* const p = std::any_cast<T*>(&given);
    if (!p || !*p) return false;
    for (std::size_t i = 0; i < size; ++i) (*p)[i] = T(from[i]);
    return true;
}

template <class RAW, class... MORE>
void take(const std::any& given, std::size_t size, RAW* to, const char* wanted) {
    if (!(copied<RAW>(given, size, to) || ... || copied<MORE>(given, size, to))) {
        refuse(std::string(wanted) + ", got " + given.type().name());
    }
}

template <class... T>
void give(const std::any& given, std::size_t size, const double* from, const char* wanted) {
    if (!(written<T>(given, size, from) || ...)) {
        refuse(std::string(wanted) + ", got " + given.type().name());
    }
}
