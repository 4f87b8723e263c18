/*
 * dbms_connect.c - which server: a round over the hosts of the URL, and over
 * the addresses of each, until one is reached that writes.
 *
 * Names are looked up anew in every round, since a name may be moved to
 * another server. Who was connected and failed us is asked last.
 */
#include "registry/dbms.h"

#include "base/mem.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ADDRESSES 16 /* of one name, at most */

bool dbms_is_off(const struct dbms_cell *cell)
{
    static const char *const words[] = {"0", "off", "OFF"};

    for (size_t i = 0; cell->p != NULL && i < ARRAY_LEN(words); i++) {
        if (strlen(words[i]) == cell->n &&
            memcmp(words[i], cell->p, cell->n) == 0) {
            return true;
        }
    }
    return false;
}

void dbms_connect_next(struct dbms_target *t)
{
    if (++t->nth >= t->n_addresses) {
        t->nth = 0;
        t->at = (t->at + 1) % t->n_hosts;
    }
}

/* --- a round -------------------------------------------------------------- */

struct round {
    struct dbms_link *link;
    mono_ms until;
    size_t tried, denied;
    struct buf said;
};

/* The numbers of a host. None: *why says so. */
static size_t
look_up(const struct dbms_host *host, const char **why,
        char out[ADDRESSES][sizeof(((struct dbms_target *)NULL)->address)])
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL, *a;
    int rc = getaddrinfo(host->name, NULL, &hints, &all);
    size_t n = 0;

    for (a = all; rc == 0 && a != NULL && n < ADDRESSES; a = a->ai_next) {
        n += getnameinfo(a->ai_addr, a->ai_addrlen, out[n], sizeof(out[n]),
                         NULL, 0, NI_NUMERICHOST) == 0;
    }
    if (all != NULL) {
        freeaddrinfo(all);
    }
    *why = rc != 0 ? gai_strerror(rc) : "has no address";
    return n;
}

static void note(struct round *r, const struct dbms_target *t, const char *why)
{
    const struct dbms_host *host = &t->hosts[t->at];
    bool named = t->address[0] != '\0' && strcmp(t->address, host->name) != 0;

    r->tried++;
    buf_printf(&r->said, "%s%s:%u", r->said.len > 0 ? "; " : "", host->name,
               host->port);
    if (named) {
        buf_printf(&r->said, " (%s)", t->address);
    }
    buf_printf(&r->said, ": %s", why);
}

/* True: connected, or no time left. */
static bool try_address(struct round *r, const struct dbms_target *t)
{
    struct err why = {0};
    enum dbms_fault fault = t->driver->connect(&r->link, t, &why);

    if (fault == DBMS_OK) {
        return true;
    }
    note(r, t, why.msg);
    r->denied += fault == DBMS_DENIED;
    return clock_mono_ms() >= r->until;
}

/* All addresses of hosts[t->at], from the nth on. */
static bool try_host(struct round *r, struct dbms_target *t)
{
    char addresses[ADDRESSES][sizeof(t->address)];
    const char *why;
    size_t first;

    t->n_addresses = look_up(&t->hosts[t->at], &why, addresses);
    if (t->n_addresses == 0) {
        t->address[0] = '\0';
        note(r, t, why);
        return false;
    }
    first = t->nth % t->n_addresses;
    for (size_t i = 0; i < t->n_addresses; i++) {
        t->nth = (first + i) % t->n_addresses;
        memcpy(t->address, addresses[t->nth], sizeof(t->address));
        if (try_address(r, t)) {
            return true;
        }
    }
    return false;
}

static void say_all(const struct round *r, struct err *err)
{
    enum err_code code = r->denied == r->tried ? ERR_DENIED : ERR_UNAVAILABLE;

    if (r->tried == 1) {
        (void)err_set(err, code, "%s", buf_text(&r->said));
    } else {
        (void)err_set(err, code, "none of %zu hosts writes: %s", r->tried,
                      buf_text(&r->said));
    }
}

enum dbms_fault dbms_connect(struct dbms_link **out, struct dbms_target *t,
                             struct err *err)
{
    struct round r = {.until = clock_mono_ms() + t->call_ms};
    bool ended = false, denied;

    buf_init(&r.said, 65536);
    for (size_t i = 0; !ended && i < t->n_hosts; i++) {
        ended = try_host(&r, t);
        if (!ended) {
            t->nth = 0;
            t->at = (t->at + 1) % t->n_hosts;
        }
    }
    *out = r.link;
    if (r.link == NULL) {
        say_all(&r, err);
        if (ended) { /* no time left: the next round goes on from here */
            dbms_connect_next(t);
        }
    }
    denied = r.denied == r.tried;
    buf_close(&r.said);
    return *out != NULL ? DBMS_OK : denied ? DBMS_DENIED : DBMS_LOST;
}
