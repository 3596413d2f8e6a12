// The gradient of a convolution's filters in bfloat16, summed in float32, by the tile multiplier of AMX.
//
// It is one matrix product for each place of a filter: what the outputs ask for [K, pixels] times the images shifted
// [pixels, C]. Pixels are numbered along a grid that has one column and one row of zeros more than the outputs: the
// column is the padding on the right of one row and on the left of the next. So a shift is an offset of that number, and
// the product of a whole batch runs on through rows and images. With stride 2 an image is four grids, of its even and odd
// rows and columns.
//
// A tile of the second factor holds pixels in pairs: [16 pairs, 16 channels, 2]. Images are written so twice, beginning
// with an even and with an odd pixel, as shifts want; the first factor's tiles are [16 channels, 32 pixels]. Both are
// written for a piece of the pixels that the second cache holds. The work of a thread depends on the number of threads
// alone, so that the same call gives the same bits.
#if defined(__AMX_BF16__) && defined(__AVX512BW__) && defined(__linux__)
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#else
static long omp_get_thread_num(void) { return 0; }
static long omp_get_num_threads(void) { return 1; }
#endif

// bytes of both factors and of the sums that the second cache holds; tiles of a factor's band that the first one does
enum { TILE = 16, GROUP = 32, WIDE = 6, COPIES = 8, PIECE = 1 << 19, SUMS = 1 << 20, DEEP = 8 };
typedef unsigned short number;

typedef struct {
    long height, width, channels, outputs, kernel, stride; // of the images, of the filters
    long rows, columns, down, right, total; // of the outputs; of the grid; pixels of the grid in the batch
    long lead, piece, pairs, copies;        // zeros before the first pixel; pixels of a piece; pairs of a copy
    int plane[COPIES], odd[COPIES];         // a copy's rows (2) and columns (1), even or odd; its first pixel
    int copy[9];                            // which copy a place of the filter reads
    long start[9];                          // from which pair on
} plan;

static long up(long n, long to) { return (n + to - 1)/to*to; }

static plan planned(long count, long height, long width, long channels, long outputs, long kernel, long stride) {
    plan p = {height, width, channels, outputs, kernel, stride, (height - 1)/stride + 1, (width - 1)/stride + 1};
    p.down = p.rows + (kernel > 1), p.right = p.columns + (kernel > 1), p.total = count*p.down*p.right;
    p.lead = kernel > 1 ? up(p.right + 1, 2) : 0;
    for (int wanted = 0; wanted < COPIES; wanted++) {
        int used = 0;
        for (long at = 0; at < kernel*kernel; at++) {
            long dy = at/kernel - kernel/2, dx = at % kernel - kernel/2, plane = 0, offset = dy*p.right + dx;
            if (stride == 2) plane = 2*(dy != 0) + (dx != 0), offset = -(dy < 0)*p.right - (dx < 0);
            long first = p.lead + offset;
            if (2*plane + first % 2 == wanted) p.copy[at] = p.copies, p.start[at] = first/2, used = 1;
        }
        if (used) p.plane[p.copies] = wanted/2, p.odd[p.copies++] = wanted % 2;
    }
    long sums = 4*outputs*channels*kernel*kernel, fits = (PIECE + sums/8)/(2*(outputs + p.copies*channels));
    long least = kernel > 1 ? 8*p.right : GROUP;
    p.piece = up(fits < least ? least : fits, GROUP);
    if (p.piece > up(p.total, GROUP)) p.piece = up(p.total, GROUP);
    p.pairs = (p.piece + 2*p.lead)/2 + 1;
    return p;
}

// Numbers of float32 that a thread needs: sums, both factors, where its pixels lie, and zeros.
static long sums_of(plan p) { return p.outputs*p.channels*p.kernel*p.kernel; }
static long first_of(plan p) { return p.outputs*p.piece/2; }
static long second_of(plan p) { return p.copies*p.channels*p.pairs; }
static long places_of(plan p) { return up(2*(2*p.pairs + 2), TILE); }
static long zeros_of(plan p) { return up(p.outputs > p.channels ? p.outputs : p.channels, TILE); }
static long room_of(plan p) { return sums_of(p) + first_of(p) + second_of(p) + places_of(p) + zeros_of(p); }

// Numbers in a vector, or none if this processor or system has no tiles.
int filters_lanes(void) {
    enum { REQUEST = 0x1023, TILES = 18 }; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA: a process asks for them once
    return syscall(SYS_arch_prctl, REQUEST, TILES) ? 0 : TILE;
}

// Numbers of scratch memory that `filters_gradient` needs.
long filters_room(long count, long height, long width, long channels, long outputs, long kernel, long stride, long threads) {
    return threads*room_of(planned(count, height, width, channels, outputs, kernel, stride)) + TILE;
}

// Where pixels [first, first + n) of a grid lie in an array [images, height, width, depth], of every `stride`th row and
// column from (y, x) on.
static void find(const number **place, const number *from, const number *zeros, plan p, long first, long n, long height,
                 long width, long depth, long stride, long y, long x) {
    for (; n && first < 0; n--, first++) *place++ = zeros;
    long j = first % p.right, i = first/p.right % p.down, image = first/p.right/p.down;
    long rows = (height - y + stride - 1)/stride, columns = (width - x + stride - 1)/stride; // that are there
    rows = rows < p.rows ? rows : p.rows, columns = columns < p.columns ? columns : p.columns;
    long left = p.total - first < n ? p.total - first : n;
    for (n -= left > 0 ? left : 0; left > 0; j = 0, image += ++i == p.down, i = i == p.down ? 0 : i) {
        long span = p.right - j < left ? p.right - j : left, inside = i < rows ? columns - j : 0, t = 0;
        const number *pixel = from + ((image*height + stride*i + y)*width + stride*j + x)*depth;
        inside = inside < 0 ? 0 : inside < span ? inside : span;
        for (; t < inside; t++) place[t] = pixel + t*stride*depth;
        for (; t < span; t++) place[t] = zeros;
        place += span, left -= span;
    }
    for (; n > 0; n--) *place++ = zeros;
}

// sixteen channels of two pixels, side by side
static inline __m512i paired(const number *a, const number *b) {
    __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)a));
    return _mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)b)), 16));
}

// 32 pixels' sixteen channels -> [16 channels, 32 pixels]
static void turned(number *to, const number **place, long channel) {
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = paired(place[2*i] + channel, place[2*i + 1] + channel);
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]), r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]), r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        __m512i c = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd), d = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        t[i] = _mm512_shuffle_i32x4(a, b, 0x88), t[8 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
        t[4 + i] = _mm512_shuffle_i32x4(c, d, 0x88), t[12 + i] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
    for (int i = 0; i < 16; i++) _mm512_store_si512(to + i*GROUP, t[i]);
}

#define LOAD(tile, from) _tile_loadd(tile, from, 64)
#define BEGIN(tile, sum) if (fresh) _tile_zero(tile); else LOAD(tile, sum)
#define END(tile, sum) _tile_stored(tile, sum, 64)

// Tiles [2, 2] or [1, n] of the sums, n up to WIDE: `groups` tiles of the first factor, which follow one another, times as
// many of each `b`.
static void square(float *sums, long apart, const number *a, long next, const number *const *b, long groups, int fresh) {
    float *under = sums + apart;
    BEGIN(0, sums); BEGIN(1, sums + 256); BEGIN(2, under); BEGIN(3, under + 256);
    for (long g = 0; g < groups; g++) {
        LOAD(4, a + g*512); LOAD(6, b[0] + g*512); LOAD(5, a + next + g*512); LOAD(7, b[1] + g*512);
        _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    }
    END(0, sums); END(1, sums + 256); END(2, under); END(3, under + 256);
}
#define ONE(tile) if (n > tile) { LOAD(7, b[tile] + g*512); _tile_dpbf16ps(tile, 6, 7); }
#define EACH(WHAT) if (n > 0) { WHAT(0, sums); } if (n > 1) { WHAT(1, sums + 256); } if (n > 2) { WHAT(2, sums + 512); } \
    if (n > 3) { WHAT(3, sums + 768); } if (n > 4) { WHAT(4, sums + 1024); } if (n > 5) { WHAT(5, sums + 1280); }
static void row(float *sums, const number *a, const number *const *b, int n, long groups, int fresh) {
    EACH(BEGIN)
    for (long g = 0; g < groups; g++) {
        LOAD(6, a + g*512);
        ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5)
    }
    EACH(END)
}

// What `deep` groups of pixels add to all sums: the first factor's bands are `apart` numbers from each other.
static void multiplied(float *sums, const number *left, const number *right, plan p, long apart, long deep, int fresh) {
    long blocks = p.channels/TILE, across = p.kernel*p.kernel*blocks, bands = p.outputs/TILE;
    for (long k = 0, two; k < bands; k += 1 + two) {
        const number *a = left + k*apart;
        two = k + 1 < bands;
        for (long j = 0, take; j < across; j += take) {
            const number *b[WIDE];
            long most = two && across - j > 1 ? 2 : WIDE;
            float *out = sums + (k*across + j)*256;
            take = across - j < most ? across - j : most;
            for (long i = j; i < j + take; i++) {
                long place = i/blocks;
                b[i - j] = right + ((p.copy[place]*blocks + i % blocks)*p.pairs + p.start[place])*GROUP;
            }
            if (two && take == 2) square(out, across*256, a, apart, b, deep, fresh);
            else for (long i = 0; i <= two; i++) row(out + i*across*256, a + i*apart, b, take, deep, fresh);
        }
    }
}

// A thread's pixels [first, last) -> its sums, tiles [outputs/16, kernel*kernel*channels/16] of [16, 16].
static void summed(const number *images, const number *gradient, float *room, plan p, long first, long last) {
    float *sums = room;
    number *left = (number *)(sums + sums_of(p)), *right = left + 2*first_of(p);
    const number **place = (const number **)(right + 2*second_of(p));
    number *zeros = (number *)((float *)place + places_of(p));
    long blocks = p.channels/TILE, bands = p.outputs/TILE;
    memset(zeros, 0, 4*zeros_of(p));
    if (first >= last) memset(sums, 0, 4*sums_of(p));
    for (long at = first; at < last; at += p.piece) {
        long n = last - at < p.piece ? last - at : p.piece, groups = up(n, GROUP)/GROUP;
        find(place, gradient, zeros, p, at, n, p.rows, p.columns, p.outputs, 1, 0, 0);
        for (long i = n; i < groups*GROUP; i++) place[i] = zeros;
        for (long g = 0; g < groups; g++)
            for (long k = 0; k < bands; k++) turned(left + (k*groups + g)*512, place + g*GROUP, k*TILE);
        long pairs = (groups*GROUP + 2*p.lead)/2;
        for (long i = 0; i < p.copies; i++) {
            int plane = p.plane[i];
            if (!i || plane != p.plane[i - 1]) // two more: an odd copy's pairs begin and end with the next pixel
                find(place, images, zeros, p, at - p.lead, 2*pairs + 2, p.height, p.width, p.channels, p.stride,
                     plane >> 1, plane & 1);
            const number **own = place + p.odd[i];
            for (long from = 0; from < pairs; from += TILE)
                for (long c = 0; c < blocks; c++) {
                    number *to = right + (i*blocks + c)*p.pairs*GROUP;
                    for (long t = from; t < pairs && t < from + TILE; t++)
                        _mm512_store_si512(to + t*GROUP, paired(own[2*t] + c*TILE, own[2*t + 1] + c*TILE));
                }
        }
        for (long from = 0, deep; from < groups; from += deep) {
            deep = 4*sums_of(p) > SUMS ? 2*DEEP : DEEP; // sums that come from afar are to be worth it
            deep = groups - from < deep ? groups - from : deep;
            multiplied(sums, left + from*512, right + from*512, p, groups*512, deep, at + from == first);
        }
    }
}

// images [count, height, width, channels] and the gradient of the outputs [count, rows, columns, outputs] -> that of the
// filters [outputs, kernel, kernel, channels] in float32. Channels and outputs are multiples of 16, kernel is 1 or 3
// with a padding of half of it, stride 1 or 2; rows and columns are height and width over the stride, rounded up.
void filters_gradient(const number *images, const number *gradient, float *filters, float *room, long count, long height,
                      long width, long channels, long outputs, long kernel, long stride, long threads) {
    plan p = planned(count, height, width, channels, outputs, kernel, stride);
    room = (float *)(((unsigned long)room + 63)/64*64);
    long across = kernel*kernel*channels/TILE, groups = up(p.total, GROUP)/GROUP;
    #pragma omp parallel num_threads(threads)
    {
        long id = omp_get_thread_num(), n = omp_get_num_threads();
        struct { unsigned char palette, start, none[14]; unsigned short bytes[16]; unsigned char rows[16]; }
            tiles __attribute__((aligned(64))) = {.palette = 1}, before __attribute__((aligned(64)));
        for (int i = 0; i < 8; i++) tiles.bytes[i] = 64, tiles.rows[i] = 16;
        _tile_storeconfig(&before);
        _tile_loadconfig(&tiles);
        long last = GROUP*(groups*(id + 1)/n);
        summed(images, gradient, room + id*room_of(p), p, GROUP*(groups*id/n), last < p.total ? last : p.total);
        if (before.palette) _tile_loadconfig(&before); else _tile_release();
        #pragma omp barrier
        #pragma omp for schedule(static)
        for (long k = 0; k < outputs; k++)
            for (long j = 0; j < across; j++) {
                __m512 sum = _mm512_setzero_ps();
                for (long t = 0; t < n; t++)
                    sum = _mm512_add_ps(sum, _mm512_load_ps(room + t*room_of(p) + ((k/TILE)*across + j)*256 + k % TILE*16));
                _mm512_storeu_ps(filters + (k*across + j)*TILE, sum);
            }
    }
}
#else
int filters_lanes(void) { return 0; }
long filters_room(void) { return 0; }
#endif
