/* Numbers in memory: vectors of them, which any compiler turns into what its processor has, and room for them. */

#ifndef NUMBERS_H
#define NUMBERS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

enum { LANES = 32 / sizeof(REAL), PAIR = 2 * LANES, ROWS = 4, PIXELS = 32, CHUNK = 256, LARGEST = 256 };

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

#endif
