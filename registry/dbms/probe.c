/*
 * probe.c - does a server keep the locks of rows?
 *
 * All that is ours rests on them, and some that speak MySQL's language take
 * FOR UPDATE and lock nothing: tables of another engine than InnoDB, servers
 * that only look like MySQL. Nothing that they say of themselves tells, so it
 * is tried: what one connection has locked a second one must not get. Both are
 * there before the row is, and it is the counter's; so others wait for the
 * length of two short requests, once for each server that we come to.
 */
#include "registry/dbms/dbms_priv.h"

#include <string.h>

static enum dbms_fault ask(struct dbms_link *link, const struct dbms_target *t,
                           const char *sql, bool *got)
{
    assert(link != NULL);
    *got = false;
    return t->driver->run(link, sql, strlen(sql), dbms_any_row, got, NULL);
}

enum verdict {
    UNKNOWN, /* no table, no row, no answer */
    KEPT,
    LOOSE,
};

/* One statement a request: some cannot part them. */
static enum verdict try_both(struct dbms_link *first, struct dbms_link *second,
                             const struct dbms_target *t)
{
    const struct dbms_syntax *syntax = t->driver->syntax;
    enum dbms_fault fault;
    bool got;

    assert(first != NULL);
    assert(second != NULL);
    assert(first != second);
    if (ask(second, t, "BEGIN", &got) != DBMS_OK ||
        ask(first, t, "BEGIN", &got) != DBMS_OK ||
        ask(first, t, syntax->hold, &got) != DBMS_OK || !got)
        return UNKNOWN;
    fault = ask(second, t, syntax->hold_too, &got);
    if (fault == DBMS_REFUSED) { /* it does not know NOWAIT */
        (void)ask(second, t, syntax->patience, &got);
        fault = ask(second, t, syntax->hold, &got);
    }
    return fault == DBMS_OK && got ? LOOSE
           : fault == DBMS_WAITED  ? KEPT
                                   : UNKNOWN;
}

static enum dbms_fault is_loose(const struct dbms_target *t, struct err *err)
{
    assert(t->driver->syntax->hold != NULL);
    err_set(err, ERR_UNAVAILABLE,
            "%s: this server keeps no row locks: two transactions held "
            "one row of pelorus_meta at a time; use MariaDB or MySQL "
            "with ENGINE = InnoDB",
            t->driver->name);
    err_set_trouble(err, TROUBLE_NO_LOCKS);
    return DBMS_NOT_HERE;
}

static bool is_probed(const struct dbms_target *t)
{
    return t->probed && t->probed_at == t->at &&
           strcmp(t->probed_address, t->address) == 0;
}

enum dbms_fault dbms_probe(struct dbms_link *link, struct dbms_target *t,
                           struct err *err)
{
    struct dbms_link *second = NULL;
    enum dbms_fault fault;
    enum verdict verdict;

    assert(link != NULL);
    if (t->driver->syntax->hold == NULL || is_probed(t))
        return DBMS_OK;
    fault = dbms_schema_check(link, t, err);
    if (fault != DBMS_OK)
        return fault;
    if (t->driver->connect(&second, t, NULL) != DBMS_OK)
        return DBMS_OK; /* without a second connection nobody can tell */
    verdict = try_both(link, second, t);
    t->driver->close(&second);
    if (t->driver->run(link, "ROLLBACK", strlen("ROLLBACK"), dbms_ignore_row,
                       NULL, NULL) != DBMS_OK) {
        err_set(err, ERR_UNAVAILABLE, "%s: the connection was lost",
                t->driver->name);
        return DBMS_LOST;
    }
    if (verdict == LOOSE)
        return is_loose(t, err);
    t->probed = verdict == KEPT;
    t->probed_at = t->at;
    memcpy(t->probed_address, t->address, sizeof(t->probed_address));
    return DBMS_OK;
}

/* --- one that does not understand us ------------------------------------- */

static enum verdict try_bare(const struct dbms_target *t)
{
    struct dbms_link *first = NULL, *second = NULL;
    enum verdict verdict = UNKNOWN;

    assert(t->bare);
    if (t->driver->connect(&first, t, NULL) == DBMS_OK) {
        if (t->making)
            (void)dbms_schema_counter(first, t);
        if (t->driver->connect(&second, t, NULL) == DBMS_OK) {
            verdict = try_both(first, second, t);
            t->driver->close(&second);
        }
        t->driver->close(&first);
    }
    assert(first == NULL);
    assert(second == NULL);
    return verdict;
}

enum dbms_fault dbms_probe_bare(struct dbms_target *t, enum dbms_fault fault,
                                struct err *err)
{
    enum verdict verdict;

    assert(fault != DBMS_OK);
    assert(!t->bare);
    if (t->driver->syntax->hold == NULL || err->trouble != TROUBLE_NONE)
        return fault; /* it knows us, and refuses for a reason of its own */
    t->bare = true;
    verdict = try_bare(t);
    t->bare = false;
    if (verdict == LOOSE) {
        char said[ERR_MSG_MAX];

        memcpy(said, err->msg, sizeof(said));
        fault = is_loose(t, err);
        err_add(err, " (and it does not know our settings: %.120s)", said);
    } else {
        err_add(err,
                "; is this MariaDB, or MySQL, with InnoDB? Such as only look "
                "like them keep no row locks");
    }
    assert(!t->bare);
    return fault;
}
