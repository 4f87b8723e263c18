/*
 * rig.c - see rig.h.
 */
#include "tests/bench/rig.h"

#include "base/mem.h"

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
    if (made->peer != NULL)
        daemon_kill(&made->peer->serve);
    daemon_dir_remove(made->dir);
}

/* --- the coordinator ----------------------------------------------------- */

static void write_conf(const struct rig *rig, const char *path, uint16_t port,
                       const char *yaml, const char *more)
{
    FILE *f = fopen(path, "w");

    if (f == NULL ||
        fprintf(f,
                "listen: 127.0.0.1:%u\nregistry:\n  namespace: %s\n"
                "  session-timeout: %ds\n%s%s",
                port, rig->store.conf.namespace_, RIG_SESSION_S, yaml,
                more) < 0 ||
        fclose(f) != 0)
        rig_die(rig, "the configuration cannot be written");
}

void rig_configure(struct rig *rig, const char *more)
{
    write_conf(rig, rig->conf, rig->port, rig->store.yaml, more);
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
    rig_configure(rig, more);
}

static void serve(const struct rig *rig, struct daemon *daemon,
                  const char *conf, const char *log, const char *prefix)
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
    argv[n++] = conf;
    argv[n] = NULL;
    *daemon = (struct daemon){.name = "pelorus", .log = log};
    rig_must(rig, daemon_start(daemon, argv, &err), &err);
}

void rig_serve(struct rig *rig, const char *prefix)
{
    serve(rig, &rig->serve, rig->conf, rig->log, prefix);
}

/* The store's address stands once in it. */
static char *through_port(const struct rig *rig, uint16_t port)
{
    static const char host[] = "127.0.0.1:";
    const char *yaml = rig->store.yaml, *at = strstr(yaml, host);
    char *end;

    if (port == 0)
        return mem_strdup(yaml);
    if (at == NULL)
        rig_die(rig, "this store has no address");
    at += strlen(host);
    (void)strtoul(at, &end, 10);
    return mem_printf("%.*s%u%s", (int)(at - yaml), yaml, port, end);
}

void rig_peer_configure(struct rig *rig, struct rig_peer *peer,
                        const char *more, uint16_t through)
{
    char *yaml = through_port(rig, through);

    if (rig->peer == NULL) {
        rig->peer = peer;
        peer->port = daemon_port();
        (void)snprintf(peer->conf, sizeof(peer->conf), "%s/peer.yaml",
                       rig->dir);
        (void)snprintf(peer->log, sizeof(peer->log), "%s/peer.log", rig->dir);
    }
    assert(rig->peer == peer);
    write_conf(rig, peer->conf, peer->port, yaml, more);
    mem_free(yaml);
}

void rig_peer_serve(struct rig *rig)
{
    assert(rig->peer != NULL);
    serve(rig, &rig->peer->serve, rig->peer->conf, rig->peer->log, "");
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

static double metric(uint16_t port, const char *sample)
{
    CURL *easy = curl_easy_init();
    const char *at = NULL;
    struct buf body;
    double value = -1;
    char url[64];

    buf_init(&body, (size_t)8 << 20);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", port);
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

double rig_metric(const struct rig *rig, const char *sample)
{
    return metric(rig->port, sample);
}

double rig_peer_metric(const struct rig *rig, const char *sample)
{
    return rig->peer == NULL ? -1 : metric(rig->peer->port, sample);
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
