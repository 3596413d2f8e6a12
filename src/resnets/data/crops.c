/* A view of a picture for a batch: resized, mirrored, normalised and written to its place, in one go.

   The bytes between resizing and normalising are those of torch's interpolate(mode="bilinear", antialias=True) of
   bytes: weights as 16-bit integers, first across, then down, rounded to bytes after each. */

#ifndef __AVX2__
#error "torch's own kernels serve elsewhere"
#endif

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#define APART
#else
#define APART __attribute__((optimize("fp-contract=off"))) /* the bits of numpy, which multiplies and then subtracts */
#endif
#define INLINE static inline __attribute__((always_inline))
#define OVER 64 /* bytes that may be read behind a row, and more */

/* A vector holds 16 bytes of each of ROWS rows; what is done to it is done to each of these parts. */
#ifdef __AVX512BW__
#define ROWS 4
typedef __m512i vector;
#define LOAD(place) _mm512_loadu_si512(place)
#define STORE(place, v) _mm512_storeu_si512(place, v)
#define SAME(part) _mm512_broadcast_i32x4(part)
#define EACH(word) _mm512_set1_epi32(word)
#define ZERO _mm512_setzero_si512()
#define SHUFFLE _mm512_shuffle_epi8
#define SHIFT _mm512_sra_epi32
#define TO_WORDS _mm512_packs_epi32
#define TO_BYTES _mm512_packus_epi16
#define LOW _mm512_unpacklo_epi8
#define HIGH _mm512_unpackhi_epi8
#ifdef __AVX512VNNI__
#define ADD_PAIRS _mm512_dpwssd_epi32
#else
#define ADD_PAIRS(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
#endif
#else
#define ROWS 2
typedef __m256i vector;
#define LOAD(place) _mm256_loadu_si256((const __m256i *)(place))
#define STORE(place, v) _mm256_storeu_si256((__m256i *)(place), v)
#define SAME(part) _mm256_broadcastsi128_si256(part)
#define EACH(word) _mm256_set1_epi32(word)
#define ZERO _mm256_setzero_si256()
#define SHUFFLE _mm256_shuffle_epi8
#define SHIFT _mm256_sra_epi32
#define TO_WORDS _mm256_packs_epi32
#define TO_BYTES _mm256_packus_epi16
#define LOW _mm256_unpacklo_epi8
#define HIGH _mm256_unpackhi_epi8
#define ADD_PAIRS(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#endif
#define WIDE (16 * ROWS)

/* Of which pixels a new one is made: `taps` of them from start[x], with weights of which 1 << precision makes one. */
typedef struct {
    int taps, precision;
    int32_t *start;
    int16_t *weight; /* [x][taps] */
} table;

static int64_t rounded(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

/* Taps are a multiple of `even`, and lie within the `size` pixels unless these are fewer. `real` has room for all. */
static APART void fill(table *t, int64_t size, int64_t side, int even, int flip, double *real) {
    const double scale = (double)size / side, support = scale >= 1 ? scale : 1, inverse = scale >= 1 ? 1 / scale : 1;
    const int most = (int)ceil(support) * 2 + 1;
    double largest = 0;
    int taps = 0;
    for (int64_t x = 0; x < side; x++) {
        const double centre = scale * (x + 0.5);
        int64_t begin = (int64_t)(centre - support + 0.5), count = (int64_t)(centre + support + 0.5);
        begin = begin < 0 ? 0 : begin;
        count = (count > size ? size : count) - begin;
        count = count > most ? most : count;
        double total = 0, *w = real + x * most;
        for (int64_t j = 0; j < most; j++) {
            const double far = fabs((j + begin - centre + 0.5) * inverse);
            w[j] = j < count && far < 1 ? 1 - far : 0;
            total += w[j];
            if (w[j] > 0 && j >= taps) taps = j + 1;
        }
        for (int64_t j = 0; j < most; j++) {
            w[j] /= total;
            largest = w[j] > largest ? w[j] : largest;
        }
        t->start[x] = begin;
    }
    t->taps = rounded(taps, even);
    t->precision = 0;
    while (t->precision < 22 && (int)(0.5 + largest * (1 << (t->precision + 1))) < 1 << 15) t->precision++;
    memset(t->weight, 0, rounded(side, 4) * t->taps * sizeof(int16_t));
    for (int64_t x = 0; x < side; x++) {
        const int64_t last = size > t->taps ? size - t->taps : 0;
        const int later = t->start[x] > last ? t->start[x] - last : 0;
        int16_t *to = t->weight + (flip ? side - 1 - x : x) * t->taps;
        for (int j = 0; j < taps && j + later < t->taps; j++)
            to[j + later] = (int)(0.5 + real[x * most + j] * (1 << t->precision));
        t->start[x] -= later;
    }
    for (int64_t x = 0; flip && x < side / 2; x++) {
        const int32_t kept = t->start[x];
        t->start[x] = t->start[side - 1 - x];
        t->start[side - 1 - x] = kept;
    }
    for (int64_t x = side; x < rounded(side, 4); x++) t->start[x] = 0;
}

INLINE int32_t pair(const int16_t *weights) {
    int32_t both;
    memcpy(&both, weights, sizeof both);
    return both;
}

INLINE vector rows_at(const uint8_t *const *row, int64_t at) {
#define PART(k) _mm_loadu_si128((const __m128i *)(row[k] + at))
#if ROWS == 4
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(PART(0)), PART(1), 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(_mm512_castsi256_si512(low), PART(2), 2), PART(3), 3);
#else
    return _mm256_inserti128_si256(_mm256_castsi128_si256(PART(0)), PART(1), 1);
#endif
}

/* ROWS rows of pixels, to `side` pixels each, `pitch` bytes apart. */
INLINE void across(const uint8_t *const *row, uint8_t *out, int64_t pitch, int64_t side, const table *t, int taps) {
    /* Of two pixels, the reds as a pair of words, the greens, the blues; and of four pixels of words, their bytes. */
    const vector first = SAME(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const vector second = SAME(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    const vector dense = SAME(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    const vector half = EACH(1 << (t->precision - 1));
    const __m128i shift = _mm_cvtsi32_si128(t->precision);
    for (int64_t x = 0; x < side; x += 4) {
        vector made[4];
        for (int k = 0; k < 4; k++) {
            const int16_t *weight = t->weight + (x + k) * taps;
            const int64_t at = 3 * (int64_t)t->start[x + k];
            made[k] = half;
            for (int j = 0; j < taps; j += 4) {
                const vector pixels = rows_at(row, at + 3 * j);
                made[k] = ADD_PAIRS(made[k], SHUFFLE(pixels, first), EACH(pair(weight + j)));
                made[k] = ADD_PAIRS(made[k], SHUFFLE(pixels, second), EACH(pair(weight + j + 2)));
            }
            made[k] = SHIFT(made[k], shift);
        }
        const vector bytes =
            SHUFFLE(TO_BYTES(TO_WORDS(made[0], made[1]), TO_WORDS(made[2], made[3])), dense);
#if ROWS == 4
        _mm_storeu_si128((__m128i *)(out + 3 * x), _mm512_castsi512_si128(bytes));
        _mm_storeu_si128((__m128i *)(out + pitch + 3 * x), _mm512_extracti32x4_epi32(bytes, 1));
        _mm_storeu_si128((__m128i *)(out + 2 * pitch + 3 * x), _mm512_extracti32x4_epi32(bytes, 2));
        _mm_storeu_si128((__m128i *)(out + 3 * pitch + 3 * x), _mm512_extracti32x4_epi32(bytes, 3));
#else
        _mm_storeu_si128((__m128i *)(out + 3 * x), _mm256_castsi256_si128(bytes));
        _mm_storeu_si128((__m128i *)(out + pitch + 3 * x), _mm256_extracti128_si256(bytes, 1));
#endif
    }
}

/* One row out of those that lie `pitch` bytes apart. */
INLINE void down(const uint8_t *rows, uint8_t *out, int64_t pitch, const int16_t *weight, const table *t) {
    const vector half = EACH(1 << (t->precision - 1));
    const __m128i shift = _mm_cvtsi32_si128(t->precision);
    for (int64_t at = 0; at + OVER < pitch; at += WIDE) {
        vector a = half, b = half, c = half, d = half;
        for (int j = 0; j < t->taps; j += 2) {
            const vector both = EACH(pair(weight + j));
            const vector upper = LOAD(rows + j * pitch + at), lower = LOAD(rows + (j + 1) * pitch + at);
            const vector left = LOW(upper, lower), right = HIGH(upper, lower);
            a = ADD_PAIRS(a, LOW(left, ZERO), both);
            b = ADD_PAIRS(b, HIGH(left, ZERO), both);
            c = ADD_PAIRS(c, LOW(right, ZERO), both);
            d = ADD_PAIRS(d, HIGH(right, ZERO), both);
        }
        const vector left = TO_WORDS(SHIFT(a, shift), SHIFT(b, shift));
        STORE(out + at, TO_BYTES(left, TO_WORDS(SHIFT(c, shift), SHIFT(d, shift))));
    }
}

/* A row of `side` pixels: as they lie, or each colour `plane` floats from the last. */
static APART void normalise(
    const uint8_t *restrict row, float *restrict out, int64_t side, int64_t plane, const float *restrict factor,
    const float *restrict offset) {
    if (!plane) {
        for (int64_t k = 0; k < 3 * side; k++) out[k] = row[k] * factor[k] - offset[k];
        return;
    }
    for (int c = 0; c < 3; c++)
        for (int64_t x = 0; x < side; x++) out[c * plane + x] = row[3 * x + c] * factor[c] - offset[c];
}

/* Write a picture of `height` rows of `width` pixels, which begin `stride` bytes apart, as one of side x side pixels to
   `out`: float32 [side, side, 3], or [3, side, side] where `planes`. The value of a byte is byte * factor - offset: of
   each, 3 * side for a row of the image, or 3 where `planes`. Returns 1 where there is not enough memory. */
int crop(
    const uint8_t *picture, int64_t stride, int64_t width, int64_t height, int64_t side, int flip, int planes,
    const float *factor, const float *offset, float *out) {
    const int64_t places = rounded(side, 4), pitch = rounded(3 * places, 64) + OVER, edge = rounded(3 * width + OVER, 64);
    const int64_t longest = width > height ? width : height, taps = 2 * (longest / side + 2) + 4;
    const int64_t sizes[] = {
        (height + ROWS) * pitch, ROWS * edge, pitch, places * taps * 8, places * taps * 2, places * taps * 2, places * 4,
        places * 4,
    };
    enum { PARTS = sizeof sizes / sizeof *sizes };
    uint8_t *part[PARTS];
    int64_t total = 64;
    for (int k = 0; k < PARTS; k++) total += rounded(sizes[k], 64);
    uint8_t *const memory = malloc(total);
    if (!memory) return 1;
    part[0] = (uint8_t *)rounded((int64_t)memory, 64);
    for (int k = 1; k < PARTS; k++) part[k] = part[k - 1] + rounded(sizes[k - 1], 64);
    uint8_t *const middle = part[0], *const line = part[2];
    table wise = {0, 0, (int32_t *)part[6], (int16_t *)part[4]}, deep = {0, 0, (int32_t *)part[7], (int16_t *)part[5]};
    fill(&wise, width, side, 4, flip, (double *)part[3]);
    fill(&deep, height, side, 2, 0, (double *)part[3]);

    const uint8_t *const last = picture + (height - 1) * stride;
    for (int64_t y = 0; y < height; y += ROWS) {
        const uint8_t *row[ROWS];
        for (int k = 0; k < ROWS; k++) {
            row[k] = y + k < height ? picture + (y + k) * stride : last;
            if (row[k] + OVER > last) /* what is behind the last row is not ours to read */
                row[k] = memcpy(part[1] + k * edge, row[k], 3 * width);
        }
        uint8_t *const to = middle + y * pitch;
        if (wise.taps == 4) across(row, to, pitch, side, &wise, 4);
        else if (wise.taps == 8) across(row, to, pitch, side, &wise, 8);
        else across(row, to, pitch, side, &wise, wise.taps);
    }
    for (int64_t y = 0; y < side; y++) {
        down(middle + deep.start[y] * pitch, line, pitch, deep.weight + y * deep.taps, &deep);
        normalise(line, out + (planes ? y * side : 3 * y * side), side, planes ? side * side : 0, factor, offset);
    }
    free(memory);
    return 0;
}
