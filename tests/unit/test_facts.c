/*
 * test_facts.c - rates and words of registry/facts.h, and the thread that keeps
 * reading them, on an embedded registry.
 */
#include "coordinator/facts/facts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB (1024.0 * 1024 * 1024)

static struct registry_facts facts_at(mono_ms at, uint64_t position,
                                      double used, double quota)
{
    struct registry_facts f;

    memset(&f, 0, sizeof(f));
    for (size_t i = 0; i < REGISTRY_FIGURES_N; i++)
        f.figures[i] = NAN;
    f.sample =
        (struct registry_sample){.at = at, .position = position, .used = used};
    f.figures[FIGURE_USED] = used;
    f.figures[FIGURE_QUOTA] = quota;
    return f;
}

static void rates_are_of_what_lies_between(void **state)
{
    struct registry_facts a = facts_at(1000, 100, 1000, 7000);
    struct registry_facts b = facts_at(61000, 700, 3000, 7000);

    (void)state;
    registry_facts_rates(&b, &a.sample);
    assert_true(fabs(b.figures[FIGURE_WRITES] - 600) < 1e-9);
    /* 2,000 in a minute, and 4,000 are left */
    assert_true(fabs(b.figures[FIGURE_FULL] - 120) < 1e-9);
}

static void without_growth_or_an_earlier_look_there_is_no_end(void **state)
{
    struct registry_facts a = facts_at(1000, 100, 3000, 7000);
    struct registry_facts same = facts_at(61000, 700, 3000, 7000);
    struct registry_facts soon = facts_at(1500, 700, 3001, 7000);
    struct registry_facts back = facts_at(61000, 50, 9000, 9999);
    struct registry_facts first = facts_at(61000, 700, 3001, 7000);
    struct registry_facts boundless = facts_at(61000, 700, 3001, NAN);

    (void)state;
    registry_facts_rates(&same, &a.sample);
    assert_true(isfinite(same.figures[FIGURE_WRITES]));
    assert_true(isnan(same.figures[FIGURE_FULL]));
    registry_facts_rates(&soon, &a.sample);
    assert_true(isnan(soon.figures[FIGURE_WRITES]));
    registry_facts_rates(&back, &a.sample);
    assert_true(isnan(back.figures[FIGURE_WRITES]));
    assert_true(isnan(back.figures[FIGURE_FULL]));
    registry_facts_rates(&first, NULL);
    assert_true(isnan(first.figures[FIGURE_WRITES]));
    registry_facts_rates(&boundless, &a.sample);
    assert_true(isnan(boundless.figures[FIGURE_FULL]));
}

static void sizes_and_times_are_for_people(void **state)
{
    char out[FACT_SIZE];

    (void)state;
    assert_string_equal(registry_fact_bytes(0, out), "0 bytes");
    assert_string_equal(registry_fact_bytes(1536, out), "1.5 KiB");
    assert_string_equal(registry_fact_bytes(200.0 * 1024 * 1024, out),
                        "200 MiB");
    assert_string_equal(registry_fact_bytes(2 * GIB, out), "2.0 GiB");
    assert_string_equal(registry_fact_time(60 * 76, out), "76 minutes");
    assert_string_equal(registry_fact_time(3600 * 9.6, out), "9.6 hours");
    assert_string_equal(registry_fact_time(86400 * 5.0, out), "5 days");
}

static void a_clock_is_far_beyond_its_grain_only(void **state)
{
    struct registry_facts f = facts_at(1, 1, 1, 1);

    (void)state;
    registry_fact_clock(&f, 2.3, 0.5);
    registry_fact_clock(&f, -2.6, 0.5);
    assert_int_equal(f.facts[0].verdict, FACT_OK);
    assert_int_equal(f.facts[1].verdict, FACT_WARNING);
    assert_non_null(strstr(f.facts[1].text, "2.6 s behind"));
}

static void what_has_no_room_is_left_out(void **state)
{
    struct registry_facts f = facts_at(1, 1, 1, 1);

    (void)state;
    for (int i = 0; i < REGISTRY_FACTS_MAX + 5; i++)
        registry_fact_say(&f, FACT_OK, "name", NULL, "number %d", i);
    assert_int_equal(f.n, REGISTRY_FACTS_MAX);
}

static void a_registry_that_is_not_there_is_unknown_and_not_ok(void **state)
{
    struct registry_facts f;
    struct conf conf;
    char path[] = "/tmp/test_facts_none";

    (void)state;
    conf_defaults(&conf);
    char *was = conf.registry.path;
    conf.registry.path = path;
    registry_facts_read(&conf.registry, NULL, &f);
    conf.registry.path = was;
    assert_true(f.n > 0);
    for (size_t i = 0; i < f.n; i++)
        assert_int_equal(f.facts[i].verdict, FACT_UNKNOWN);
    assert_int_not_equal(access(path, F_OK), 0);
    conf_close(&conf);
}

/* --- an etcd of few words ------------------------------------------------ */

struct few_words {
    int listener;
    char heard[65536]; /* of all requests */
    size_t n;
};

static void answer(struct few_words *w, int fd)
{
    static const char status[] =
        "{\"header\":{\"revision\":\"7\"},\"version\":\"3.5.0\","
        "\"dbSize\":\"20480\",\"dbSizeInUse\":\"16384\"}";
    static const char metrics[] = "etcd_server_quota_backend_bytes -1\n"
                                  "etcd_debugging_mvcc_compact_revision 5\n";
    const char *body, *request = w->heard + w->n;
    char text[1024];
    ssize_t n = recv(fd, w->heard + w->n, sizeof(w->heard) - 1 - w->n, 0);

    if (n <= 0)
        return;
    w->n += (size_t)n;
    w->heard[w->n] = '\0';
    body = strncmp(request, "GET /metrics", 12) == 0 ? metrics : status;
    (void)snprintf(text, sizeof(text),
                   "HTTP/1.1 200 OK\r\nConnection: close\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   strlen(body), body);
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
    struct few_words *w = arg;
    int fd;

    while ((fd = accept(w->listener, NULL, NULL)) >= 0) {
        answer(w, fd);
        (void)close(fd);
    }
    return NULL;
}

/* The facts of `conf`, whose one endpoint becomes such a server's. */
static void ask_few_words(struct conf *conf, struct few_words *w,
                          struct registry_facts *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    pthread_t thread;
    char *endpoint;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(w, 0, sizeof(*w));
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(w->listener, 8), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&at, &size),
                     0);
    assert_int_equal(pthread_create(&thread, NULL, serve, w), 0);
    endpoint = mem_printf("http://127.0.0.1:%u", ntohs(at.sin_port));
    conf->registry.type = CONF_ETCD;
    conf->registry.endpoints = (struct conf_list){&endpoint, 1};
    registry_facts_read(&conf->registry, NULL, f);
    conf->registry.endpoints = (struct conf_list){NULL, 0};
    conf->registry.type = CONF_SQLITE;
    mem_free(endpoint);
    (void)shutdown(w->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(w->listener);
}

static void an_etcd_may_have_no_quota(void **state)
{
    static struct few_words w;
    struct registry_facts f;
    struct conf conf;
    bool told = false;

    (void)state;
    conf_defaults(&conf);
    ask_few_words(&conf, &w, &f);
    for (size_t i = 0; i < f.n; i++)
        if (strcmp(f.facts[i].name, "etcd_size") == 0) {
            told = true;
            assert_int_equal(f.facts[i].verdict, FACT_OK);
            assert_non_null(strstr(f.facts[i].text, "no quota"));
        }
    assert_true(told);
    assert_true(isnan(f.figures[FIGURE_QUOTA]));
    assert_true(f.figures[FIGURE_SIZE] > 0);
    conf_close(&conf);
}

/* With all three files it is TLS that is spoken, whatever the scheme: nothing
 * of a password is sent without. */
static void facts_speak_tls_where_the_registry_does(void **state)
{
    static struct few_words w;
    struct registry_facts f;
    struct conf conf;

    (void)state;
    conf_defaults(&conf);
    conf.registry.user = mem_strdup("somebody");
    conf.registry.password = mem_strdup("secret");
    conf.registry.cert_file = mem_strdup("/nonexistent/ca.pem");
    conf.registry.key_cert_chain_file = mem_strdup("/nonexistent/us.pem");
    conf.registry.key_file = mem_strdup("/nonexistent/us.key");
    ask_few_words(&conf, &w, &f);
    assert_null(strstr(w.heard, "secret"));
    assert_null(strstr(w.heard, "HTTP/"));
    conf_close(&conf);
}

static void the_thread_reads_and_ends_when_told(void **state)
{
    mono_ms until = clock_mono_ms() + 20000;
    struct registry_facts f = {.at = 0};
    struct facts *facts, *none = NULL;
    struct conf conf;

    (void)state;
    conf_defaults(&conf);
    facts = facts_start(&conf.registry);
    while (f.at == 0 && clock_mono_ms() < until) {
        (void)poll(NULL, 0, 20);
        facts_copy(facts, &f);
    }
    assert_true(f.at > 0);
    assert_true(f.n > 0);
    assert_true(facts_stop(&facts, 10000));
    assert_null(facts);
    assert_true(facts_stop(&none, 0));
    conf_close(&conf);
}

static void vacuum_says_what_to_do_where_there_is_no_file(void **state)
{
    static const enum conf_registry_type types[] = {CONF_ETCD, CONF_ZOOKEEPER,
                                                    CONF_JDBC};
    static const char *const words[] = {"defrag", "autopurge", "OPTIMIZE"};
    char done[128];
    struct conf conf;
    struct err err;

    (void)state;
    conf_defaults(&conf);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        conf.registry.type = types[i];
        assert_int_equal(
            registry_vacuum(&conf.registry, false, done, sizeof(done), &err),
            ERR_INVALID);
        assert_non_null(strstr(err.msg, words[i]));
    }
    conf.registry.type = CONF_SQLITE;
    conf_close(&conf);
}

static void a_file_is_looked_at_and_vacuumed(void **state)
{
    static const char make[] =
        "PRAGMA journal_mode = WAL;"
        "CREATE TABLE meta(id INTEGER PRIMARY KEY, revision INTEGER);"
        "INSERT INTO meta VALUES(1, 7);"
        "CREATE TABLE session(id INTEGER PRIMARY KEY, timeout_ms INTEGER);"
        "CREATE TABLE t AS SELECT randomblob(200000) AS x; DROP TABLE t;";
    char path[] = "/tmp/test_facts_XXXXXX", done[128];
    struct registry_facts f;
    struct conf conf;
    sqlite3 *handle;
    char *was;

    (void)state;
    (void)close(mkstemp(path));
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, make, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(handle);
    conf_defaults(&conf);
    was = conf.registry.path;
    conf.registry.path = path;
    registry_facts_read(&conf.registry, NULL, &f);
    assert_int_equal(f.sample.position, 7);
    assert_true(f.figures[FIGURE_USED] < f.figures[FIGURE_SIZE]);
    assert_int_equal(
        registry_vacuum(&conf.registry, false, done, sizeof(done), NULL), 0);
    registry_facts_read(&conf.registry, NULL, &f);
    assert_true(f.figures[FIGURE_USED] == f.figures[FIGURE_SIZE]);
    conf.registry.path = was;
    (void)unlink(path);
    conf_close(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_of_what_lies_between),
        cmocka_unit_test(without_growth_or_an_earlier_look_there_is_no_end),
        cmocka_unit_test(sizes_and_times_are_for_people),
        cmocka_unit_test(a_clock_is_far_beyond_its_grain_only),
        cmocka_unit_test(what_has_no_room_is_left_out),
        cmocka_unit_test(a_registry_that_is_not_there_is_unknown_and_not_ok),
        cmocka_unit_test(an_etcd_may_have_no_quota),
        cmocka_unit_test(facts_speak_tls_where_the_registry_does),
        cmocka_unit_test(the_thread_reads_and_ends_when_told),
        cmocka_unit_test(a_file_is_looked_at_and_vacuumed),
        cmocka_unit_test(vacuum_says_what_to_do_where_there_is_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
