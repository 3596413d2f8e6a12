// Max pooling in training over windows of 2x2 that do not overlap, forward and backward, of float32 or, with -DBFLOAT16,
// bfloat16. Images are [count, H, W, C], C a multiple of LANES.
//
// It is bound by memory: which of four numbers was taken is kept in a byte, where torch keeps eight, and going backward
// each gradient is written once, zeros too. The last row or column of an odd side is in no window. Numbers are copied as
// they are and never added up, so that the bits are torch's (but for -0 as a gradient, which stays), whatever the threads.
#include <string.h>

#ifdef BFLOAT16
typedef short number;
enum { LANES = 16 };
#else
typedef int number; // the bits of a float
enum { LANES = 8 };
#endif
typedef number vec __attribute__((vector_size(32), aligned(sizeof(number))));
typedef unsigned char places __attribute__((vector_size(LANES), aligned(1)));
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
#define INLINE static inline __attribute__((always_inline))

// whether v is taken after `most`: it is larger, or no number; all ones where it is
#ifdef BFLOAT16
INLINE vec ordered(vec v) { vec sign = v >> 15; return ((v & 0x7fff) ^ sign) - sign; } // as integers; -0 is 0
INLINE vec none(vec v) { return (vec)((v & 0x7fff) > 0x7f80); } // of either sign
INLINE vec taken(vec v, vec most) { return ((vec)(ordered(v) > ordered(most)) & ~none(most)) | none(v); }
#else
typedef float real __attribute__((vector_size(32), aligned(4)));
INLINE vec taken(vec v, vec most) { return (vec)((real)v > (real)most) | (vec)((real)v != (real)v); }
#endif

// Numbers in a vector of this processor.
int pooled_lanes(void) {
#ifdef __AVX2__
    return LANES;
#else
    return 4;
#endif
}

// No scratch memory is needed.
long pooled_room(void) { return 0; }

// x -> y [count, H/2, W/2, C], and which of its window each is: 0 to 3, row by row. Of equal ones it is the first, of
// those that are no numbers the last.
void pooled_forward(const number *x, number *y, unsigned char *which, long count, long H, long W, long C, long threads) {
    long rows = H/2, wide = W/2;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (long r = 0; r < count*rows; r++) {
        const number *from = x + (r/rows*H + r%rows*2)*W*C;
        for (long j = 0; j < wide; j++, from += 2*C) {
            long at = (r*wide + j)*C;
            for (long c = 0; c < C; c += LANES) {
                vec most = LOAD(from + c), place = {0};
                for (number k = 1; k < 4; k++) {
                    vec v = LOAD(from + (k/2*W + k%2)*C + c), later = taken(v, most);
                    most = (v & later) | (most & ~later);
                    place = (place & ~later) | (later & k);
                }
                STORE(y + at + c, most);
                *(places *)(which + at + c) = __builtin_convertvector(place, places);
            }
        }
    }
}

// the gradient of x, given g, that of y, and which numbers were taken
void pooled_backward(const number *g, const unsigned char *which, number *dx, long count, long H, long W, long C,
                     long threads) {
    long rows = H/2, wide = W/2, lines = (H + 1)/2;
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (long l = 0; l < count*lines; l++) {
        long n = l/lines, i = l%lines;
        number *to = dx + (n*H + i*2)*W*C;
        if (i == rows) { memset(to, 0, sizeof(number)*W*C); continue; }
        for (long j = 0; j < wide; j++, to += 2*C) {
            long at = ((n*rows + i)*wide + j)*C;
            for (long c = 0; c < C; c += LANES) {
                vec value = LOAD(g + at + c), place = __builtin_convertvector(*(const places *)(which + at + c), vec);
                for (number k = 0; k < 4; k++) STORE(to + (k/2*W + k%2)*C + c, value & (vec)(place == k));
            }
        }
        if (W % 2) for (int k = 0; k < 2; k++) memset(to + k*W*C, 0, sizeof(number)*C);
    }
}
