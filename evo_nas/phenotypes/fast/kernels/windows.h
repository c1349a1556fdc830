/* Windows over maps: images padded so that the innermost loops run over whole rows, w * c numbers, however few channels
 * there are; for that, what is one number a channel is laid out as often as a row has pixels. */

#ifndef WINDOWS_H
#define WINDOWS_H

#include "numbers.h"

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

#endif
