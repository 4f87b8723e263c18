/*
 * connect.c - which server: a search over the hosts of the URL, and over
 * the addresses of each, until one is reached that writes.
 *
 * Names are looked up anew in every search, since a name may be moved to
 * another server. Who was connected and failed us is asked last.
 *
 * One that writes may be an old primary beside the new one. So each is asked
 * where it stands (place.c), and one that stands before what is known is
 * kept, while the others are asked, for the case that none is better. Who knows
 * nothing yet asks all.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ADDRESSES 16 /* of one name, at most */

unsigned dbms_trouble(enum dbms_fault fault, const struct err *err)
{
    static const enum trouble of[] = {
        [DBMS_WAITED] = TROUBLE_LOCKED,      [DBMS_DENIED] = TROUBLE_FORBIDDEN,
        [DBMS_MISSING] = TROUBLE_TABLES,     [DBMS_REFUSED] = TROUBLE_REFUSED,
        [DBMS_NOT_HERE] = TROUBLE_READ_ONLY, [DBMS_LOST] = TROUBLE_UNREACHABLE,
    };

    return err->trouble != 0               ? err->trouble
           : (size_t)fault < ARRAY_LEN(of) ? of[fault]
                                           : TROUBLE_NONE;
}

void dbms_target_close(struct dbms_target *t)
{
    conf_jdbc_url_close(&t->url);
    memset(t, 0, sizeof(*t));
}

void dbms_connect_next(struct dbms_target *t)
{
    assert(t->url.n_hosts > 0);
    if (++t->nth >= t->n_addresses) {
        t->nth = 0;
        t->at = (t->at + 1) % t->url.n_hosts;
    }
    assert(t->at < t->url.n_hosts);
    assert(t->nth == 0 || t->nth < t->n_addresses);
}

/* --- a search ------------------------------------------------------------ */

/* Of the others, when we have one that would do. */
#define BETTER_MS 1500

struct search {
    struct dbms_link *link;  /* to the best of those that write, or NULL */
    struct dbms_target best; /* as it was then; borrows what it points to */
    bool chosen;             /* nobody can be better */
    mono_ms until;
    size_t tried, denied;
    unsigned trouble; /* the most telling of theirs */
    struct buf said;
};

/* The numbers of a host. None: *why says so. */
static size_t look_up(const struct jdbc_host *host, const char **why,
                      char out[ADDRESSES][DBMS_ADDRESS_SIZE])
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL, *a;
    int rc = getaddrinfo(host->name, NULL, &hints, &all);
    size_t n = 0;

    assert(host->name != NULL);
    for (a = all; rc == 0 && a != NULL && n < ADDRESSES; a = a->ai_next) {
        n += getnameinfo(a->ai_addr, a->ai_addrlen, out[n], sizeof(out[n]),
                         NULL, 0, NI_NUMERICHOST) == 0;
    }
    if (all != NULL)
        freeaddrinfo(all);
    *why = rc != 0 ? gai_strerror(rc) : "has no address";
    assert(n <= ADDRESSES);
    return n;
}

static void note(struct search *r, const struct dbms_target *t, const char *why)
{
    const struct jdbc_host *host = &t->url.hosts[t->at];
    bool named = t->address[0] != '\0' && strcmp(t->address, host->name) != 0;

    assert(t->at < t->url.n_hosts);
    r->tried++;
    buf_printf(&r->said, "%s%s:%u", r->said.len > 0 ? "; " : "", host->name,
               host->port);
    if (named)
        buf_printf(&r->said, " (%s)", t->address);
    buf_printf(&r->said, ": %s", why);
    assert(r->denied <= r->tried);
}

/* A standby beside the one that refuses us says less than that one does, and
 * one that is away says least. */
static void tells(struct search *r, unsigned trouble)
{
    if (r->trouble == TROUBLE_NONE || r->trouble == TROUBLE_UNREACHABLE ||
        r->trouble == TROUBLE_READ_ONLY) {
        r->trouble = trouble == TROUBLE_UNREACHABLE && r->trouble != 0
                         ? r->trouble
                         : trouble;
    }
}

/* The better one of two stays connected. */
static void keep(struct search *r, struct dbms_target *t,
                 struct dbms_link *link)
{
    static const char two[] = "writes, too, and stands lower; is it an old "
                              "primary?";

    assert(link != NULL);
    if (r->link != NULL && !dbms_place_before(&r->best.place, &t->place)) {
        if (dbms_place_before(&t->place, &r->best.place))
            note(r, t, two);
        t->driver->close(&link);
        return;
    }
    if (r->link != NULL) {
        note(r, &r->best, two);
        t->driver->close(&r->link);
    }
    r->link = link;
    r->best = *t;
}

static bool is_behind(const struct dbms_target *t)
{
    return dbms_place_before(&t->place, &t->known);
}

/* Nodes of Galera all stand at the same place. */
static void judge(struct search *r, struct dbms_target *t,
                  struct dbms_link *link)
{
    const struct dbms_driver *driver = t->driver;
    bool one_of_many = driver->certifies != NULL && driver->certifies(link);

    assert(link != NULL);
    r->chosen = !is_behind(t) && (!t->all || one_of_many);
    if (!t->all && r->until > clock_mono_ms() + BETTER_MS)
        r->until = clock_mono_ms() + BETTER_MS;
    keep(r, t, link);
    assert(r->link != NULL);
}

static enum dbms_fault reach(struct dbms_target *t, struct dbms_link **link,
                             struct err *err)
{
    enum dbms_fault fault = t->driver->connect(link, t, err);

    if (fault == DBMS_REFUSED)
        return dbms_probe_bare(t, fault, err);
    if (fault == DBMS_OK) {
        fault = dbms_place_ask(*link, t, err);
        if (fault == DBMS_OK)
            fault = dbms_probe(*link, t, err);
        if (fault != DBMS_OK)
            t->driver->close(link);
    }
    return fault;
}

/* True: found, or no time left. */
static bool try_address(struct search *r, struct dbms_target *t)
{
    int64_t connect_ms = t->url.connect_ms;
    struct dbms_link *link = NULL;
    struct err why = {0};
    enum dbms_fault fault;

    assert(t->n_addresses > 0);
    assert(t->nth < t->n_addresses);
    if (r->link != NULL && !t->all && t->url.connect_ms > BETTER_MS)
        t->url.connect_ms = BETTER_MS;
    fault = reach(t, &link, &why);
    t->url.connect_ms = connect_ms;
    if (fault == DBMS_OK) {
        judge(r, t, link);
    } else {
        note(r, t, why.msg);
        r->denied += fault == DBMS_DENIED;
        tells(r, dbms_trouble(fault, &why));
    }
    assert(r->tried > 0 || r->link != NULL);
    return r->chosen || clock_mono_ms() >= r->until;
}

/* All addresses of hosts[t->at], from the nth on. */
static bool try_host(struct search *r, struct dbms_target *t)
{
    char addresses[ADDRESSES][sizeof(t->address)];
    const char *why;
    size_t first;

    assert(t->at < t->url.n_hosts);
    t->n_addresses = look_up(&t->url.hosts[t->at], &why, addresses);
    if (t->n_addresses == 0) {
        t->address[0] = '\0';
        note(r, t, why);
        return false;
    }
    first = t->nth % t->n_addresses;
    for (size_t i = 0; i < t->n_addresses; i++) {
        t->nth = (first + i) % t->n_addresses;
        memcpy(t->address, addresses[t->nth], sizeof(t->address));
        if (try_address(r, t))
            return true;
    }
    assert(t->nth < t->n_addresses);
    return false;
}

static void say_all(const struct search *r, struct err *err)
{
    enum err_code code = r->denied == r->tried ? ERR_DENIED : ERR_UNAVAILABLE;

    assert(r->tried > 0);
    assert(r->denied <= r->tried);
    assert(r->link == NULL);
    if (r->tried == 1) {
        err_set(err, code, "%s", buf_text(&r->said));
    } else {
        err_set(err, code, "none of %zu hosts writes: %s", r->tried,
                buf_text(&r->said));
    }
    err_set_trouble(err, r->trouble != 0 ? r->trouble : TROUBLE_UNREACHABLE);
}

/* What is told of the others: at first, and when there is a better one or none
 * any more. (Who stays with the best of bad ones looks again and again.) */
static void say_chosen(const struct search *r, const struct dbms_target *t)
{
    assert(!t->all);
    assert(r->link != NULL);
    log_info("=server", LOG_S("backend", t->driver->name),
             LOG_S("host", t->url.hosts[t->at].name),
             LOG_I("port", t->url.hosts[t->at].port),
             LOG_S("stands", t->behind ? "behind what is known of the registry"
                                       : "as it may"),
             LOG_S("others", buf_text(&r->said)));
}

static void choose(const struct search *r, struct dbms_target *t)
{
    bool was_all = t->all, was_behind = t->behind;

    assert(r->link != NULL);
    *t = r->best;
    t->behind = is_behind(t);
    t->all = false;
    if ((was_all && r->tried > 0) || t->behind != was_behind)
        say_chosen(r, t);
}

/* Of a search. Who asks all hosts waits for each that does not answer, once. */
static int64_t patience(const struct dbms_target *t)
{
    int64_t for_all = (int64_t)t->url.n_hosts * t->url.connect_ms;

    assert(t->url.n_hosts > 0);
    return t->all && for_all > t->url.call_ms ? for_all + 1 : t->url.call_ms;
}

enum dbms_fault dbms_connect(struct dbms_link **out, struct dbms_target *t,
                             struct err *err)
{
    struct search r = {.until = clock_mono_ms() + patience(t)};
    bool ended = false, denied;

    assert(t->url.n_hosts > 0);
    assert(t->at < t->url.n_hosts);
    buf_init(&r.said, 65536);
    for (size_t i = 0; !ended && i < t->url.n_hosts; i++) {
        ended = try_host(&r, t);
        if (!ended) {
            t->nth = 0;
            t->at = (t->at + 1) % t->url.n_hosts;
        }
    }
    *out = r.link;
    if (r.link != NULL) {
        choose(&r, t);
    } else {
        say_all(&r, err);
        if (ended) /* no time left: the next search goes on from here */
            dbms_connect_next(t);
    }
    denied = r.denied == r.tried;
    buf_close(&r.said);
    return *out != NULL ? DBMS_OK : denied ? DBMS_DENIED : DBMS_LOST;
}
