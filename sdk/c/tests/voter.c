/*
 * A process that does with placet.h what its argument says, and tells on standard output what came
 * of it, a line for each step. It waits for a line on standard input before it begins.
 */
#include "../placet.h"

#include <stdio.h>

static struct placet placet;

/* Writes "what 0" or "what ENAME". */
static void say(const char *what, int result)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {
        {EACCES, "EACCES"}, {EALREADY, "EALREADY"}, {EBADMSG, "EBADMSG"},
        {ECONNRESET, "ECONNRESET"}, {EILSEQ, "EILSEQ"}, {EINVAL, "EINVAL"},
        {EMSGSIZE, "EMSGSIZE"}, {ENOENT, "ENOENT"}, {ENOMSG, "ENOMSG"},
        {ENOTCONN, "ENOTCONN"}, {ESTALE, "ESTALE"}, {ETIMEDOUT, "ETIMEDOUT"},
    };
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (result == -names[i].code) {
            printf("%s %s\n", what, names[i].name);
            return;
        }
    }
    printf("%s %d\n", what, result);
}

/* Makes every mistake there is, and then votes. */
static void probe(const char *change)
{
    static char longer[70000];
    const char *unknown = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
    memset(longer, 'x', 1001);
    say("unknown", placet_vote(&placet, unknown, PLACET_ACCEPT, NULL, NULL));
    say("no digest", placet_vote(&placet, "one", PLACET_ACCEPT, NULL, NULL));
    say("long code", placet_vote(&placet, change, PLACET_VETO, longer, NULL));
    say("long message", placet_vote(&placet, change, PLACET_VETO, NULL, longer));
    memset(longer, 'x', sizeof longer - 1);
    say("huge message", placet_vote(&placet, change, PLACET_VETO, NULL, longer));
    say("not UTF-8", placet_vote(&placet, change, PLACET_VETO, NULL, "a\xed\xa0\x80"));
    say("long defer", placet_defer(&placet, change, 86401, NULL));
    say("opened", placet_opened(&placet, "usr/lib/plugin.so"));
    say("opened nonsense", placet_opened(&placet, "/usr/lib/plugin.so"));
    say("follow", placet_follow(&placet, "etc/app-*.conf"));
    say("follow nothing", placet_follow(&placet, ""));
    say("notices", placet_notices(&placet));
    say("ready", placet_ready(&placet, change));
    say("done", placet_done(&placet, change, PLACET_HANDLED));
    say("vote", placet_vote(&placet, change, PLACET_VETO, "probe", "enough"));
    say("twice", placet_vote(&placet, change, PLACET_ACCEPT, NULL, NULL));
    printf("error %s\n", placet_error(&placet));
}

/* Tells length and checksum of the change set, so that the other side can compare. */
static void inspect(const char *change)
{
    const char *text;
    size_t length, i;
    unsigned long long sum = 0xcbf29ce484222325ULL;
    int result = placet_change_set(&placet, change, &text, &length);
    if (result < 0) {
        say("change set", result);
        return;
    }
    for (i = 0; i < length; i++)
        sum = (sum ^ (unsigned char)text[i]) * 0x100000001b3ULL;
    printf("change set %zu %016llx\n", length, sum);
}

/* Leaves a child behind that holds the connections. */
static void leave(void)
{
    if (fork() == 0) {
        while (getchar() != EOF)
            ;
        _exit(0);
    }
    puts("leaving");
    fflush(stdout);
    _exit(0);
}

static void proposed(const char *mode, const struct placet_event *event)
{
    const char *change = event->change_digest;
    if (strcmp(mode, "probe") == 0) {
        probe(change);
        return;
    }
    if (strcmp(mode, "inspect") == 0) {
        inspect(change);
        return;
    }
    printf("proposed %s\n", event->summary);
    if (strcmp(mode, "accept") == 0)
        say("vote", placet_vote(&placet, change, PLACET_ACCEPT, NULL, NULL));
    else if (strcmp(mode, "veto") == 0)
        say("vote", placet_vote(&placet, change, PLACET_VETO, "sessions-open",
                                "3 \"open\" sessions \\ \xc3\xa9\x01"));
    else if (strcmp(mode, "defer") == 0)
        say("vote", placet_defer(&placet, change, 3600, "busy"));
    else if (strcmp(mode, "orphan") == 0)
        leave();
}

static void handle(const char *mode, const struct placet_event *event)
{
    switch (event->kind) {
    case PLACET_PROPOSED:
        proposed(mode, event);
        break;
    case PLACET_RELEASED:
        printf("released %s\n", event->reason);
        break;
    case PLACET_PREPARE:
        printf("prepare %ld\n", event->seconds);
        say("ready", placet_ready(&placet, event->change_digest));
        break;
    case PLACET_CHANGED:
        printf("changed %d\n", (int)event->outcome);
        say("done", placet_done(&placet, event->change_digest,
                                event->outcome == PLACET_FAILED ? PLACET_HANDLED
                                                                : PLACET_DEFAULT));
        break;
    case PLACET_BEGAN:
        printf("began %s\n", event->rollout);
        break;
    case PLACET_ENDED:
        printf("ended %d\n", (int)event->outcome);
        break;
    case PLACET_NONE:
        puts("none");
        break;
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "accept";
    struct placet_event event;
    struct pollfd fds[2];
    int result;

    setvbuf(stdout, NULL, _IOLBF, 0);
    /* Unbuffered, so that poll below sees what is left. */
    setvbuf(stdin, NULL, _IONBF, 0);
    while ((result = getchar()) != '\n' && result != EOF)
        ;
    if (strcmp(mode, "notify") == 0) {
        say("notify", placet_notify_ready());
        return 0;
    }
    result = placet_open(&placet);
    if (result < 0) {
        say("open", result);
        printf("because %s\n", placet_error(&placet));
        return 0;
    }
    say("open", result);
    if (strcmp(mode, "notices") == 0)
        say("notices", placet_notices(&placet));
    while (result > 0) {
        fds[0].fd = placet_fd(&placet);
        fds[1].fd = 0;
        fds[0].events = fds[1].events = POLLIN;
        poll(fds, 2, -1);
        while ((result = placet_next(&placet, &event, 0)) > 0)
            handle(mode, &event);
        if (result < 0)
            say("next", result);
        else
            result = fds[1].revents == 0;
    }
    placet_close(&placet);
    placet_close(&placet);
    return 0;
}
