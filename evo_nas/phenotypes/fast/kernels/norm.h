/* Batch norm over rows of c numbers, one a channel. */

#ifndef NORM_H
#define NORM_H

#include "numbers.h"

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

static double larger_of(double a, double b) { return a > b ? a : b; }

static void count(const REAL *restrict x, const REAL *restrict origins, REAL *restrict sums, REAL *restrict squares,
                  long length)
{
    for (long j = 0; j < length; j++) {
        REAL d = x[j] - origins[j];
        sums[j] += d;
        squares[j] += d * d;
    }
}

static void norm(const REAL *restrict x, const REAL *restrict means, const REAL *restrict factors,
                 const REAL *restrict shifts, REAL *restrict out, long length)
{
    for (long j = 0; j < length; j++)
        out[j] = (x[j] - means[j]) * factors[j] + shifts[j];
}

/* Norm rows x c numbers by the mean and variance of each channel, and take these into the running ones. mean and
 * inverse, one over the standard deviation, are kept for the way back. Gives 0, or 1 if there is no memory. */
static int normed(long rows, long c, const REAL *x, const REAL *scale, const REAL *shift, REAL *running_mean,
                  REAL *running_variance, double momentum, double epsilon, REAL *out, REAL *mean, REAL *inverse)
{
    long length = PIXELS * c, numbers = rows * c;
    REAL *origins = zeros(5 * length);
    if (!origins)
        return 1;
    REAL *sums = origins + length, *squares = origins + 2 * length;
    REAL *factors = origins + 3 * length, *shifts = origins + 4 * length;
    /* Counted from the first row, which is of the size of the others: squares of the numbers themselves would drown a
     * variance that is small beside the mean. */
    for (long i = 0; i < c; i++)
        repeat(origins, i, c, x[i]);
    for (long first = 0; first < numbers; first += length)
        count(x + first, origins, sums, squares, smaller(length, numbers - first));
    for (long i = 0; i < c; i++) {
        double from = channel_sum(sums, i, c) / rows;
        double variance = larger_of(channel_sum(squares, i, c) / rows - from * from, 0);
        mean[i] = origins[i] + from;
        inverse[i] = 1 / __builtin_sqrt(variance + epsilon);
        running_mean[i] += momentum * (mean[i] - running_mean[i]);
        running_variance[i] += momentum * (variance * rows / (rows - 1) - running_variance[i]);
        repeat(origins, i, c, mean[i]);
        repeat(factors, i, c, scale[i] * inverse[i]);
        repeat(shifts, i, c, shift[i]);
    }
    for (long first = 0; first < numbers; first += length)
        norm(x + first, origins, factors, shifts, out + first, smaller(length, numbers - first));
    free(origins);
    return 0;
}

/* The way back: of_x = grad * factors - (x - means) * slopes - terms, where each stands as often as there are PIXELS. */
typedef struct {
    REAL *means, *factors, *slopes, *terms;
    long c;
} NormBack;

static void correlate(const REAL *restrict x, const REAL *restrict grad, const REAL *restrict means,
                      REAL *restrict sums, REAL *restrict products, long length)
{
    for (long j = 0; j < length; j++) {
        sums[j] += grad[j];
        products[j] += grad[j] * (x[j] - means[j]);
    }
}

static void send_back(const NormBack *b, const REAL *restrict x, const REAL *restrict grad, REAL *restrict of_x,
                      long length)
{
    const REAL *restrict means = b->means, *restrict factors = b->factors;
    const REAL *restrict slopes = b->slopes, *restrict terms = b->terms;
    for (long j = 0; j < length; j++)
        of_x[j] = grad[j] * factors[j] - (x[j] - means[j]) * slopes[j] - terms[j];
}

/* Sum up over all rows what the gradient of each of them needs; give the gradients of scale and shift. */
static int norm_back_begins(NormBack *b, long rows, long c, const REAL *x, const REAL *scale, const REAL *mean,
                            const REAL *inverse, const REAL *grad, REAL *of_scale, REAL *of_shift)
{
    long length = PIXELS * c, numbers = rows * c;
    if (!(b->means = zeros(4 * length)))
        return 1;
    b->c = c, b->factors = b->means + length, b->slopes = b->means + 2 * length, b->terms = b->means + 3 * length;
    REAL *means = b->means, *sums = b->terms, *products = b->slopes;
    for (long i = 0; i < c; i++)
        repeat(means, i, c, mean[i]);
    for (long first = 0; first < numbers; first += length)
        correlate(x + first, grad + first, means, sums, products, smaller(length, numbers - first));
    for (long i = 0; i < c; i++) {
        double sum = channel_sum(sums, i, c), product = channel_sum(products, i, c);
        double factor = (double)scale[i] * inverse[i];
        of_shift[i] = sum;
        of_scale[i] = product * inverse[i];
        repeat(b->terms, i, c, factor * sum / rows);
        repeat(b->slopes, i, c, factor * inverse[i] * inverse[i] * product / rows);
        repeat(b->factors, i, c, factor);
    }
    return 0;
}

static void norm_back_gives(const NormBack *b, long rows, const REAL *x, const REAL *grad, REAL *of_x)
{
    long length = PIXELS * b->c, numbers = rows * b->c;
    for (long first = 0; first < numbers; first += length)
        send_back(b, x + first, grad + first, of_x + first, smaller(length, numbers - first));
}

static void norm_back_ends(NormBack *b) { free(b->means); }

#endif
