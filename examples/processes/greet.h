/*
 * greet.h - what libgreet offers.
 *
 * The library exists to be changed: whoever uses it, directly or through another library, is
 * touched when it changes.
 */
#ifndef GREET_H
#define GREET_H

#include <stddef.h>

/*
 * Writes a greeting for `whom` into `out`, which has room for `size` bytes, and returns how many
 * characters it has. It is cut where it does not fit.
 */
size_t greet(char *out, size_t size, const char *whom);

#endif
