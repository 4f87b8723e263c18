/*
 * path.c - keys and paths, nodes and entries, directories.
 *
 * Directories below our keys are plain persistent nodes without a value. Only
 * those around locks are containers, as Curator makes them: the server removes
 * a container once it is empty, which would lose a value written into it (and
 * does not tell which nodes are containers).
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <stdlib.h>
#include <string.h>

char *zk_path(const struct zookeeper *z, const char *key)
{
    assert(key[0] == '/');
    return mem_printf("%s%s", z->root, strcmp(key, "/") == 0 ? "" : key);
}

const char *zk_key(const struct zookeeper *z, const char *path)
{
    size_t n = strlen(z->root);

    assert(strncmp(path, z->root, n) == 0);
    return path[n] == '\0' ? "/" : path + n;
}

char *zk_child_key(const char *key, const char *name)
{
    assert(key[0] == '/');
    return mem_printf("%s/%s", strcmp(key, "/") == 0 ? "" : key, name);
}

struct zk_request *zk_request_for(struct zookeeper *z,
                                  enum zk_request_type type, const char *key,
                                  zk_done_f *done, void *arg)
{
    char *path = zk_path(z, key);
    struct zk_request *q = zk_request_new(z, type, path, done, arg);

    mem_free(path);
    return q;
}

/* --- what a node is ------------------------------------------------------ */

uint64_t zk_owner(const struct Stat *stat)
{
    return (uint64_t)stat->ephemeralOwner; /* a container's is 0 */
}

bool zk_is_directory(const struct Stat *stat)
{
    return stat->dataLength == 0 && zk_owner(stat) == 0;
}

uint64_t zk_version(const struct Stat *stat)
{
    return ((uint64_t)(uint32_t)stat->version + 1) << 1 | (zk_owner(stat) != 0);
}

int32_t zk_data_version(uint64_t version)
{
    uint64_t v = (version >> 1) - 1;

    return version < 2 || v > INT32_MAX ? ZK_NO_VERSION : (int32_t)v;
}

bool zk_version_ephemeral(uint64_t version)
{
    return (version & 1) != 0;
}

struct registry_entry zk_entry(const char *key, const struct Stat *stat,
                               const char *data, size_t len)
{
    assert(key != NULL);
    return (struct registry_entry){.key = key,
                                   .value = data,
                                   .value_len = len,
                                   .created = (uint64_t)stat->czxid,
                                   .version = zk_version(stat),
                                   .owner = zk_owner(stat)};
}

/* --- missing directories ------------------------------------------------- */

struct making {
    size_t pending;
    int rc; /* the first that matters */
    zk_made_f *done;
    void *arg;
};

static void made_one(struct making *m, int rc)
{
    assert(m->pending > 0);
    if (rc != ZOK && rc != ZNODEEXISTS && m->rc == ZOK)
        m->rc = rc;
    if (--m->pending > 0)
        return;
    m->done(m->arg, m->rc);
    mem_free(m);
}

static void on_made(void *arg, struct zk_request *q)
{
    made_one(arg, q->rc);
}

static void make(struct zookeeper *z, struct making *m, const char *path,
                 int mode)
{
    struct zk_request *q = zk_request_new(z, ZK_CREATE, path, on_made, m);

    q->mode = mode;
    q->again = true;
    m->pending++;
    zk_send(q);
}

/* Everything above `path` and itself, from the top; what it shares with the
 * one before is there already. */
static void make_chain(struct zookeeper *z, struct making *m, char *path,
                       const char *before, int mode)
{
    assert(before == NULL || strcmp(before, path) <= 0);
    assert(path[0] == '/');
    for (char *s = strchrnul(path + 1, '/');; s = strchrnul(s + 1, '/')) {
        size_t n = (size_t)(s - path);
        bool end = *s == '\0', shared;

        shared = before != NULL && strncmp(path, before, n) == 0 &&
                 (before[n] == '/' || before[n] == '\0');
        if (!shared) {
            *s = '\0';
            make(z, m, path, mode);
            *s = end ? '\0' : '/';
        }
        if (end)
            return;
    }
}

void zk_make_dirs(struct zookeeper *z, char **dirs, size_t n, int mode,
                  zk_made_f *done, void *arg)
{
    struct making *m = mem_zalloc(sizeof(*m));

    assert(done != NULL);
    assert(n > 0);
    m->done = done;
    m->arg = arg;
    m->pending = 1; /* until all are sent */
    qsort(dirs, n, sizeof(char *), zk_by_bytes);
    for (size_t i = 0; i < n; i++)
        make_chain(z, m, dirs[i], i == 0 ? NULL : dirs[i - 1], mode);
    assert(m->pending > 1);
    m->pending--;
}
