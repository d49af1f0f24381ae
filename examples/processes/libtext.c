/*
 * libtext.so.1 - a shared library that uses another one.
 *
 * Whoever uses it uses libgreet too, without naming it anywhere: a change of libgreet touches them
 * all the same, and the plan says through which library.
 */
#include "greet.h"

#include <stdio.h>
#include <time.h>

size_t text_time(char *out, size_t size, const char *whom);

/* Greets `whom` and says what time it is, in UTC. */
size_t text_time(char *out, size_t size, const char *whom)
{
    char greeting[128];
    char clock[32] = "unknown";
    time_t now = time(NULL);
    struct tm parts;
    int length;

    greet(greeting, sizeof greeting, whom);
    if (gmtime_r(&now, &parts) != NULL)
        strftime(clock, sizeof clock, "%H:%M:%S", &parts);
    length = snprintf(out, size, "%s It is %s.", greeting, clock);
    if (length < 0)
        return 0;
    return (size_t)length < size ? (size_t)length : size - 1;
}
