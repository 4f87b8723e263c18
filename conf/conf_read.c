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
#include "conf/own.h"

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
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "not a group's name; write one that is no path";
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
    if (strcmp(name, "default") == 0) {
        why = "default is the group of all workers and needs no list; choose "
              "another name";
    }
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

/* --- settings of a group's own ------------------------------------------- */

#define OWN_BLOCK "balancer.groups."

/* The key that a path below OWN_BLOCK ends with, and how long the group's name
 * before it is; conf_own_keys(): it is none. */
static size_t own_key_of(const char *rest, size_t *name_len)
{
    size_t key = 0, len = strlen(rest);

    for (; key < conf_own_keys(); key++) {
        size_t n = strlen(conf_own_name(key));

        if (len < n + 2 || rest[len - n - 1] != '.' ||
            strcmp(rest + len - n, conf_own_name(key)) != 0)
            continue;
        *name_len = len - n - 1;
        return key;
    }
    *name_len = strcspn(rest, ".");
    return key;
}

static void unknown_own_key(struct conf_reading *r, const struct conf_entry *e)
{
    const char *name = strchr(e->path + strlen(OWN_BLOCK), '.');
    const char *nearest = NULL;
    size_t least = 4;
    char general[CONF_PATH_MAX];
    struct buf keys;

    buf_init(&keys, 1024);
    for (size_t key = 0; key < conf_own_keys(); key++) {
        size_t d = name == NULL
                       ? least
                       : conf_text_distance(conf_own_name(key), name + 1);

        buf_printf(&keys, "%s%s", key == 0 ? "" : ", ", conf_own_name(key));
        if (d < least) {
            least = d;
            nearest = conf_own_name(key);
        }
    }
    (void)snprintf(general, sizeof(general), "balancer%s",
                   name == NULL ? "" : name);
    if (name == NULL)
        conf_problem(r->report, e->line, e->path,
                     "a block of settings, not one value; write its keys below "
                     "it, indented: %s",
                     buf_text(&keys));
    else if (nearest != NULL)
        conf_problem(r->report, e->line, e->path,
                     "unknown key; did you mean %s?", nearest);
    else
        conf_problem(r->report, e->line, e->path,
                     conf_key_find(general) != NULL
                         ? "holds for all groups; set %s, and of a group %s"
                         : "unknown key (%s is none, too); a group may have of "
                           "its own %s",
                     general, buf_text(&keys));
    buf_close(&keys);
}

static struct conf_own *own_of(struct conf *conf, const char *name, size_t len,
                               unsigned line)
{
    for (size_t i = 0; i < conf->n_owns; i++)
        if (strncmp(conf->owns[i].name, name, len) == 0 &&
            conf->owns[i].name[len] == '\0')
            return &conf->owns[i].own;
    conf->owns = mem_regrow(conf->owns, conf->n_owns + 1, sizeof(*conf->owns));
    conf->owns[conf->n_owns] =
        (struct conf_group_own){.name = mem_strndup(name, len), .line = line};
    return &conf->owns[conf->n_owns++].own;
}

static void set_own(struct conf_reading *r, const struct conf_entry *e,
                    const char *name, size_t len, size_t key)
{
    struct err err;
    char *text;
    int rc = conf_text_expand(e->items[0].text, &text, &err);

    assert(e->kind == CONF_SCALAR && e->n_items == 1);
    if (rc == 0)
        rc = conf_own_set(own_of(r->conf, name, len, e->line), key, text, &err);
    if (rc != 0)
        conf_problem(r->report, e->items[0].line, e->path, "%s", err.msg);
    mem_free(text);
}

static void read_own(struct conf_reading *r, const struct conf_entry *e)
{
    const char *rest = e->path + strlen(OWN_BLOCK), *why;
    size_t len, key = own_key_of(rest, &len);
    char *name = mem_strndup(rest, len);

    assert(e->line > 0);
    why = strcmp(name, "default") == 0
              ? "default, the group of all workers, goes by the settings of "
                "balancer itself; set them there"
              : bad_group_name(name);
    if (key == conf_own_keys()) {
        if (e->kind == CONF_SCALAR || e->kind == CONF_ITEMS)
            unknown_own_key(r, e);
        /* what stands in a block speaks for itself */
    } else if (why != NULL) {
        conf_problem(r->report, e->line, e->path, "%s", why);
    } else if (e->kind == CONF_NULL) {
        conf_problem(r->report, e->line, e->path,
                     "no value; give it one, or remove the line");
    } else if (e->kind != CONF_SCALAR) {
        conf_problem(r->report, e->line, e->path,
                     "takes one value, not a %s; write %s: VALUE",
                     e->kind == CONF_BLOCK ? "block" : "list", e->path);
    } else {
        set_own(r, e, rest, len, key);
    }
    mem_free(name);
}

/* Groups' names are in lower case, as in the API and in heartbeats: what is
 * asked for is never found under another one. */
static void lower_group(char *path)
{
    static const char groups[] = "groups.";
    char *name = path + strlen(groups);
    size_t len = strlen(path);

    if (strncmp(path, OWN_BLOCK, strlen(OWN_BLOCK)) == 0) {
        name = path + strlen(OWN_BLOCK);
        (void)own_key_of(name, &len);
    } else if (strncmp(path, groups, strlen(groups)) == 0) {
        len -= strlen(groups);
    } else {
        return;
    }
    for (size_t i = 0; i < len; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] - 'A' + 'a');
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
    } else if (key->type == CONF_KEY_GROUPS || key->type == CONF_KEY_OWN) {
        if (e->kind == CONF_SCALAR || e->kind == CONF_ITEMS) {
            conf_problem(r->report, e->line, e->path,
                         "one value or list; write a block of names, each with "
                         "a %s",
                         key->type == CONF_KEY_OWN ? "block of settings"
                                                   : "list of addresses");
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
    if (strncmp(e->path, OWN_BLOCK, strlen(OWN_BLOCK)) == 0) {
        read_own(r, e);
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
        lower_group(path);
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
