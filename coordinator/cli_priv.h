/*
 * cli_priv.h - a client of the API for the command line: cli_http.c speaks
 * HTTP through libcurl, cli_pages.c joins pages, cli_options.c reads words,
 * cli_table.c prints, cli.c holds the commands.
 */
#ifndef PELORUS_COORDINATOR_CLI_PRIV_H
#define PELORUS_COORDINATOR_CLI_PRIV_H

#include "base/buf.h"
#include "base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>

struct cli {
    const char *url; /* of the coordinators, as given (urls.h) */
    bool json;
    struct buf path; /* path and query of the request */
    struct buf body; /* of the request; empty: none */
    struct buf answer;
    char who[256];   /* cli_who() */
    long status;     /* HTTP; 0: there was no answer */
    cJSON *document; /* the answer, NULL if it is no JSON */
};

void cli_init(struct cli *c);
void cli_close(struct cli *c);

/* Whoever stands behind an order: as given, or $USER@host. */
const char *cli_who(struct cli *c, const char *given);

/* Append to the path: a segment (escaped, after '/') or name=value (escaped;
 * NULL is left out). */
void cli_segment(struct cli *c, const char *text);
void cli_query(struct cli *c, const char *name, const char *value);

/* Said on standard error if it is none. */
bool cli_check_url(const struct cli *c);

/* Send it, to the next coordinator where one does not answer; what may have
 * been carried out is not sent again. 0 for a 2xx with JSON or nothing; 2 where
 * the request is found malformed, else 1, and the reason is on standard error.
 */
int cli_send(struct cli *c, const char *method);

/* The pages of a list as one, or just the one with so many items; results as
 * cli_send(). */
int cli_get_all(struct cli *c, const char *limit);

struct cli_column {
    const char *title;
    const char *field; /* of the item; "a.b" goes into objects */
    bool right;        /* numbers */
    enum { CLI_TEXT, CLI_PERCENT } as;
};

/* What several commands print (cli.c). show_object: every field of the answer,
 * a line each. 0. */
int cli_show_list(struct cli *c, const char *list,
                  const struct cli_column *columns, size_t n, const char *none);
int cli_show_object(struct cli *c);

/* Returned by a command whose words are not its own: its usage is said. */
#define CLI_USAGE_EXIT 2

/* The cluster as a whole (cli_cluster.c). */
struct cli_words;
int cli_status(struct cli *c, const struct cli_words *w);
int cli_settings(struct cli *c, const struct cli_words *w);
int cli_pause(struct cli *c, const struct cli_words *w);
int cli_resume(struct cli *c, const struct cli_words *w);
int cli_brake(struct cli *c, const struct cli_words *w);
int cli_groups(struct cli *c, const struct cli_words *w);
int cli_fence(struct cli *c, const struct cli_words *w);

/* The words after a subcommand; NULL or false: not given. */
struct cli_words {
    const char *kind, *state, *status, *group, *owner, *count, *affinity,
        *exclude, *id, *policy, *payload, *period, *reason, *limit, *who;
    bool peek, explain, dry_run, force, undo;
    int n; /* those that are no options */
    char **word;
};
/* `takes`: the names of the options that this one takes beside url, json and
 * help, separated by blanks. */
enum cli_parsed { CLI_GO, CLI_HELP, CLI_USAGE };
enum cli_parsed cli_parse(int argc, char **argv, const char *takes,
                          struct cli *c, struct cli_words *w);

/* The items of a list answer, aligned; a note when there are none. */
void cli_table(const cJSON *items, const struct cli_column *columns, size_t n,
               const char *none);
/* A person's line for one field, "-" for null or missing. */
void cli_text(struct buf *out, const cJSON *item, const struct cli_column *c);
/* Text from elsewhere, without what would steer a terminal; say: a line. */
void cli_clean(struct buf *out, const char *text);
void cli_say(FILE *to, const char *text);
/* How many columns of a terminal it takes. */
size_t cli_width(const char *text);

#endif
