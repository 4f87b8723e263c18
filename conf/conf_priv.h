/*
 * conf_priv.h - what the files of conf/ share: the table's rows, the flat list
 * that a YAML text becomes, and the report of problems.
 *
 * The way of a value: text -> entries (conf_yaml.c) -> row of the table
 * (conf_table.c, found by conf_read.c) -> field (conf_value.c) -> rules
 * between fields (conf_rules.c). Only conf.c knows the whole way.
 *
 * Layers, from below; each file calls those below it alone:
 *   text.c                  texts that mean nothing yet
 *   conf_yaml.c             YAML to entries, and the report of problems
 *   jdbc_text.c, jdbc_parameters.c, jdbc_hosts.c, jdbc_url.c    JDBC URLs
 *   conf_check.c            what one value must look like
 *   conf_table.c            every key
 *   conf_value.c            one text into one field
 *   conf_print.c            and back, one or all
 *   conf_own.c              settings that a group has of its own
 *   conf_rules.c            all fields
 *   conf_read.c             entries into fields
 *   conf.c                  the whole way
 *   reload.c                again, in a running process
 */
#ifndef PELORUS_CONF_CONF_PRIV_H
#define PELORUS_CONF_CONF_PRIV_H

#include "base/buf.h"
#include "conf/conf.h"
#include "conf/text.h"

#define CONF_FILE_MAX    ((size_t)1 << 20)
#define CONF_ENTRIES_MAX 10000
#define CONF_DEPTH_MAX   8

enum conf_key_type {
    CONF_KEY_STRING,   /* char * */
    CONF_KEY_LIST,     /* struct conf_list */
    CONF_KEY_BOOL,     /* bool */
    CONF_KEY_UINT,     /* uint32_t */
    CONF_KEY_NUMBER,   /* double */
    CONF_KEY_DURATION, /* int64_t, milliseconds */
    CONF_KEY_SIZE,     /* uint64_t, bytes */
    CONF_KEY_ENUM,     /* int-sized enum, by `names` */
    CONF_KEY_LISTEN,   /* listen_host and listen_port */
    CONF_KEY_GROUPS,   /* any name below it: a list of addresses */
    CONF_KEY_OWN,      /* any name below it: a block of settings (own.h) */
    CONF_KEY_IGNORED,  /* accepted; means nothing to us */
    CONF_KEY_REFUSED,  /* means what we cannot do: `advice` is the way out */
};

enum conf_key_flag {
    CONF_SECRET = 1,    /* never printed */
    CONF_OPTIONAL = 2,  /* may be empty: NULL */
    CONF_ALIAS = 4,     /* another spelling of a field with a row of its own */
    CONF_BARE_MS = 8,   /* a duration that may be bare milliseconds (Spring),
                           unless registry.type is one of our own */
    CONF_LINES = 16,    /* a text that may hold line ends and tabs */
    CONF_LIVE = 32,     /* a reload takes it: read by the loop's thread only */
    CONF_JDBC_URL = 64, /* a text that is one, and may hold secrets */
    CONF_PER_GROUP = 128, /* of `balancer`; a number, duration or enum that a
                             group may have of its own: own.h */
};

/* For which registry types a key means something. */
#define CONF_FOR(type) (1u << (type))
#define CONF_FOR_ALL   0xffu

/* What is wrong with a text that is not empty, and what to do; NULL: nothing.
 * Static; does not quote it, for it may be secret. */
typedef const char *conf_text_f(const char *text);

struct conf_key {
    const char *path;
    enum conf_key_type type;
    size_t offset;            /* in struct conf */
    const char *otherwise;    /* the default as written; NULL: none */
    double min, max;          /* numbers and durations (ms) */
    const char *const *names; /* enum: by value, NULL-terminated */
    conf_text_f *check;       /* string, and each item of a list */
    unsigned registries;      /* CONF_FOR(...) */
    unsigned flags;
    const char *advice; /* CONF_KEY_REFUSED: what to write instead */
};

/* Does it stand for a field of struct conf? */
static inline bool conf_key_counts(const struct conf_key *key)
{
    assert(key->path != NULL);
    return key->type != CONF_KEY_IGNORED && key->type != CONF_KEY_REFUSED;
}

/* A row of its own: the field's name in files, not another spelling of it. */
bool conf_key_is_own(const struct conf_key *key);

/* The table: conf_n_keys rows, and one more without a path. */
extern const struct conf_key conf_keys[];
extern const size_t conf_n_keys;

/* The row for a path, or NULL. */
const struct conf_key *conf_key_find(const char *path);

/* The path as the table spells it (mem_free): below a block of
 * DolphinScheduler's a name may be written as Spring reads it, connectString,
 * connect_string or CONNECT-STRING for connect-string. What is not known, or
 * stands elsewhere, is as it was. */
char *conf_key_canonical(const char *path);

/* The path nearest to an unknown one, or NULL if none is near. */
const char *conf_key_nearest(const char *path);

/* Defaults that depend on the registry's type; NULL: the row's own. */
const char *conf_key_default(const struct conf_key *key,
                             enum conf_registry_type type);

/* ---- from text to entries ---- */

struct conf_item {
    char *text;
    unsigned line;
};

struct conf_entry {
    char *path;
    unsigned line;
    enum { CONF_SCALAR, CONF_NULL, CONF_ITEMS, CONF_BLOCK } kind;
    struct conf_item *items; /* CONF_SCALAR: one */
    size_t n_items;
};

struct conf_doc {
    struct conf_entry *entries;
    size_t n, cap;
    size_t n_items; /* of all entries */
};

struct conf_report {
    const char *file;
    struct buf *problems; /* or NULL */
    struct err *err;      /* or NULL */
    unsigned n;
};

/* One problem: "file:line: key: what; what to do". Line 0 and an empty key
 * are left out. */
void conf_problem(struct conf_report *report, unsigned line, const char *key,
                  const char *fmt, ...) PRINTF_LIKE(4, 5);

/* False: reported, and `doc` holds nothing of use. */
bool conf_yaml_read(struct conf_doc *doc, const char *text, size_t len,
                    struct conf_report *report);
void conf_doc_close(struct conf_doc *doc);

/* ---- from entries to fields ---- */

/* Where the field of this key lies. */
void *conf_field(const struct conf *conf, const struct conf_key *key);
/* And how large it is. */
size_t conf_field_size(const struct conf_key *key);

/* Every key but registry.type at its default for that type; nothing else may be
 * set yet. */
void conf_set_defaults(struct conf *conf);

/* Set one field from text (expanded). The old value is freed; a list gets
 * the items of the text in addition. */
int conf_set(struct conf *conf, const struct conf_key *key, const char *text,
             struct err *err) MUST_CHECK;

void conf_list_clear(struct conf_list *list);
/* The items of "a, b" in addition; ERR_INVALID: those before the bad one. */
int conf_list_add(struct conf_list *list, const struct conf_key *key,
                  const char *text, struct err *err) MUST_CHECK;

/* Append a field's value as it would be written in the file; of the groups and
 * their settings a line for each, with its key. */
void conf_format(const struct conf *conf, const struct conf_key *key,
                 struct buf *out);

/* Checks for conf_key.check. */
conf_text_f conf_check_address, conf_check_namespace, conf_check_lock_path,
    conf_check_endpoint, conf_check_connect_string, conf_check_node_kind,
    conf_check_file, conf_check_digest;

/* What Curator and jetcd overlook, taken out: blanks and empty items in a list
 * of servers (mem_free); capitals of the scheme and a '/' at the end, in place.
 */
char *conf_plain_servers(const char *text);
void conf_plain_endpoint(char *text);

struct conf_reading {
    struct conf *conf;
    struct conf_report *report;
    unsigned *lines; /* by row of the table: where it was set, 0: not */
};

/* All entries (their paths become the table's), the defaults that depend on
 * them, then the rules. */
void conf_read(struct conf_reading *r, struct conf_doc *doc);

/* ---- rules between fields ---- */

void conf_check_rules(struct conf_reading *r);

#endif
