/*
 * chatd - a self-managing process: it is asked before anything that it uses changes.
 *
 *     chatd [address]
 *
 * The address is the path of a socket, or a TCP port on the loopback interface. Without one it serves
 * the socket that the node holds for it, or else chat.sock in the folder that it is started in. To
 * take part:
 *
 *     socat - UNIX-CONNECT:chat.sock
 *
 * While somebody takes part, it vetoes every change that touches it: a restart would cut them off.
 * Once they have left, it agrees, and asks the node to restart it when the change has been made.
 */
#include "greet.h"
#include "placet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

/* What is waited for: these three, and then the sessions. */
enum { STOP, PLACET, LISTEN, FIRST_SESSION };

#define MOST_SESSIONS 64

static struct pollfd fds[FIRST_SESSION + MOST_SESSIONS];
static int sessions;

/* Static, since it is too large for the stack. */
static struct placet placet;

/* Listens on a TCP port of the loopback interface, or on a path. */
static int listen_at(const char *address)
{
    struct sockaddr_in tcp;
    struct sockaddr_un local;
    int port = atoi(address);
    int yes = 1;
    int fd = socket(port > 0 ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(&tcp, 0, sizeof tcp);
    tcp.sin_family = AF_INET;
    tcp.sin_port = htons((uint16_t)port);
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(&local, 0, sizeof local);
    local.sun_family = AF_UNIX;
    snprintf(local.sun_path, sizeof local.sun_path, "%s", address);

    if (port > 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, (struct sockaddr *)&tcp, sizeof tcp) < 0)
            return -1;
    } else {
        unlink(address); /* what a predecessor left behind */
        if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0)
            return -1;
    }
    return listen(fd, 16) < 0 ? -1 : fd;
}

/* Takes somebody in. The session counts from before the greeting on. */
static void open_session(void)
{
    char greeting[128];
    size_t length;
    int fd = accept(fds[LISTEN].fd, NULL, NULL);
    if (fd < 0)
        return;
    if (sessions == MOST_SESSIONS) {
        close(fd);
        return;
    }
    fds[FIRST_SESSION + sessions].fd = fd;
    fds[FIRST_SESSION + sessions].events = POLLIN;
    fds[FIRST_SESSION + sessions].revents = 0;
    sessions++;
    length = greet(greeting, sizeof greeting - 1, "stranger");
    greeting[length++] = '\n';
    send(fd, greeting, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    printf("a session begins, %d open\n", sessions);
}

static void close_session(int at)
{
    close(fds[at].fd);
    sessions--;
    fds[at] = fds[FIRST_SESSION + sessions];
    printf("a session ends, %d open\n", sessions);
}

/* Passes on what one says to all others. */
static void relay(int at)
{
    char said[512];
    int other;
    ssize_t length = recv(fds[at].fd, said, sizeof said, MSG_DONTWAIT);
    if (length <= 0) {
        close_session(at);
        return;
    }
    for (other = FIRST_SESSION; other < FIRST_SESSION + sessions; other++)
        if (other != at)
            send(fds[other].fd, said, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The whole of what makes this process self-managing: it says why not, or yes. */
static void answer(const struct placet_event *event)
{
    char message[64];
    printf("asked about %s: %s\n", event->revision, event->summary);
    if (sessions == 0) {
        placet_vote(&placet, event->change_digest, PLACET_ACCEPT, NULL, NULL);
        return;
    }
    snprintf(message, sizeof message, "%d open session%s", sessions, sessions == 1 ? "" : "s");
    placet_vote(&placet, event->change_digest, PLACET_VETO, "sessions-open", message);
}

static void handle(const struct placet_event *event)
{
    switch (event->kind) {
    case PLACET_PROPOSED:
        answer(event);
        break;
    case PLACET_RELEASED:
        printf("the question is off: %s\n", event->reason);
        break;
    case PLACET_PREPARE:
        /* Nothing to save. A server with state would write it out here. */
        placet_ready(&placet, event->change_digest);
        break;
    case PLACET_CHANGED:
        /* If the change failed, what runs is still right. Otherwise: restart me. */
        placet_done(&placet, event->change_digest,
                    event->outcome == PLACET_FAILED ? PLACET_HANDLED : PLACET_DEFAULT);
        break;
    default:
        break;
    }
}

/* Handles what the node says. The node daemon may be away for a moment, while it is updated. */
static void hear(void)
{
    struct placet_event event;
    int result = placet_fd(&placet) < 0 ? placet_open(&placet) : 1;
    while (result > 0) {
        result = placet_next(&placet, &event, 0);
        if (result > 0)
            handle(&event);
    }
    if (result < 0 && result != -EINTR)
        placet_close(&placet);
    fds[PLACET].fd = placet_fd(&placet); /* poll passes over -1 */
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "chat.sock";
    sigset_t stop;
    int at, handed, result;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);

    fds[STOP].fd = signalfd(-1, &stop, SFD_CLOEXEC);
    handed = argc > 1 ? -1 : placet_handed("chat", 0);
    fds[LISTEN].fd = handed >= 0 ? handed : listen_at(address);
    if (fds[LISTEN].fd < 0) {
        fprintf(stderr, "chatd: failed to listen at `%s`: %s\n", address, strerror(errno));
        return 1;
    }
    /* From here on it is asked. Without Placet it runs all the same. */
    result = placet_open(&placet);
    if (result < 0)
        fprintf(stderr, "chatd: cannot be asked yet: %s\n", strerror(-result));
    fds[PLACET].fd = placet_fd(&placet);
    fds[STOP].events = fds[PLACET].events = fds[LISTEN].events = POLLIN;
    placet_notify_ready();

    for (;;) {
        poll(fds, (nfds_t)(FIRST_SESSION + sessions), fds[PLACET].fd < 0 ? 1000 : -1);
        if (fds[STOP].revents != 0)
            break;
        /* Sessions first, from the last on since closing moves the last: an answer is to be true. */
        for (at = FIRST_SESSION + sessions - 1; at >= FIRST_SESSION; at--)
            if (fds[at].revents != 0)
                relay(at);
        if (fds[LISTEN].revents != 0)
            open_session();
        if (fds[PLACET].revents != 0 || fds[PLACET].fd < 0)
            hear();
    }

    /* The node's socket stays for the successor. */
    if (handed < 0 && atoi(address) == 0)
        unlink(address);
    puts("chatd ends");
    return 0;
}
