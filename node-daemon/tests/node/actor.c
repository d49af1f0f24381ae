/*
 * A process that does what its arguments say, one after the other, and then waits for ever:
 *
 *   say:TEXT      to the notification socket; `|` is a new line
 *   to:NAME=TEXT  to the notification socket of another process
 *   own           a child goes on with the arguments in a session of its own, says that it is the
 *                 main process and ready, and then its parent ends
 *   fork          a child goes on with the arguments, in a session of its own; the parent ends
 *   child         a child goes on with the arguments; the parent waits for ever
 *   store:NAME    stores a descriptor under this name
 *   broken:NAME   stores a pipe whose other end is closed
 *   state:F=TEXT  saves TEXT as state of format F
 *   open:F=TEXT   the same, but not sealed
 *   told          prints the names of what it was handed, and what state says
 *   serve         answers each connection to the socket of number 3 with its process id
 *   beat:N        N times WATCHDOG=1, as fast as it can with a pause of 50 ms
 *   flood:N       N notifications
 *   shout:N       writes N MiB
 *   half:N        N connections to where votes are cast, each with half a message, which stay
 *   hoard:N       stores N descriptors, each under a name of its own
 *   blob:N        N times more state than may be saved, and N times a little less; takes no memory
 *   deaf          ignores SIGTERM
 *   exit:N        ends
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_to(const char *path, const char *text, int fd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct iovec part = {(void *)text, strlen(text)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {&to, sizeof to, &part, 1, NULL, 0, 0};
    int result, s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    if (fd >= 0) {
        struct cmsghdr *head;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
    }
    result = (int)sendmsg(s, &message, 0);
    close(s);
    return result;
}

static int notify(const char *text, int fd)
{
    return notify_to(getenv("NOTIFY_SOCKET"), text, fd);
}

static void store(const char *name, int broken)
{
    char text[256];
    int ends[2];
    snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s", name);
    if (!broken)
        ends[1] = memfd_create("stored", MFD_CLOEXEC);
    else if (pipe2(ends, O_CLOEXEC) == 0)
        close(ends[0]);
    notify(text, ends[1]);
    close(ends[1]);
}

static void save(char *what, int sealed)
{
    char text[256];
    char *content = strchr(what, '=');
    int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    *content++ = 0;
    if (write(fd, content, strlen(content)) < 0)
        exit(9);
    if (sealed)
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=state/%s", what);
    notify(text, fd);
    close(fd);
}

static void shout(int mebibytes)
{
    static char noise[1 << 20];
    memset(noise, 'x', sizeof noise);
    noise[sizeof noise - 1] = '\n';
    while (mebibytes-- > 0)
        fwrite(noise, sizeof noise, 1, stdout);
    printf("hoarse.\n");
}

static void half(int count)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    socklen_t size;
    const char *path = getenv("PLACET_SOCKET"), *text = "{\"method\":\"dev.pla";
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@'));
    if (path[0] == '@')
        to.sun_path[0] = 0;
    while (count-- > 0) {
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(s, (struct sockaddr *)&to, size) < 0)
            exit(8);
        /* It may have hung up already. */
        send(s, text, strlen(text), MSG_NOSIGNAL);
    }
    printf("halfway.\n");
}

static void blob(int count)
{
    char text[64];
    while (count-- > 0) {
        int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (ftruncate(fd, count % 2 ? 63 << 20 : 65 << 20) < 0)
            exit(8);
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
        snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=state/blob/%d", count);
        notify(text, fd);
        close(fd);
    }
}

static void told(void)
{
    char content[256];
    char *names = getenv("LISTEN_FDNAMES"), *name;
    int fd = 3;
    printf("told");
    if (names == NULL || atoi(getenv("LISTEN_PID")) != getpid())
        names = strdup("");
    for (name = strtok(strdup(names), ":"); name; name = strtok(NULL, ":"), fd++) {
        ssize_t length = 0;
        if (strncmp(name, "state/", 6) == 0)
            length = pread(fd, content, sizeof content - 1, 0);
        content[length > 0 ? length : 0] = 0;
        printf(" %s%s%s", name, length > 0 ? "=" : "", content);
    }
    printf(".\n");
}

static void serve(void)
{
    for (;;) {
        char text[32];
        int length = snprintf(text, sizeof text, "%d", getpid());
        int fd = accept(3, NULL, NULL);
        if (fd >= 0 && write(fd, text, (size_t)length) < 0)
            exit(9);
        close(fd);
    }
}

static void do_one(char *what)
{
    char *value = strchr(what, ':');
    char text[4096];
    int i;
    if (value)
        *value++ = 0;
    if (strcmp(what, "say") == 0) {
        for (i = 0; value[i]; i++)
            if (value[i] == '|')
                value[i] = '\n';
        notify(value, -1);
    } else if (strcmp(what, "to") == 0) {
        char *said = strchr(value, '=');
        char *slash;
        *said++ = 0;
        snprintf(text, sizeof text, "%s", getenv("NOTIFY_SOCKET"));
        slash = strrchr(text, '/');
        snprintf(slash, 200, "/%s.sock", value);
        notify_to(text, said, -1);
    } else if (strcmp(what, "own") == 0) {
        int ends[2];
        char done;
        if (pipe(ends) < 0)
            _exit(9);
        if (fork() > 0) {
            close(ends[1]);
            /* Its child has said what it has to say. */
            _exit(read(ends[0], &done, 1) == 1 ? 0 : 9);
        }
        setsid();
        snprintf(text, sizeof text, "MAINPID=%d\nREADY=1", getpid());
        notify(text, -1);
        if (write(ends[1], "x", 1) != 1)
            _exit(9);
        close(ends[0]);
        close(ends[1]);
    } else if (strcmp(what, "fork") == 0) {
        if (fork() > 0)
            _exit(0);
        setsid();
    } else if (strcmp(what, "child") == 0) {
        if (fork() > 0)
            for (;;)
                pause();
    } else if (strcmp(what, "store") == 0)
        store(value, 0);
    else if (strcmp(what, "broken") == 0)
        store(value, 1);
    else if (strcmp(what, "state") == 0)
        save(value, 1);
    else if (strcmp(what, "open") == 0)
        save(value, 0);
    else if (strcmp(what, "told") == 0)
        told();
    else if (strcmp(what, "serve") == 0)
        serve();
    else if (strcmp(what, "beat") == 0) {
        for (i = 0; i < atoi(value); i++) {
            notify("WATCHDOG=1", -1);
            poll(NULL, 0, 50);
        }
    } else if (strcmp(what, "flood") == 0) {
        for (i = 0; i < atoi(value); i++) {
            snprintf(text, sizeof text, "STATUS=%d\nRELOADING=1\nWATCHDOG=1", i);
            notify(text, -1);
            notify("READY=1", -1);
        }
        printf("flooded.\n");
    } else if (strcmp(what, "shout") == 0)
        shout(atoi(value));
    else if (strcmp(what, "half") == 0)
        half(atoi(value));
    else if (strcmp(what, "hoard") == 0) {
        for (i = 0; i < atoi(value); i++) {
            snprintf(text, sizeof text, "thing%d", i);
            store(text, 0);
        }
    } else if (strcmp(what, "blob") == 0)
        blob(2 * atoi(value));
    else if (strcmp(what, "deaf") == 0)
        signal(SIGTERM, SIG_IGN);
    else if (strcmp(what, "exit") == 0)
        _exit(atoi(value));
    else
        _exit(99);
}

int main(int count, char **arguments)
{
    int i;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 1; i < count; i++)
        do_one(arguments[i]);
    for (;;)
        pause();
}
