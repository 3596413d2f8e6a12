// Convolutions with 3x3 filters, stride 1 and padding 1, by Winograd's F(4x4, 3x3), forward and backward, in float32.
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.3.
//
// A tile of 6x6 inputs d and a filter g give 4x4 outputs as  A'((G g G') * (B' d B))A : 36 multiplications for 144.
// Summed over input channels, each of the 36 positions is a matrix product: tiles x inputs by inputs x outputs. The
// gradients are the adjoint: of the outputs A y A', of the filters G' u G, of the images B v B', with products between.
//
// Images are [B, H, W, C], filters [K, 3, 3, C]; C and K are multiples of 16. What is transformed stays in the caches:
// with small filters each thread takes some images at a time through all steps ("by images"); with large ones the
// threads share the transformed images of a chunk, and each takes some filters at a time ("by channels").
// The work of a thread depends on the number of threads alone, so that the same call gives the same bits.
#ifdef _OPENMP
#include <omp.h>
#else
static long omp_get_thread_num(void) { return 0; }
static long omp_get_num_threads(void) { return 1; }
#endif
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 8 };
#elif defined(__AVX2__)
enum { LANES = 8, ROWS = 4 };
#else
enum { LANES = 4, ROWS = 8 };
#endif
// columns of filters at a time; numbers that a core's own cache, and the shared one, hold of transformed images
enum { PANEL = 2 * LANES, NEAR = 160 * 1024, SHARED = 2 * 1024 * 1024 };
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
#define ADD(p, v) STORE(p, LOAD(p) + (v))
#define INLINE static inline __attribute__((always_inline))

// B' along a line of 6 with step s, and its adjoint
INLINE void image_line(vec *d, int s) {
    vec d0 = d[0], d1 = d[s], d2 = d[2*s], d3 = d[3*s], d4 = d[4*s], d5 = d[5*s];
    vec p = d4 - 4*d2, q = d3 - 4*d1, r = d4 - d2, t = 2*(d3 - d1);
    d[0] = 4*d0 - 5*d2 + d4; d[s] = p + q; d[2*s] = p - q; d[3*s] = r + t; d[4*s] = r - t; d[5*s] = 4*d1 - 5*d3 + d5;
}
INLINE void image_line_back(vec *d, int s) {
    vec d0 = d[0], d5 = d[5*s], a = d[s] + d[2*s], b = d[s] - d[2*s], c = d[3*s] + d[4*s], e = 2*(d[3*s] - d[4*s]);
    d[0] = 4*d0; d[s] = 4*d5 - 4*b - e; d[2*s] = -5*d0 - 4*a - c; d[3*s] = b + e - 5*d5; d[4*s] = d0 + a + c;
}
// A' along a line: 6 to 4, and its adjoint: 4 to 6
INLINE void output_line(vec *d, int s) {
    vec a = d[s] + d[2*s], b = d[s] - d[2*s], c = d[3*s] + d[4*s], e = d[3*s] - d[4*s];
    d[0] = d[0] + a + c; d[s] = b + 2*e; d[2*s] = a + 4*c; d[3*s] = b + 8*e + d[5*s];
}
INLINE void output_line_back(vec *d, int s) {
    vec y0 = d[0], y1 = d[s], y2 = d[2*s], y3 = d[3*s];
    vec a = y0 + y2, b = y1 + y3, c = y0 + 4*y2, e = 2*y1 + 8*y3;
    d[s] = a + b; d[2*s] = a - b; d[3*s] = c + e; d[4*s] = c - e; d[5*s] = y3;
}
// G along a line: 3 to 6, and its adjoint: 6 to 3
INLINE void filter_line(const vec *w, vec *o, int s) {
    vec a = w[0] + w[2*s], c = w[0] + 4*w[2*s], b = w[s];
    o[0] = w[0]*0.25f; o[s] = (a + b)*(-1/6.f); o[2*s] = (b - a)*(1/6.f);
    o[3*s] = (c + 2*b)*(1/24.f); o[4*s] = (c - 2*b)*(1/24.f); o[5*s] = w[2*s];
}
INLINE void filter_line_back(vec *d, int s) {
    vec a = (d[s] + d[2*s])*(1/6.f), c = (d[3*s] + d[4*s])*(1/24.f);
    d[0] = d[0]*0.25f - a + c; d[s] = (d[2*s] - d[s])*(1/6.f) + (d[3*s] - d[4*s])*(1/12.f); d[2*s] = 4*c - a + d[5*s];
}

// Transformed images are [36][tiles][row]: strides that are multiples of a large power of two would put them into few
// of a cache's sets.
static long row_of(long channels) { return channels % 128 ? channels : channels + 16; }
static long round_up(long n, long step) { return (n + step - 1) / step * step; }
static long plane_of(long tiles, long row) { return round_up(tiles, 16) * row + 48; }

typedef struct { long count, height, width, channels, down, across; } images; // down x across tiles an image
typedef struct { float *numbers; long row, plane; } tiles;

// One tile and all its channels: the pixels from row k0 up to k1 and column l0 up to l1 of the 6x6 (or 4x4) exist.
#define PIXELS(k0, k1, l0, l1) for (long k = k0; k < k1; k++) for (long l = l0; l < l1; l++)
#define FIXED(known, size, k0, k1, l0, l1, there, absent) \
    if (known) { \
        for (int k = 0; k < size; k++) for (int l = 0; l < size; l++) if (k >= k0 && k < k1 && l >= l0 && l < l1) there; else absent; \
    } else { \
        for (int k = 0; k < size; k++) for (int l = 0; l < size; l++) absent; \
        PIXELS(k0, k1, l0, l1) there; \
    }
#define NOTHING (void)0
typedef struct { float *pixels; long width, channels, plane, use; } place; // the tile's corner; strides; channels to use

INLINE void image_tile(place at, float *v, long k0, long k1, long l0, long l1, int known) {
    for (long c = 0; c < at.use; c += LANES) {
        vec d[36];
        FIXED(known, 6, k0, k1, l0, l1, d[6*k + l] = LOAD(at.pixels + (k*at.width + l)*at.channels + c), d[6*k + l] = (vec){0})
        for (int l = 0; l < 6; l++) image_line(d + l, 6);
        for (int k = 0; k < 6; k++) image_line(d + 6*k, 1);
        for (int k = 0; k < 36; k++) STORE(v + k*at.plane + c, d[k]);
    }
}
INLINE void image_tile_back(place at, float *v, long k0, long k1, long l0, long l1, int known) {
    for (long c = 0; c < at.use; c += LANES) {
        vec d[36];
        for (int k = 0; k < 36; k++) d[k] = LOAD(v + k*at.plane + c);
        for (int l = 0; l < 6; l++) image_line_back(d + l, 6);
        for (int k = 0; k < 6; k++) image_line_back(d + 6*k, 1);
        FIXED(known, 6, k0, k1, l0, l1, ADD(at.pixels + (k*at.width + l)*at.channels + c, d[6*k + l]), NOTHING)
    }
}
INLINE void output_tile(place at, float *m, long k0, long k1, long l0, long l1, int known) {
    for (long c = 0; c < at.use; c += LANES) {
        vec d[36];
        for (int k = 0; k < 36; k++) d[k] = LOAD(m + k*at.plane + c);
        for (int l = 0; l < 6; l++) output_line(d + l, 6);
        for (int k = 0; k < 4; k++) output_line(d + 6*k, 1);
        FIXED(known, 4, k0, k1, l0, l1, STORE(at.pixels + (k*at.width + l)*at.channels + c, d[6*k + l]), NOTHING)
    }
}
INLINE void output_tile_back(place at, float *m, long k0, long k1, long l0, long l1, int known) {
    for (long c = 0; c < at.use; c += LANES) {
        vec d[36];
        FIXED(known, 4, k0, k1, l0, l1, d[6*k + l] = LOAD(at.pixels + (k*at.width + l)*at.channels + c), d[6*k + l] = (vec){0})
        for (int l = 0; l < 4; l++) output_line_back(d + l, 6);
        for (int k = 0; k < 6; k++) output_line_back(d + 6*k, 1);
        for (int k = 0; k < 36; k++) STORE(m + k*at.plane + c, d[k]);
    }
}

// All tiles of the rows of tiles from `first` up to `last`, for `use` channels from `x` on. `border`: a tile's first pixel
// lies that much before its first output. Tiles at the four edges have code of their own, as the compiler can unroll it.
#define WALK(NAME, TILE, SIZE, BORDER) \
static void NAME(const float *x, images s, tiles t, long first, long last, long use) { \
    float *v = t.numbers; \
    for (long r = first; r < last; r++) for (long j = 0; j < s.across; j++, v += t.row) { \
        long i = r % s.down, y = 4*i - BORDER, z = 4*j - BORDER; \
        long k0 = y < 0, k1 = s.height - y < SIZE ? s.height - y : SIZE, l0 = z < 0, l1 = s.width - z < SIZE ? s.width - z : SIZE; \
        place at = {(float *)x + ((r / s.down*s.height + y)*s.width + z)*s.channels, s.width, s.channels, t.plane, use}; \
        SPECIAL(TILE, SIZE, 0, 0) SPECIAL(TILE, SIZE, 0, 1) SPECIAL(TILE, SIZE, 1, 0) SPECIAL(TILE, SIZE, 1, 1) \
        TILE(at, v, k0, k1, l0, l1, 0); \
    } \
}
#define SPECIAL(TILE, SIZE, A, B) \
    ONE(TILE, A, SIZE, B, SIZE) ONE(TILE, A, SIZE, B, SIZE - 1) ONE(TILE, A, SIZE - 1, B, SIZE) ONE(TILE, A, SIZE - 1, B, SIZE - 1)
#define ONE(TILE, K0, K1, L0, L1) if (k0 == K0 && k1 == K1 && l0 == L0 && l1 == L1) TILE(at, v, K0, K1, L0, L1, 1); else
WALK(images_in, image_tile, 6, 1)
WALK(images_out, image_tile_back, 6, 1) // adds to what is there: tiles overlap
WALK(outputs_out, output_tile, 4, 0)
WALK(outputs_in, output_tile_back, 4, 0)

// Transformed filters are [36] times panels of PANEL columns, [depth][PANEL] each.
static long filters_plane(long depth, long columns) { return round_up(columns, PANEL)*depth + 48; }

// w [K, 9, C], `use` of its input channels -> a row for each of the filters from `first` up to `last`, a column an input
static void filters_in(const float *w, long K, long C, long use, float *u, long plane, long first, long last) {
    for (long k = first; k < last; k++) for (long c = 0; c < use; c += LANES) {
        vec d[9], e[18], o[36];
        float *to = u + c/PANEL*PANEL*K + k*PANEL + c % PANEL;
        for (int i = 0; i < 9; i++) d[i] = LOAD(w + (k*9 + i)*C + c);
        for (int l = 0; l < 3; l++) filter_line(d + l, e + l, 3);
        for (int i = 0; i < 6; i++) filter_line(e + 3*i, o + 6*i, 1);
        for (int i = 0; i < 36; i++) STORE(to + i*plane, o[i]);
    }
}
// the same of `use` filters with rows and columns exchanged: a row for the inputs from `first` up to `last`
static void filters_in_exchanged(const float *w, long C, long use, float *u, long plane, long first, long last) {
    for (long k = 0; k < use; k += LANES) for (long c = first; c < last; c += LANES) {
        float block[LANES][9][LANES];
        for (int l = 0; l < LANES; l++) for (int i = 0; i < 9; i++) for (int j = 0; j < LANES; j++)
            block[j][i][l] = w[((k + l)*9 + i)*C + c + j];
        for (int j = 0; j < LANES; j++) {
            vec d[9], e[18], o[36];
            float *to = u + k/PANEL*PANEL*C + (c + j)*PANEL + k % PANEL;
            for (int i = 0; i < 9; i++) d[i] = LOAD(block[j][i]);
            for (int l = 0; l < 3; l++) filter_line(d + l, e + l, 3);
            for (int i = 0; i < 6; i++) filter_line(e + 3*i, o + 6*i, 1);
            for (int i = 0; i < 36; i++) STORE(to + i*plane, o[i]);
        }
    }
}
static void filters_out(const float *u, long plane, float *w, long K, long C, long use, long first, long last) {
    for (long k = first; k < last; k++) for (long c = 0; c < use; c += LANES) {
        vec d[36];
        const float *from = u + c/PANEL*PANEL*K + k*PANEL + c % PANEL;
        for (int i = 0; i < 36; i++) d[i] = LOAD(from + i*plane);
        for (int l = 0; l < 6; l++) filter_line_back(d + l, 6);
        for (int i = 0; i < 3; i++) filter_line_back(d + 6*i, 1);
        for (int i = 0; i < 9; i++) STORE(w + (k*9 + i)*C + c, d[i / 3*6 + i % 3]);
    }
}

// c[r][n] (+)= sum over d of a[r*ra + d*da] b[d*rb + n] for one panel of `columns`; what b's next panel holds is fetched
#define BLOCK(R, W) { \
    vec sum[R][W]; \
    const float *p = a + r*ra, *q = b; \
    for (int i = 0; i < R; i++) for (int j = 0; j < W; j++) sum[i][j] = add ? LOAD(c + (r + i)*rc + j*LANES) : (vec){0}; \
    for (long d = 0; d < depth; d++, p += da, q += rb) { \
        for (int j = 0; j < W; j++) __builtin_prefetch(q + next + j*LANES, 0, 2); \
        for (int i = 0; i < R; i++) for (int j = 0; j < W; j++) sum[i][j] += p[i*ra]*LOAD(q + j*LANES); \
    } \
    for (int i = 0; i < R; i++) for (int j = 0; j < W; j++) STORE(c + (r + i)*rc + j*LANES, sum[i][j]); \
}
static void multiply(const float *a, long ra, long da, const float *b, long rb, long next, float *c, long rc,
                     long rows, long depth, long columns, int add) {
    if (columns >= PANEL) for (long r = 0; r < rows; r += ROWS) BLOCK(ROWS, 2)
    else for (long r = 0; r < rows; r += 2*ROWS) BLOCK(2*ROWS, 1)
}
// out [tiles][columns] = in [tiles][depth] times filters, at all positions
static void by_filters(tiles in, long count, long depth, const float *u, long plane, tiles out, long columns) {
    for (int p = 0; p < 36; p++) for (long n = 0; n < columns; n += PANEL)
        multiply(in.numbers + p*in.plane, in.row, 1, u + p*plane + n*depth, PANEL, PANEL*depth,
                 out.numbers + p*out.plane + n, out.row, round_up(count, 16), depth, columns - n, 0);
}
// u [rows][columns] (+)= the sum over tiles of m [tiles][rows] and v [tiles][columns]
static void by_tiles(tiles m, long rows, tiles v, long columns, long count, float *u, long plane, int add) {
    for (int p = 0; p < 36; p++) for (long n = 0; n < columns; n += PANEL)
        multiply(m.numbers + p*m.plane, 1, m.row, v.numbers + p*v.plane + n, v.row, PANEL,
                 u + p*plane + n*rows, PANEL, rows, count, columns - n, add);
}

typedef struct {
    images in, out;
    int by_images;
    long step, tiles; // at a time: rows of tiles (by images) or images (by channels); tiles
} plan;
static plan planned(long B, long H, long W, long C, long K, long threads, int backward) {
    long down = (H + 3)/4, across = (W + 3)/4;
    plan s = {{B, H, W, C, down, across}, {B, H, W, K, down, across}, 0, 0, 0};
    // each thread sums the gradient of the filters for itself
    s.by_images = C*K <= 256*256 && C*K*threads <= 1024*1024 && B >= threads;
    long fit = (s.by_images ? NEAR : SHARED) / (36*(s.by_images ? C + K : backward ? K : C));
    long unit = s.by_images ? across : down*across, least = s.by_images ? C*K > 128*128 ? 96 : 48 : 128; // below, filters are fetched too often
    s.step = (fit > least ? fit : round_up(least, unit)) / unit;
    if (s.step < 1) s.step = 1; // a row, or an image, of more tiles than the caches hold
    if (!s.by_images && s.step > B) s.step = B;
    s.tiles = s.step*unit;
    return s;
}
static tiles tiles_at(float *numbers, long count, long row) { return (tiles){numbers, row, plane_of(count, row)}; }
static tiles skip(tiles t, long count) { t.numbers += count*t.row; return t; }

// Numbers in a vector of this processor.
int winograd_lanes(void) { return LANES; }

// Numbers of scratch memory that `winograd_forward` or `_backward` needs.
long winograd_room(long B, long H, long W, long C, long K, long threads, int backward) {
    plan s = planned(B, H, W, C, K, threads, backward);
    long c = plane_of(s.tiles, row_of(C)), k = plane_of(s.tiles, row_of(K)), narrow = plane_of(s.tiles, PANEL);
    if (s.by_images) return 36*((backward ? 1 + threads : 1)*filters_plane(backward ? K : C, backward ? C : K) + threads*(c + k));
    if (!backward) return 36*(c + threads*(filters_plane(C, PANEL) + narrow));
    return 36*(k + (s.step < B ? round_up(C, PANEL)/PANEL : 0)*filters_plane(K, PANEL) + threads*(filters_plane(K, PANEL) + narrow));
}

// x [B, H, W, C] and w [K, 3, 3, C] -> y [B, H, W, K]
void winograd_forward(const float *x, const float *w, float *y, float *room,
                      long B, long H, long W, long C, long K, long threads) {
    plan s = planned(B, H, W, C, K, threads, 0);
    #pragma omp parallel num_threads(threads)
    {
        long id = omp_get_thread_num(), n = omp_get_num_threads();
        if (s.by_images) {
            long plane = filters_plane(C, K), rows = s.in.down, end = B*(id + 1)/n*rows;
            tiles v = tiles_at(0, s.tiles, row_of(C)), m = tiles_at(0, s.tiles, row_of(K));
            v.numbers = room + 36*plane + id*36*(v.plane + m.plane); m.numbers = v.numbers + 36*v.plane;
            filters_in_exchanged(w, C, K, room, plane, C/16*id/n*16, C/16*(id + 1)/n*16);
            #pragma omp barrier
            for (long r = B*id/n*rows; r < end; r += s.step) {
                long last = r + s.step < end ? r + s.step : end;
                images_in(x, s.in, v, r, last, C);
                by_filters(v, (last - r)*s.in.across, C, room, plane, m, K);
                outputs_out(y, s.out, m, r, last, K);
            }
        } else {
            long plane = filters_plane(C, PANEL);
            tiles v = tiles_at(room, s.tiles, row_of(C)), m = tiles_at(0, s.tiles, PANEL);
            float *u = room + 36*v.plane + id*36*(plane + m.plane);
            m.numbers = u + 36*plane;
            for (long b = 0; b < B; b += s.step) {
                long base = b*s.in.down, rows = ((b + s.step < B ? b + s.step : B) - b)*s.in.down, first = rows*id/n;
                images_in(x, s.in, skip(v, first*s.in.across), base + first, base + rows*(id + 1)/n, C);
                #pragma omp barrier
                #pragma omp for schedule(static)
                for (long k = 0; k < K; k += PANEL) {
                    long use = K - k < PANEL ? K - k : PANEL;
                    filters_in_exchanged(w + k*9*C, C, use, u, plane, 0, C);
                    by_filters(v, rows*s.in.across, C, u, plane, m, use);
                    outputs_out(y + k, s.out, m, base, base + rows, use);
                }
            }
        }
    }
}

// the gradients of x and w, given g [B, H, W, K], that of the outputs
void winograd_backward(const float *x, const float *w, const float *g, float *dx, float *dw, float *room,
                       long B, long H, long W, long C, long K, long threads) {
    plan s = planned(B, H, W, C, K, threads, 1);
    #pragma omp parallel num_threads(threads)
    {
        long id = omp_get_thread_num(), n = omp_get_num_threads(), begin = B*id/n, end = B*(id + 1)/n;
        if (dx) memset(dx + begin*H*W*C, 0, sizeof(float)*(end - begin)*H*W*C);
        if (s.by_images) {
            long plane = filters_plane(K, C), first = K*id/n, last = K*(id + 1)/n;
            tiles v = tiles_at(0, s.tiles, row_of(C)), m = tiles_at(0, s.tiles, row_of(K));
            float *sums = room + 36*plane, *mine = sums + id*36*plane;
            v.numbers = sums + n*36*plane + id*36*(v.plane + m.plane); m.numbers = v.numbers + 36*v.plane;
            filters_in(w, K, C, C, room, plane, first, last);
            #pragma omp barrier
            begin *= s.in.down; end *= s.in.down;
            for (long r = begin; r < end; r += s.step) {
                long until = r + s.step < end ? r + s.step : end, count = (until - r)*s.in.across;
                outputs_in(g, s.out, m, r, until, K);
                if (dw) {
                    images_in(x, s.in, v, r, until, C);
                    by_tiles(m, K, v, C, count, mine, plane, r > begin);
                }
                if (dx) {
                    by_filters(m, count, K, room, plane, v, C);
                    images_out(dx, s.in, v, r, until, C);
                }
            }
            #pragma omp barrier
            if (dw) {
                #pragma omp for schedule(static)
                for (long i = 0; i < 36*plane; i += 16) for (long other = 1; other < n; other++)
                    for (long j = i; j < i + 16; j++) sums[j] += sums[other*36*plane + j];
                filters_out(sums, plane, dw, K, C, C, first, last);
            }
        } else {
            long plane = filters_plane(K, PANEL), panels = s.step < B ? round_up(C, PANEL)/PANEL : 0;
            tiles m = tiles_at(room, s.tiles, row_of(K)), v = tiles_at(0, s.tiles, PANEL);
            float *sums = room + 36*m.plane, *u = sums + panels*36*plane + id*36*(plane + v.plane);
            v.numbers = u + 36*plane;
            for (long b = 0; b < B; b += s.step) {
                long base = b*s.in.down, rows = ((b + s.step < B ? b + s.step : B) - b)*s.in.down, first = rows*id/n;
                outputs_in(g, s.out, skip(m, first*s.in.across), base + first, base + rows*(id + 1)/n, K);
                #pragma omp barrier
                #pragma omp for schedule(static)
                for (long c = 0; c < C; c += PANEL) {
                    long use = C - c < PANEL ? C - c : PANEL, count = rows*s.in.across;
                    if (dw) {
                        float *sum = s.step < B ? sums + c/PANEL*36*plane : u;
                        images_in(x + c, s.in, v, base, base + rows, use);
                        by_tiles(m, K, v, use, count, sum, plane, b > 0);
                        if (b + s.step >= B) filters_out(sum, plane, dw + c, K, C, use, 0, K);
                    }
                    if (dx) {
                        filters_in(w + c, K, C, use, u, plane, 0, K);
                        by_filters(m, count, K, u, plane, v, use);
                        images_out(dx + c, s.in, v, base, base + rows, use);
                    }
                }
            }
        }
    }
}
