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
