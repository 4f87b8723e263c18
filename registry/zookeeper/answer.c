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
    case ZRUNTIMEINCONSISTENCY: /* of a whole request: answers out of order */
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

static const struct refusal {
    int rc;
    enum trouble what;
    const char *text; /* NULL: the library's */
} refusals[] = {
    {ZNOAUTH, TROUBLE_FORBIDDEN,
     "not permitted to us (registry.zookeeper.digest)"},
    {ZINVALIDACL, TROUBLE_FORBIDDEN, NULL},
    {QUOTA_EXCEEDED, TROUBLE_QUOTA,
     "the quota of the path, or of one above it, is used up"},
    {ZTHROTTLEDOP, TROUBLE_THROTTLED,
     "the server is overloaded and did not carry it out"},
    {ZSESSIONCLOSEDREQUIRESASLAUTH, TROUBLE_AUTH_DEMANDED,
     "the servers demand that their clients authenticate "
     "(enforce.auth.schemes); we can by registry.zookeeper.digest "
     "only, not by SASL"},
    {ZNOTREADONLY, TROUBLE_READ_ONLY, NULL},
    {ZSYSTEMERROR, TROUBLE_REFUSED, NULL},
    {ZUNIMPLEMENTED, TROUBLE_REFUSED, NULL},
};

/* NULL: it is about nodes, or the connection. */
static const struct refusal *find_refusal(int rc)
{
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (refusals[i].rc == rc)
            return &refusals[i];
    return NULL;
}

const char *zk_error(int rc)
{
    const struct refusal *r = find_refusal(rc);

    return r != NULL && r->text != NULL ? r->text : libzk.zerror(rc);
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

void zk_report_trouble(struct zookeeper *z, const struct zk_request *q)
{
    int at, rc = q->rc;
    const struct refusal *r;
    char detail[ERR_MSG_MAX];

    assert(z == q->z);
    /* Of several operations the one that failed says why. */
    if (rc != ZOK && q->type == ZK_MULTI && zk_first_failed(q, 0, &at) != ZOK)
        rc = q->results[at].err;
    r = find_refusal(rc);
    if (r == NULL)
        return;
    (void)snprintf(detail, sizeof(detail), "%s: %s",
                   q->call != NULL && q->call->n_ops > 0 ? q->call->ops[0].key
                                                         : q->path,
                   zk_error(rc));
    registry_record_trouble(&z->base, r->what, detail);
}
