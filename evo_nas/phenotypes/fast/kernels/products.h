/* Matrix products with few columns, which libraries made for large matrices take several times as long for. */

#ifndef PRODUCTS_H
#define PRODUCTS_H

#include "numbers.h"

/* One tile of out = x @ weights + bias or, if it adds, of out += x @ weights + bias: height rows by width vectors, which
 * stay in registers. Rows of weights are wide numbers apart, and bias is the one behind the last; rows of out have c
 * numbers, of which so many are left here. */
static inline __attribute__((always_inline)) void product_tile(const int height, const int width, const REAL *x, long k,
                                                               const REAL *weights, long wide, REAL *out, long c,
                                                               long left, int adds)
{
    vector sums[8][2];
#pragma GCC unroll 8
    for (int r = 0; r < height; r++)
#pragma GCC unroll 2
        for (int v = 0; v < width; v++)
            sums[r][v] = FROM(weights + k * wide + v * LANES);
    for (long i = 0; i < k; i++)
#pragma GCC unroll 2
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

/* x @ weights + bias, (rows, k) by (k, c): the weights in rows of whole vectors, and bias behind them. */
typedef struct {
    REAL *padded;
    long k, c, wide;
} Product;

/* Take the weights; that of i, below k, and j, below c, is weights[i * down + j * right]. No bias is one of zeros. */
static int product_begins(Product *p, long k, long c, const REAL *weights, long down, long right, const REAL *bias)
{
    p->k = k, p->c = c, p->wide = over(c, LANES) * LANES;
    if (!(p->padded = zeros((k + 1) * p->wide)))
        return 1;
    for (long i = 0; i < k; i++)
        for (long j = 0; j < c; j++)
            p->padded[i * p->wide + j] = weights[i * down + j * right];
    if (bias)
        memcpy(p->padded + k * p->wide, bias, c * sizeof(REAL));
    return 0;
}

/* out = x @ weights + bias or, if it adds, out += x @ weights + bias. */
static void product_gives(const Product *p, long rows, const REAL *x, REAL *out, int adds)
{
    long k = p->k, c = p->c, wide = p->wide;
    for (long r = 0; r < rows; r += 8, x += 8 * k, out += 8 * c)
        for (long j = 0; j < c; j += PAIR) {
            const REAL *w = p->padded + j;
            long left = c - j, some = smaller(8, rows - r);
            if (some == 8 && left > LANES) {
                product_tile(4, 2, x, k, w, wide, out + j, c, left, adds);
                product_tile(4, 2, x + 4 * k, k, w, wide, out + 4 * c + j, c, left, adds);
            } else if (some == 8) {
                product_tile(8, 1, x, k, w, wide, out + j, c, left, adds);
            } else {
                for (long i = 0; i < some; i++)
                    for (long v = 0; v < PAIR && v < left; v += LANES)
                        product_tile(1, 1, x + i * k, k, w + v, wide, out + i * c + j + v, c, left - v, adds);
            }
        }
}

static void product_ends(Product *p) { free(p->padded); }

/* One tile of sums += a^T @ b: height columns of a by width vectors of columns of b, over so many rows. */
static inline __attribute__((always_inline)) void outer_tile(const int height, const int width, const REAL *a, long n,
                                                             const REAL *b, long wide, long rows, REAL *sums)
{
    vector part[8][2] = {0};
    for (long r = 0; r < rows; r++)
#pragma GCC unroll 2
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

/* a^T @ b, (rows, n) and (rows, k) to (n, k), summed up from some rows after others. */
typedef struct {
    REAL *sums, *chunk;
    long n, k, wide;
} Outer;

static int outer_begins(Outer *o, long n, long k)
{
    o->n = n, o->k = k, o->wide = over(k, LANES) * LANES;
    o->sums = zeros(n * o->wide), o->chunk = o->wide == k ? NULL : zeros(CHUNK * o->wide);
    return !o->sums || (o->wide != k && !o->chunk);
}

static void outer_takes(Outer *o, long rows, const REAL *a, const REAL *b)
{
    long n = o->n, k = o->k, wide = o->wide;
    for (long first = 0; first < rows; first += CHUNK, a += CHUNK * n, b += CHUNK * k) {
        long some = smaller(CHUNK, rows - first);
        const REAL *right = b;
        if (o->chunk) { /* whole vectors, so that none is read that begins in one row and ends in the next */
            for (long r = 0; r < some; r++)
                for (long i = 0; i < k; i++)
                    o->chunk[r * wide + i] = b[r * k + i];
            right = o->chunk;
        }
        for (long j = 0; j < wide; j += PAIR) {
            int pair = wide - j >= PAIR;
            for (long i = 0; i < n;) {
                REAL *to = o->sums + i * wide + j;
                if (pair && n - i >= 4)
                    outer_tile(4, 2, a + i, n, right + j, wide, some, to), i += 4;
                else if (pair)
                    outer_tile(1, 2, a + i, n, right + j, wide, some, to), i += 1;
                else if (n - i >= 8)
                    outer_tile(8, 1, a + i, n, right + j, wide, some, to), i += 8;
                else
                    outer_tile(1, 1, a + i, n, right + j, wide, some, to), i += 1;
            }
        }
    }
}

/* Write the n rows of sums, out_step numbers apart. */
static void outer_ends(Outer *o, REAL *out, long out_step)
{
    for (long i = 0; out && i < o->n; i++)
        memcpy(out + i * out_step, o->sums + i * o->wide, o->k * sizeof(REAL));
    free(o->sums), free(o->chunk);
}

#endif
