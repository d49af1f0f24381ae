/*
 * clockd - a simple process: it knows nothing of updates.
 *
 * When a change touches it, here because it uses libtext and through that libgreet, it gets
 * SIGTERM, a short while to end, and is started again. All it does for that is to end cleanly, and
 * to say when it is up.
 */
#include "placet.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

/* From libtext. */
size_t text_time(char *out, size_t size, const char *whom);

int main(void)
{
    const struct timespec minute = {60, 0};
    sigset_t stop;
    int received;

    /* Blocked signals wait until they are asked for, so that none is missed. */
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);

    /* READY=1. From here on the node takes this process to be up. */
    placet_notify_ready();
    do {
        char line[256];
        text_time(line, sizeof line, "everybody");
        puts(line);
        fflush(stdout);
        received = sigtimedwait(&stop, NULL, &minute);
    } while (received < 0);

    puts("clockd ends");
    return 0;
}
