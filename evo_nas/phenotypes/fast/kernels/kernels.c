/* What takes the time of a small cell network on the CPU, for maps in channels-last order, forward and backward, each
 * for one thread: depthwise convolution, max pooling, batch norm, and the unit of which nearly all operations are made,
 * a pointwise convolution, after a depthwise one perhaps, and the batch norm behind it.
 *
 * Compiled by library.py for the machine that it runs on, or for a wheel by its build, once for each REAL: float or
 * double. Maps are (n, h, w, c), dense. Each function gives 0, or 1 if there is no memory or a window has more than
 * LARGEST pixels.
 *
 * NaN must come through, because a training is ended by it: relu(NaN) is NaN, and NaN wins every maximum.
 */

#include "depthwise.h"
#include "norm.h"
#include "products.h"
#include "windows.h"

/* Convolve each channel of x, (n, h, w, c), with its kernel of (c, 1, rows, columns). */
int depthwise_forward(const Geometry *g, const REAL *x, const REAL *kernels, REAL *out)
{
    Convolution f;
    int failed = convolution_begins(&f, g, kernels);
    for (long n = 0; !failed && n < g->n; n++)
        convolve(&f, x + n * g->height * g->width * g->c, out + n * g->out_height * g->out_width * g->c);
    convolution_ends(&f);
    return failed;
}

/* Give the gradients of x and of the kernels; either may be null. */
int depthwise_backward(const Geometry *g, const REAL *x, const REAL *kernels, const REAL *grad, REAL *of_x,
                       REAL *of_kernels)
{
    OfInput input = {0};
    OfKernels weights = {0};
    int failed = (of_x && of_input_begins(&input, g, kernels)) || (of_kernels && of_kernels_begins(&weights, g));
    for (long n = 0; !failed && n < g->n; n++) {
        long at = n * g->height * g->width * g->c;
        if (of_kernels)
            of_kernels_takes(&weights, x + at, grad);
        if (of_x)
            of_input_gives(&input, x + at, grad, of_x + at);
        grad += g->out_height * g->out_width * g->c;
    }
    of_kernels_ends(&weights, failed ? NULL : of_kernels);
    of_input_ends(&input);
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

/* Norm x by the batch. */
int norm_forward(long rows, long c, const REAL *x, const REAL *scale, const REAL *shift, REAL *running_mean,
                 REAL *running_variance, double momentum, double epsilon, REAL *out, REAL *mean, REAL *inverse)
{
    return normed(rows, c, x, scale, shift, running_mean, running_variance, momentum, epsilon, out, mean, inverse);
}

/* Give the gradients of what norm_forward was given. */
int norm_backward(long rows, long c, const REAL *x, const REAL *scale, const REAL *mean, const REAL *inverse,
                  const REAL *grad, REAL *of_x, REAL *of_scale, REAL *of_shift)
{
    NormBack b;
    if (norm_back_begins(&b, rows, c, x, scale, mean, inverse, grad, of_scale, of_shift))
        return 1;
    norm_back_gives(&b, rows, x, grad, of_x);
    norm_back_ends(&b);
    return 0;
}

/* out = bias, which may be null, + the sum over parts of part @ its weights, columns of mixing, (c, all widths). */
int pointwise_forward(long rows, long parts, const REAL *const *x, const long *widths, const REAL *mixing,
                      const REAL *bias, long c, REAL *out)
{
    long all = 0, first = 0;
    for (long i = 0; i < parts; i++)
        all += widths[i];
    for (long i = 0; i < parts; first += widths[i++]) {
        Product p;
        if (product_begins(&p, widths[i], c, mixing + first, 1, all, i ? NULL : bias))
            return 1;
        product_gives(&p, rows, x[i], out, i > 0);
        product_ends(&p);
    }
    return 0;
}

/* The pointwise convolution on its way back: the gradients of the parts and of mixing, image by image. */
typedef struct {
    long parts, all, c;
    const long *widths;
    Product *products;
    Outer *outers;
} Mixing;

static int mixing_begins(Mixing *m, long parts, const long *widths, const REAL *mixing, long c)
{
    *m = (Mixing){parts, 0, c, widths, calloc(parts, sizeof(Product)), calloc(parts, sizeof(Outer))};
    if (!m->products || !m->outers)
        return 1;
    for (long i = 0; i < parts; i++)
        m->all += widths[i];
    int failed = 0;
    for (long i = 0, first = 0; i < parts; first += widths[i++])
        failed |= product_begins(m->products + i, c, widths[i], mixing + first, m->all, 1, NULL) |
                  outer_begins(m->outers + i, c, widths[i]);
    return failed;
}

static void mixing_ends(Mixing *m, REAL *of_mixing)
{
    for (long i = 0, first = 0; m->products && m->outers && i < m->parts; first += m->widths[i++]) {
        product_ends(m->products + i);
        outer_ends(m->outers + i, of_mixing ? of_mixing + first : NULL, m->all);
    }
    free(m->products), free(m->outers);
}

/* Give the gradients of the parts, each null where nobody wants it, and of mixing. */
int pointwise_backward(long rows, long parts, const REAL *const *x, const long *widths, const REAL *mixing, long c,
                       const REAL *grad, REAL *const *of_x, REAL *of_mixing)
{
    Mixing m;
    int failed = mixing_begins(&m, parts, widths, mixing, c);
    for (long i = 0; !failed && i < parts; i++) {
        outer_takes(m.outers + i, rows, grad, x[i]);
        if (of_x[i])
            product_gives(m.products + i, rows, grad, of_x[i], 0);
    }
    mixing_ends(&m, failed ? NULL : of_mixing);
    return failed;
}

/* Convolve parts pointwise or, with kernels, one part depthwise and then pointwise. What there is between the two is
 * kept where there is room for it. */
static int unit_mixes(const Geometry *g, long parts, const REAL *const *x, const long *widths, const REAL *kernels,
                      const REAL *mixing, const REAL *bias, long c, REAL *between, REAL *mixed)
{
    long pixels = g->out_height * g->out_width;
    if (!kernels)
        return pointwise_forward(g->n * pixels, parts, x, widths, mixing, bias, c, mixed);
    Convolution f;
    Product p = {0};
    REAL *image = between ? between : zeros(pixels * g->c);
    int failed = convolution_begins(&f, g, kernels) | product_begins(&p, g->c, c, mixing, 1, g->c, bias) | !image;
    for (long n = 0; !failed && n < g->n; n++) {
        convolve(&f, x[0] + n * g->height * g->width * g->c, image);
        product_gives(&p, pixels, image, mixed + n * pixels * c, 0);
        image += between ? pixels * g->c : 0;
    }
    convolution_ends(&f), product_ends(&p);
    if (!between)
        free(image);
    return failed;
}

/* Norm the pointwise convolution of parts or, with kernels, of the depthwise convolution of one part. What that gives
 * is kept in between, what is to be normed in mixed. For parts alone the geometry is that of a window of one pixel. */
int unit_forward(const Geometry *g, long parts, const REAL *const *x, const long *widths, const REAL *kernels,
                 const REAL *mixing, long c, const REAL *scale, const REAL *shift, REAL *running_mean,
                 REAL *running_variance, double momentum, double epsilon, REAL *between, REAL *mixed, REAL *out,
                 REAL *mean, REAL *inverse)
{
    long pixels = g->out_height * g->out_width;
    return unit_mixes(g, parts, x, widths, kernels, mixing, NULL, c, between, mixed) ||
           normed(g->n * pixels, c, mixed, scale, shift, running_mean, running_variance, momentum, epsilon, out, mean,
                  inverse);
}

/* The same with the batch norm taken into mixing and bias, as nothing is learned from it any more. */
int unit_inference(const Geometry *g, long parts, const REAL *const *x, const long *widths, const REAL *kernels,
                   const REAL *mixing, const REAL *bias, long c, REAL *out)
{
    return unit_mixes(g, parts, x, widths, kernels, mixing, bias, c, NULL, out);
}

/* Give the gradients of what unit_forward was given. Some rows, those of an image where it is to go through a depthwise
 * convolution, go all the way back while they are in the cache. */
int unit_backward(const Geometry *g, long parts, const REAL *const *x, const long *widths, const REAL *kernels,
                  const REAL *mixing, long c, const REAL *scale, const REAL *mean, const REAL *inverse,
                  const REAL *between, const REAL *mixed, const REAL *grad, REAL *const *of_x, REAL *of_kernels,
                  REAL *of_mixing, REAL *of_scale, REAL *of_shift)
{
    long pixels = g->out_height * g->out_width, rows = g->n * pixels;
    NormBack norm = {0};
    Mixing m = {0};
    OfInput input = {0};
    OfKernels weights = {0};
    long block = kernels ? pixels : CHUNK;
    REAL *own = zeros(block * c), *before = kernels ? zeros(pixels * g->c) : NULL;
    int failed = !own || (kernels && !before) | mixing_begins(&m, parts, widths, mixing, c) ||
                 norm_back_begins(&norm, rows, c, mixed, scale, mean, inverse, grad, of_scale, of_shift) ||
                 (kernels && of_kernels_begins(&weights, g)) ||
                 (kernels && of_x[0] && of_input_begins(&input, g, kernels));
    for (long row = 0; !failed && row < rows; row += block) {
        long some = smaller(block, rows - row), at = row / pixels * g->height * g->width * g->c;
        norm_back_gives(&norm, some, mixed + row * c, grad + row * c, own);
        for (long i = 0; i < parts; i++) {
            outer_takes(m.outers + i, some, own, (kernels ? between : x[i]) + row * widths[i]);
            if (kernels || of_x[i])
                product_gives(m.products + i, some, own, kernels ? before : of_x[i] + row * widths[i], 0);
        }
        if (kernels)
            of_kernels_takes(&weights, x[0] + at, before);
        if (kernels && of_x[0])
            of_input_gives(&input, x[0] + at, before, of_x[0] + at);
    }
    mixing_ends(&m, failed ? NULL : of_mixing);
    of_kernels_ends(&weights, failed ? NULL : of_kernels);
    of_input_ends(&input), norm_back_ends(&norm);
    free(own), free(before);
    return failed;
}
