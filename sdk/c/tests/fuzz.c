/*
 * Feeds texts to the parser and the framing of placet.h. On standard input: for each text, its
 * length in four bytes (lowest first) and the text. On standard output, for each: '1' if it is a
 * JSON object, '0' if not. Built with sanitisers, it ends at the first byte read or written out of
 * place.
 */
#include "../placet.h"

#include <stdio.h>

static struct placet placet;

static void stop(const char *why)
{
    fprintf(stderr, "%s\n", why);
    abort();
}

/* Every text of an event ends within its member. */
static void check(const struct placet_event *event)
{
    if (memchr(event->change_digest, 0, sizeof event->change_digest) == NULL
        || memchr(event->rollout, 0, sizeof event->rollout) == NULL
        || memchr(event->revision, 0, sizeof event->revision) == NULL
        || memchr(event->deadline, 0, sizeof event->deadline) == NULL
        || memchr(event->summary, 0, sizeof event->summary) == NULL
        || memchr(event->reason, 0, sizeof event->reason) == NULL)
        stop("a text without end");
    if (event->seconds < 0 || event->module_count < 0)
        stop("a negative number");
}

static int parse(const char *bytes, size_t length)
{
    struct placet__text text, parameters, value;
    struct placet_event event;
    char error[128], small[5];
    int valid;
    text.at = bytes;
    text.end = bytes + length;
    valid = placet__check_object(text) == 0;
    if (placet__reply(text, &parameters, error, sizeof error) == 0) {
        if (placet__event(parameters, &event) == 0)
            check(&event);
        if (placet__member(parameters, "summary", &value) && placet__copy(value, small, sizeof small) >= 0
            && memchr(small, 0, sizeof small) == NULL)
            stop("a text that was cut without end");
    }
    /* Nor may text that was never checked do harm. */
    placet__member(text, "error", &value);
    return valid;
}

/* What arrives on the socket comes in pieces, and may be anything. */
static void receive(const char *bytes, size_t length)
{
    int pair[2];
    size_t sent = 0;
    struct placet_event event;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        stop("no sockets");
    placet.calls_fd = -1;
    placet.events_fd = pair[0];
    placet.events.length = placet.events.taken = 0;
    placet.events.file = placet.calls.file = -1;
    placet.map = NULL;
    while (sent <= length) {
        size_t piece = length - sent < 700 ? length - sent : 700;
        int result;
        if (piece > 0 && send(pair[1], bytes + sent, piece, MSG_NOSIGNAL) != (ssize_t)piece)
            stop("the socket took no more");
        sent += piece > 0 ? piece : 1;
        if (sent == length)
            close(pair[1]);
        do
            result = placet_next(&placet, &event, 0);
        while (result > 0 || result == -EBADMSG || result == -EPROTO);
        if (result == -ECONNRESET || result == -EMSGSIZE)
            break;
        if (result > 0)
            check(&event);
    }
    if (sent < length)
        close(pair[1]);
    placet_close(&placet);
}

int main(void)
{
    unsigned char prefix[4];
    while (fread(prefix, 1, sizeof prefix, stdin) == sizeof prefix) {
        size_t length = prefix[0] | (size_t)prefix[1] << 8 | (size_t)prefix[2] << 16;
        /* Exactly as long as the text, so that one byte more is noticed. */
        char *bytes = (char *)malloc(length > 0 ? length : 1);
        if (bytes == NULL || fread(bytes, 1, length, stdin) != length)
            stop("the input is cut short");
        putchar(parse(bytes, length) ? '1' : '0');
        receive(bytes, length);
        free(bytes);
    }
    return 0;
}
