/*
 * doctor.c - see doctor.h. The findings are collected and printed at the end,
 * in the order in which they were made: configuration, host, registry,
 * coordinators.
 */
#include "cli/doctor/doctor.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "cli/cli_priv.h"
#include "cli/doctor/doctor_priv.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define USAGE "usage: pelorus doctor [-c FILE] [--url URL[,URL...]] [--json]\n"

static const char more[] =
    "With -c: is FILE right, are its files safe, is its registry reachable and "
    "well\n(a session is made there for a moment; rates take five seconds)? "
    "With --url\n(PELORUS_URL; without both: http://127.0.0.1:7077): are those "
    "coordinators well,\nand what do they know of their store? Each line: ok, "
    "unknown (it cannot be\ntold), warning or problem, what, where, and below "
    "it what to do.\n"
    "Exit codes: 0 no problem, whatever the warnings; 1 a problem; 2 not "
    "understood.\n";

void doctor_say(struct doctor *d, enum fact_verdict verdict, const char *name,
                const char *where, const char *advice, const char *fmt, ...)
{
    struct finding *f = &d->findings[d->n];
    va_list args;

    assert(name[0] != '\0');
    assert(d->n <= DOCTOR_FINDINGS_MAX);
    d->count[verdict]++;
    if (d->n == DOCTOR_FINDINGS_MAX)
        return;
    d->n++;
    f->verdict = verdict;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    (void)snprintf(f->where, sizeof(f->where), "%s", where);
    (void)snprintf(f->advice, sizeof(f->advice), "%s",
                   advice == NULL ? "" : advice);
    va_start(args, fmt);
    (void)vsnprintf(f->text, sizeof(f->text), fmt, args);
    va_end(args);
}

/* --- printing ------------------------------------------------------------ */

#define INDENT 9 /* behind the longest verdict */

static void print_line(const struct finding *f, size_t width)
{
    struct buf line, wrapped;

    buf_init(&line, 8192);
    buf_init(&wrapped, 16384);
    buf_printf(&line, "%-*s", INDENT, registry_fact_verdict_name(f->verdict));
    cli_clean(&line, f->name);
    if (f->where[0] != '\0') {
        buf_str(&line, " (");
        cli_clean(&line, f->where);
        buf_char(&line, ')');
    }
    buf_str(&line, ": ");
    cli_clean(&line, f->text);
    cli_wrap(&wrapped, buf_text(&line), INDENT, width);
    puts(buf_text(&wrapped));
    if (f->advice[0] != '\0') {
        buf_reset(&line);
        buf_reset(&wrapped);
        buf_printf(&line, "%-*s-> ", INDENT, "");
        cli_clean(&line, f->advice);
        cli_wrap(&wrapped, buf_text(&line), INDENT + 3, width);
        puts(buf_text(&wrapped));
    }
    buf_close(&wrapped);
    buf_close(&line);
}

static void print_text(const struct doctor *d)
{
    size_t width = cli_terminal();

    for (size_t i = 0; i < d->n; i++)
        print_line(&d->findings[i], width);
    printf("problems %zu, warnings %zu, not known %zu, ok %zu\n",
           d->count[FACT_PROBLEM], d->count[FACT_WARNING],
           d->count[FACT_UNKNOWN], d->count[FACT_OK]);
}

static void print_json(const struct doctor *d)
{
    struct buf out;

    buf_init(&out, (size_t)4 << 20);
    json_open(&out, NULL, '{');
    json_open(&out, "findings", '[');
    for (size_t i = 0; i < d->n; i++) {
        const struct finding *f = &d->findings[i];

        json_open(&out, NULL, '{');
        json_put_str(&out, "verdict", registry_fact_verdict_name(f->verdict));
        json_put_str(&out, "name", f->name);
        json_put_str(&out, "where", f->where);
        json_put_str(&out, "text", f->text);
        json_put_str(&out, "advice", f->advice[0] != '\0' ? f->advice : NULL);
        json_close(&out, '}');
    }
    json_close(&out, ']');
    json_put_u64(&out, "problems", d->count[FACT_PROBLEM]);
    json_put_u64(&out, "warnings", d->count[FACT_WARNING]);
    json_put_u64(&out, "unknown", d->count[FACT_UNKNOWN]);
    json_put_u64(&out, "ok", d->count[FACT_OK]);
    json_close(&out, '}');
    puts(buf_text(&out));
    buf_close(&out);
}

/* --- words --------------------------------------------------------------- */

struct given {
    const char *file, *urls;
    bool json, help, wrong;
};

static void parse(int argc, char **argv, struct given *g)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"url", required_argument, NULL, 'u'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    int option;

    assert(argc > 0);
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        g->file = option == 'c' ? optarg : g->file;
        g->urls = option == 'u' ? optarg : g->urls;
        g->json |= option == 'j';
        g->help |= option == 'h';
        g->wrong |= option == '?';
    }
    if (optind < argc) {
        fprintf(stderr, "pelorus: doctor: `%s` is a word too many\n",
                argv[optind]);
        g->wrong = true;
    }
    if (g->file == NULL && g->urls == NULL) {
        const char *url = getenv("PELORUS_URL");

        g->urls = url != NULL && url[0] != '\0' ? url : "http://127.0.0.1:7077";
    }
}

static void examine(struct doctor *d)
{
    struct conf conf;

    if (d->file != NULL && doctor_conf(d, &conf)) {
        doctor_host(d, &conf);
        doctor_store(d, &conf);
        conf_close(&conf);
    }
    if (d->urls != NULL)
        doctor_api(d);
}

int cli_doctor(int argc, char **argv)
{
    struct given given = {.file = NULL};
    struct doctor *d;
    struct cli check;
    int rc;

    parse(argc, argv, &given);
    if (given.help) {
        fputs(USAGE, stdout);
        fputs(more, stdout);
        return 0;
    }
    cli_init(&check);
    check.url = given.urls;
    given.wrong |= given.urls != NULL && !given.wrong && !cli_check_url(&check);
    cli_close(&check);
    if (given.wrong) {
        fputs(USAGE, stderr);
        return CLI_USAGE_EXIT;
    }
    d = mem_zalloc(sizeof(*d));
    d->file = given.file;
    d->urls = given.urls;
    examine(d);
    if (given.json)
        print_json(d);
    else
        print_text(d);
    rc = d->count[FACT_PROBLEM] > 0 ? CLI_REFUSED : 0;
    mem_free(d);
    return rc;
}
