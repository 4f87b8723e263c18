/*
 * conf_read.c - the entries of a file find their rows in the table and set the
 * fields.
 *
 * Nothing stops at the first mistake: a person who fixes a file wants to hear
 * of all of them at once. So what is wrong is reported and the next entry
 * goes on; only the rules between fields wait until every field is right.
 */
#include "conf/conf_priv.h"

#include "base/mem.h"

#include <string.h>

/* Enough to work on; the rest shows in the next run. */
#define PROBLEMS_MAX 100

static bool is_below(const char *path, const char *block)
{
    size_t n = strlen(block);

    return strncmp(path, block, n) == 0 && path[n] == '.';
}

/* "level and format": what stands in a block. */
static void list_block(const char *block, struct buf *out)
{
    const char *last = NULL;

    assert(out->len == 0);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        if (is_below(key->path, block) && conf_key_is_own(key)) {
            if (last != NULL)
                buf_printf(out, "%s%s", out->len == 0 ? "" : ", ", last);
            last = key->path + strlen(block) + 1;
        }
    }
    if (last != NULL)
        buf_printf(out, "%s%s", out->len == 0 ? "" : " and ", last);
}

static void unknown_key(struct conf_reading *r, const struct conf_entry *e)
{
    const char *nearest = conf_key_nearest(e->path);
    const char *dot = strrchr(e->path, '.');
    char *block =
        mem_strndup(e->path, dot == NULL ? 0 : (size_t)(dot - e->path));
    struct buf keys;

    assert(conf_key_find(e->path) == NULL);
    buf_init(&keys, 1024);
    list_block(block, &keys);
    if (nearest != NULL) {
        conf_problem(r->report, e->line, e->path,
                     "unknown key; did you mean %s?", nearest);
    } else if (keys.len > 0) {
        conf_problem(r->report, e->line, e->path, "unknown key; in %s stand %s",
                     block, buf_text(&keys));
    } else {
        conf_problem(
            r->report, e->line, e->path,
            "unknown key; remove it, or see conf/pelorus.yaml for those there "
            "are (of DolphinScheduler's files only the blocks registry and "
            "worker-load-balancer-configuration-properties are taken)");
    }
    buf_close(&keys);
    mem_free(block);
}

/* Is `path` a block in which keys stand? */
static bool is_block(const char *path)
{
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++)
        if (is_below(key->path, path))
            return true;
    return false;
}

/* Expand and set each item of an entry. */
static void read_values(struct conf_reading *r, const struct conf_key *key,
                        const struct conf_entry *e, struct conf_list *list)
{
    assert(e->n_items == 0 || e->items != NULL);
    for (size_t i = 0; i < e->n_items; i++) {
        struct err err;
        char *text;
        int rc = conf_text_expand(e->items[i].text, &text, &err);

        if (rc == 0) {
            rc = list == NULL ? conf_set(r->conf, key, text, &err)
                              : conf_list_add(list, key, text, &err);
        }
        if (rc != 0)
            conf_problem(r->report, e->items[i].line, e->path, "%s", err.msg);
        mem_free(text);
    }
}

static const char *bad_group_name(const char *name)
{
    if (strcmp(name, "default") == 0) {
        return "default is the group of all workers and needs no list; choose "
               "another name";
    }
    for (const char *s = name; *s != '\0'; s++) {
        if ((unsigned char)*s <= ' ' || strchr("/\"\\", *s) != NULL) {
            return "not a group's name; write one without blanks, slashes and "
                   "quotes";
        }
    }
    return strlen(name) > 128
               ? "a group's name is at most 128 bytes; shorten it"
               : NULL;
}

static void read_group(struct conf_reading *r, const struct conf_key *key,
                       const struct conf_entry *e)
{
    struct conf *conf = r->conf;
    const char *name = e->path + strlen(key->path) + 1;
    const char *why = bad_group_name(name);
    struct conf_list list = {0};

    assert(key->type == CONF_KEY_GROUPS);
    if (e->kind == CONF_BLOCK) {
        why = "a group is a list of addresses, not a block; write "
              "[\"host:port\", ...]";
    }
    if (why != NULL) {
        conf_problem(r->report, e->line, e->path, "%s", why);
        return;
    }
    read_values(r, key, e, &list);
    conf->groups =
        mem_regrow(conf->groups, conf->n_groups + 1, sizeof(*conf->groups));
    conf->groups[conf->n_groups++] =
        (struct conf_group){.name = mem_strdup(name), .addresses = list};
}

/* Another row for the same field was set already? */
static bool set_twice(struct conf_reading *r, const struct conf_key *key,
                      const struct conf_entry *e)
{
    assert(conf_key_counts(key));
    for (const struct conf_key *k = conf_keys; k->path != NULL; k++) {
        unsigned line = r->lines[k - conf_keys];

        if (line != 0 && k != key && k->offset == key->offset &&
            conf_key_counts(k)) {
            conf_problem(r->report, e->line, e->path,
                         "means the same as %s in line %u; keep one of them",
                         k->path, line);
            return true;
        }
    }
    return false;
}

/* Keys of a registry that is not the chosen one. */
static void foreign_key(struct conf_reading *r, const struct conf_entry *e)
{
    const struct conf_key *type = conf_key_find("registry.type");

    assert(conf_key_find(e->path) != NULL);
    if (r->lines[type - conf_keys] == 0) {
        /* It would be a pity to run on SQLite because of a lost line. */
        conf_problem(r->report, e->line, e->path,
                     "belongs to another registry than %s, and registry.type "
                     "is not given; add it",
                     conf_registry_type_name(r->conf->registry.type));
        return;
    }
    log_debug("=conf-ignored", LOG_S("key", e->path), LOG_I("line", e->line),
              LOG_S("reason", "for another registry.type"));
}

static void read_entry(struct conf_reading *r, const struct conf_key *key,
                       const struct conf_entry *e)
{
    assert(e->line > 0);
    if ((key->registries & CONF_FOR(r->conf->registry.type)) == 0) {
        foreign_key(r, e);
    } else if (key->type == CONF_KEY_REFUSED) {
        conf_problem(r->report, e->line, e->path, "cannot be taken; %s",
                     key->advice);
    } else if (key->type == CONF_KEY_IGNORED) {
        log_debug("=conf-ignored", LOG_S("key", e->path),
                  LOG_I("line", e->line), LOG_S("reason", "no meaning here"));
    } else if (key->type == CONF_KEY_GROUPS) {
        if (e->kind == CONF_SCALAR || e->kind == CONF_ITEMS) {
            conf_problem(r->report, e->line, e->path,
                         "one value or list; write a block of names, each with "
                         "a list of addresses");
        }
    } else if (e->kind == CONF_BLOCK ||
               (e->kind == CONF_ITEMS && key->type != CONF_KEY_LIST)) {
        conf_problem(r->report, e->line, e->path,
                     "takes one value, not a %s; write %s: VALUE",
                     e->kind == CONF_BLOCK ? "block" : "list", e->path);
    } else if (e->kind == CONF_NULL && (key->flags & CONF_OPTIONAL) == 0) {
        conf_problem(r->report, e->line, e->path,
                     "no value; give it one, or remove the line");
    } else if (!set_twice(r, key, e)) {
        r->lines[key - conf_keys] = e->line;
        if (key->type == CONF_KEY_LIST) /* not added to the default */
            conf_list_clear(conf_field(r->conf, key));
        read_values(r, key, e, NULL);
    }
}

/* In a block where a list should stand? That was said already. */
static bool is_in_bad_group(const struct conf_doc *doc, size_t i)
{
    assert(i < doc->n);
    for (size_t k = 0; k < i; k++) {
        const struct conf_entry *e = &doc->entries[k];

        if (e->kind == CONF_BLOCK && strncmp(e->path, "groups.", 7) == 0 &&
            is_below(doc->entries[i].path, e->path))
            return true;
    }
    return false;
}

static void place_entry(struct conf_reading *r, const struct conf_doc *doc,
                        size_t i)
{
    const struct conf_entry *e = &doc->entries[i];
    const struct conf_key *key = conf_key_find(e->path);
    const struct conf_key *groups = conf_key_find("groups");
    char parent[CONF_PATH_MAX];
    char *dot;

    assert(i < doc->n);
    if (key != NULL) {
        if (strcmp(key->path, "registry.type") != 0)
            read_entry(r, key, e);
        return;
    }
    if (is_below(e->path, groups->path)) {
        if (!is_in_bad_group(doc, i))
            read_group(r, groups, e);
        return;
    }
    if (e->kind == CONF_BLOCK || e->kind == CONF_NULL) {
        bool inhabited =
            i + 1 < doc->n && is_below(doc->entries[i + 1].path, e->path);

        if (inhabited || is_block(e->path))
            return; /* what stands in it speaks for itself */
    } else if (is_block(e->path)) {
        conf_problem(r->report, e->line, e->path,
                     "a block of keys, not one value; write its keys below it, "
                     "indented");
        return;
    }
    /* Below a key that takes one value: said already. */
    (void)memccpy(parent, e->path, '\0', sizeof(parent));
    dot = strrchr(parent, '.');
    if (dot != NULL) {
        *dot = '\0';
        if (conf_key_find(parent) != NULL)
            return;
    }
    unknown_key(r, e);
}

static bool is_repeated(struct conf_reading *r, const struct conf_doc *doc,
                        size_t i)
{
    const struct conf_entry *e = &doc->entries[i];

    assert(i < doc->n);
    for (size_t k = 0; k < i; k++) {
        if (strcmp(doc->entries[k].path, e->path) == 0) {
            conf_problem(r->report, e->line, e->path,
                         "given already in line %u; keep one of them",
                         doc->entries[k].line);
            return true;
        }
    }
    return false;
}

/* First of all, because it decides what the other keys mean. */
static void read_type(struct conf_reading *r, const struct conf_doc *doc)
{
    const struct conf_key *key = conf_key_find("registry.type");
    size_t i = 0;

    assert(r->conf->registry.type == CONF_SQLITE);
    while (i < doc->n && strcmp(doc->entries[i].path, key->path) != 0)
        i++;
    if (i < doc->n) {
        read_entry(r, key, &doc->entries[i]);
        if (r->conf->registry.type == CONF_MEMORY) {
            conf_problem(
                r->report, doc->entries[i].line, key->path,
                "memory is for simulations and forgets everything; use sqlite");
        }
    }
    conf_set_defaults(r->conf);
}

void conf_read(struct conf_reading *r, struct conf_doc *doc)
{
    const struct conf_key *settle = conf_key_find("failover.settle");

    assert(r->report->n == 0);
    for (size_t i = 0; i < doc->n; i++) {
        char *path = conf_key_canonical(doc->entries[i].path);

        mem_free(doc->entries[i].path);
        doc->entries[i].path = path;
    }
    read_type(r, doc);
    for (size_t i = 0; i < doc->n && r->report->n < PROBLEMS_MAX; i++)
        if (!is_repeated(r, doc, i))
            place_entry(r, doc, i);
    if (r->lines[settle - conf_keys] == 0)
        r->conf->failover.settle_ms = r->conf->registry.session_timeout_ms;
    /* Between wrong values the rules would only confuse. */
    if (r->report->n == 0)
        conf_check_rules(r);
}
