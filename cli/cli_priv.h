/*
 * cli_priv.h - a client of the API for the command line. (Private to this
 * folder.) cli.c has the table of commands with their requests, options.c reads
 * what is given, commands.c, work.c and cluster.c do what a request alone does
 * not, http.c speaks HTTP through libcurl, pages.c joins pages, show.c, table.c
 * and text.c print. One thread.
 */
#ifndef PELORUS_CLI_CLI_PRIV_H
#define PELORUS_CLI_CLI_PRIV_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>

struct json;

/* One run of a command. */
struct cli {
    const char *url;     /* of the coordinators, as given (urls.h); borrowed */
    bool json;           /* what is answered is printed as it came */
    const char *command; /* its name */
    char method[8];      /* of the form's own request (cli.c) */
    struct buf path;     /* path and query of the request */
    struct buf body;     /* of the request; empty: none */
    struct buf answer;
    const char *etag;            /* of the request; NULL: none */
    char who[256];               /* cli_who() */
    char answerer[256];          /* whom of them was asked last */
    long status;                 /* HTTP; 0: there was no answer */
    const struct json *document; /* the answer, NULL if it is no JSON */
    wall_ms now;                 /* by the clock of whoever answered */
};

/* With PELORUS_URL, or http://127.0.0.1:7077; cli_close() frees what it holds.
 */
void cli_init(struct cli *c);
void cli_close(struct cli *c);

/* Who gives an order: as given, or $USER@host; borrowed from either. */
const char *cli_who(struct cli *c, const char *given);

/* Append to the path: a segment (escaped), or name=value behind it (escaped;
 * NULL is left out). */
void cli_segment(struct cli *c, const char *text);
void cli_query(struct cli *c, const char *name, const char *value);
/* A string member of the body, which is open; NULL is left out. */
void cli_member(struct cli *c, const char *name, const char *value);

/* Is c->url one, or several? If not, it is said on standard error. */
bool cli_check_url(const struct cli *c);

/* Send it, to the next coordinator where one does not answer; what may have
 * been carried out is not sent again. 0 for a 2xx with JSON or nothing; else
 * an exit code (cli.h), and the reason is on standard error. */
int cli_send(struct cli *c, const char *method);

/* The pages of a list as one, or just the one with so many items if `limit` is
 * not NULL, after --index and --wait; results as cli_send(). */
struct cli_args;
int cli_get_all(struct cli *c, const struct cli_args *w, const char *limit);

/* A column of a table; all is static. */
struct cli_column {
    const char *title;
    const char *field; /* of the item; "a.b" goes into objects */
    void (*make)(struct buf *out,
                 const struct json *item); /* instead of a field */
    bool below;          /* on a narrow terminal a line below the row */
    unsigned char spare; /* or left out, the highest first; 0: never */
    enum {
        CLI_TEXT,
        CLI_SENTENCES, /* a list of such */
        CLI_COMMAND,   /* to be copied */
        CLI_NUMBER,    /* from here on at the right */
        CLI_PERCENT,
        CLI_AGE,  /* a time: how long ago */
        CLI_LEFT, /* a time to come */
    } as;
};

/* How a list of an answer is shown. */
struct cli_list {
    const struct cli_column *columns;
    size_t n;
    const char *member; /* of the answer: the list */
    const char *none;   /* what is said of an empty one */
    const char *limit;  /* unless --limit says otherwise; NULL: all pages */
};
#define CLI_COLUMNS(list) (list), ARRAY_LEN(list)
extern const struct cli_list cli_node_list, cli_work_list, cli_failover_list,
    cli_group_list;

/* Printing (show.c): a list of the answer, as a table. */
void cli_show_list(struct cli *c, const struct cli_list *list);
/* Every field of the answer, a line each. 0. */
int cli_show_object(struct cli *c);
/* The same of a request that is sent first; results as cli_send(). */
int cli_show_answer(struct cli *c, const char *method);

/* Exit codes besides 0 (cli.h). */
enum {
    CLI_REFUSED = 1,
    CLI_USAGE_EXIT = 2, /* and what the API finds malformed */
    CLI_UNREACHABLE = 3,
    CLI_NOT_FOUND = 4
};

/* What stands behind a subcommand, borrowed from argv but for `excluded` and
 * `balancers`; NULL or false: it is not given. */
struct cli_args {
    const char *url, *kind, *state, *status, *group, *owner, *count, *affinity,
        *id, *policy, *shadow, *payload, *period, *reason, *limit, *who, *etag,
        *index, *wait, *exclude, *balancer;
    char *excluded;  /* memory: all that is excluded, "a,b" */
    char *balancers; /* memory: all that is set, "a=1,b=2" */
    bool json, help, peek, explain, stale, dry_run, force, undo;
    int n; /* those that are no options: the form's operands */
    char **operand;
};
void cli_args_close(struct cli_args *w);

/* Reads argv[1..] into `w` (the caller closes it, whatever is returned), and
 * url and json into `c`. CLI_USAGE: what is wrong was said on standard error.
 */
enum cli_parsed { CLI_GO, CLI_HELP, CLI_USAGE };
enum cli_parsed cli_parse(int argc, char **argv, struct cli *c,
                          struct cli_args *w);
/* The first option given that is not among the names in `takes`, which blanks
 * separate; NULL: all are. Every command takes url, json and help. */
const char *cli_misplaced(const struct cli_args *w, const char *takes);
/* " [--kind KIND] [--peek]", in the order of the table of options. */
void cli_put_options(struct buf *out, const char *takes);
/* The options in `takes` that are given, but those in `but`, go into the
 * query under their own names. */
void cli_query_options(struct cli *c, const struct cli_args *w,
                       const char *takes, const char *but);

/* What a form does beyond its request (commands.c, work.c, cluster.c): how many
 * operands there are is checked, and method and path stand in `c`. An exit
 * code. */
typedef int cli_run_f(struct cli *c, const struct cli_args *w);
cli_run_f cli_best, cli_work_add, cli_work_at, cli_failover_start, cli_gate,
    cli_forget, cli_status, cli_settings, cli_pause, cli_resume, cli_brake,
    cli_group, cli_group_set, cli_fence;
/* The end of an order's body: who says so, and why. */
void cli_order(struct cli *c, const struct cli_args *w);

/* What is printed on. */
struct cli_paper {
    size_t width; /* columns of the terminal; 0: it is none */
    wall_ms now;  /* by the clock of whoever wrote the times */
};

/* The items of a list answer, aligned; a note when there are none. */
void cli_table(const struct json *items, const struct cli_column *columns,
               size_t n, const char *none, const struct cli_paper *paper);
/* A person's line for one field, "-" for null or missing. */
void cli_text(struct buf *out, const struct json *item,
              const struct cli_column *c, wall_ms now);
/* "12s", "3m", "5h", "2d"; below zero: "0s". */
void cli_put_age(struct buf *out, int64_t ms);

/* Text from elsewhere, without what would steer a terminal; say: a line. */
void cli_clean(struct buf *out, const char *text);
void cli_say(FILE *to, const char *text);
/* How many columns of a terminal it takes. */
size_t cli_width(const char *text);
/* At most so many, its middle left out; wrapped behind what stands there, the
 * lines that follow indented (width 0: as it is). The text is clean. */
void cli_shorten(struct buf *out, const char *text, size_t width);
void cli_wrap(struct buf *out, const char *text, size_t indent, size_t width);
/* The columns of standard output; 0: it is no terminal. */
size_t cli_terminal(void);

#endif
