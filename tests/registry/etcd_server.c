/*
 * etcd_server.c - see etcd_server.h.
 */
#include "tests/registry/etcd_server.h"

#include "base/mem.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START_MS 30000

/* --- what another program would ask -------------------------------------- */

static char token[128]; /* of etcd_server_post(), with TLS */

static size_t on_write(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

const char *etcd_server_url(const struct etcd_servers *s, uint16_t port)
{
    static char urls[8][64];
    static size_t next;
    char *url = urls[next++ % ARRAY_LEN(urls)];

    (void)snprintf(url, sizeof(urls[0]), "http%s://127.0.0.1:%u",
                   s->tls ? "s" : "", port);
    return url;
}

static void set_tls(const struct etcd_servers *s, CURL *c)
{
    char ca[96], cert[96], key[96];

    (void)snprintf(ca, sizeof(ca), "%s/ca.crt", s->dir);
    (void)snprintf(cert, sizeof(cert), "%s/client.crt", s->dir);
    (void)snprintf(key, sizeof(key), "%s/client.key", s->dir);
    (void)curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    (void)curl_easy_setopt(c, CURLOPT_SSLCERT, cert);
    (void)curl_easy_setopt(c, CURLOPT_SSLKEY, key);
}

static long request(const struct etcd_servers *s, size_t i, const char *path,
                    const char *body, struct buf *reply)
{
    struct curl_slist *headers = NULL;
    char url[160], line[160];
    CURL *c = curl_easy_init();
    long status = 0;

    (void)snprintf(url, sizeof(url), "%s%s",
                   etcd_server_url(s, s->member[i].port), path);
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 10000L);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, reply);
    if (body != NULL)
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    if (s->tls)
        set_tls(s, c);
    if (token[0] != '\0') {
        (void)snprintf(line, sizeof(line), "Authorization: %s", token);
        headers = curl_slist_append(NULL, line);
        (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    }
    if (curl_easy_perform(c) == CURLE_OK)
        (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    return status;
}

static void log_in(const struct etcd_servers *s, size_t i)
{
    struct buf reply;
    const struct json *root = NULL;

    buf_init(&reply, 1 << 20);
    token[0] = '\0';
    (void)request(s, i, "/v3/auth/authenticate",
                  "{\"name\":\"root\",\"password\":\"root\"}", &reply);
    if (json_parse(buf_text(&reply), reply.len, &root, NULL) == 0) {
        const char *text = json_str(root, "token");

        (void)snprintf(token, sizeof(token), "%s", text == NULL ? "" : text);
    }
    json_free(root);
    buf_close(&reply);
}

const struct json *etcd_server_post(const struct etcd_servers *s, size_t i,
                                    const char *path, const char *body)
{
    struct buf reply;
    const struct json *root = NULL;
    long status;

    buf_init(&reply, 64 << 20);
    status = request(s, i, path, body, &reply);
    if (status != 200 && token[0] != '\0') { /* a restart forgets tokens */
        log_in(s, i);
        buf_reset(&reply);
        status = request(s, i, path, body, &reply);
    }
    if (status != 200 ||
        json_parse(buf_text(&reply), reply.len, &root, NULL) != 0)
        root = NULL;
    buf_close(&reply);
    return root;
}

/* --- processes ----------------------------------------------------------- */

static char *path_of(const struct etcd_servers *s, const char *name)
{
    return mem_printf("%s/%s", s->dir, name);
}

/* Words of a command line, freed by nobody: the next thing is exec. */
struct words {
    char *list[40];
    size_t n;
};

static void word(struct words *w, const char *option, char *value)
{
    assert(w->n + 3 < ARRAY_LEN(w->list));
    w->list[w->n++] = mem_strdup(option);
    if (value != NULL)
        w->list[w->n++] = value;
}

/* The installed one, or whichever the variable ETCD names. */
static const char *binary(void)
{
    const char *path = getenv("ETCD");

    return path == NULL || path[0] == '\0' ? "etcd" : path;
}

static void arguments_of(const struct etcd_servers *s,
                         const struct etcd_server *m, struct words *w)
{
    const char *scheme = s->tls ? "https" : "http";
    struct buf cluster;

    buf_init(&cluster, 1024);
    for (size_t i = 0; i < s->n; i++) {
        buf_printf(&cluster, "%s%s=http://127.0.0.1:%u", i > 0 ? "," : "",
                   s->member[i].name, s->member[i].peer_port);
    }
    word(w, binary(), NULL);
    word(w, "--name", mem_strdup(m->name));
    word(w, "--data-dir", path_of(s, m->name));
    word(w, "--listen-client-urls",
         mem_printf("%s://127.0.0.1:%u", scheme, m->port));
    word(w, "--advertise-client-urls",
         mem_printf("%s://127.0.0.1:%u", scheme, m->port));
    word(w, "--listen-peer-urls",
         mem_printf("http://127.0.0.1:%u", m->peer_port));
    word(w, "--initial-advertise-peer-urls",
         mem_printf("http://127.0.0.1:%u", m->peer_port));
    word(w, "--initial-cluster", buf_take(&cluster));
    word(w, "--initial-cluster-token", mem_strdup(s->dir));
    /* Short elections: leases may be short, and so the tests. */
    word(w, "--heartbeat-interval", mem_strdup("50"));
    word(w, "--election-timeout", mem_strdup("500"));
    word(w, "--logger", mem_strdup("zap"));
    word(w, "--log-level", mem_strdup("error"));
    if (s->tls) {
        word(w, "--cert-file", path_of(s, "server.crt"));
        word(w, "--key-file", path_of(s, "server.key"));
        word(w, "--trusted-ca-file", path_of(s, "ca.crt"));
        word(w, "--client-cert-auth", NULL);
    }
}

void etcd_server_restart(struct etcd_servers *s, size_t i)
{
    struct etcd_server *m = &s->member[i];
    struct words w = {0};
    struct err err;

    arguments_of(s, m, &w);
    if (daemon_start(&m->daemon, (const char *const *)w.list, &err) != 0)
        fail_msg("%s", err.msg);
    for (size_t k = 0; k < w.n; k++)
        mem_free(w.list[k]);
}

struct health {
    const struct etcd_servers *s;
    size_t i;
};

static bool is_healthy(void *arg)
{
    const struct health *h = arg;
    struct buf reply;
    bool ok;

    buf_init(&reply, 1 << 20);
    ok = request(h->s, h->i, "/health", NULL, &reply) == 200 &&
         strstr(buf_text(&reply), "\"true\"") != NULL;
    buf_close(&reply);
    return ok;
}

void etcd_server_wait(struct etcd_servers *s, size_t i)
{
    struct health h = {.s = s, .i = i};
    struct err err;

    if (daemon_await(&s->member[i].daemon, is_healthy, &h, START_MS, &err) != 0)
        fail_msg("%s", err.msg);
}

void etcd_servers_heal(struct etcd_servers *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->member[i].daemon.pid == 0)
            etcd_server_restart(s, i);
        etcd_server_cont(s, i);
    }
    for (size_t i = 0; i < s->n; i++)
        etcd_server_wait(s, i);
}

void etcd_server_stop(struct etcd_servers *s, size_t i)
{
    daemon_stop(&s->member[i].daemon);
}

void etcd_server_cont(struct etcd_servers *s, size_t i)
{
    daemon_cont(&s->member[i].daemon);
}

void etcd_server_kill(struct etcd_servers *s, size_t i)
{
    daemon_kill(&s->member[i].daemon);
}

static void run(const char *fmt, ...) PRINTF_LIKE(1, 2);

static void run(const char *fmt, ...)
{
    char command[1024];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    if (system(command) != 0) /* NOLINT(cert-env33-c): our own words */
        fail_msg("failed: %s", command);
}

/* The clients' certificate has no CN: with one, the gateway refuses every
 * request once authentication is enabled. */
static void make_certificates(const struct etcd_servers *s)
{
    run("cd %s && exec 2>/dev/null && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-subj /CN=test-authority -days 2 -keyout ca.key -out ca.crt && "
        "printf 'subjectAltName=IP:127.0.0.1,DNS:etcd.test\\n"
        "extendedKeyUsage=serverAuth,clientAuth\\n' >server.ext && "
        "printf 'extendedKeyUsage=clientAuth\\n' >client.ext && "
        "for n in server client; do "
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-subj /O=$n -keyout $n.key -out $n.csr && "
        "openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key "
        "-CAcreateserial -days 2 -extfile $n.ext -out $n.crt || exit 1; done",
        s->dir);
}

static void admin(const struct etcd_servers *s, const char *path,
                  const char *body)
{
    const struct json *reply = etcd_server_post(s, 0, path, body);

    if (reply == NULL)
        fail_msg("etcd refuses %s", path);
    json_free(reply);
}

/* "dolphinscheduler" .. "dolphinscheduler~": all namespaces of the tests. */
static void enable_auth(const struct etcd_servers *s)
{
    struct buf user;

    buf_init(&user, 1024);
    json_open(&user, NULL, '{');
    json_put_str(&user, "name", ETCD_USER);
    json_put_str(&user, "password", ETCD_PASSWORD);
    json_close(&user, '}');
    admin(s, "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"root\"}");
    admin(s, "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    admin(s, "/v3/auth/user/add", buf_text(&user));
    buf_close(&user);
    admin(s, "/v3/auth/role/add", "{\"name\":\"dolphin\"}");
    admin(s, "/v3/auth/role/grant",
          "{\"name\":\"dolphin\",\"perm\":{\"permType\":\"READWRITE\","
          "\"key\":\"ZG9scGhpbnNjaGVkdWxlcg==\","
          "\"range_end\":\"ZG9scGhpbnNjaGVkdWxlcn4=\"}}");
    admin(s, "/v3/auth/user/grant",
          "{\"user\":\"" ETCD_USER "\",\"role\":\"dolphin\"}");
    admin(s, "/v3/auth/enable", "{}");
    log_in(s, 0);
}

void etcd_servers_start(struct etcd_servers *s, size_t n, bool tls)
{
    struct err err;

    assert(n > 0 && n <= ETCD_SERVERS_MAX);
    (void)signal(SIGPIPE, SIG_IGN); /* as in every main() of ours */
    memset(s, 0, sizeof(*s));
    token[0] = '\0';
    if (daemon_dir(s->dir, sizeof(s->dir), "etcd", &err) != 0)
        fail_msg("%s", err.msg);
    (void)snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    s->tls = tls;
    s->n = n;
    if (tls)
        make_certificates(s);
    for (size_t i = 0; i < n; i++) {
        struct etcd_server *m = &s->member[i];

        (void)snprintf(m->name, sizeof(m->name), "m%zu", i);
        m->port = daemon_port();
        m->peer_port = daemon_port();
        m->daemon = (struct daemon){.name = "etcd", .log = s->log};
    }
    etcd_servers_heal(s);
    if (tls)
        enable_auth(s);
}

void etcd_servers_stop(struct etcd_servers *s)
{
    for (size_t i = 0; i < s->n; i++)
        etcd_server_kill(s, i);
    daemon_dir_remove(s->dir);
    s->n = 0;
}

void etcd_server_conf(const struct etcd_servers *s, struct conf_registry *conf)
{
    if (s->tls) {
        conf->cert_file = path_of(s, "ca.crt");
        conf->key_cert_chain_file = path_of(s, "client.crt");
        conf->key_file = path_of(s, "client.key");
        conf->user = mem_strdup(ETCD_USER);
        conf->password = mem_strdup(ETCD_PASSWORD);
    }
}
