/* What takes the time of a small cell network on the CPU, for maps in channels-last order: depthwise convolution, batch
 * norm and max pooling, forward and backward, each for one thread.
 *
 * Compiled by library.py for the machine that it runs on, once for each REAL: float or double. Maps are (n, h, w, c),
 * dense. The innermost loops run over whole rows, w * c numbers, so that a map of few channels fills the registers too:
 * weights and sums of one a channel are laid out as often as a row has pixels.
 *
 * NaN must come through, because a training is ended by it: relu(NaN) is NaN, and NaN wins every maximum.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

enum { LANES = 32 / sizeof(REAL), PAIR = 2 * LANES, ROWS = 4, PIXELS = 16, CHUNK = 256, LARGEST = 256 };

typedef REAL vector __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
typedef __typeof__(__builtin_choose_expr(sizeof(REAL) == 4, (int32_t)0, (int64_t)0)) integer;
typedef integer mask __attribute__((vector_size(32))); /* all bits of a lane are 1, or all are 0 */
typedef uint8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

#define AT(pointer) (*(vector *)(pointer))
#define FROM(pointer) (*(const vector *)(pointer))

static long smaller(long a, long b) { return a < b ? a : b; }
static long larger(long a, long b) { return a > b ? a : b; }
static long over(long a, long b) { return (a + b - 1) / b; }

/* Zeros, from which whole vectors may be read at the end. The caller frees them. */
static REAL *zeros(long numbers)
{
    size_t size = over((numbers + PAIR) * sizeof(REAL), 64) * 64;
    REAL *made = aligned_alloc(64, size);
    return made ? memset(made, 0, size) : NULL;
}

/* One convolution or pooling: sizes in pixels; the window's rows and columns; what SAME padding puts before them. */
typedef struct {
    long n, c, height, width;     /* of the input */
    long out_height, out_width;   /* of the output */
    long rows, columns;           /* of the window */
    long stride, dilation, top, left;
    long rectifies;               /* whether the input goes through a ReLU first */
} Geometry;

/* A padded image in which every window's pixel lies at the same distance from its output pixel, and the pixels that
 * one of them meets along a row are neighbours: of every row, first the columns 0, stride, 2 * stride, ..., then 1,
 * stride + 1, ... */
typedef struct {
    long height, plane, row; /* rows; numbers in one of the stride planes of a row; numbers in a row */
} Padded;

static Padded padded(const Geometry *g)
{
    long height = g->stride * (g->out_height - 1) + g->dilation * (g->rows - 1) + 1;
    long width = g->stride * (g->out_width - 1) + g->dilation * (g->columns - 1) + 1;
    long plane = over(width, g->stride) * g->c;
    return (Padded){larger(height, g->top + g->height), plane, plane * g->stride};
}

/* How far the pixel that a tap of the window sees lies from the window's first. Taps count row by row. */
static long tap(const Geometry *g, const Padded *p, long t)
{
    long x = t % g->columns * g->dilation;
    return t / g->columns * g->dilation * p->row + (x % g->stride) * p->plane + (x / g->stride) * g->c;
}

static void fill(const Geometry *g, const Padded *p, const REAL *image, REAL *into)
{
    for (long y = 0; y < g->height; y++, image += g->width * g->c) {
        REAL *row = into + (y + g->top) * p->row;
        for (long plane = 0; plane < g->stride; plane++) {
            /* The columns of this plane: all of them, next to each other, at stride 1. */
            long first = (plane - g->left % g->stride + g->stride) % g->stride;
            long run = g->stride == 1 ? g->width * g->c : g->c;
            REAL *to = row + plane * p->plane + (first + g->left) / g->stride * g->c;
            REAL *end = row + (plane + 1) * p->plane; /* no window looks at a column behind it */
            for (long x = first; x < g->width && to < end; x += g->stride == 1 ? g->width : g->stride, to += run) {
                const REAL *from = image + x * g->c;
                if (g->rectifies)
                    for (long i = 0; i < run; i++)
                        to[i] = from[i] < 0 ? 0 : from[i];
                else
                    for (long i = 0; i < run; i++)
                        to[i] = from[i];
            }
        }
    }
}

/* out[r * out_step + j] = sum over t of maps[t][r * map_step + j] * weights[t][j], for r below rows, j below length.
 * Four rows at a time share what is loaded of the weights. */
static void weighted(REAL *out, long out_step, const REAL *const *maps, long map_step, const REAL *const *weights,
                     long taps, long rows, long length)
{
    long r = 0;
    for (; r + ROWS <= rows; r += ROWS) {
        long j = 0;
        for (; j + PAIR <= length; j += PAIR) {
            vector a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};
            for (long t = 0; t < taps; t++) {
                const REAL *m = maps[t] + r * map_step + j;
                vector u = FROM(weights[t] + j), v = FROM(weights[t] + j + LANES);
                a += FROM(m) * u, b += FROM(m + LANES) * v, m += map_step;
                c += FROM(m) * u, d += FROM(m + LANES) * v, m += map_step;
                e += FROM(m) * u, f += FROM(m + LANES) * v, m += map_step;
                g += FROM(m) * u, h += FROM(m + LANES) * v;
            }
            REAL *o = out + r * out_step + j;
            AT(o) = a, AT(o + LANES) = b, o += out_step;
            AT(o) = c, AT(o + LANES) = d, o += out_step;
            AT(o) = e, AT(o + LANES) = f, o += out_step;
            AT(o) = g, AT(o + LANES) = h;
        }
        for (; j < length; j++)
            for (long i = r; i < r + ROWS; i++) {
                REAL a = 0;
                for (long t = 0; t < taps; t++)
                    a += maps[t][i * map_step + j] * weights[t][j];
                out[i * out_step + j] = a;
            }
    }
    for (; r < rows; r++) {
        long j = 0;
        for (; j + LANES <= length; j += LANES) {
            vector a = {0};
            for (long t = 0; t < taps; t++)
                a += FROM(maps[t] + r * map_step + j) * FROM(weights[t] + j);
            AT(out + r * out_step + j) = a;
        }
        for (; j < length; j++) {
            REAL a = 0;
            for (long t = 0; t < taps; t++)
                a += maps[t][r * map_step + j] * weights[t][j];
            out[r * out_step + j] = a;
        }
    }
}

/* sums[t * length + j] += sum over r of grad[r * grad_step + j] * maps[t][r * map_step + j]; t below taps, r below
 * rows, j below length. Four taps at a time share what is loaded of the gradient. */
static void correlated(REAL *sums, const REAL *grad, long grad_step, const REAL *const *maps, long map_step, long taps,
                       long rows, long length)
{
    long t = 0;
    for (; t + 4 <= taps; t += 4) {
        const REAL *m = maps[t], *n = maps[t + 1], *o = maps[t + 2], *p = maps[t + 3];
        REAL *s = sums + t * length;
        long j = 0;
        for (; j + PAIR <= length; j += PAIR) {
            vector a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};
            for (long r = 0; r < rows; r++) {
                vector u = FROM(grad + r * grad_step + j), v = FROM(grad + r * grad_step + j + LANES);
                long at = r * map_step + j;
                a += FROM(m + at) * u, b += FROM(m + at + LANES) * v;
                c += FROM(n + at) * u, d += FROM(n + at + LANES) * v;
                e += FROM(o + at) * u, f += FROM(o + at + LANES) * v;
                g += FROM(p + at) * u, h += FROM(p + at + LANES) * v;
            }
            AT(s + j) += a, AT(s + j + LANES) += b;
            AT(s + length + j) += c, AT(s + length + j + LANES) += d;
            AT(s + 2 * length + j) += e, AT(s + 2 * length + j + LANES) += f;
            AT(s + 3 * length + j) += g, AT(s + 3 * length + j + LANES) += h;
        }
        for (; j < length; j++)
            for (long r = 0; r < rows; r++)
                for (long i = 0; i < 4; i++)
                    s[i * length + j] += grad[r * grad_step + j] * maps[t + i][r * map_step + j];
    }
    for (; t < taps; t++)
        for (long r = 0; r < rows; r++)
            for (long j = 0; j < length; j++)
                sums[t * length + j] += grad[r * grad_step + j] * maps[t][r * map_step + j];
}

/* Lay the kernels, (c, 1, rows, columns), out as one row a tap in which they are repeated for so many pixels. */
static void spread(const Geometry *g, const REAL *kernels, REAL *into, long pixels)
{
    long taps = g->rows * g->columns;
    for (long t = 0; t < taps; t++)
        for (long x = 0; x < pixels; x++)
            for (long i = 0; i < g->c; i++)
                into[(t * pixels + x) * g->c + i] = kernels[i * taps + t];
}

/* Convolve each channel of x, (n, h, w, c), with its kernel. Gives 0, or 1 if there is no memory. */
int depthwise_forward(const Geometry *g, const REAL *x, const REAL *kernels, REAL *out)
{
    Padded p = padded(g);
    long taps = g->rows * g->columns, length = g->out_width * g->c;
    REAL *image = zeros(p.height * p.row), *wide = zeros(taps * length);
    int failed = !image || !wide || taps > LARGEST;
    if (!failed) {
        const REAL *maps[LARGEST], *weights[LARGEST];
        spread(g, kernels, wide, g->out_width);
        for (long t = 0; t < taps; t++) {
            maps[t] = image + tap(g, &p, t);
            weights[t] = wide + t * length;
        }
        for (long n = 0; n < g->n; n++) {
            fill(g, &p, x + n * g->height * g->width * g->c, image);
            weighted(out + n * g->out_height * length, length, maps, g->stride * p.row, weights, taps, g->out_height,
                     length);
        }
    }
    free(image), free(wide);
    return failed;
}

/* Give the gradient of the kernels. Gives 0, or 1 if there is no memory. */
int depthwise_of_kernels(const Geometry *g, const REAL *x, const REAL *grad, REAL *of_kernels)
{
    Padded p = padded(g);
    long taps = g->rows * g->columns, length = g->out_width * g->c;
    REAL *image = zeros(p.height * p.row), *sums = zeros(taps * length);
    int failed = !image || !sums || taps > LARGEST;
    if (!failed) {
        const REAL *maps[LARGEST];
        for (long t = 0; t < taps; t++)
            maps[t] = image + tap(g, &p, t);
        for (long n = 0; n < g->n; n++) {
            fill(g, &p, x + n * g->height * g->width * g->c, image);
            correlated(sums, grad + n * g->out_height * length, length, maps, g->stride * p.row, taps, g->out_height,
                       length);
        }
        for (long t = 0; t < taps; t++)
            for (long i = 0; i < g->c; i++) {
                double sum = 0;
                for (long column = 0; column < g->out_width; column++)
                    sum += sums[t * length + column * g->c + i];
                of_kernels[i * taps + t] = sum;
            }
    }
    free(image), free(sums);
    return failed;
}

/* Write one row of the gradient of x from its planes, each of so many numbers. */
static void unplane(const Geometry *g, const REAL *planes, long plane, const REAL *x, REAL *of_x)
{
    long run = g->stride == 1 ? g->width * g->c : g->c;
    for (long column = 0; column < g->width; column += g->stride == 1 ? g->width : 1, x += run, of_x += run) {
        long padded = column + g->left;
        const REAL *from = planes + padded % g->stride * plane + (padded / g->stride - g->left / g->stride) * g->c;
        if (g->rectifies)
            for (long i = 0; i < run; i++)
                of_x[i] = x[i] <= 0 ? 0 : from[i];
        else
            for (long i = 0; i < run; i++)
                of_x[i] = from[i];
    }
}

/* Give the gradient of x: what each of its pixels gets from the windows that see it. Gives 0, or 1 if there is no
 * memory. */
int depthwise_of_input(const Geometry *g, const REAL *x, const REAL *kernels, const REAL *grad, REAL *of_x)
{
    long taps = g->rows * g->columns, length = g->out_width * g->c, s = g->stride;
    /* Rows of zeros above the gradient of the output, and columns before it, so that no window reaches out of it. */
    long above = over((g->rows - 1) * g->dilation, s), before = over((g->columns - 1) * g->dilation, s);
    long first = g->left / s, columns = (g->left + g->width - 1) / s - first + 1;
    long step = (before + larger(g->out_width, first + columns)) * g->c;
    long height = above + larger(g->out_height, (g->top + g->height - 1) / s + 1);
    long plane = columns * g->c, image = g->height * g->width * g->c;
    REAL *grads = zeros(height * step), *wide = zeros(taps * plane), *planes = zeros(ROWS * s * plane);
    int failed = !grads || !wide || !planes || taps > LARGEST;
    if (!failed)
        spread(g, kernels, wide, columns);
    for (long n = 0; !failed && n < g->n; n++, x += image, of_x += image) {
        for (long y = 0; y < g->out_height; y++, grad += length)
            memcpy(grads + (above + y) * step + before * g->c, grad, length * sizeof(REAL));
        /* Rows that are a stride apart meet the same rows of the kernels. */
        for (long phase = 0; phase < s && phase < g->height; phase++)
            for (long y = phase; y < g->height; y += ROWS * s) {
                long rows = smaller(ROWS, over(g->height - y, s));
                for (long q = 0; q < s; q++) {
                    const REAL *maps[LARGEST], *weights[LARGEST];
                    long met = 0;
                    for (long t = 0; t < taps; t++) {
                        long down = above * s + g->top + y - t / g->columns * g->dilation;
                        long right = t % g->columns * g->dilation;
                        if (down % s == 0 && right % s == q) {
                            maps[met] = grads + down / s * step + (before + first - right / s) * g->c;
                            weights[met++] = wide + t * plane;
                        }
                    }
                    weighted(planes + q * plane, s * plane, maps, step, weights, met, rows, plane);
                }
                for (long r = 0; r < rows; r++) {
                    long at = (y + r * s) * g->width * g->c;
                    unplane(g, planes + r * s * plane, plane, x + at, of_x + at);
                }
            }
    }
    free(grads), free(wide), free(planes);
    return failed;
}

/* Take the largest of each window; wins says which tap it was: of equal ones the first. Gives 0, or 1 if there is no
 * memory. */
int max_pool_forward(const Geometry *g, const REAL *x, REAL *out, uint8_t *wins)
{
    Padded p = padded(g);
    long taps = g->rows * g->columns, length = g->out_width * g->c;
    REAL *image = zeros(p.height * p.row);
    if (!image || taps > LARGEST) {
        free(image);
        return 1;
    }
    for (long j = 0; j < p.height * p.row; j++)
        image[j] = -__builtin_inf();
    long at[LARGEST];
    for (long t = 0; t < taps; t++)
        at[t] = tap(g, &p, t);
    for (long n = 0; n < g->n; n++, x += g->height * g->width * g->c) {
        fill(g, &p, x, image);
        for (long y = 0; y < g->out_height; y++, out += length, wins += length) {
            const REAL *first = image + y * g->stride * p.row;
            long j = 0;
            for (; j + LANES <= length; j += LANES) {
                mask best = (mask)FROM(first + j), who = {0};
                for (long t = 1; t < taps; t++) {
                    vector value = FROM(first + at[t] + j);
                    mask better = (mask)(value > (vector)best) | (mask)(value != value);
                    best = (better & (mask)value) | (~better & best);
                    who = (better & (integer)t) | (~better & who);
                }
                AT(out + j) = (vector)best;
                *(bytes *)(wins + j) = __builtin_convertvector(who, bytes);
            }
            for (; j < length; j++) {
                REAL best = first[j];
                wins[j] = 0;
                for (long t = 1; t < taps; t++) {
                    REAL value = first[at[t] + j];
                    if (value > best || value != value)
                        best = value, wins[j] = (uint8_t)t;
                }
                out[j] = best;
            }
        }
    }
    free(image);
    return 0;
}

/* Hand each gradient to the pixel that won; of_x must be zeros. */
int max_pool_backward(const Geometry *g, const REAL *grad, const uint8_t *wins, REAL *of_x)
{
    long taps = g->rows * g->columns, image = g->height * g->width * g->c;
    long at[LARGEST];
    if (taps > LARGEST)
        return 1;
    for (long t = 0; t < taps; t++)
        at[t] = ((t / g->columns - g->top) * g->width + t % g->columns - g->left) * g->c;
    for (long n = 0; n < g->n; n++, of_x += image)
        for (long y = 0; y < g->out_height; y++)
            for (long x = 0; x < g->out_width; x++) {
                REAL *corner = of_x + (y * g->stride * g->width + x * g->stride) * g->c;
                for (long i = 0; i < g->c; i++)
                    corner[at[*wins++] + i] += *grad++;
            }
    return 0;
}

/* One tile of out = x @ weights or, if it adds, of out += x @ weights: height rows by width vectors, which stay in
 * registers. Rows of weights are wide numbers apart; rows of out have c numbers, of which so many are left here. */
static inline __attribute__((always_inline)) void product_tile(const int height, const int width, const REAL *x, long k,
                                                               const REAL *weights, long wide, REAL *out, long c,
                                                               long left, int adds)
{
    vector sums[8][2] = {0};
    for (long i = 0; i < k; i++)
        for (int v = 0; v < width; v++) {
            vector w = FROM(weights + i * wide + v * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < height; r++)
                sums[r][v] += x[r * k + i] * w;
        }
#pragma GCC unroll 8
    for (int r = 0; r < height; r++)
#pragma GCC unroll 2
        for (int v = 0; v < width; v++) {
            REAL *to = out + r * c + v * LANES;
            if (left >= (v + 1) * LANES && adds)
                AT(to) += sums[r][v];
            else if (left >= (v + 1) * LANES)
                AT(to) = sums[r][v];
            else
                for (long j = 0; j < left - v * LANES; j++)
                    to[j] = adds ? to[j] + sums[r][v][j] : sums[r][v][j];
        }
}

/* out = x @ weights or, if it adds, out += x @ weights: (rows, k) by (k, c). Gives 0, or 1 if there is no memory. */
int product(long rows, long k, long c, const REAL *x, const REAL *weights, REAL *out, int adds)
{
    long wide = over(c, LANES) * LANES;
    REAL *padded = zeros(k * wide);
    if (!padded)
        return 1;
    for (long i = 0; i < k; i++)
        memcpy(padded + i * wide, weights + i * c, c * sizeof(REAL));
    for (long r = 0; r < rows; r += 8, x += 8 * k, out += 8 * c)
        for (long j = 0; j < c; j += PAIR) {
            const REAL *w = padded + j;
            long left = c - j, some = smaller(8, rows - r);
            if (some == 8 && left > LANES) {
                product_tile(4, 2, x, k, w, wide, out + j, c, left, adds);
                product_tile(4, 2, x + 4 * k, k, w, wide, out + 4 * c + j, c, left, adds);
            } else if (some == 8) {
                product_tile(8, 1, x, k, w, wide, out + j, c, left, adds);
            } else {
                for (long i = 0; i < some; i++) {
                    product_tile(1, 1, x + i * k, k, w, wide, out + i * c + j, c, left, adds);
                    if (left > LANES)
                        product_tile(1, 1, x + i * k, k, w + LANES, wide, out + i * c + j + LANES, c, left - LANES, adds);
                }
            }
        }
    free(padded);
    return 0;
}

/* One tile of sums += a^T @ b: height columns of a by width vectors of columns of b, over so many rows. */
static inline __attribute__((always_inline)) void outer_tile(const int height, const int width, const REAL *a, long n,
                                                             const REAL *b, long wide, long rows, REAL *sums)
{
    vector part[8][2] = {0};
    for (long r = 0; r < rows; r++)
        for (int v = 0; v < width; v++) {
            vector right = FROM(b + r * wide + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < height; i++)
                part[i][v] += a[r * n + i] * right;
        }
#pragma GCC unroll 8
    for (int i = 0; i < height; i++)
#pragma GCC unroll 2
        for (int v = 0; v < width; v++)
            AT(sums + i * wide + v * LANES) += part[i][v];
}

/* out = a^T @ b: (rows, n) and (rows, k) to (n, k). Gives 0, or 1 if there is no memory. */
int outer_product(long rows, long n, long k, const REAL *a, const REAL *b, REAL *out)
{
    long wide = over(k, LANES) * LANES;
    REAL *sums = zeros(n * wide), *chunk = wide == k ? NULL : zeros(CHUNK * wide);
    int failed = !sums || (wide != k && !chunk);
    for (long first = 0; !failed && first < rows; first += CHUNK) {
        long some = smaller(CHUNK, rows - first);
        const REAL *left = a + first * n, *right = b + first * k;
        if (chunk) { /* whole vectors, so that none is read that begins in one row and ends in the next */
            for (long r = 0; r < some; r++)
                memcpy(chunk + r * wide, right + r * k, k * sizeof(REAL));
            right = chunk;
        }
        for (long j = 0; j < wide; j += PAIR) {
            int pair = wide - j >= PAIR;
            for (long i = 0; i < n;) {
                REAL *to = sums + i * wide + j;
                if (pair && n - i >= 4)
                    outer_tile(4, 2, left + i, n, right + j, wide, some, to), i += 4;
                else if (pair)
                    outer_tile(1, 2, left + i, n, right + j, wide, some, to), i += 1;
                else if (n - i >= 8)
                    outer_tile(8, 1, left + i, n, right + j, wide, some, to), i += 8;
                else
                    outer_tile(1, 1, left + i, n, right + j, wide, some, to), i += 1;
            }
        }
    }
    for (long i = 0; !failed && i < n; i++)
        memcpy(out + i * k, sums + i * wide, k * sizeof(REAL));
    free(sums), free(chunk);
    return failed;
}

/* Sums and factors of channels stand side by side as often as there are PIXELS: so loops fill the registers. */
static double channel_sum(const REAL *wide, long channel, long c)
{
    double sum = 0;
    for (long pixel = 0; pixel < PIXELS; pixel++)
        sum += wide[pixel * c + channel];
    return sum;
}

static void repeat(REAL *wide, long channel, long c, REAL value)
{
    for (long pixel = 0; pixel < PIXELS; pixel++)
        wide[pixel * c + channel] = value;
}

/* Norm rows x c numbers by the mean and variance of each channel, and take these into the running ones. mean and
 * inverse, one over the standard deviation, are kept for the way back. Gives 0, or 1 if there is no memory. */
int norm_forward(long rows, long c, const REAL *x, const REAL *scale, const REAL *shift, REAL *running_mean,
                 REAL *running_variance, double momentum, double epsilon, REAL *out, REAL *mean, REAL *inverse)
{
    long length = PIXELS * c, numbers = rows * c;
    REAL *means = calloc(4 * length, sizeof(REAL));
    if (!means)
        return 1;
    REAL *sums = means + length, *factors = means + 2 * length, *shifts = means + 3 * length;
    for (long first = 0; first < numbers; first += length, x += length)
        for (long j = 0, some = smaller(length, numbers - first); j < some; j++)
            sums[j] += x[j];
    x -= over(numbers, length) * length;
    for (long i = 0; i < c; i++) {
        mean[i] = channel_sum(sums, i, c) / rows;
        running_mean[i] += momentum * (mean[i] - running_mean[i]);
        repeat(means, i, c, mean[i]);
    }
    memset(sums, 0, length * sizeof(REAL));
    for (long first = 0; first < numbers; first += length, x += length)
        for (long j = 0, some = smaller(length, numbers - first); j < some; j++)
            sums[j] += (x[j] - means[j]) * (x[j] - means[j]);
    x -= over(numbers, length) * length;
    for (long i = 0; i < c; i++) {
        double squares = channel_sum(sums, i, c);
        inverse[i] = 1 / __builtin_sqrt(squares / rows + epsilon);
        running_variance[i] += momentum * (squares / (rows - 1) - running_variance[i]);
        repeat(factors, i, c, scale[i] * inverse[i]);
        repeat(shifts, i, c, shift[i]);
    }
    for (long first = 0; first < numbers; first += length, x += length, out += length)
        for (long j = 0, some = smaller(length, numbers - first); j < some; j++)
            out[j] = (x[j] - means[j]) * factors[j] + shifts[j];
    free(means);
    return 0;
}

/* Give the gradients of what norm_forward was given. Gives 0, or 1 if there is no memory. */
int norm_backward(long rows, long c, const REAL *x, const REAL *scale, const REAL *mean, const REAL *inverse,
                  const REAL *grad, REAL *of_x, REAL *of_scale, REAL *of_shift)
{
    long length = PIXELS * c, numbers = rows * c;
    REAL *means = calloc(4 * length, sizeof(REAL));
    if (!means)
        return 1;
    REAL *sums = means + length, *products = means + 2 * length, *factors = means + 3 * length;
    for (long i = 0; i < c; i++)
        repeat(means, i, c, mean[i]);
    for (long first = 0; first < numbers; first += length, x += length, grad += length)
        for (long j = 0, some = smaller(length, numbers - first); j < some; j++) {
            sums[j] += grad[j];
            products[j] += grad[j] * (x[j] - means[j]);
        }
    x -= over(numbers, length) * length, grad -= over(numbers, length) * length;
    for (long i = 0; i < c; i++) {
        double sum = channel_sum(sums, i, c), product = channel_sum(products, i, c);
        double factor = (double)scale[i] * inverse[i];
        of_shift[i] = sum;
        of_scale[i] = product * inverse[i];
        repeat(sums, i, c, factor * sum / rows);
        repeat(products, i, c, factor * inverse[i] * inverse[i] * product / rows);
        repeat(factors, i, c, factor);
    }
    for (long first = 0; first < numbers; first += length, x += length, grad += length, of_x += length)
        for (long j = 0, some = smaller(length, numbers - first); j < some; j++)
            of_x[j] = grad[j] * factors[j] - (x[j] - means[j]) * products[j] - sums[j];
    free(means);
    return 0;
}
