/* Depthwise convolution of one image at a time: forward, and the gradients of its input and of its kernels. */

#ifndef DEPTHWISE_H
#define DEPTHWISE_H

#include "windows.h"

/* After so many numbers of a row its channels stand as they did, seen in steps of a PAIR: the period of the weights. */
static long period(long c, long length)
{
    long times = PAIR;
    while (times > 1 && times % 2 == 0 && c * (times / 2) % PAIR == 0)
        times /= 2;
    return smaller(c * times, length);
}

/* out[r * out_step + j] = sum over t of maps[t][r * map_step + j] * weights[t][j % every], for r below rows, j below
 * length. Four rows at a time share what is loaded of the weights. */
static void weighted(REAL *out, long out_step, const REAL *const *maps, long map_step, const REAL *const *weights,
                     long every, long taps, long rows, long length)
{
    long r = 0;
    for (; r + ROWS <= rows; r += ROWS) {
        long j = 0;
        for (long i = 0; j + PAIR <= length; j += PAIR, i = i + PAIR < every ? i + PAIR : 0) {
            vector a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};
            for (long t = 0; t < taps; t++) {
                const REAL *m = maps[t] + r * map_step + j;
                vector u = FROM(weights[t] + i), v = FROM(weights[t] + i + LANES);
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
                    a += maps[t][i * map_step + j] * weights[t][j % every];
                out[i * out_step + j] = a;
            }
    }
    for (; r < rows; r++) {
        long j = 0;
        for (long i = 0; j + PAIR <= length; j += PAIR, i = i + PAIR < every ? i + PAIR : 0) {
            vector a = {0}, b = {0};
            for (long t = 0; t < taps; t++) {
                const REAL *m = maps[t] + r * map_step + j;
                a += FROM(m) * FROM(weights[t] + i), b += FROM(m + LANES) * FROM(weights[t] + i + LANES);
            }
            AT(out + r * out_step + j) = a, AT(out + r * out_step + j + LANES) = b;
        }
        for (; j < length; j++) {
            REAL a = 0;
            for (long t = 0; t < taps; t++)
                a += maps[t][r * map_step + j] * weights[t][j % every];
            out[r * out_step + j] = a;
        }
    }
}

/* sums[t * every + j % every] += sum over r of grad[r * grad_step + j] * maps[t][r * map_step + j]; t below taps, r below
 * rows, j below length. Four taps at a time share what is loaded of the gradient. */
static void correlated(REAL *sums, long every, const REAL *grad, long grad_step, const REAL *const *maps, long map_step,
                       long taps, long rows, long length)
{
    long t = 0;
    for (; t + 4 <= taps; t += 4) {
        const REAL *m = maps[t], *n = maps[t + 1], *o = maps[t + 2], *p = maps[t + 3];
        long j = 0;
        for (long i = 0; j + PAIR <= length; j += PAIR, i = i + PAIR < every ? i + PAIR : 0) {
            vector a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};
            for (long r = 0; r < rows; r++) {
                vector u = FROM(grad + r * grad_step + j), v = FROM(grad + r * grad_step + j + LANES);
                long at = r * map_step + j;
                a += FROM(m + at) * u, b += FROM(m + at + LANES) * v;
                c += FROM(n + at) * u, d += FROM(n + at + LANES) * v;
                e += FROM(o + at) * u, f += FROM(o + at + LANES) * v;
                g += FROM(p + at) * u, h += FROM(p + at + LANES) * v;
            }
            REAL *s = sums + t * every + i;
            AT(s) += a, AT(s + LANES) += b, s += every;
            AT(s) += c, AT(s + LANES) += d, s += every;
            AT(s) += e, AT(s + LANES) += f, s += every;
            AT(s) += g, AT(s + LANES) += h;
        }
        for (; j < length; j++)
            for (long r = 0; r < rows; r++)
                for (long i = 0; i < 4; i++)
                    sums[(t + i) * every + j % every] += grad[r * grad_step + j] * maps[t + i][r * map_step + j];
    }
    for (; t < taps; t++) {
        long j = 0;
        for (long i = 0; j + PAIR <= length; j += PAIR, i = i + PAIR < every ? i + PAIR : 0) {
            vector a = {0}, b = {0};
            for (long r = 0; r < rows; r++) {
                const REAL *x = grad + r * grad_step + j, *y = maps[t] + r * map_step + j;
                a += FROM(x) * FROM(y), b += FROM(x + LANES) * FROM(y + LANES);
            }
            AT(sums + t * every + i) += a, AT(sums + t * every + i + LANES) += b;
        }
        for (; j < length; j++)
            for (long r = 0; r < rows; r++)
                sums[t * every + j % every] += grad[r * grad_step + j] * maps[t][r * map_step + j];
    }
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

/* A convolution forward: one image padded, the kernels spread, and where each tap finds its pixels. */
typedef struct {
    const Geometry *g;
    Padded p;
    REAL *image, *wide;
    long taps, length, every;
    const REAL *maps[LARGEST], *weights[LARGEST];
} Convolution;

static int convolution_begins(Convolution *f, const Geometry *g, const REAL *kernels)
{
    f->g = g, f->p = padded(g), f->taps = g->rows * g->columns, f->length = g->out_width * g->c;
    f->every = period(g->c, f->length);
    f->image = zeros(f->p.height * f->p.row), f->wide = zeros(f->taps * f->every);
    if (!f->image || !f->wide || f->taps > LARGEST)
        return 1;
    spread(g, kernels, f->wide, f->every / g->c);
    for (long t = 0; t < f->taps; t++) {
        f->maps[t] = f->image + tap(g, &f->p, t);
        f->weights[t] = f->wide + t * f->every;
    }
    return 0;
}

static void convolve(Convolution *f, const REAL *x, REAL *out)
{
    fill(f->g, &f->p, x, f->image);
    weighted(out, f->length, f->maps, f->g->stride * f->p.row, f->weights, f->every, f->taps, f->g->out_height,
             f->length);
}

static void convolution_ends(Convolution *f) { free(f->image), free(f->wide); }

/* The gradient of the kernels, summed up image by image; in sums there is one number for each pixel of a period. */
typedef struct {
    const Geometry *g;
    Padded p;
    REAL *image, *sums;
    long taps, length, every;
    const REAL *maps[LARGEST];
} OfKernels;

static int of_kernels_begins(OfKernels *b, const Geometry *g)
{
    b->g = g, b->p = padded(g), b->taps = g->rows * g->columns, b->length = g->out_width * g->c;
    b->every = period(g->c, b->length);
    b->image = zeros(b->p.height * b->p.row), b->sums = zeros(b->taps * b->every);
    if (!b->image || !b->sums || b->taps > LARGEST)
        return 1;
    for (long t = 0; t < b->taps; t++)
        b->maps[t] = b->image + tap(g, &b->p, t);
    return 0;
}

static void of_kernels_takes(OfKernels *b, const REAL *x, const REAL *grad)
{
    fill(b->g, &b->p, x, b->image);
    correlated(b->sums, b->every, grad, b->length, b->maps, b->g->stride * b->p.row, b->taps, b->g->out_height,
               b->length);
}

static void of_kernels_ends(OfKernels *b, REAL *of_kernels)
{
    for (long t = 0; of_kernels && t < b->taps; t++)
        for (long i = 0; i < b->g->c; i++) {
            double sum = 0;
            for (long j = i; j < b->every; j += b->g->c)
                sum += b->sums[t * b->every + j];
            of_kernels[i * b->taps + t] = sum;
        }
    free(b->image), free(b->sums);
}

/* The gradient of the input: what each of its pixels gets from the windows that see it. Around the gradient of the
 * output there are zeros, so that no window reaches out of it. */
typedef struct {
    const Geometry *g;
    REAL *grads, *wide, *planes;
    long taps, length, above, before, first, step, plane, every;
} OfInput;

static int of_input_begins(OfInput *b, const Geometry *g, const REAL *kernels)
{
    long s = g->stride;
    b->g = g, b->taps = g->rows * g->columns, b->length = g->out_width * g->c;
    b->above = over((g->rows - 1) * g->dilation, s), b->before = over((g->columns - 1) * g->dilation, s);
    b->first = g->left / s;
    long columns = (g->left + g->width - 1) / s - b->first + 1;
    b->step = (b->before + larger(g->out_width, b->first + columns)) * g->c;
    b->plane = columns * g->c;
    long height = b->above + larger(g->out_height, (g->top + g->height - 1) / s + 1);
    b->every = period(g->c, b->plane);
    b->grads = zeros(height * b->step), b->wide = zeros(b->taps * b->every), b->planes = zeros(ROWS * s * b->plane);
    if (!b->grads || !b->wide || !b->planes || b->taps > LARGEST)
        return 1;
    spread(g, kernels, b->wide, b->every / g->c);
    return 0;
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

static void of_input_gives(OfInput *b, const REAL *x, const REAL *grad, REAL *of_x)
{
    const Geometry *g = b->g;
    long s = g->stride;
    for (long y = 0; y < g->out_height; y++)
        memcpy(b->grads + (b->above + y) * b->step + b->before * g->c, grad + y * b->length, b->length * sizeof(REAL));
    /* Rows that are a stride apart meet the same rows of the kernels. */
    for (long phase = 0; phase < s && phase < g->height; phase++)
        for (long y = phase; y < g->height; y += ROWS * s) {
            long rows = smaller(ROWS, over(g->height - y, s));
            for (long q = 0; q < s; q++) {
                const REAL *maps[LARGEST], *weights[LARGEST];
                long met = 0;
                for (long t = 0; t < b->taps; t++) {
                    long down = b->above * s + g->top + y - t / g->columns * g->dilation;
                    long right = t % g->columns * g->dilation;
                    if (down % s == 0 && right % s == q) {
                        maps[met] = b->grads + down / s * b->step + (b->before + b->first - right / s) * g->c;
                        weights[met++] = b->wide + t * b->every;
                    }
                }
                weighted(b->planes + q * b->plane, s * b->plane, maps, b->step, weights, b->every, met, rows,
                         b->plane);
            }
            for (long r = 0; r < rows; r++) {
                long at = (y + r * s) * g->width * g->c;
                unplane(g, b->planes + r * s * b->plane, b->plane, x + at, of_x + at);
            }
        }
}

static void of_input_ends(OfInput *b) { free(b->grads), free(b->wide), free(b->planes); }

#endif
