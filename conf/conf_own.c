/*
 * conf_own.c - settings of a group's own: keys of the table, kept beside
 * which of them are given.
 *
 * A group's values lie in a struct conf_balancer like the general ones, so
 * that what reads, checks and writes a key of the table does so for a group,
 * too; only the bits say which of them count.
 */
#include "conf/conf_priv.h"
#include "conf/own.h"

#include <string.h>

#define AT(field) offsetof(struct conf, balancer.field)

static const size_t weights[] = {AT(cpu_usage_weight), AT(memory_usage_weight),
                                 AT(pool_usage_weight)};

/* The row of a key; NULL: there are not so many. */
static const struct conf_key *row_of(size_t key)
{
    for (const struct conf_key *row = conf_keys; row->path != NULL; row++)
        if ((row->flags & CONF_PER_GROUP) != 0 && key-- == 0)
            return row;
    return NULL;
}

size_t conf_own_keys(void)
{
    size_t n = 0;

    for (const struct conf_key *row = conf_keys; row->path != NULL; row++)
        n += (row->flags & CONF_PER_GROUP) != 0;
    assert(n > 0);
    assert(n <= CONF_OWN_MAX);
    return n;
}

const char *conf_own_name(size_t key)
{
    const struct conf_key *row = row_of(key);

    assert(row != NULL);
    assert(strncmp(row->path, "balancer.", 9) == 0);
    return row->path + 9;
}

bool conf_own_is_number(size_t key)
{
    enum conf_key_type type = row_of(key)->type;

    assert(type == CONF_KEY_NUMBER || type == CONF_KEY_DURATION ||
           type == CONF_KEY_ENUM);
    return type == CONF_KEY_NUMBER;
}

static void given(struct conf_own *own, size_t key)
{
    assert(key < CONF_OWN_MAX);
    own->given |= UINT32_C(1) << key;
    assert(conf_own_has(own, key));
}

int conf_own_set(struct conf_own *own, size_t key, const char *text,
                 struct err *err)
{
    struct conf scratch = {.balancer = own->values};
    int rc = conf_set(&scratch, row_of(key), text, err);

    assert(key < conf_own_keys());
    if (rc == 0) {
        own->values = scratch.balancer;
        given(own, key);
    }
    return rc;
}

int conf_own_set_number(struct conf_own *own, size_t key, double value,
                        struct err *err)
{
    struct conf scratch = {.balancer = own->values};
    const struct conf_key *row = row_of(key);

    assert(conf_own_is_number(key));
    if (!(value >= row->min && value <= row->max))
        return err_set(err, ERR_INVALID,
                       "%g is out of range; choose from %g to %g", value,
                       row->min, row->max);
    *(double *)conf_field(&scratch, row) = value;
    own->values = scratch.balancer;
    given(own, key);
    return 0;
}

void conf_own_unset(struct conf_own *own, size_t key)
{
    assert(key < CONF_OWN_MAX);
    own->given &= ~(UINT32_C(1) << key);
    assert(!conf_own_has(own, key));
}

/* How many of the weights are given, and their sum. */
static unsigned weights_of(const struct conf_own *own, double *sum)
{
    const struct conf scratch = {.balancer = own->values};
    unsigned n = 0;

    *sum = 0;
    for (size_t key = 0; key < conf_own_keys(); key++) {
        const struct conf_key *row = row_of(key);

        for (size_t i = 0; i < ARRAY_LEN(weights); i++) {
            if (row->offset != weights[i] || !conf_own_has(own, key))
                continue;
            n++;
            *sum += *(const double *)conf_field(&scratch, row);
        }
    }
    assert(n <= ARRAY_LEN(weights));
    return n;
}

int conf_own_check(const struct conf_own *own, char dash, struct err *err)
{
    double sum;
    unsigned n = weights_of(own, &sum);

    assert(dash == '-' || dash == '_');
    if (n > 0 && n < ARRAY_LEN(weights))
        return err_set(err, ERR_INVALID,
                       "dynamic%cweights: only %u of three; give cpu%cusage, "
                       "memory%cusage and task%cthread%cpool%cusage, or none",
                       dash, n, dash, dash, dash, dash, dash);
    if (n > 0 && (sum < 99.999 || sum > 100.001))
        return err_set(err, ERR_INVALID,
                       "dynamic%cweights: the three weights sum to %g; make "
                       "them sum to 100",
                       dash, sum);
    return 0;
}

void conf_own_apply(const struct conf_own *own, struct conf_balancer *to)
{
    const struct conf from = {.balancer = own->values};
    struct conf scratch = {.balancer = *to};

    for (size_t key = 0; key < conf_own_keys(); key++) {
        const struct conf_key *row = row_of(key);

        if (conf_own_has(own, key))
            memcpy(conf_field(&scratch, row), conf_field(&from, row),
                   conf_field_size(row));
    }
    assert(scratch.balancer.heartbeat_interval_ms == to->heartbeat_interval_ms);
    *to = scratch.balancer;
}

void conf_own_put(const struct conf_balancer *from, size_t key, struct buf *out)
{
    const struct conf scratch = {.balancer = *from};
    bool bare = conf_own_is_number(key);

    assert(key < conf_own_keys());
    if (!bare)
        buf_char(out, '"');
    conf_format(&scratch, row_of(key), out);
    if (!bare)
        buf_char(out, '"');
}

const struct conf_own *conf_own_of(const struct conf *conf, const char *group)
{
    assert(conf->n_owns == 0 || conf->owns != NULL);
    for (size_t i = 0; i < conf->n_owns; i++)
        if (strcmp(conf->owns[i].name, group) == 0)
            return &conf->owns[i].own;
    return NULL;
}
