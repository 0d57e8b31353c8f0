// Integer arithmetic on blocks of events, written into every emulator.
// A tensor is rows of B events: element i of event e stands at [i * B + e].

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512BW__) || defined(__SSE4_1__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of its own header (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#endif

#if defined(__clang__)
// -O1 and sanitizers leave loops as they are.
#pragma clang diagnostic ignored "-Wpass-failed"
#define EACH_EVENT _Pragma("clang loop vectorize(assume_safety)") for (int e = 0; e < B; ++e)
#elif defined(__GNUC__)
#define EACH_EVENT _Pragma("GCC ivdep") for (int e = 0; e < B; ++e)
#else
#define EACH_EVENT for (int e = 0; e < B; ++e)
#endif

// A step is a function of its own: one for all would take compilers minutes. GCC 12 (-O1) takes some
// steps for functions without effects; noipa makes it look no further than the call.
#if defined(__clang__)
#define STEP __attribute__((noinline))
#elif defined(__GNUC__)
#define STEP __attribute__((noipa))
#else
#define STEP
#endif

namespace {

__extension__ using int128 = __int128;
__extension__ using uint128 = unsigned __int128;

// The address of a thread's own memory, asked for here and nowhere else. clang 14 would ask for it
// again in the midst of loops, with vectors in registers that the first call overwrites.
inline unsigned char* once(unsigned char* address) {
#if defined(__GNUC__)
    __asm__ volatile("" : "+r"(address));
#endif
    return address;
}

template <class T> struct UnsignedOf { using type = std::make_unsigned_t<T>; };
template <> struct UnsignedOf<int128> { using type = uint128; };

// ---- ap_fixed's rounding: v / 2^BITS ----
enum class Round { trn, trn_zero, rnd, rnd_zero, rnd_inf, rnd_min_inf, rnd_conv };

template <Round MODE, int BITS, class T> inline T rounded(T v) {
    constexpr T half = T(1) << (BITS - 1);
    const T negative = T(v < 0);
    if constexpr (MODE == Round::trn_zero) v += negative * (half - 1 + half);
    if constexpr (MODE == Round::rnd) v += half;
    if constexpr (MODE == Round::rnd_min_inf) v += half - 1;
    if constexpr (MODE == Round::rnd_inf) v += half - negative;
    if constexpr (MODE == Round::rnd_zero) v += half - 1 + negative;
    if constexpr (MODE == Round::rnd_conv) v += half - 1 + ((v >> BITS) & 1);
    return v >> BITS;
}

template <class T> inline T shifted_up(T v, int bits) {
    using U = typename UnsignedOf<T>::type;
    return T(U(v) << bits);
}

// ---- ap_fixed's overflow ----
template <bool SIGNED, int WIDTH, class T> inline T wrapped(T v) {
    using U = typename UnsignedOf<T>::type;
    constexpr int size = 8 * int(sizeof(T));
    if constexpr (WIDTH == 0) {
        return 0;
    } else if constexpr (WIDTH + (SIGNED ? 0 : 1) > size) {
        return v;
    } else if constexpr (SIGNED) {
        return T(U(v) << (size - WIDTH)) >> (size - WIDTH);
    } else {
        return T(U(v) & ((U(1) << WIDTH) - 1));
    }
}

template <class T> inline T smaller(T a, T b) { return b < a ? b : a; }
template <class T> inline T larger(T a, T b) { return a < b ? b : a; }
template <class T> inline T clipped(T v, T low, T high) { return v < low ? low : (v > high ? high : v); }
template <class T> inline T zero_outside(T v, T low, T high) { return v < low || v > high ? T(0) : v; }

// Entries of a table, one after the other: vectors would gather them more slowly.
template <int B, class T, class I, class O> inline void looked_up(const T* table, const I* index, O* out) {
    constexpr int AT_ONCE = B % 8 == 0 ? 8 : 1;
    for (int e = 0; e < B; e += AT_ONCE) {
        std::size_t places[AT_ONCE];
        for (int i = 0; i < AT_ONCE; ++i) {
            places[i] = std::size_t(index[e + i]);
#if defined(__GNUC__)
            __asm__ volatile("" : "+r"(places[i]));
#endif
        }
        for (int i = 0; i < AT_ONCE; ++i) out[e + i] = O(table[places[i]]);
    }
}

// ---- matrix products one event at a time ----
// out[m * step] = the sum over k of x[k * x_step] w[k][m].
template <int B, class X, class W, class O>
inline void plain_product(const X* x, int x_step, const W* w, int count, int rows, int step, O* out) {
    if constexpr (B > 1) {
        for (int m = 0; m < rows; ++m) {
            O sums[B] = {};
            for (int k = 0; k < count; ++k) {
                const X* const row = x + std::size_t(k) * std::size_t(x_step) * B;
                EACH_EVENT sums[e] += O(row[e]) * O(w[k * rows + m]);
            }
            EACH_EVENT out[m * step * B + e] = sums[e];
        }
        return;
    }
    for (int m = 0; m < rows; ++m) out[m * step] = 0;
    for (int k = 0; k < count; ++k) {
        const O factor = O(x[std::size_t(k) * std::size_t(x_step)]);
        for (int m = 0; m < rows; ++m) out[m * step] += factor * O(w[k * rows + m]);
    }
}

// The balanced tree of adders: the left branch has the largest power of two below the count.
template <int B, class T, class TERM, class PLUS>
inline void tree_sum(int low, int high, const TERM& term, const PLUS& plus, T* sum) {
    if (high - low == 1) {
        EACH_EVENT sum[e] = term(low, e);
        return;
    }
    int left = 1;
    while (2 * left < high - low) left *= 2;
    T right[B];
    tree_sum<B, T>(low, low + left, term, plus, sum);
    tree_sum<B, T>(low + left, high, term, plus, right);
    EACH_EVENT sum[e] = plus(sum[e], right[e]);
}

