/*
 * answer.c - what the code of an answer says.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <stdio.h>

#define QUOTA_EXCEEDED (-125) /* the client has no name for it */

bool zk_broken(int rc)
{
    switch (rc) {
    case ZCONNECTIONLOSS:
    case ZOPERATIONTIMEOUT:
    case ZSESSIONEXPIRED:
    case ZSESSIONMOVED:
    case ZINVALIDSTATE:
    case ZCLOSING:
    case ZAUTHFAILED:
        return true;
    default:
        return false;
    }
}

bool zk_commits(enum zk_request_type type)
{
    return type == ZK_CREATE || type == ZK_DELETE || type == ZK_MULTI;
}

bool zk_committed(const struct zk_request *q)
{
    switch (q->rc) {
    case ZOK:
    case ZNONODE:
    case ZNODEEXISTS:
    case ZBADVERSION:
    case ZNOTEMPTY:
    case ZNOCHILDRENFOREPHEMERALS:
    case ZNOAUTH:
        return zk_commits(q->type);
    default:
        return false;
    }
}

const char *zk_error(int rc)
{
    switch (rc) {
    case ZNOAUTH:
        return "not permitted to us (registry.zookeeper.digest)";
    case QUOTA_EXCEEDED:
        return "the quota of the path, or of one above it, is used up";
    case ZTHROTTLEDOP:
        return "the server is overloaded and did not carry it out";
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return "the servers demand that their clients authenticate "
               "(enforce.auth.schemes); we can by registry.zookeeper.digest "
               "only, not by SASL";
    default:
        return zerror(rc);
    }
}

static enum trouble trouble_of(int rc)
{
    switch (rc) {
    case ZNOAUTH:
    case ZINVALIDACL:
        return TROUBLE_FORBIDDEN;
    case QUOTA_EXCEEDED:
        return TROUBLE_QUOTA;
    case ZTHROTTLEDOP:
        return TROUBLE_THROTTLED;
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return TROUBLE_AUTH_DEMANDED;
    case ZNOTREADONLY:
        return TROUBLE_READ_ONLY;
    case ZSYSTEMERROR:
    case ZUNIMPLEMENTED:
        return TROUBLE_REFUSED;
    default: /* of nodes, or of the connection */
        return TROUBLE_NONE;
    }
}

int zk_first_failed(const struct zk_request *q, int from, int *at)
{
    assert(q->type == ZK_MULTI);
    assert(from >= 0 && from <= q->n_ops);
    for (*at = from; *at < q->n_ops; ++*at) {
        int rc = q->results[*at].err;

        if (rc != ZOK && rc != ZRUNTIMEINCONSISTENCY)
            return rc;
    }
    return ZOK;
}

/* Of several operations the one that failed says why. */
static int reason(const struct zk_request *q)
{
    int at, rc = q->type == ZK_MULTI ? zk_first_failed(q, 0, &at) : ZOK;

    return rc != ZOK ? rc : q->rc;
}

void zk_report_trouble(struct zookeeper *z, const struct zk_request *q)
{
    int rc = q->rc == ZOK ? ZOK : reason(q);
    char detail[ERR_MSG_MAX];

    assert(z == q->z);
    if (trouble_of(rc) == TROUBLE_NONE)
        return;
    (void)snprintf(detail, sizeof(detail), "%s: %s",
                   q->call != NULL && q->call->n_ops > 0 ? q->call->ops[0].key
                                                         : q->path,
                   zk_error(rc));
    registry_met(&z->base, trouble_of(rc), detail);
}
