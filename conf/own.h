/*
 * own.h - those settings of the balancer that a group may have of its own.
 *
 * balancer.KEY holds for all groups, balancer.groups.NAME.KEY and what the API
 * was told for one. Which keys may be so, their ranges and their units stand
 * in the table of conf_table.c: the rows that are marked CONF_PER_GROUP, which
 * are numbered here from 0 on in the table's order. Any thread.
 */
#ifndef PELORUS_CONF_OWN_H
#define PELORUS_CONF_OWN_H

#include "base/buf.h"
#include "conf/conf.h"

#define CONF_OWN_MAX 32 /* keys at most */

size_t conf_own_keys(void);
/* As it is written behind "balancer.": "dynamic-weights.cpu-usage". Static. */
const char *conf_own_name(size_t key);
/* Written as a bare number; else as a text: 30s, last. */
bool conf_own_is_number(size_t key);

/* ERR_INVALID says what is wrong with the value and which there are; `own` is
 * as it was then. */
int conf_own_set(struct conf_own *own, size_t key, const char *text,
                 struct err *err) MUST_CHECK;
/* Of a key that conf_own_is_number(). */
int conf_own_set_number(struct conf_own *own, size_t key, double value,
                        struct err *err) MUST_CHECK;
/* It is as with all groups again. */
void conf_own_unset(struct conf_own *own, size_t key);

static inline bool conf_own_has(const struct conf_own *own, size_t key)
{
    return (own->given & UINT32_C(1) << key) != 0;
}

/* What holds between keys: of dynamic-weights all three or none, and they sum
 * to 100. ERR_INVALID: "dynamic-weights: what; what to do", with `dash` for the
 * '-' of a name. */
int conf_own_check(const struct conf_own *own, char dash,
                   struct err *err) MUST_CHECK;

/* Put what `own` has in the place of what stands there. */
void conf_own_apply(const struct conf_own *own, struct conf_balancer *to);

/* Append the value of a key as JSON: 0.8, "1m". */
void conf_own_put(const struct conf_balancer *from, size_t key,
                  struct buf *out);

/* What the file says of this group, or NULL. */
const struct conf_own *conf_own_of(const struct conf *conf, const char *group);

#endif
