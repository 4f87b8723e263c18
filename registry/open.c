/*
 * open.c - which backend a configuration means.
 *
 * The only file that names the backends, so that a program which opens one by
 * itself (the simulator) does not link the others.
 */
#include "conf/conf.h"
#include "registry/dbms/dbms.h"
#include "registry/etcd/etcd.h"
#include "registry/sqlite/sqlite.h"
#include "registry/zookeeper/zookeeper.h"

static const struct {
    enum conf_registry_type type;
    registry_open_f *open;
} backends[] = {
    {CONF_SQLITE, sqlite_open},
    {CONF_ZOOKEEPER, zookeeper_open},
    {CONF_ETCD, etcd_open},
    {CONF_JDBC, dbms_jdbc_open},
};

int registry_open(struct registry **out, struct loop *loop,
                  const struct conf_registry *conf, struct err *err)
{
    assert(out != NULL && loop != NULL);
    assert(conf != NULL);
    *out = NULL;
    for (size_t i = 0; i < ARRAY_LEN(backends); i++)
        if (backends[i].type == conf->type)
            return backends[i].open(out, loop, conf, err);
    return err_set(err, ERR_INVALID,
                   "registry.type: %s cannot be served by this pelorus; "
                   "use sqlite, zookeeper, etcd or jdbc",
                   conf_registry_type_name(conf->type));
}

int registry_schema(const struct conf_registry *conf, bool apply,
                    const char **text, struct err *err)
{
    assert(conf != NULL);
    if (conf->type != CONF_JDBC) {
        return err_set(
            err, ERR_INVALID,
            "registry.type: %s needs no schema; start `pelorus serve`",
            conf_registry_type_name(conf->type));
    }
    return dbms_jdbc_schema(conf, apply, text, err);
}
