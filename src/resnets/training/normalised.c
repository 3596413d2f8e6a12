// Batch normalisation in training, with the addition and the ReLU that follow it, forward and backward. Activations and
// their gradients are float32 or, with -DBFLOAT16, bfloat16, for which an array's numbers are widened where they are read
// and rounded once, to the nearest even, where they are written; all the rest is float32.
// Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1 and section 3.
//
// It is bound by memory, so each array is passed over as seldom as can be: once for a channel's sums, once to write.
// The second time it is passed over backwards, from the end that the caches still hold.
//
// Images are [rows, C], rows*C a multiple of LANES, and are read as lines of `width` numbers, the least multiple of C that
// is one of GROUP too: a line's columns are channels 0 to C - 1, over and over. The work of a thread depends on the number
// of threads alone, so that the same call gives the same bits.
#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#else
static long omp_get_thread_num(void) { return 0; }
static long omp_get_num_threads(void) { return 1; }
#endif
#include <string.h>
#if defined(BFLOAT16) && defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
// vectors that are summed at a time; numbers of a strip, which the nearest cache holds; lines that are summed in float;
// numbers that are fetched ahead
enum { VECS = 4, GROUP = VECS*LANES, STRIP = 2048, LINES = 128, AHEAD = 4096 };
// y = bn(x), relu(bn(x)), relu(bn(x) + shortcut); of the latter two the gradient may come in two parts
enum { ALONE, RECTIFIED, ADDED, RECTIFIED_TWICE, ADDED_TWICE };
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int bits __attribute__((vector_size(4 * LANES), aligned(4)));
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
#define INLINE static inline __attribute__((always_inline))

#ifdef BFLOAT16
typedef unsigned short number;
typedef unsigned wide __attribute__((vector_size(4 * LANES), aligned(4)));
typedef unsigned short narrow __attribute__((vector_size(2 * LANES), aligned(2)));
INLINE vec get(const number *p) { return (vec)(__builtin_convertvector(*(const narrow *)p, wide) << 16); }
INLINE void put(number *p, vec v) {
#ifdef __AVX512BF16__
    *(narrow *)p = (narrow)_mm512_cvtneps_pbh((__m512)v);
#else
    wide w = (wide)v, nearest = (w + 0x7fff + ((w >> 16) & 1)) >> 16, none = (wide)(v != v);
    *(narrow *)p = __builtin_convertvector((nearest & ~none) | (none & 0x7fc0), narrow);
#endif
}
static float one(number x) { union { unsigned bits; float value; } as = {(unsigned)x << 16}; return as.value; }
#else
typedef float number;
INLINE vec get(const number *p) { return LOAD(p); }
INLINE void put(number *p, vec v) { STORE(p, v); }
static float one(number x) { return x; }
#endif

// of a vector what belongs to positive y, and to y that are no numbers, so that these are seen
INLINE vec where_positive(vec y, vec of) { return (vec)((bits)of & ~(y <= (vec){0})); }

typedef struct { const number *x, *shortcut, *y, *g, *also; number *out, *masked; } arrays;
// what a line's columns have in common: `factor` is weight * rstd; `slope` and `offset` are those of the gradient
typedef struct { float *mean, *factor, *bias, *slope, *offset; } columns;
typedef struct { float *first, *second; double *firsts, *seconds; } sums;

#define AT(p) LOAD((p) + c + i*LANES)
#define EACH for (int i = 0; i < vecs; i++)
#define DOWN for (long r = 0, at = c; r < rows; r++, at += width) EACH
#define HERE(p) get((p) + at + i*LANES)
#define NEXT(p) (__builtin_prefetch((p) + at + i*LANES + AHEAD), HERE(p))
#define PUT(p, v) put((p) + at + i*LANES, v)

// Some rows of a strip, for `vecs` vectors of columns from c on: each of the four passes.
INLINE void sum_values(arrays a, columns k, sums s, long c, long rows, long width, int kind, int vecs) {
    vec shift[VECS], first[VECS], second[VECS];
    EACH { shift[i] = AT(k.mean); first[i] = AT(s.first); second[i] = AT(s.second); }
    DOWN { vec d = NEXT(a.x) - shift[i]; first[i] += d; second[i] += d*d; }
    EACH { STORE(s.first + c + i*LANES, first[i]); STORE(s.second + c + i*LANES, second[i]); }
}
INLINE void write_values(arrays a, columns k, sums s, long c, long rows, long width, int kind, int vecs) {
    vec mean[VECS], factor[VECS], bias[VECS];
    EACH { mean[i] = AT(k.mean); factor[i] = AT(k.factor); bias[i] = AT(k.bias); }
    DOWN {
        vec y = (HERE(a.x) - mean[i])*factor[i] + bias[i];
        if (kind == ADDED) y += HERE(a.shortcut);
        PUT(a.out, kind == ALONE ? y : where_positive(y, y));
    }
}
INLINE void sum_gradients(arrays a, columns k, sums s, long c, long rows, long width, int kind, int vecs) {
    vec mean[VECS], factor[VECS], bias[VECS], first[VECS], second[VECS];
    EACH { mean[i] = AT(k.mean); factor[i] = AT(k.factor); bias[i] = AT(k.bias); first[i] = AT(s.first); second[i] = AT(s.second); }
    DOWN {
        vec d = NEXT(a.x) - mean[i], g = NEXT(a.g);
        if (kind >= RECTIFIED_TWICE) g += NEXT(a.also);
        if (kind == RECTIFIED || kind == RECTIFIED_TWICE) g = where_positive(d*factor[i] + bias[i], g);
        if (kind == ADDED || kind == ADDED_TWICE) { g = where_positive(NEXT(a.y), g); PUT(a.masked, g); }
        first[i] += g; second[i] += g*d;
    }
    EACH { STORE(s.first + c + i*LANES, first[i]); STORE(s.second + c + i*LANES, second[i]); }
}
INLINE void write_gradients(arrays a, columns k, sums s, long c, long rows, long width, int kind, int vecs) {
    vec mean[VECS], factor[VECS], bias[VECS], slope[VECS], offset[VECS];
    EACH { mean[i] = AT(k.mean); factor[i] = AT(k.factor); bias[i] = AT(k.bias); slope[i] = AT(k.slope); offset[i] = AT(k.offset); }
    DOWN {
        vec d = HERE(a.x) - mean[i], g = kind == ADDED ? HERE(a.masked) : HERE(a.g);
        if (kind == RECTIFIED_TWICE) g += HERE(a.also);
        if (kind == RECTIFIED || kind == RECTIFIED_TWICE) g = where_positive(d*factor[i] + bias[i], g);
        PUT(a.out, g*factor[i] + (d*slope[i] + offset[i]));
    }
}

INLINE arrays moved(arrays a, long by) {
    return (arrays){a.x + by, a.shortcut + by, a.y + by, a.g + by, a.also + by, a.out + by, a.masked + by};
}

static long width_of(long C) { long width = C; while (width % GROUP) width += C; return width; }

static void flush(sums s, long width) {
    for (long c = 0; c < width; c++) { s.firsts[c] += s.first[c]; s.seconds[c] += s.second[c]; }
    memset(s.first, 0, 2*sizeof(float)*width);
}
// All of a thread's lines, from `first` up to `last`, and `rest` numbers behind them that are no whole line.
#define SUMMED(NAME, WORK, KIND) \
static void NAME(arrays a, columns k, sums s, long first, long last, long rest, long width) { \
    long step = STRIP/width ? STRIP/width : 1, summed = 0; \
    memset(s.first, 0, 2*sizeof(float)*width); memset(s.firsts, 0, 2*sizeof(double)*width); \
    for (long r = first; r < last; r += step) { \
        long rows = last - r < step ? last - r : step; \
        for (long c = 0; c < width; c += GROUP) WORK(moved(a, r*width), k, s, c, rows, width, KIND, VECS); \
        if ((summed += rows) >= LINES) { flush(s, width); summed = 0; } \
    } \
    for (long c = 0; c < rest; c += LANES) WORK(moved(a, last*width), k, s, c, 1, width, KIND, 1); \
    flush(s, width); \
}
#define WRITTEN(NAME, WORK, KIND) \
static void NAME(arrays a, columns k, long first, long last, long rest, long width) { \
    long step = STRIP/width ? STRIP/width : 1; \
    sums none = {0}; \
    for (long c = 0; c < rest; c += LANES) WORK(moved(a, last*width), k, none, c, 1, width, KIND, 1); \
    for (long end = last; end > first; end -= step) { \
        long r = end - first < step ? first : end - step; \
        for (long c = 0; c < width; c += GROUP) WORK(moved(a, r*width), k, none, c, end - r, width, KIND, VECS); \
    } \
}
SUMMED(values_summed, sum_values, ALONE)
WRITTEN(values_alone, write_values, ALONE)
WRITTEN(values_rectified, write_values, RECTIFIED)
WRITTEN(values_added, write_values, ADDED)
SUMMED(gradients_summed_alone, sum_gradients, ALONE)
SUMMED(gradients_summed_rectified, sum_gradients, RECTIFIED)
SUMMED(gradients_summed_added, sum_gradients, ADDED)
SUMMED(gradients_summed_rectified_twice, sum_gradients, RECTIFIED_TWICE)
SUMMED(gradients_summed_added_twice, sum_gradients, ADDED_TWICE)
WRITTEN(gradients_alone, write_gradients, ALONE)
WRITTEN(gradients_rectified, write_gradients, RECTIFIED)
WRITTEN(gradients_rectified_twice, write_gradients, RECTIFIED_TWICE)
WRITTEN(gradients_added, write_gradients, ADDED)

// What the threads share of the scratch memory, then each thread's sums.
static columns columns_at(float *room, long width) {
    return (columns){room, room + width, room + 2*width, room + 3*width, room + 4*width};
}
static sums sums_at(float *room, long width, long id) {
    float *own = room + (5 + 6*id)*width;
    return (sums){own, own + width, (double *)(own + 2*width), (double *)(own + 2*width) + width};
}
// a channel's two sums, of all threads
INLINE void total(float *room, long width, long C, long c, long threads, double *first, double *second) {
    *first = *second = 0;
    for (long t = 0; t < threads; t++) for (long j = c; j < width; j += C) {
        sums s = sums_at(room, width, t);
        *first += s.firsts[j]; *second += s.seconds[j];
    }
}
#define REPEATED(p, value) for (long j = c; j < width; j += C) p[j] = value

// Numbers in a vector of this processor.
int normalised_lanes(void) { return LANES; }

// Numbers of scratch memory that `normalised_forward` or `_backward` needs.
long normalised_room(long C, long threads) { return width_of(C)*(5 + 6*threads); }

// x and, if there is one, shortcut [rows, C] -> y, and of each channel the mean and 1 / sqrt(variance + eps); the running
// statistics move towards the mean and the variance (with rows - 1 for divisor) by `share`. Those, weight and bias may
// be missing.
void normalised_forward(const number *x, const number *shortcut, const float *weight, const float *bias,
                        float *running_mean, float *running_variance, number *y, float *mean, float *rstd, float *room,
                        double eps, double share, long rows, long C, long relu, long threads) {
    long width = width_of(C), lines = rows*C/width;
    columns k = columns_at(room, width);
    arrays a = {.x = x, .shortcut = shortcut, .out = y};
    for (long j = 0; j < width; j++) k.mean[j] = one(x[j % C]); // sums are those of differences from the first row
    #pragma omp parallel num_threads(threads)
    {
        long id = omp_get_thread_num(), n = omp_get_num_threads(), first = lines*id/n, last = lines*(id + 1)/n;
        long rest = id == n - 1 ? rows*C - lines*width : 0;
        values_summed(a, k, sums_at(room, width, id), first, last, rest, width);
        #pragma omp barrier
        for (long c = C*id/n; c < C*(id + 1)/n; c++) {
            double sum, squares;
            total(room, width, C, c, n, &sum, &squares);
            double off = sum/rows, spread = squares - sum*off;
            spread = spread < 0 ? 0 : spread;
            mean[c] = one(x[c]) + off;
            rstd[c] = 1/sqrt(spread/rows + eps);
            if (running_mean) running_mean[c] = (1 - share)*running_mean[c] + share*(one(x[c]) + off);
            if (running_variance) running_variance[c] = (1 - share)*running_variance[c] + share*(spread/(rows - 1));
            REPEATED(k.factor, weight ? weight[c]*rstd[c] : rstd[c]);
            REPEATED(k.bias, bias ? bias[c] : 0);
        }
        #pragma omp barrier
        #pragma omp for schedule(static)
        for (long j = 0; j < width; j++) k.mean[j] = mean[j % C];
        if (shortcut) values_added(a, k, first, last, rest, width);
        else if (relu) values_rectified(a, k, first, last, rest, width);
        else values_alone(a, k, first, last, rest, width);
    }
}

// the gradients of x, the shortcut (`masked`, wanted where y is given), weight and bias, given g, that of y, or, where a
// ReLU follows, g + also
void normalised_backward(const number *g, const number *also, const number *x, const number *y, const float *weight,
                         const float *bias, const float *mean, const float *rstd, number *dx, number *masked, float *dweight, float *dbias,
                         float *room, long rows, long C, long relu, long threads) {
    long width = width_of(C), lines = rows*C/width;
    columns k = columns_at(room, width);
    arrays a = {.x = x, .y = y, .g = g, .also = also, .out = dx, .masked = masked};
    for (long c = 0; c < C; c++) {
        REPEATED(k.mean, mean[c]);
        REPEATED(k.factor, weight ? weight[c]*rstd[c] : rstd[c]);
        REPEATED(k.bias, bias ? bias[c] : 0);
    }
    #pragma omp parallel num_threads(threads)
    {
        long id = omp_get_thread_num(), n = omp_get_num_threads(), first = lines*id/n, last = lines*(id + 1)/n;
        long rest = id == n - 1 ? rows*C - lines*width : 0;
        sums s = sums_at(room, width, id);
        if (y && also) gradients_summed_added_twice(a, k, s, first, last, rest, width);
        else if (y) gradients_summed_added(a, k, s, first, last, rest, width);
        else if (relu && also) gradients_summed_rectified_twice(a, k, s, first, last, rest, width);
        else if (relu) gradients_summed_rectified(a, k, s, first, last, rest, width);
        else gradients_summed_alone(a, k, s, first, last, rest, width);
        #pragma omp barrier
        for (long c = C*id/n; c < C*(id + 1)/n; c++) {
            double sum, product;
            total(room, width, C, c, n, &sum, &product);
            dbias[c] = sum;
            dweight[c] = product*rstd[c];
            REPEATED(k.slope, -k.factor[c]*rstd[c]*rstd[c]*(product/rows));
            REPEATED(k.offset, -k.factor[c]*(sum/rows));
        }
        #pragma omp barrier
        if (y) gradients_added(a, k, first, last, rest, width);
        else if (relu && also) gradients_rectified_twice(a, k, first, last, rest, width);
        else if (relu) gradients_rectified(a, k, first, last, rest, width);
        else gradients_alone(a, k, first, last, rest, width);
    }
}
