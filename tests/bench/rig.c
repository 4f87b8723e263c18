/*
 * rig.c - see rig.h.
 */
#include "tests/bench/rig.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 12 /* of a prefix */

static struct rig *made;

void rig_die(const struct rig *rig, const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", rig->name, what);
    exit(1);
}

void rig_must(const struct rig *rig, int rc, const struct err *err)
{
    if (rc != 0)
        rig_die(rig, err->msg);
}

static void clean_up(void)
{
    daemon_kill(&made->serve);
    daemon_dir_remove(made->dir);
}

/* --- the coordinator ----------------------------------------------------- */

static void write_conf(const struct rig *rig, const char *more)
{
    FILE *f = fopen(rig->conf, "w");

    if (f == NULL ||
        fprintf(f,
                "listen: 127.0.0.1:%u\nregistry:\n  namespace: %s\n"
                "  session-timeout: %ds\n%s%s",
                rig->port, rig->store.conf.namespace_, RIG_SESSION_S,
                rig->store.yaml, more) < 0 ||
        fclose(f) != 0)
        rig_die(rig, "the configuration cannot be written");
}

void rig_make(struct rig *rig, const char *kind, const char *more)
{
    struct err err = {0};

    assert(made == NULL);
    made = rig;
    if (atexit(clean_up) != 0)
        exit(1);
    rig_must(rig, daemon_dir(rig->dir, sizeof(rig->dir), "bench", &err), &err);
    (void)snprintf(rig->conf, sizeof(rig->conf), "%s/pelorus.yaml", rig->dir);
    (void)snprintf(rig->log, sizeof(rig->log), "%s/pelorus.log", rig->dir);
    store_start(&rig->store, kind, rig->dir);
    rig->port = daemon_port();
    write_conf(rig, more);
}

void rig_serve(struct rig *rig, const char *prefix)
{
    const char *named = getenv("PELORUS");
    const char *program = named == NULL ? "build/pelorus" : named;
    const char *argv[WORDS_MAX + 5];
    char words[256];
    struct err err = {0};
    size_t n = 0;

    (void)snprintf(words, sizeof(words), "%s", prefix);
    for (char *at, *w = strtok_r(words, " ", &at); w != NULL && n < WORDS_MAX;
         w = strtok_r(NULL, " ", &at))
        argv[n++] = w;
    argv[n++] = program;
    argv[n++] = "serve";
    argv[n++] = "-c";
    argv[n++] = rig->conf;
    argv[n] = NULL;
    rig->serve = (struct daemon){.name = "pelorus", .log = rig->log};
    rig_must(rig, daemon_start(&rig->serve, argv, &err), &err);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

double rig_metric(const struct rig *rig, const char *sample)
{
    CURL *easy = curl_easy_init();
    const char *at = NULL;
    struct buf body;
    double value = -1;
    char url[64];

    buf_init(&body, (size_t)8 << 20);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", rig->port);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    if (curl_easy_perform(easy) == CURLE_OK)
        at = strstr(buf_text(&body), sample);
    if (at != NULL)
        value = strtod(at + strlen(sample), NULL);
    curl_easy_cleanup(easy);
    buf_close(&body);
    return value;
}

/* --- the writer ---------------------------------------------------------- */

static void on_state(void *arg, enum registry_state state)
{
    ((struct rig *)arg)->connected = state == REGISTRY_CONNECTED;
}

static void on_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}

void rig_written(void *arg, const struct registry_reply *reply)
{
    struct rig *rig = arg;

    if (reply->err.code != ERR_OK)
        rig_die(rig, reply->err.msg);
    rig->answered++;
}

void rig_open_writer(struct rig *rig)
{
    struct err err = {0};

    rig_must(rig, loop_new(&rig->loop, 64, &err), &err);
    rig_must(rig, registry_open(&rig->r, rig->loop, &rig->store.conf, &err),
             &err);
    (void)registry_listen(rig->r, on_state, rig);
    while (!rig->connected)
        loop_turn(rig->loop, 100);
}

void rig_close_writer(struct rig *rig)
{
    registry_close(&rig->r, on_closed, rig);
    while (!rig->closed)
        loop_turn(rig->loop, 100);
    loop_free(&rig->loop);
}

void rig_drain(struct rig *rig, size_t in_flight)
{
    while (rig->sent - rig->answered > in_flight)
        loop_turn(rig->loop, 100);
}

void rig_put(struct registry_op *op, const char *key, const struct buf *value,
             bool ephemeral)
{
    *op = (struct registry_op){.type = REGISTRY_PUT,
                               .expect = REGISTRY_ABSENT,
                               .key = key,
                               .value = buf_text(value),
                               .value_len = value->len,
                               .ephemeral = ephemeral};
}
