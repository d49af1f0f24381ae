/* Votes for routed, from its configuration: whoever restarts it with peers configured takes their
 * routes away. `clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o may_restart.wasm may_restart.c` */
#define IMPORT(name) __attribute__((import_module("placet"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(read) int placet_read(const char *path, unsigned length, char *to, unsigned room);
IMPORT(answer) void placet_answer(const char *from, unsigned length);

static char text[65536];
static char said[128];

static unsigned add(unsigned at, const char *words) {
    while (*words)
        said[at++] = *words++;
    return at;
}

static unsigned add_number(unsigned at, unsigned number) {
    if (number >= 10)
        at = add_number(at, number / 10);
    said[at++] = (char)('0' + number % 10);
    return at;
}

/* How many lines begin with `peer `. */
static unsigned peers(int size) {
    static const char word[] = "peer ";
    unsigned found = 0, place = 0;
    for (int at = 0; at < size; at++) {
        if (text[at] == '\n')
            place = 0;
        else if (place < 5 && text[at] == word[place])
            found += ++place == 5;
        else
            place = 6;
    }
    return found;
}

/* A signal to read its files again, or a word to it, costs no session. */
static int restarts(void) {
    static const char path[] = "/process/action";
    placet_read(path, sizeof path - 1, text, sizeof text);
    return text[0] == 's' || (text[0] == 'r' && text[2] == 's');
}

EXPORT(decide) void decide(void) {
    static const char path[] = "/files/etc~1routed.conf";
    unsigned end = 0, number = 0;
    if (restarts()) {
        int size = placet_read(path, sizeof path - 1, text, sizeof text);
        number = peers(size < (int)sizeof text ? size : (int)sizeof text);
    }
    if (number == 0) {
        end = add(end, "{\"answer\":\"accept\"}");
    } else {
        end = add(end, "{\"answer\":\"veto\",\"code\":\"peers\",\"message\":\"");
        end = add_number(end, number);
        end = add(end, number == 1 ? " peer is configured\"}" : " peers are configured\"}");
    }
    placet_answer(said, end);
}
