/*
 * A process of a random graph: it is linked to some libraries, opens those that its arguments name,
 * and then waits. The first argument says what it does about a change if it is asked: `handle` or
 * `default`.
 */
#include "placet.h"
#include <dlfcn.h>
#include <stdio.h>

const int edition = EDITION;
static struct placet placet;

static void answer(struct placet_event *event, int handles)
{
    const char *digest = event->change_digest;
    if (event->kind == PLACET_PROPOSED)
        placet_vote(&placet, digest, PLACET_ACCEPT, NULL, NULL);
    else if (event->kind == PLACET_PREPARE)
        placet_ready(&placet, digest);
    else if (event->kind == PLACET_CHANGED)
        placet_done(&placet, digest, handles ? PLACET_HANDLED : PLACET_DEFAULT);
}

int main(int count, char **arguments)
{
    struct placet_event event;
    int index, asked, handles = strcmp(arguments[1], "handle") == 0;
    for (index = 2; index < count; index++) {
        if (!dlopen(arguments[index], RTLD_NOW)) {
            fputs(dlerror(), stderr);
            return 2;
        }
    }
    asked = placet_open(&placet);
    if (asked < 0)
        return 3;
    placet_notify_ready();
    while (asked && placet_next(&placet, &event, -1) == 1)
        answer(&event, handles);
    for (;;)
        pause();
}
