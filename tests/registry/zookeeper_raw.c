/*
 * zookeeper_raw.c - blocking calls of the ZooKeeper library, checked.
 */
#include "tests/registry/zookeeper_raw.h"

#include "base/clock.h"
#include "base/compiler.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECT_MS 15000

#define raw_must(rc, what, path)                                               \
    do {                                                                       \
        int rc_ = (rc);                                                        \
        if (rc_ != ZOK) {                                                      \
            fail_msg("%s %s: %s", what, path, zkmt.zerror(rc_));               \
        }                                                                      \
    } while (0)

/* The library's thread. Only this: it is connected, or never will be. */
static void on_session(zhandle_t *zh, int type, int state, const char *path,
                       void *arg)
{
    const struct raw *raw = arg;
    uint64_t one = 1;

    (void)zh;
    (void)path;
    if (type == *zkmt.ZOO_SESSION_EVENT &&
        (state == *zkmt.ZOO_CONNECTED_STATE ||
         state == *zkmt.ZOO_EXPIRED_SESSION_STATE))
        (void)!write(raw->wake, &one, sizeof(one));
}

void raw_drop_log(const char *message)
{
    (void)message;
}

bool raw_open(struct raw *raw, uint16_t port, int timeout_ms,
              const clientid_t *session)
{
    struct pollfd wake = {.events = POLLIN};
    char address[32];
    uint64_t count;

    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    raw->wake = wake.fd = eventfd(0, EFD_CLOEXEC);
    assert_true(raw->wake >= 0);
    raw->zh = zkmt.zookeeper_init2(address, on_session, timeout_ms, session,
                                   raw, 0, raw_drop_log);
    assert_non_null(raw->zh);
    if (poll(&wake, 1, CONNECT_MS) != 1) {
        fail_msg("no connection to ZooKeeper at %s in %d ms", address,
                 CONNECT_MS);
    }
    assert_int_equal(read(raw->wake, &count, sizeof(count)), sizeof(count));
    return zkmt.zoo_state(raw->zh) != *zkmt.ZOO_EXPIRED_SESSION_STATE;
}

void raw_close(struct raw *raw)
{
    if (raw->zh != NULL) {
        (void)zkmt.zookeeper_close(raw->zh);
        (void)close(raw->wake);
        raw->zh = NULL;
    }
}

static void on_auth(int rc, const void *arg)
{
    const struct raw *raw = arg;
    uint64_t one = rc == ZOK ? 1 : 2;

    (void)!write(raw->wake, &one, sizeof(one));
}

void raw_auth(struct raw *raw, const char *digest)
{
    struct pollfd wake = {.fd = raw->wake, .events = POLLIN};
    uint64_t count;

    raw_must(zkmt.zoo_add_auth(raw->zh, "digest", digest, (int)strlen(digest),
                               on_auth, raw),
             "add_auth", digest);
    assert_int_equal(poll(&wake, 1, CONNECT_MS), 1);
    assert_int_equal(read(raw->wake, &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 1);
}

uint64_t raw_session(const struct raw *raw)
{
    return (uint64_t)zkmt.zoo_client_id(raw->zh)->client_id;
}

void raw_create(struct raw *raw, const char *path, const char *value, int mode,
                char *made)
{
    int len = value == NULL ? -1 : (int)strlen(value);

    raw_must(zkmt.zoo_create(raw->zh, path, value, len,
                             zkmt.ZOO_OPEN_ACL_UNSAFE, mode, made,
                             made == NULL ? 0 : RAW_PATH),
             "create", path);
}

void raw_create_parents(struct raw *raw, const char *path)
{
    char part[RAW_PATH];

    for (size_t i = 1; i <= strlen(path); i++) {
        int rc;

        if (path[i] != '/' && path[i] != '\0')
            continue;
        (void)snprintf(part, sizeof(part), "%.*s", (int)i, path);
        rc = zkmt.zoo_create(raw->zh, part, NULL, -1, zkmt.ZOO_OPEN_ACL_UNSAFE,
                             *zkmt.ZOO_PERSISTENT, NULL, 0);
        raw_must(rc == ZNODEEXISTS ? ZOK : rc, "create", part);
    }
}

void raw_delete(struct raw *raw, const char *path)
{
    raw_must(zkmt.zoo_delete(raw->zh, path, -1), "delete", path);
}

bool raw_stat(struct raw *raw, const char *path, struct Stat *stat)
{
    struct Stat unused;
    int rc = zkmt.zoo_exists(raw->zh, path, 0, stat == NULL ? &unused : stat);

    raw_must(rc == ZNONODE ? ZOK : rc, "exists", path);
    return rc == ZOK;
}

void raw_children(struct raw *raw, const char *path, struct String_vector *out)
{
    int rc = zkmt.zoo_get_children(raw->zh, path, 0, out);

    if (rc == ZNONODE)
        *out = (struct String_vector){0};
    else
        raw_must(rc, "children of", path);
}

void raw_walk(struct raw *raw, const char *path, raw_node_f *fn, void *arg)
{
    struct String_vector names;

    fn(arg, path);
    raw_children(raw, path, &names);
    for (int32_t i = 0; i < names.count; i++) {
        char below[RAW_PATH];

        (void)snprintf(below, sizeof(below), "%s/%s",
                       strcmp(path, "/") == 0 ? "" : path, names.data[i]);
        raw_walk(raw, below, fn, arg);
    }
    (void)zkmt.deallocate_String_vector(&names);
}
