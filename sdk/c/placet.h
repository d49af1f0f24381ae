/*
 * placet.h - how a process that Placet runs is asked about changes, and handles them.
 *
 * One header, C99 and C++, Linux, nothing to link. It speaks varlink over the socket in
 * PLACET_SOCKET; dev.placet.Vote.varlink, in the folder above, describes what is said.
 *
 *     static struct placet placet;          // about 200 kB: not for the stack
 *     struct placet_event event;
 *
 *     int asked = placet_open(&placet);     // 0: not run by Placet, nobody asks
 *     placet_notify_ready();
 *     while (asked > 0 && placet_next(&placet, &event, -1) == 1) {
 *         switch (event.kind) {
 *         case PLACET_PROPOSED:             // may it be made?
 *             placet_vote(&placet, event.change_digest, PLACET_ACCEPT, NULL, NULL);
 *             break;
 *         case PLACET_PREPARE:              // it is about to be made
 *             placet_ready(&placet, event.change_digest);
 *             break;
 *         case PLACET_CHANGED:              // it is over: ask to be restarted
 *             placet_done(&placet, event.change_digest, PLACET_DEFAULT);
 *             break;
 *         default:
 *             break;
 *         }
 *     }
 *
 * Every function returns a negative errno value on failure. Nothing here allocates, starts a
 * thread, installs a signal handler, raises SIGPIPE, writes to a standard stream or changes errno
 * on purpose. One struct placet is for one thread at a time. Descriptors are close-on-exec.
 *
 * With -std=c99 (rather than gnu99) include this header first, or define _POSIX_C_SOURCE as
 * 200809L.
 *
 * Names with two underscores (placet__...) are internal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PLACET_H
#define PLACET_H

#if defined(__STRICT_ANSI__) && !defined(_POSIX_C_SOURCE) && !defined(_GNU_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#elif !defined(_GNU_SOURCE) && !defined(_DEFAULT_SOURCE)
/* Hidden from strict C programs; there is no other way to memfd_create for them. */
long syscall(long number, ...);
#endif

/* As in <linux/fcntl.h>, which strict C programs do not get either. */
#define PLACET__ADD_SEALS 1033
#define PLACET__GET_SEALS 1034
#define PLACET__SEALS 15
#define PLACET__UNCHANGING 14
#define PLACET__MEMFD_FLAGS 3

/* The longest message, without its NUL byte. */
#define PLACET_MESSAGE_MAX 65536

/* How long the node daemon may take to answer a call, in milliseconds. */
#define PLACET_ANSWER_MS 5000

/* Bytes that arrived, and the descriptor that came with them. Internal. */
struct placet__in {
    char data[PLACET_MESSAGE_MAX + 1];
    size_t length; /* bytes that arrived */
    size_t taken;  /* of these, the message that was handed out last */
    int file;      /* -1 if none */
};

/* A connection to the node daemon. While it is open, the process is asked. */
struct placet {
    int calls_fd;
    int events_fd;
    struct placet__in calls;
    struct placet__in events;
    char out[PLACET_MESSAGE_MAX + 1];
    char error[128];
    void *map;
    size_t map_size;
};

/* What happened. */
enum placet_kind {
    PLACET_NONE = 0,
    /* A change is proposed: answer with placet_vote or placet_defer. */
    PLACET_PROPOSED = 1,
    /* A proposal was withdrawn: no answer is wanted any more, and a promise is void. */
    PLACET_RELEASED = 2,
    /* The change is about to be made: save what has to be saved, then call placet_ready. */
    PLACET_PREPARE = 3,
    /* The change is over: handle it, then call placet_done. */
    PLACET_CHANGED = 4,
    /* A change of the node begins, whomever it touches (placet_notices). No answer is wanted. */
    PLACET_BEGAN = 5,
    /* A change of the node is over. No answer is wanted. */
    PLACET_ENDED = 6
};

/* How a change ended. */
enum placet_outcome {
    PLACET_NO_OUTCOME = 0,
    PLACET_ACTIVATED = 1, /* the new software is in place */
    PLACET_FAILED = 2,    /* it could not be put in place; the old software is */
    PLACET_REGRESSED = 3  /* it was in place and was given back; the old software is in place */
};

/* What a process says of a proposal. */
enum placet_answer {
    PLACET_ACCEPT = 1, /* the change may be made; there is no second question */
    PLACET_VETO = 2    /* not unless a person decides otherwise */
};

/* What a process did about a change. */
enum placet_handling {
    PLACET_HANDLED = 1, /* it restarted itself or reopened its libraries: leave it alone */
    PLACET_DEFAULT = 2  /* it asks the node daemon to restart it */
};

/*
 * One event. Texts are UTF-8, end in a NUL byte and are cut, at a character, where they are longer
 * than their member. Members that an event does not have are empty or zero.
 */
struct placet_event {
    enum placet_kind kind;
    char change_digest[80];      /* what votes bind to; never cut */
    char rollout[256];           /* proposed, began: the roll-out's name */
    char revision[256];          /* proposed: the revision that is to be reached */
    int dry_run;                 /* proposed: 1 if the change is only modelled */
    char deadline[48];           /* proposed: when the answer has to be there, RFC 3339 */
    long seconds;                /* proposed, prepare, changed: how long there is to answer */
    long module_count;           /* proposed: modules of the change that touch this process */
    char summary[1024];          /* proposed: which, in words for people */
    char reason[1024];           /* released: why */
    enum placet_outcome outcome; /* changed: how it ended */
};

/* ---- internal: JSON ---------------------------------------------------------------------- */

/* Deeper nesting is refused, so that the stack is bounded. */
#define PLACET__DEPTH 64

/* A piece of JSON text: [at, end). */
struct placet__text {
    const char *at;
    const char *end;
};

static inline void placet__skip_space(struct placet__text *text)
{
    while (text->at < text->end
           && (*text->at == ' ' || *text->at == '\t' || *text->at == '\n' || *text->at == '\r'))
        text->at++;
}

static inline int placet__hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

/* Four hexadecimal digits at `at`, or -1. */
static inline long placet__hex4(const char *at, const char *end)
{
    long value = 0;
    int i;
    if (end - at < 4)
        return -1;
    for (i = 0; i < 4; i++) {
        int digit = placet__hex(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Passes over a string; 0 or -EBADMSG. */
static inline int placet__skip_string(struct placet__text *text)
{
    if (text->at == text->end || *text->at != '"')
        return -EBADMSG;
    text->at++;
    while (text->at < text->end) {
        unsigned char byte = (unsigned char)*text->at++;
        if (byte == '"')
            return 0;
        if (byte < 0x20)
            return -EBADMSG;
        if (byte != '\\')
            continue;
        if (text->at == text->end)
            return -EBADMSG;
        switch (*text->at++) {
        case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
            break;
        case 'u':
            if (placet__hex4(text->at, text->end) < 0)
                return -EBADMSG;
            text->at += 4;
            break;
        default:
            return -EBADMSG;
        }
    }
    return -EBADMSG;
}

static inline int placet__skip_word(struct placet__text *text, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0)
        return -EBADMSG;
    text->at += length;
    return 0;
}

/* Passes over at least one digit. */
static inline int placet__skip_digits(struct placet__text *text)
{
    const char *start = text->at;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9')
        text->at++;
    return text->at == start ? -EBADMSG : 0;
}

static inline int placet__skip_number(struct placet__text *text)
{
    if (text->at < text->end && *text->at == '-')
        text->at++;
    if (text->at < text->end && *text->at == '0')
        text->at++;
    else if (placet__skip_digits(text) < 0)
        return -EBADMSG;
    if (text->at < text->end && *text->at == '.') {
        text->at++;
        if (placet__skip_digits(text) < 0)
            return -EBADMSG;
    }
    if (text->at < text->end && (*text->at == 'e' || *text->at == 'E')) {
        text->at++;
        if (text->at < text->end && (*text->at == '+' || *text->at == '-'))
            text->at++;
        return placet__skip_digits(text);
    }
    return 0;
}

static inline int placet__skip_value(struct placet__text *text, int depth);

/* Passes over an object or an array, from behind its opening bracket. */
static inline int placet__skip_items(struct placet__text *text, int depth, char close)
{
    int result;
    if (depth >= PLACET__DEPTH)
        return -EBADMSG;
    placet__skip_space(text);
    if (text->at < text->end && *text->at == close) {
        text->at++;
        return 0;
    }
    for (;;) {
        if (close == '}') {
            placet__skip_space(text);
            result = placet__skip_string(text);
            if (result < 0)
                return result;
            placet__skip_space(text);
            if (text->at == text->end || *text->at++ != ':')
                return -EBADMSG;
        }
        result = placet__skip_value(text, depth + 1);
        if (result < 0)
            return result;
        if (text->at == text->end)
            return -EBADMSG;
        if (*text->at == close) {
            text->at++;
            return 0;
        }
        if (*text->at++ != ',')
            return -EBADMSG;
    }
}

/* Passes over a value and the space around it; 0 or -EBADMSG. */
static inline int placet__skip_value(struct placet__text *text, int depth)
{
    int result;
    placet__skip_space(text);
    if (text->at == text->end)
        return -EBADMSG;
    switch (*text->at) {
    case '{':
        text->at++;
        result = placet__skip_items(text, depth, '}');
        break;
    case '[':
        text->at++;
        result = placet__skip_items(text, depth, ']');
        break;
    case '"':
        result = placet__skip_string(text);
        break;
    case 't':
        result = placet__skip_word(text, "true");
        break;
    case 'f':
        result = placet__skip_word(text, "false");
        break;
    case 'n':
        result = placet__skip_word(text, "null");
        break;
    default:
        result = placet__skip_number(text);
        break;
    }
    placet__skip_space(text);
    return result;
}

/* 0 if the text is exactly one JSON object, else -EBADMSG. */
static inline int placet__check_object(struct placet__text text)
{
    placet__skip_space(&text);
    if (text.at == text.end || *text.at != '{' || placet__skip_value(&text, 0) < 0)
        return -EBADMSG;
    return text.at == text.end ? 0 : -EBADMSG;
}

/*
 * Finds a member of an object that placet__check_object has passed. Returns 1 and the value
 * without the space around it, or 0 if there is none, or if the text is no object.
 */
static inline int placet__member(struct placet__text object, const char *key,
                                 struct placet__text *value)
{
    size_t length = strlen(key);
    placet__skip_space(&object);
    if (object.at == object.end || *object.at++ != '{')
        return 0;
    for (;;) {
        const char *name;
        size_t name_length;
        placet__skip_space(&object);
        name = object.at;
        if (placet__skip_string(&object) < 0)
            return 0;
        name++;
        name_length = (size_t)(object.at - 1 - name);
        placet__skip_space(&object);
        if (object.at == object.end || *object.at++ != ':')
            return 0;
        placet__skip_space(&object);
        value->at = object.at;
        if (placet__skip_value(&object, 1) < 0)
            return 0;
        value->end = object.at;
        while (value->end > value->at
               && (value->end[-1] == ' ' || value->end[-1] == '\t' || value->end[-1] == '\n'
                   || value->end[-1] == '\r'))
            value->end--;
        if (name_length == length && memcmp(name, key, length) == 0)
            return 1;
        if (object.at == object.end || *object.at++ != ',')
            return 0;
    }
}

/* Writes a character as UTF-8; returns how many bytes it took. NUL becomes U+FFFD. */
static inline size_t placet__utf8(long character, char *out)
{
    if (character == 0 || (character >= 0xd800 && character <= 0xdfff))
        character = 0xfffd;
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (char)(0xc0 | (character >> 6));
        out[1] = (char)(0x80 | (character & 0x3f));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (char)(0xe0 | (character >> 12));
        out[1] = (char)(0x80 | ((character >> 6) & 0x3f));
        out[2] = (char)(0x80 | (character & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (character >> 18));
    out[1] = (char)(0x80 | ((character >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((character >> 6) & 0x3f));
    out[3] = (char)(0x80 | (character & 0x3f));
    return 4;
}

/* Reads what follows a backslash in a checked string; moves `at` behind it. */
static inline long placet__escape(const char **at, const char *end)
{
    long high, low;
    char letter = *(*at)++;
    switch (letter) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'u': break;
    default: return (unsigned char)letter;
    }
    high = placet__hex4(*at, end);
    *at += 4;
    if (high < 0xd800 || high > 0xdbff || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return high;
    low = placet__hex4(*at + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return high;
    *at += 6;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/*
 * Copies a checked JSON string into `out`, which has room for `size` bytes (at least 1). Returns 0,
 * 1 if it had to be cut, or -EBADMSG if the value is no string.
 */
static inline int placet__copy(struct placet__text value, char *out, size_t size)
{
    size_t length = 0;
    const char *at = value.at + 1;
    const char *end = value.end - 1;
    out[0] = '\0';
    if (value.end - value.at < 2 || *value.at != '"')
        return -EBADMSG;
    while (at < end) {
        char bytes[4];
        size_t count = 1;
        bytes[0] = *at++;
        if (bytes[0] == '\\')
            count = placet__utf8(placet__escape(&at, end), bytes);
        if (length + count >= size) {
            /* Not within a character: its first byte is what the cut must stand before. */
            if (count == 1 && ((unsigned char)bytes[0] & 0xc0) == 0x80) {
                while (length > 0 && ((unsigned char)out[length - 1] & 0xc0) == 0x80)
                    length--;
                if (length > 0)
                    length--;
            }
            out[length] = '\0';
            return 1;
        }
        memcpy(out + length, bytes, count);
        length += count;
    }
    out[length] = '\0';
    return 0;
}

/* Copies a member that is a string; one that is missing is empty. */
static inline int placet__copy_member(struct placet__text object, const char *key, char *out,
                                      size_t size)
{
    struct placet__text value;
    out[0] = '\0';
    return placet__member(object, key, &value) ? placet__copy(value, out, size) : 0;
}

/* Reads a member that is a whole number from 0 on; one that is missing is 0. */
static inline int placet__number_member(struct placet__text object, const char *key, long *out)
{
    struct placet__text value;
    *out = 0;
    if (!placet__member(object, key, &value))
        return 0;
    for (; value.at < value.end; value.at++) {
        int digit = *value.at - '0';
        if (digit < 0 || digit > 9)
            return -EBADMSG;
        if (*out > (LONG_MAX - digit) / 10)
            *out = LONG_MAX;
        else
            *out = *out * 10 + digit;
    }
    return 0;
}

/* ---- internal: events -------------------------------------------------------------------- */

static inline enum placet_kind placet__kind(const char *name)
{
    if (strcmp(name, "proposed") == 0)
        return PLACET_PROPOSED;
    if (strcmp(name, "released") == 0)
        return PLACET_RELEASED;
    if (strcmp(name, "prepare") == 0)
        return PLACET_PREPARE;
    if (strcmp(name, "changed") == 0)
        return PLACET_CHANGED;
    if (strcmp(name, "began") == 0)
        return PLACET_BEGAN;
    if (strcmp(name, "ended") == 0)
        return PLACET_ENDED;
    return PLACET_NONE; /* watching, and events of later versions */
}

static inline enum placet_outcome placet__outcome(const char *name)
{
    if (strcmp(name, "activated") == 0)
        return PLACET_ACTIVATED;
    if (strcmp(name, "failed") == 0)
        return PLACET_FAILED;
    if (strcmp(name, "regressed") == 0)
        return PLACET_REGRESSED;
    return PLACET_NO_OUTCOME;
}

/* The error code for a varlink error. */
static inline int placet__errno(const char *name)
{
    static const struct {
        const char *name;
        int code;
    } known[] = {
        {"dev.placet.Vote.UnknownProposal", ENOENT},
        {"dev.placet.Vote.AlreadyClosed", ESTALE},
        {"dev.placet.Vote.AlreadyVoted", EALREADY},
        {"dev.placet.Vote.AlreadyWatching", EBUSY},
        {"dev.placet.Vote.NotAsked", EPERM},
        {"dev.placet.Vote.NotExpected", ENOMSG},
        {"dev.placet.Vote.NotRegistered", ENOTCONN},
        {"dev.placet.Vote.NotYours", EACCES},
        {"dev.placet.Vote.Refused", EINVAL},
    };
    size_t i;
    for (i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].code;
    return EPROTO;
}

/*
 * Takes a reply apart. Returns 0 and its parameters, or the negative code of the varlink error that
 * it carries, whose name is left in `error`.
 */
static inline int placet__reply(struct placet__text message, struct placet__text *parameters,
                                char *error, size_t error_size)
{
    static const char nothing[] = "{}";
    struct placet__text value;
    error[0] = '\0';
    parameters->at = nothing;
    parameters->end = nothing + 2;
    if (placet__check_object(message) < 0)
        return -EBADMSG;
    if (placet__member(message, "error", &value)) {
        if (placet__copy(value, error, error_size) < 0)
            return -EBADMSG;
        return -placet__errno(error);
    }
    if (placet__member(message, "parameters", &value))
        *parameters = value;
    return 0;
}

/* Reads an event from the parameters of a reply to Watch. */
static inline int placet__event(struct placet__text from, struct placet_event *event)
{
    char word[16];
    struct placet__text value;
    memset(event, 0, sizeof *event);
    if (placet__copy_member(from, "event", word, sizeof word) < 0)
        return -EBADMSG;
    event->kind = placet__kind(word);
    if (event->kind == PLACET_NONE)
        return 0;
    /* A digest that does not fit is none. */
    if (placet__copy_member(from, "changeDigest", event->change_digest,
                            sizeof event->change_digest) != 0)
        return -EBADMSG;
    if (placet__copy_member(from, "rollout", event->rollout, sizeof event->rollout) < 0
        || placet__copy_member(from, "revision", event->revision, sizeof event->revision) < 0
        || placet__copy_member(from, "deadline", event->deadline, sizeof event->deadline) < 0
        || placet__copy_member(from, "summary", event->summary, sizeof event->summary) < 0
        || placet__copy_member(from, "reason", event->reason, sizeof event->reason) < 0
        || placet__copy_member(from, "outcome", word, sizeof word) < 0
        || placet__number_member(from, "seconds", &event->seconds) < 0
        || placet__number_member(from, "moduleCount", &event->module_count) < 0)
        return -EBADMSG;
    event->outcome = placet__outcome(word);
    event->dry_run = placet__member(from, "dryRun", &value) && *value.at == 't';
    return 0;
}

/* ---- internal: the socket ---------------------------------------------------------------- */

/* Milliseconds on a clock that only goes forward. */
static inline int64_t placet__now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void placet__drop_file(struct placet__in *in)
{
    if (in->file >= 0)
        close(in->file);
    in->file = -1;
}

/* Reads once. Keeps the last descriptor that comes along and closes the others. */
static inline int placet__read(int fd, struct placet__in *in)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr header;
    struct iovec piece;
    struct cmsghdr *item;
    ssize_t count;

    piece.iov_base = in->data + in->length;
    piece.iov_len = sizeof in->data - in->length;
    memset(&header, 0, sizeof header);
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    count = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (count == 0)
        return -ECONNRESET;
    for (item = CMSG_FIRSTHDR(&header); item != NULL; item = CMSG_NXTHDR(&header, item)) {
        size_t i, files;
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
            continue;
        files = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (i = 0; i < files; i++) {
            placet__drop_file(in);
            memcpy(&in->file, CMSG_DATA(item) + i * sizeof(int), sizeof(int));
        }
    }
    in->length += (size_t)count;
    return 0;
}

/*
 * Waits for a message. Returns 1 and the message, 0 if none is complete in time (what arrived of it
 * is kept), -EINTR if a signal came, -EMSGSIZE for a message that is too long, -ECONNRESET if the
 * node daemon is gone. The message stays valid until the next call.
 */
static inline int placet__receive(int fd, struct placet__in *in, int timeout_ms,
                                  struct placet__text *message)
{
    int64_t deadline = placet__now() + timeout_ms;
    size_t searched = 0;
    message->at = message->end = in->data;
    if (fd < 0)
        return -ENOTCONN;
    in->length -= in->taken;
    memmove(in->data, in->data + in->taken, in->length);
    in->taken = 0;
    for (;;) {
        struct pollfd ready;
        int64_t left = timeout_ms < 0 ? -1 : deadline - placet__now();
        int result;
        const char *end
            = (const char *)memchr(in->data + searched, '\0', in->length - searched);
        if (end != NULL) {
            message->at = in->data;
            message->end = end;
            in->taken = (size_t)(end - in->data) + 1;
            return 1;
        }
        searched = in->length;
        if (in->length == sizeof in->data)
            return -EMSGSIZE;
        if (timeout_ms >= 0 && left < 0)
            left = 0;
        ready.fd = fd;
        ready.events = POLLIN;
        ready.revents = 0;
        result = poll(&ready, 1, (int)left);
        if (result < 0)
            return -errno;
        if (result == 0)
            return 0;
        result = placet__read(fd, in);
        if (result < 0)
            return result;
    }
}

static inline int placet__send(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t count = send(fd, data, length, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno == EINTR)
                continue;
            /* The node daemon hung up after its last word, which is still there to be read. */
            if (errno == EPIPE)
                return 0;
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        data += count;
        length -= (size_t)count;
    }
    return 0;
}

/* Fills in a socket address; a leading @ stands for an abstract name. */
static inline int placet__address(const char *path, struct sockaddr_un *address, socklen_t *size)
{
    size_t length = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (length == 0)
        return -EINVAL;
    if (length >= sizeof address->sun_path)
        return -ENAMETOOLONG;
    memcpy(address->sun_path, path, length);
    if (path[0] == '@')
        address->sun_path[0] = '\0';
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '@'));
    return 0;
}

static inline int placet__connect(const char *path)
{
    struct sockaddr_un address;
    struct timeval within;
    socklen_t size = 0;
    int fd, result = placet__address(path, &address, &size);
    if (result < 0)
        return result;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    within.tv_sec = PLACET_ANSWER_MS / 1000;
    within.tv_usec = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof within) < 0
        || connect(fd, (struct sockaddr *)&address, size) < 0) {
        result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

/* ---- internal: calls --------------------------------------------------------------------- */

/* A message that is being written into p->out. */
struct placet__out {
    char *data;
    size_t length;
    int error;
};

static inline void placet__put(struct placet__out *out, const char *bytes, size_t count)
{
    if (out->error < 0)
        return;
    if (count > (size_t)PLACET_MESSAGE_MAX - out->length) {
        out->error = -EMSGSIZE;
        return;
    }
    memcpy(out->data + out->length, bytes, count);
    out->length += count;
}

static inline void placet__put_text(struct placet__out *out, const char *text)
{
    placet__put(out, text, strlen(text));
}

/* The length of the UTF-8 character at `at`, which NUL ends; 0 if there is no valid one. */
static inline size_t placet__character(const unsigned char *at)
{
    size_t i, length = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
        : (at[0] & 0xf0) == 0xe0 ? 3 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;
    for (i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f)
        || (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return length;
}

/* Writes a JSON string; NULL is the empty one. Text that is not UTF-8 is refused. */
static inline void placet__put_string(struct placet__out *out, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = (const unsigned char *)(text == NULL ? "" : text);
    placet__put(out, "\"", 1);
    while (*at != '\0') {
        size_t length = placet__character(at);
        if (length == 0) {
            out->error = -EILSEQ;
            return;
        }
        if (*at == '"' || *at == '\\') {
            placet__put(out, "\\", 1);
            placet__put(out, (const char *)at, 1);
        } else if (*at < 0x20) {
            char escape[6] = {'\\', 'u', '0', '0', '0', '0'};
            escape[4] = digits[*at >> 4];
            escape[5] = digits[*at & 15];
            placet__put(out, escape, sizeof escape);
        } else {
            placet__put(out, (const char *)at, length);
        }
        at += length;
    }
    placet__put(out, "\"", 1);
}

static inline void placet__put_member(struct placet__out *out, const char *key, const char *text)
{
    placet__put_text(out, ",\"");
    placet__put_text(out, key);
    placet__put_text(out, "\":");
    placet__put_string(out, text);
}

/* Begins a call; its parameters follow. */
static inline struct placet__out placet__begin(struct placet *p, const char *method)
{
    struct placet__out out;
    out.data = p->out;
    out.length = 0;
    out.error = 0;
    placet__put_text(&out, "{\"method\":\"dev.placet.Vote.");
    placet__put_text(&out, method);
    placet__put_text(&out, "\",\"parameters\":{");
    return out;
}

/* Begins a call whose first parameter is a string. */
static inline struct placet__out placet__call(struct placet *p, const char *method,
                                              const char *key, const char *text)
{
    struct placet__out out = placet__begin(p, method);
    placet__put_text(&out, "\"");
    placet__put_text(&out, key);
    placet__put_text(&out, "\":");
    placet__put_string(&out, text);
    return out;
}

/* Ends a call, sends it, and waits for its reply. */
static inline int placet__finish(struct placet *p, struct placet__out *out,
                                 struct placet__text *parameters)
{
    struct placet__text message;
    int64_t deadline = placet__now() + PLACET_ANSWER_MS;
    int result;
    placet__put_text(out, "}}");
    if (out->error < 0)
        return out->error;
    if (p->calls_fd < 0)
        return -ENOTCONN;
    placet__drop_file(&p->calls);
    p->out[out->length] = '\0';
    result = placet__send(p->calls_fd, p->out, out->length + 1);
    if (result < 0)
        return result;
    do {
        int64_t left = deadline - placet__now();
        result = placet__receive(p->calls_fd, &p->calls, left < 0 ? 0 : (int)left, &message);
    } while (result == -EINTR);
    if (result == 0)
        return -ETIMEDOUT;
    if (result < 0)
        return result;
    return placet__reply(message, parameters, p->error, sizeof p->error);
}

static inline void placet__unmap(struct placet *p)
{
    if (p->map != NULL)
        munmap(p->map, p->map_size);
    p->map = NULL;
    p->map_size = 0;
}

/* ---- what processes use ------------------------------------------------------------------ */

/*
 * Ends the registration and closes the descriptors. Does nothing if that has been done, and must
 * not be called before placet_open or placet_open_at.
 */
static inline void placet_close(struct placet *p)
{
    if (p->calls_fd >= 0)
        close(p->calls_fd);
    if (p->events_fd >= 0)
        close(p->events_fd);
    p->calls_fd = -1;
    p->events_fd = -1;
    placet__drop_file(&p->calls);
    placet__drop_file(&p->events);
    placet__unmap(p);
}

/*
 * Announces this process at the socket `path`. Returns 1.
 *
 *   -EACCES        the node daemon does not take this process for one of the socket's service
 *   -ENAMETOOLONG  the path does not fit a socket address
 *   -ETIMEDOUT     the node daemon did not answer
 *   or what socket(2) and connect(2) say; -ECONNREFUSED and -ENOENT while there is no node daemon
 *
 * On failure nothing is left open, and `p` may be opened again. What `p` held before is not looked
 * at: close it first.
 */
static inline int placet_open_at(struct placet *p, const char *path)
{
    static const char watch[] = "{\"method\":\"dev.placet.Vote.Watch\",\"more\":true}";
    struct placet__text message, parameters;
    struct placet__out out;
    int result;

    p->calls_fd = -1;
    p->events_fd = -1;
    p->calls.length = p->calls.taken = 0;
    p->events.length = p->events.taken = 0;
    p->calls.file = p->events.file = -1;
    p->error[0] = '\0';
    p->map = NULL;
    p->map_size = 0;

    p->calls_fd = result = placet__connect(path);
    if (result >= 0)
        p->events_fd = result = placet__connect(path);
    if (result >= 0) {
        out = placet__call(p, "Register", "client", "placet.h");
        result = placet__finish(p, &out, &parameters);
    }
    if (result >= 0)
        result = placet__send(p->events_fd, watch, sizeof watch);
    if (result >= 0) {
        do
            result = placet__receive(p->events_fd, &p->events, PLACET_ANSWER_MS, &message);
        while (result == -EINTR);
        if (result == 0)
            result = -ETIMEDOUT;
    }
    if (result > 0)
        result = placet__reply(message, &parameters, p->error, sizeof p->error);
    if (result < 0) {
        placet_close(p);
        return result;
    }
    return 1;
}

/*
 * Announces this process at the socket in PLACET_SOCKET. Returns 1, or 0 where the variable is not
 * set: then Placet does not run this process, and nobody asks. Errors as placet_open_at.
 */
static inline int placet_open(struct placet *p)
{
    const char *path = getenv("PLACET_SOCKET");
    if (path == NULL || path[0] == '\0') {
        p->calls_fd = -1;
        p->events_fd = -1;
        p->calls.file = p->events.file = -1;
        p->error[0] = '\0';
        p->map = NULL;
        return 0;
    }
    return placet_open_at(p, path);
}

/*
 * The descriptor to wait on: when it is readable, call placet_next with a time-out of 0 until that
 * returns 0. -1 if `p` is not open. Another one after every placet_open.
 */
static inline int placet_fd(const struct placet *p)
{
    return p->events_fd;
}

/*
 * Waits for the next event, at most `timeout_ms` milliseconds, or for ever if that is negative.
 * Returns 1 and the event, or 0 if none came in time.
 *
 *   -EINTR       a signal came
 *   -ECONNRESET  the node daemon is gone, or has closed the connection and says in its log why. It
 *                may come back: call placet_close, and placet_open again after a while. What is
 *                open then is proposed again
 *   -EBADMSG     what arrived is not what the interface promises
 *   -EMSGSIZE    a message is longer than it may be
 *   -ENOTCONN    `p` is not open
 */
static inline int placet_next(struct placet *p, struct placet_event *event, int timeout_ms)
{
    int64_t deadline = placet__now() + timeout_ms;
    for (;;) {
        struct placet__text message, parameters;
        int64_t left = deadline - placet__now();
        int result;
        if (timeout_ms < 0)
            left = -1;
        else if (left < 0)
            left = 0;
        result = placet__receive(p->events_fd, &p->events, (int)left, &message);
        if (result <= 0)
            return result;
        placet__drop_file(&p->events);
        result = placet__reply(message, &parameters, p->error, sizeof p->error);
        if (result >= 0)
            result = placet__event(parameters, event);
        if (result < 0)
            return result;
        if (event->kind != PLACET_NONE)
            return 1;
    }
}

/*
 * Answers a proposal. `code` is short and for programs: at most 64 letters, digits and -_./;
 * `message` is for people: at most 1,000 characters of UTF-8. Either may be NULL. Returns 0.
 *
 *   -EINVAL      an argument is not as it should be; nothing was recorded
 *   -EILSEQ      a text is not UTF-8; nothing was sent
 *   -ENOENT      no such proposal is known: it was withdrawn, is over, or never was
 *   -EALREADY    this process has answered already; its first answer stands
 *   -ESTALE      too late: the answers were counted
 *   -EPERM       this process was not asked
 *   -ETIMEDOUT   the node daemon did not answer. Close and open again
 *   -ECONNRESET  the node daemon is gone. Close and open again
 *   -ENOTCONN    `p` is not open, or not registered any more
 *   -EPROTO      another varlink error, named by placet_error
 */
static inline int placet_vote(struct placet *p, const char *change_digest,
                              enum placet_answer answer, const char *code, const char *message)
{
    struct placet__text parameters;
    struct placet__out out = placet__call(p, "Vote", "changeDigest", change_digest);
    placet__put_member(&out, "answer", answer == PLACET_ACCEPT ? "accept" : "veto");
    placet__put_member(&out, "code", code);
    placet__put_member(&out, "message", message);
    return placet__finish(p, &out, &parameters);
}

/*
 * Answers a proposal with: ask again in `seconds`, from 1 to 86,400 (24 hours). Returns 0; errors
 * as placet_vote.
 */
static inline int placet_defer(struct placet *p, const char *change_digest, long seconds,
                               const char *message)
{
    struct placet__text parameters;
    struct placet__out out;
    struct tm parts;
    char until[32];
    time_t when = time(NULL) + seconds;
    if (seconds < 1 || seconds > 86400)
        return -EINVAL;
    if (gmtime_r(&when, &parts) == NULL
        || strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return -EOVERFLOW;
    out = placet__call(p, "Vote", "changeDigest", change_digest);
    placet__put_member(&out, "answer", "defer");
    placet__put_member(&out, "message", message);
    placet__put_member(&out, "until", until);
    return placet__finish(p, &out, &parameters);
}

/*
 * Says that the process is prepared for the change. Returns 0; -ENOMSG if nobody waits for that any
 * more; other errors as placet_vote.
 */
static inline int placet_ready(struct placet *p, const char *change_digest)
{
    struct placet__text parameters;
    struct placet__out out = placet__call(p, "Ready", "changeDigest", change_digest);
    return placet__finish(p, &out, &parameters);
}

/*
 * Says that the process has handled the change, or asks to be restarted. A process that restarts
 * itself opens again and calls this from its new program. Returns 0; -ENOMSG if nobody waits for
 * that any more; other errors as placet_vote.
 */
static inline int placet_done(struct placet *p, const char *change_digest,
                              enum placet_handling handling)
{
    struct placet__text parameters;
    struct placet__out out = placet__call(p, "Done", "changeDigest", change_digest);
    placet__put_member(&out, "outcome", handling == PLACET_HANDLED ? "handled" : "default");
    return placet__finish(p, &out, &parameters);
}

/*
 * Names a module that the process opened at run time (dlopen), by its path relative to the root of
 * the generation ("usr/lib/plugin.so"): from now on its change touches this process. To be said
 * again after every placet_open. Returns 0; -EINVAL if it is no such path, or one too many of
 * 1,000; other errors as placet_vote.
 */
static inline int placet_opened(struct placet *p, const char *module)
{
    struct placet__text parameters;
    struct placet__out out = placet__begin(p, "Opened");
    placet__put_text(&out, "\"libraries\":[");
    placet__put_string(&out, module);
    placet__put_text(&out, "]");
    return placet__finish(p, &out, &parameters);
}

/*
 * Says that the process has an interest in modules whose path is as `pattern` says, where `*` stands
 * for anything but `/` and `**` for anything ("etc/app-*.conf"): it is asked before one of them is
 * added, changed or removed, and told after. To be said again after every placet_open. Returns 0;
 * -EINVAL if the pattern is empty or too long, or one too many of 64; other errors as placet_vote.
 */
static inline int placet_follow(struct placet *p, const char *pattern)
{
    struct placet__text parameters;
    struct placet__out out = placet__begin(p, "Follow");
    placet__put_text(&out, "\"modules\":[{\"paths\":[");
    placet__put_string(&out, pattern);
    placet__put_text(&out, "]}]");
    return placet__finish(p, &out, &parameters);
}

/*
 * Asks to be told of every change of the node, whomever it touches: PLACET_BEGAN and PLACET_ENDED.
 * To be said again after every placet_open. Returns as placet_vote.
 */
static inline int placet_notices(struct placet *p)
{
    struct placet__text parameters;
    struct placet__out out = placet__begin(p, "Register");
    placet__put_text(&out, "\"notices\":true");
    return placet__finish(p, &out, &parameters);
}

/*
 * The full change set of a proposal as JSON text, which is not taken apart here: modules added,
 * changed and removed, processes affected and why. `*text` has `*length` bytes, no NUL byte at its
 * end, and stays valid until the next call of any function here but placet_next. Returns 0.
 *
 *   -ENOENT   no such proposal is known any more
 *   -EBADMSG  what arrived is not what the interface promises
 *   or what mmap(2) says; other errors as placet_vote
 */
static inline int placet_change_set(struct placet *p, const char *change_digest,
                                    const char **text, size_t *length)
{
    struct placet__text parameters, value;
    struct placet__out out = placet__call(p, "GetChangeSet", "changeDigest", change_digest);
    long size = 0;
    off_t actual;
    void *map;
    int result = placet__finish(p, &out, &parameters);
    *text = NULL;
    *length = 0;
    if (result < 0)
        return result;
    if (placet__member(parameters, "changeSet", &value) && *value.at == '{') {
        *text = value.at;
        *length = (size_t)(value.end - value.at);
        return 0;
    }
    if (p->calls.file < 0 || placet__number_member(parameters, "size", &size) < 0 || size < 2)
        return -EBADMSG;
    /* A file that is shorter than it says to be would end this process when it is read. */
    actual = lseek(p->calls.file, 0, SEEK_END);
    if (actual < 0 || actual != (off_t)size)
        return -EBADMSG;
    placet__unmap(p);
    map = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, p->calls.file, 0);
    if (map == MAP_FAILED)
        return -errno;
    placet__drop_file(&p->calls);
    p->map = map;
    p->map_size = (size_t)size;
    *text = (const char *)map;
    *length = (size_t)size;
    return 0;
}

/*
 * The name of the varlink error that the last call or placet_open failed with
 * ("dev.placet.Vote.UnknownProposal"), or the empty string.
 */
static inline const char *placet_error(const struct placet *p)
{
    return p->error;
}

/* Sends `state`, with a descriptor unless that is -1, to the socket in NOTIFY_SOCKET. */
static inline int placet__notify(const char *state, int file)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    struct msghdr message;
    struct iovec part;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    socklen_t size = 0;
    int fd, result;
    if (path == NULL || path[0] == '\0')
        return 0;
    result = placet__address(path, &address, &size);
    if (result < 0)
        return result;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    part.iov_base = (void *)(uintptr_t)state;
    part.iov_len = strlen(state);
    message.msg_name = &address;
    message.msg_namelen = size;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (file >= 0) {
        struct cmsghdr *head;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &file, sizeof file);
    }
    result = 1;
    if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        result = -errno;
    close(fd);
    return result;
}

/*
 * Sends `state` to the socket in NOTIFY_SOCKET, as sd_notify does. Returns 1, or 0 where the
 * variable is not set; errors are what socket(2) and sendmsg(2) say.
 */
static inline int placet_notify(const char *state)
{
    return placet__notify(state, -1);
}

/* Says that the process is up (READY=1). Returns as placet_notify. */
static inline int placet_notify_ready(void)
{
    return placet_notify("READY=1");
}

/* The longest name of a stored descriptor, without its NUL byte. */
#define PLACET_NAME_MAX 255

static inline int placet__notify_name(const char *what, const char *prefix, const char *name,
                                      int file)
{
    char text[PLACET_NAME_MAX + 64];
    size_t length = strlen(what), before = strlen(prefix), after = strlen(name);
    if (after == 0 || before + after > PLACET_NAME_MAX || strpbrk(name, ":\n") != NULL)
        return -EINVAL;
    memcpy(text, what, length);
    memcpy(text + length, prefix, before);
    memcpy(text + length + before, name, after + 1);
    return placet__notify(text, file);
}

/*
 * Has the node daemon keep a copy of a descriptor (a connection, say) for the successor of this
 * process, which finds it by `name` (placet_handed). It is forgotten when its other end closes it.
 * The package has to allow for it (`storedDescriptors`). Returns as placet_notify; -EINVAL for a
 * name that is empty, longer than 255 bytes or contains a colon.
 */
static inline int placet_store(const char *name, int fd)
{
    return placet__notify_name("FDSTORE=1\nFDNAME=", "", name, fd);
}

/* Has the node daemon forget what was stored under this name. Returns as placet_store. */
static inline int placet_forget(const char *name)
{
    return placet__notify_name("FDSTOREREMOVE=1\nFDNAME=", "", name, -1);
}

/*
 * Saves state for the successor of this process, in the place of what was saved in this format
 * before. `format` is a name and a version ("session/3") that the package names in `state.saves`.
 * Returns as placet_store, or what memfd_create(2) and write(2) say.
 */
static inline int placet_save(const char *format, const void *data, size_t size)
{
    const char *at = (const char *)data;
    int result = 0;
    int fd = (int)syscall(SYS_memfd_create, "placet-state", PLACET__MEMFD_FLAGS);
    if (fd < 0)
        return -errno;
    while (size > 0 && result == 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0) {
            result = errno == EINTR ? 0 : -errno;
        } else {
            at += written;
            size -= (size_t)written;
        }
    }
    if (result == 0 && fcntl(fd, PLACET__ADD_SEALS, PLACET__SEALS) < 0)
        result = -errno;
    if (result == 0)
        result = placet__notify_name("FDSTORE=1\nFDNAME=", "state/", format, fd);
    close(fd);
    return result;
}

/*
 * A descriptor that this process was handed when it started: the `nth` of this name, counted from
 * 0, which is a socket of its package or what its predecessor stored. It stays at its number, and
 * is close-on-exec. Returns -ENOENT if there is none.
 */
static inline int placet_handed(const char *name, int nth)
{
    const char *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
    const char *pid = getenv("LISTEN_PID");
    size_t length = strlen(name);
    int fd, last;
    if (count == NULL || names == NULL || pid == NULL || strtol(pid, NULL, 10) != (long)getpid())
        return -ENOENT;
    last = 3 + atoi(count);
    for (fd = 3; fd < last; fd++) {
        size_t here = strcspn(names, ":");
        if (here == length && memcmp(names, name, length) == 0 && nth-- == 0) {
            if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
            return fd;
        }
        names += here;
        names += *names == ':';
    }
    return -ENOENT;
}

/*
 * State that the predecessor of this process saved in this format; `*data` has `*size` bytes and
 * stays mapped. Returns 0; -ENOENT if there is none: then the process starts without. Other errors
 * are what mmap(2) says, and -EBADMSG if it is not sealed, so that somebody could still change it.
 */
static inline int placet_restore(const char *format, const void **data, size_t *size)
{
    char name[PLACET_NAME_MAX + 1] = "state/";
    int fd, seals;
    off_t length;
    void *map;
    *data = NULL;
    *size = 0;
    if (strlen(format) > PLACET_NAME_MAX - 6)
        return -ENOENT;
    memcpy(name + 6, format, strlen(format) + 1);
    fd = placet_handed(name, 0);
    if (fd < 0)
        return fd;
    seals = fcntl(fd, PLACET__GET_SEALS);
    length = lseek(fd, 0, SEEK_END);
    if (seals < 0 || (seals & PLACET__UNCHANGING) != PLACET__UNCHANGING || length < 0)
        return -EBADMSG;
    if (length == 0)
        return 0;
    map = mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    *data = map;
    *size = (size_t)length;
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
