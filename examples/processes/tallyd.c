/*
 * tallyd - a self-managing server that can be replaced while it serves.
 *
 * Whoever connects to the socket `tally` of its package and sends a number gets the sum of all
 * numbers sent on this connection so far. An update of the server, or of a library that it uses,
 * is noticed by nobody: the node holds the listening socket, so that no connection is refused; the
 * old server leaves its connections and their sums behind; the new one goes on where it ended.
 *
 *     printf '1\n2\n' | nc 127.0.0.1 7010
 *
 * With a port as its argument it opens that itself, as any server; then an update is noticed.
 *
 * What makes it so is in save, restore and hear.
 */
#include "placet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#ifndef VERSION
#define VERSION "1"
#endif

/* The format of the saved state: a line for each connection, in the order of the descriptors. */
#define STATE "sessions/1"

enum { STOP, PLACET, LISTEN, FIRST };

#define MOST 1024

struct session {
    long long sum;
    /* What of the next number has arrived. */
    char line[24];
};

static struct pollfd fds[FIRST + MOST];
static struct session sessions[MOST];
static int count;

/* Static, since it is too large for the stack. */
static struct placet placet;

/* Leaves everything to the successor. A connection that has arrived in between waits in line. */
static void save(void)
{
    static char text[MOST * 64];
    size_t length = 0;
    int i;
    for (i = 0; i < count; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%lld %s\n",
                                   sessions[i].sum, sessions[i].line);
        if (placet_store("session", fds[FIRST + i].fd) < 0)
            perror("a session is lost");
    }
    placet_save(STATE, text, length);
}

static void add(int fd, long long sum, const char *line)
{
    if (count == MOST) {
        close(fd);
        return;
    }
    fds[FIRST + count].fd = fd;
    fds[FIRST + count].events = POLLIN;
    fds[FIRST + count].revents = 0;
    sessions[count].sum = sum;
    snprintf(sessions[count].line, sizeof sessions[count].line, "%s", line);
    count++;
}

/* Takes up what a predecessor has left. */
static void restore(void)
{
    const void *data;
    const char *at, *end;
    size_t size;
    int fd, nth;
    if (placet_restore(STATE, &data, &size) < 0)
        return;
    at = (const char *)data;
    end = at + size;
    for (nth = 0; at < end && (fd = placet_handed("session", nth)) >= 0; nth++) {
        char line[64] = "", rest[24] = "";
        long long sum = 0;
        size_t length = strcspn(at, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, at);
        sscanf(line, "%lld %23s", &sum, rest);
        add(fd, sum, rest);
        at += length + 1;
    }
    /* They are this process's again. */
    placet_forget("session");
    placet_forget("state/" STATE);
    printf("version " VERSION " goes on with %d sessions\n", count);
}

static void leave(int i)
{
    close(fds[FIRST + i].fd);
    count--;
    fds[FIRST + i] = fds[FIRST + count];
    sessions[i] = sessions[count];
}

static void serve(int i)
{
    char text[512], answer[32];
    struct session *session = &sessions[i];
    ssize_t at, length = recv(fds[FIRST + i].fd, text, sizeof text, MSG_DONTWAIT);
    if (length <= 0) {
        if (length == 0 || errno != EAGAIN)
            leave(i);
        return;
    }
    for (at = 0; at < length; at++) {
        size_t have = strlen(session->line);
        if (text[at] == '\n') {
            session->sum += atoll(session->line);
            session->line[0] = 0;
            have = (size_t)snprintf(answer, sizeof answer, "%lld\n", session->sum);
            if (send(fds[FIRST + i].fd, answer, have, MSG_NOSIGNAL) < 0) {
                leave(i);
                return;
            }
        } else if (have + 1 < sizeof session->line) {
            session->line[have] = text[at];
            session->line[have + 1] = 0;
        }
    }
}

/* It always agrees: an update costs nothing. It asks to be restarted when the change is made. */
static void hear(void)
{
    struct placet_event event;
    int result = placet_fd(&placet) < 0 ? placet_open(&placet) : 1;
    while (result > 0 && (result = placet_next(&placet, &event, 0)) == 1) {
        if (event.kind == PLACET_PROPOSED)
            placet_vote(&placet, event.change_digest, PLACET_ACCEPT, NULL, NULL);
        else if (event.kind == PLACET_PREPARE)
            placet_ready(&placet, event.change_digest);
        else if (event.kind == PLACET_CHANGED)
            placet_done(&placet, event.change_digest,
                        event.outcome == PLACET_FAILED ? PLACET_HANDLED : PLACET_DEFAULT);
    }
    /* The node daemon may be away for a moment, while it is updated. */
    if (result < 0)
        placet_close(&placet);
    fds[PLACET].fd = placet_fd(&placet);
}

static int listen_at(const char *port)
{
    struct sockaddr_in address;
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        return -1;
    return fd;
}

int main(int argc, char **argv)
{
    sigset_t stop;
    int i;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    fds[STOP].fd = signalfd(-1, &stop, SFD_CLOEXEC);
    fds[LISTEN].fd = argc > 1 ? listen_at(argv[1]) : placet_handed("tally", 0);
    if (fds[LISTEN].fd < 0) {
        fprintf(stderr, "tallyd: there is no socket to serve\n");
        return 1;
    }
    fcntl(fds[LISTEN].fd, F_SETFL, O_NONBLOCK);
    for (i = STOP; i < FIRST; i++)
        fds[i].events = POLLIN;
    restore();
    hear();
    placet_notify_ready();
    for (;;) {
        if (poll(fds, (nfds_t)(FIRST + count), fds[PLACET].fd < 0 ? 1000 : -1) < 0)
            continue;
        if (fds[STOP].revents) {
            if (argc == 1)
                save();
            return 0;
        }
        if (fds[PLACET].revents || fds[PLACET].fd < 0)
            hear();
        for (i = count - 1; i >= 0; i--)
            if (fds[FIRST + i].revents)
                serve(i);
        if (fds[LISTEN].revents) {
            int fd = accept(fds[LISTEN].fd, NULL, NULL);
            if (fd >= 0)
                add(fd, 0, "");
        }
    }
}
