/*
 * metricsd - a simple process that uses no library of the fleet's own.
 *
 * Changes of libgreet do not touch it: it keeps its process id through all of them.
 */
#define _DEFAULT_SOURCE /* getloadavg */
#include "placet.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(void)
{
    const struct timespec minute = {60, 0};
    sigset_t stop;
    int received;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    placet_notify_ready();
    do {
        double load = 0;
        if (getloadavg(&load, 1) == 1)
            printf("load %.2f\n", load);
        fflush(stdout);
        received = sigtimedwait(&stop, NULL, &minute);
    } while (received < 0);

    puts("metricsd ends");
    return 0;
}
