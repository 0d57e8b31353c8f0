// Integer arithmetic on blocks of events, written into every emulator.
// A tensor is rows of B events: element i of event e stands at [i * B + e].

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512BW__) || defined(__AVX2__)
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

template <class T> inline T clipped(T v, T low, T high) { return v < low ? low : (v > high ? high : v); }
template <class T> inline T zero_outside(T v, T low, T high) { return v < low || v > high ? T(0) : v; }

// ---- matrix products: four 8-bit or two 16-bit factors in each 32-bit lane ----
#if defined(__AVX512BW__)
using Lanes = __m512i;
constexpr int LANES = 16;
[[maybe_unused]] inline Lanes load_lanes(const std::int32_t* p) { return _mm512_load_si512(p); }
[[maybe_unused]] inline void store_lanes(std::int32_t* p, Lanes v) { _mm512_store_si512(p, v); }
[[maybe_unused]] inline Lanes no_lanes() { return _mm512_setzero_si512(); }
[[maybe_unused]] inline Lanes all_lanes(std::int32_t v) { return _mm512_set1_epi32(v); }
[[maybe_unused]] inline Lanes add_products_16(Lanes sum, Lanes x, Lanes w) {
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sum, x, w);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
#endif
}
[[maybe_unused]] inline Lanes add_products_8(Lanes sum, Lanes x, Lanes w) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, x, w);
#else
    const Lanes pairs = _mm512_maddubs_epi16(x, w);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#endif
}
#elif defined(__AVX2__)
using Lanes = __m256i;
constexpr int LANES = 8;
[[maybe_unused]] inline Lanes load_lanes(const std::int32_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
[[maybe_unused]] inline void store_lanes(std::int32_t* p, Lanes v) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); }
[[maybe_unused]] inline Lanes no_lanes() { return _mm256_setzero_si256(); }
[[maybe_unused]] inline Lanes all_lanes(std::int32_t v) { return _mm256_set1_epi32(v); }
[[maybe_unused]] inline Lanes add_products_16(Lanes sum, Lanes x, Lanes w) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
}
[[maybe_unused]] inline Lanes add_products_8(Lanes sum, Lanes x, Lanes w) {
    const Lanes pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#else
using Lanes = std::int32_t;
constexpr int LANES = 1;
[[maybe_unused]] inline Lanes load_lanes(const std::int32_t* p) { return *p; }
[[maybe_unused]] inline void store_lanes(std::int32_t* p, Lanes v) { *p = v; }
[[maybe_unused]] inline Lanes no_lanes() { return 0; }
[[maybe_unused]] inline Lanes all_lanes(std::int32_t v) { return v; }
[[maybe_unused]] inline Lanes add_products_16(Lanes sum, Lanes x, Lanes w) {
    for (int i = 0; i < 32; i += 16) {
        sum += std::int32_t(std::int16_t(std::uint32_t(x) >> i)) * std::int16_t(std::uint32_t(w) >> i);
    }
    return sum;
}
[[maybe_unused]] inline Lanes add_products_8(Lanes sum, Lanes x, Lanes w) {
    for (int i = 0; i < 32; i += 8) {
        sum += std::int32_t(std::uint8_t(std::uint32_t(x) >> i)) * std::int8_t(std::uint32_t(w) >> i);
    }
    return sum;
}
#endif

// FACTORS (4 or 2) rows of x in each row of `packed`; rows are `step` elements apart, the last
// are zero.
template <int B, int FACTORS, class T>
inline void pack(const T* x, std::size_t step, int count, std::int32_t* packed) {
    constexpr int bits = 32 / FACTORS;
    constexpr std::uint32_t mask = (std::uint32_t(1) << bits) - 1;
    for (int k = 0; k < count; k += FACTORS, packed += B) {
        const T* row = x + std::size_t(k) * step * B;
        const int here = count - k < FACTORS ? count - k : FACTORS;
        if (here == FACTORS) {
            EACH_EVENT {
                std::uint32_t all = 0;
                for (int i = 0; i < FACTORS; ++i) {
                    all |= (std::uint32_t(row[std::size_t(i) * step * B + e]) & mask) << (i * bits);
                }
                packed[e] = std::int32_t(all);
            }
            continue;
        }
        EACH_EVENT {
            std::uint32_t all = 0;
            for (int i = 0; i < here; ++i) {
                all |= (std::uint32_t(row[std::size_t(i) * step * B + e]) & mask) << (i * bits);
            }
            packed[e] = std::int32_t(all);
        }
    }
}

template <int B, int FACTORS, int ROWS>
inline void packed_rows(const std::int32_t* packed, const std::int32_t* w, int words, int step, std::int32_t* out) {
    constexpr int WIDE = B / LANES > 1 ? 2 : 1;
    for (int e = 0; e < B; e += WIDE * LANES) {
        Lanes sums[ROWS][WIDE];
        for (int m = 0; m < ROWS; ++m) {
            for (int v = 0; v < WIDE; ++v) sums[m][v] = no_lanes();
        }
        for (int k = 0; k < words; ++k) {
            Lanes x[WIDE];
            for (int v = 0; v < WIDE; ++v) x[v] = load_lanes(packed + k * B + e + v * LANES);
            for (int m = 0; m < ROWS; ++m) {
                const Lanes weight = all_lanes(w[m * words + k]);
                for (int v = 0; v < WIDE; ++v) {
                    sums[m][v] = FACTORS == 4 ? add_products_8(sums[m][v], x[v], weight)
                                              : add_products_16(sums[m][v], x[v], weight);
                }
            }
        }
        for (int m = 0; m < ROWS; ++m) {
            for (int v = 0; v < WIDE; ++v) store_lanes(out + m * step * B + e + v * LANES, sums[m][v]);
        }
    }
}

// out[m * step] = the sum over k of x[k] w[m][k], weights and x packed alike.
template <int B, int FACTORS>
inline void packed_product(const std::int32_t* packed, const std::int32_t* w, int words, int rows, int step, std::int32_t* out) {
    int m = 0;
    for (; m + 8 <= rows; m += 8) packed_rows<B, FACTORS, 8>(packed, w + m * words, words, step, out + m * step * B);
    for (; m + 4 <= rows; m += 4) packed_rows<B, FACTORS, 4>(packed, w + m * words, words, step, out + m * step * B);
    for (; m < rows; ++m) packed_rows<B, FACTORS, 1>(packed, w + m * words, words, step, out + m * step * B);
}

// The same from factors as they are, weights [count][rows].
template <int B, class X, class W, class O>
inline void plain_product(const X* x, int x_step, const W* w, int count, int rows, int step, O* out) {
    for (int m = 0; m < rows; ++m) {
        EACH_EVENT out[m * step * B + e] = 0;
    }
    for (int k = 0; k < count; ++k) {
        const X* row = x + std::size_t(k) * std::size_t(x_step) * B;
        for (int m = 0; m < rows; ++m) {
            EACH_EVENT out[m * step * B + e] += O(row[e]) * O(w[k * rows + m]);
        }
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

// ---- the border: real numbers to mantissas, as ap_fixed(double) does ----
template <Round MODE, class F> inline F whole_number(F v) {
    if constexpr (MODE == Round::trn) return std::floor(v);
    if constexpr (MODE == Round::rnd_conv) return std::nearbyint(v);
    const F whole = std::trunc(v);
    const F rest = v - whole;
    const F half = F(0.5);
    if constexpr (MODE == Round::trn_zero) return whole;
    if constexpr (MODE == Round::rnd) return whole + F(rest >= half) - F(rest < -half);
    if constexpr (MODE == Round::rnd_inf) return whole + F(rest >= half) - F(rest <= -half);
    if constexpr (MODE == Round::rnd_min_inf) return whole + F(rest > half) - F(rest <= -half);
    return whole + F(rest > half) - F(rest < -half);
}

enum class Over { wrap, sat, sat_zero };

template <class FORMAT, class T> inline T into_range(T v) {
    if constexpr (FORMAT::over == Over::wrap) return wrapped<FORMAT::is_signed, FORMAT::width>(v);
    if constexpr (FORMAT::over == Over::sat) return clipped<T>(v, T(FORMAT::low()), T(FORMAT::high()));
    return zero_outside<T>(v, T(FORMAT::low()), T(FORMAT::high()));
}

// Any finite number, exactly; slower.
template <class FORMAT> int128 one_mantissa(double x) {
    if (FORMAT::like_ap_int && x > -0.5 && x < 0) x = 1.0;
    double scaled = std::ldexp(x, FORMAT::fraction);
    if (scaled == 0 && x != 0) scaled = std::copysign(5e-324, x);
    double v = whole_number<FORMAT::round>(scaled);
    if constexpr (FORMAT::over == Over::wrap) {
        v = std::fabs(v) > 0x1p1000 ? 0.0 : std::fmod(v, std::ldexp(1.0, FORMAT::width));
    } else {
        const double limit = std::ldexp(1.0, FORMAT::width + 2);
        v = v < -limit ? -limit : (v > limit ? limit : v);
    }
    return into_range<FORMAT>(static_cast<int128>(v));
}

// Events first to rows of B events.
template <int B, class S, class T> inline void turned(const S* x, int size, T* out) {
    for (int i = 0; i < size; ++i) {
        EACH_EVENT out[i * B + e] = T(x[e * size + i]);
    }
}

#if defined(__AVX512BW__)
// 16 events of 16 numbers at once, in four rounds of pairs.
[[maybe_unused]] inline void turned_16(const std::int32_t* x, int size, std::int32_t* out, int step) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(x + i * size);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; ++j) {
            a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
            a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
        }
    }
    for (int i = 0; i < 16; i += 8) {
        for (int j = 0; j < 4; ++j) {
            b[i + j] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0x88);
            b[i + j + 4] = _mm512_shuffle_i32x4(a[i + j], a[i + j + 4], 0xdd);
        }
    }
    for (int j = 0; j < 8; ++j) {
        // a[i] of four numbers starts at number 4 * lane: rows j and j + 8 of the two halves
        a[j] = _mm512_shuffle_i32x4(b[j], b[j + 8], 0x88);
        a[j + 8] = _mm512_shuffle_i32x4(b[j], b[j + 8], 0xdd);
    }
    for (int i = 0; i < 16; ++i) _mm512_store_si512(out + i * step, a[i]);
}

template <int B> inline void turned(const std::int32_t* x, int size, std::int32_t* out) {
    int i = 0;
    if constexpr (B % 16 == 0) {
        for (; i + 16 <= size; i += 16) {
            for (int e = 0; e < B; e += 16) turned_16(x + e * size + i, size, out + i * B + e, B);
        }
    }
    for (; i < size; ++i) {
        EACH_EVENT out[i * B + e] = x[e * size + i];
    }
}
#endif

// Real numbers, events first, to rows of B events; false where one is NaN or infinite.
template <int B, class FORMAT, class F, class T>
inline bool mantissas(const F* x, int size, int events, T* out) {
    constexpr int PIECE = 64;  // numbers of an event at once
    for (int first = 0; first < size; first += PIECE) {
        const int count = size - first < PIECE ? size - first : PIECE;
        alignas(64) std::int32_t whole[B * PIECE];
        int large = FORMAT::fraction < 0 || FORMAT::fraction >= 64 || FORMAT::like_ap_int;
        if (!large) {
            const F scale = F(std::ldexp(1.0, FORMAT::fraction & 63));
            const bool together = count == size;
            const int rows = together ? 1 : events;
            const int length = together ? events * size : count;
            for (int row = 0; row < rows; ++row) {
                const F* from = x + std::size_t(row) * std::size_t(size) + std::size_t(first);
                std::int32_t* to = whole + row * count;
                for (int i = 0; i < length; ++i) {
                    const F v = whole_number<FORMAT::round>(from[i] * scale);
                    const bool small = std::fabs(v) < F(1 << 23);
                    large |= !small;
                    using Small = std::conditional_t<(FORMAT::width <= 30), std::int32_t, int128>;
                    to[i] = std::int32_t(into_range<FORMAT>(Small(std::int32_t(small ? v : F(0)))));
                }
            }
        }
        if (!large) {
            std::fill(whole + events * count, whole + B * count, 0);
            turned<B>(whole, count, out + first * B);
            continue;
        }
        for (int i = first; i < first + count; ++i) {
            for (int e = 0; e < B; ++e) {
                const F v = e < events ? x[std::size_t(e) * std::size_t(size) + std::size_t(i)] : F(0);
                if (!std::isfinite(v)) return false;
                out[i * B + e] = T(one_mantissa<FORMAT>(double(v)));
            }
        }
    }
    return true;
}

// Rows of `step` events (0: one number for all) to real numbers, events first; exact up to 53 bits.
template <int B, class T>
inline void values(const T* v, int size, int events, int fraction, double* out, int step = B) {
    const double lsb = std::ldexp(1.0, -fraction);
    const int width = step ? step : 1;
    for (int e = 0; e < events; ++e) {
        for (int i = 0; i < size; ++i) *out++ = double(v[i * width + (step ? e : 0)]) * lsb;
    }
}

}  // namespace
