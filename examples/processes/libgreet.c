/*
 * libgreet.so.1 - a shared library that greets.
 *
 * Change a word of the greeting, build again, and only those processes are asked or restarted that
 * use this library. Build it again unchanged, anywhere, and nobody is.
 */
#include "greet.h"

#include <stdio.h>

size_t greet(char *out, size_t size, const char *whom)
{
    int length = snprintf(out, size, "Hello, %s!", whom);
    if (length < 0)
        return 0;
    return (size_t)length < size ? (size_t)length : size - 1;
}
