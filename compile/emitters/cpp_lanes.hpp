// ---- matrix products of packed factors: four of 8 bits or two of 16 in each 32-bit lane ----
#if defined(__AVX512BW__)
#define LANES 16
#define WIDE(name) _mm512_##name
using Register = __m512i;
#elif defined(__AVX2__)
#define LANES 8
#define WIDE(name) _mm256_##name
using Register = __m256i;
#elif defined(__SSE4_1__)
#define LANES 4
#define WIDE(name) _mm_##name
using Register = __m128i;
#endif

#ifdef LANES

// clang would make code of these loops that no instruction cache holds.
#if defined(__clang__)
#define NOT_UNROLLED _Pragma("clang loop unroll(disable)")
#else
#define NOT_UNROLLED
#endif

typedef std::int32_t Lanes __attribute__((vector_size(4 * LANES)));

[[maybe_unused]] inline Lanes all_lanes(std::int32_t v) { return Lanes(WIDE(set1_epi32)(v)); }
[[maybe_unused]] inline Lanes load_lanes(const std::int32_t* p) { return *reinterpret_cast<const Lanes*>(p); }
[[maybe_unused]] inline void store_lanes(std::int32_t* p, Lanes v) { *reinterpret_cast<Lanes*>(p) = v; }

[[maybe_unused]] inline Lanes smaller(Lanes a, Lanes b) { return Lanes(WIDE(min_epi32)(Register(a), Register(b))); }
[[maybe_unused]] inline Lanes larger(Lanes a, Lanes b) { return Lanes(WIDE(max_epi32)(Register(a), Register(b))); }
[[maybe_unused]] inline Lanes clipped(Lanes v, std::int32_t low, std::int32_t high) {
    return smaller(larger(v, all_lanes(low)), all_lanes(high));
}
[[maybe_unused]] inline Lanes zero_outside(Lanes v, std::int32_t low, std::int32_t high) {
    return v & ~((v < low) | (v > high));
}
[[maybe_unused]] inline Lanes shifted_up(Lanes v, int bits) { return v << bits; }
template <bool SIGNED, int WIDTH> inline Lanes wrapped(Lanes v) {
    if constexpr (WIDTH == 0) return v & 0;
    if constexpr (WIDTH + (SIGNED ? 0 : 1) > 32) return v;
    constexpr int rest = 32 - WIDTH;
    if constexpr (SIGNED) return (v << (rest & 31)) >> (rest & 31);
    return v & std::int32_t((std::uint32_t(1) << (WIDTH & 31)) - 1);
}
// (v - half + 1) / 2^BITS to the nearest, ties to even where `one` is one.
template <int BITS> inline Lanes rounded_to_even(Lanes v, Lanes one) {
    return (v + ((v >> BITS) & one)) >> BITS;  // all bits below are ones at a tie alone
}
template <Round MODE, int BITS> inline Lanes rounded(Lanes v) {
    if constexpr (MODE == Round::trn) return v >> BITS;
    constexpr std::int32_t half = std::int32_t(1) << ((BITS - 1) & 31);
    [[maybe_unused]] const Lanes negative = v >> 31;  // -1 or 0
    if constexpr (MODE == Round::rnd) v += half;
    if constexpr (MODE == Round::rnd_min_inf) v += half - 1;
    if constexpr (MODE == Round::trn_zero) v += negative & (half - 1 + half);
    if constexpr (MODE == Round::rnd_inf) v += half + negative;
    if constexpr (MODE == Round::rnd_zero) v += half - 1 - negative;
    if constexpr (MODE == Round::rnd_conv) return rounded_to_even<BITS>(v + (half - 1), all_lanes(1));
    return v >> BITS;
}

template <int FACTORS> inline Lanes add_products(Lanes sum, Lanes x, Lanes w) {
    const Register s = Register(sum), a = Register(x), b = Register(w);
    if constexpr (FACTORS == 4) {
#if defined(__AVX512BW__) && defined(__AVX512VNNI__)
        return Lanes(_mm512_dpbusd_epi32(s, a, b));
#elif !defined(__AVX512BW__) && defined(__AVXVNNI__)
        return Lanes(_mm256_dpbusd_avx_epi32(s, a, b));
#else
        return Lanes(WIDE(add_epi32)(s, WIDE(madd_epi16)(WIDE(maddubs_epi16)(a, b), WIDE(set1_epi16)(1))));
#endif
    } else {
#if defined(__AVX512BW__) && defined(__AVX512VNNI__)
        return Lanes(_mm512_dpwssd_epi32(s, a, b));
#elif !defined(__AVX512BW__) && defined(__AVXVNNI__)
        return Lanes(_mm256_dpwssd_avx_epi32(s, a, b));
#else
        return Lanes(WIDE(add_epi32)(s, WIDE(madd_epi16)(a, b)));
#endif
    }
}

// Four rows of numbers as bytes of one, clipped; where LOW is negative 128 is added.
template <int LOW, int HIGH> inline Lanes packed_4(Lanes a, Lanes b, Lanes c, Lanes d) {
    const Register ab = WIDE(packs_epi32)(Register(a), Register(b));
    const Register cd = WIDE(packs_epi32)(Register(c), Register(d));
    Register all = LOW < 0 ? WIDE(packs_epi16)(ab, cd) : WIDE(packus_epi16)(ab, cd);
    if constexpr (LOW < 0) {
        if constexpr (LOW > -128) all = WIDE(max_epi8)(all, WIDE(set1_epi8)(LOW));
        if constexpr (HIGH < 127) all = WIDE(min_epi8)(all, WIDE(set1_epi8)(HIGH));
        all = Register(Lanes(all) ^ all_lanes(std::int32_t(0x80808080)));
    } else {
        if constexpr (LOW > 0) all = WIDE(max_epu8)(all, WIDE(set1_epi8)(char(LOW)));
        if constexpr (HIGH < 255) all = WIDE(min_epu8)(all, WIDE(set1_epi8)(char(HIGH)));
    }
    // each quarter holds four bytes of a, of b, of c, of d
    const __m128i quarter = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#if LANES == 16
    const Register order = _mm512_broadcast_i32x4(quarter);
#elif LANES == 8
    const Register order = _mm256_broadcastsi128_si256(quarter);
#else
    const Register order = quarter;
#endif
    return Lanes(WIDE(shuffle_epi8)(all, order));
}

// Where the rows of a product go: as they are, STEP rows apart.
struct Rows {
    [[maybe_unused]] static constexpr int TOGETHER = 1;
    std::int32_t* out;
    int step;
    template <int B, int R, class TAIL>
    void put(int m, int e, const Lanes (&sums)[R], const TAIL& tail) const {
        for (int i = 0; i < R; ++i) store_lanes(out + (m + i) * step * B + e, tail(m + i, sums[i]));
    }
};

// Or packed for the next product, clipped to LOW and HIGH if they are bytes.
template <int FACTORS, int LOW, int HIGH> struct Words {
    [[maybe_unused]] static constexpr int TOGETHER = FACTORS;
    std::int32_t* out;
    template <int B, int R, class TAIL>
    void put(int m, int e, const Lanes (&sums)[R], const TAIL& tail) const {
        for (int i = 0; i < R; i += FACTORS) {
            Lanes all;
            if constexpr (FACTORS == 4) {
                all = packed_4<LOW, HIGH>(
                    tail(m + i, sums[i]), tail(m + i + 1, sums[i + 1]), tail(m + i + 2, sums[i + 2]),
                    tail(m + i + 3, sums[i + 3])
                );
            } else {
                all = (tail(m + i, sums[i]) & 0xffff) | (tail(m + i + 1, sums[i + 1]) << 16);
            }
            store_lanes(out + (m + i) / FACTORS * B + e, all);
        }
    }
};

// HERE rows of x, which are `step` elements apart, in one row of `packed`.
template <int B, int BITS, int OFFSET, int HERE, class T>
inline void packed_row(const T* x, std::size_t step, std::int32_t* packed) {
    constexpr std::uint32_t mask = (std::uint32_t(1) << BITS) - 1;
    EACH_EVENT {
        std::uint32_t all = 0;
        for (int i = 0; i < HERE; ++i) {
            all |= (std::uint32_t(x[std::size_t(i) * step * B + std::size_t(e)] + OFFSET) & mask) << (i * BITS);
        }
        packed[e] = std::int32_t(all);
    }
}

// COUNT rows, FACTORS in each row of `packed`; the last are zero.
template <int B, int FACTORS, int OFFSET, int COUNT, class T>
inline void pack(const T* x, std::size_t step, std::int32_t* packed) {
    constexpr int BITS = 32 / FACTORS, REST = COUNT % FACTORS;
    for (int k = 0; k < COUNT - REST; k += FACTORS, packed += B) {
        packed_row<B, BITS, OFFSET, FACTORS>(x + std::size_t(k) * step * B, step, packed);
    }
    if constexpr (REST > 0) packed_row<B, BITS, OFFSET, REST>(x + std::size_t(COUNT - REST) * step * B, step, packed);
}

// R rows, whose weights stand side by side, from row m on.
template <int B, int FACTORS, int R, class FIRST, class TAIL, class TARGET>
inline void packed_rows(
    const std::int32_t* packed, const std::int32_t* w, int words, int m, const FIRST& first, const TAIL& tail,
    const TARGET& target
) {
    constexpr int AT_ONCE = B / LANES > 1 ? 2 : 1;
    NOT_UNROLLED
    for (int e = 0; e < B; e += AT_ONCE * LANES) {
        Lanes sums[AT_ONCE][R];
        for (int i = 0; i < R; ++i) {
            for (int v = 0; v < AT_ONCE; ++v) sums[v][i] = first(m + i);
        }
        for (int k = 0; k < words; ++k) {
            for (int i = 0; i < R; ++i) {
                const Lanes weight = all_lanes(w[k * R + i]);
                for (int v = 0; v < AT_ONCE; ++v) {
                    const Lanes x = load_lanes(packed + k * B + e + v * LANES);
                    sums[v][i] = add_products<FACTORS>(sums[v][i], x, weight);
                }
            }
        }
        for (int v = 0; v < AT_ONCE; ++v) target.template put<B>(m, e + v * LANES, sums[v], tail);
    }
}

// For each of ROWS rows: tail(m, first(m) + the sum over k of x[k] w[m][k]) to the target. Four rows
// go together, the last four with what is left; rows beyond the last one fill the last word.
template <int B, int FACTORS, int ROWS, class FIRST, class TAIL, class TARGET>
inline void packed_product(
    const std::int32_t* packed, const std::int32_t* w, int words, const FIRST& first, const TAIL& tail,
    const TARGET& target
) {
    constexpr int PADDED = (ROWS + TARGET::TOGETHER - 1) / TARGET::TOGETHER * TARGET::TOGETHER;
    constexpr int LAST = PADDED < 4 ? PADDED : 4 + PADDED % 4;
    const auto row = [](int m) { return PADDED > ROWS && m >= ROWS ? ROWS - 1 : m; };
    const auto start = [&](int m) { return first(row(m)); };
    const auto finish = [&](int m, Lanes sum) { return tail(row(m), sum); };
    NOT_UNROLLED
    for (int m = 0; m < PADDED - LAST; m += 4) {
        packed_rows<B, FACTORS, 4>(packed, w + m * words, words, m, start, finish, target);
    }
    packed_rows<B, FACTORS, LAST>(packed, w + (PADDED - LAST) * words, words, PADDED - LAST, start, finish, target);
}

#endif
