/*
 * bench_beats_bare.c - what the registries' own client libraries cost when they
 * are told of 10,000 workers that report every ten seconds.
 *
 * No Pelorus: it receives the same values from the same server in the same time
 * as a coordinator does, and throws them away. What a coordinator costs beyond
 * this is ours; what this costs is the library's and the system's.
 *
 *   zookeeper HOSTS DIRECTORY    each child read once in PERIOD_MS, in turns of
 *                                STEP_MS
 *   etcd URL PREFIX              one watch through the JSON gateway
 *   mysql|postgresql HOST PORT USER PASSWORD DATABASE
 *                                DolphinScheduler's tables, of which one never
 *                                knows what changed, whole, every LOOK_MS
 *
 *   bench_beats_bare SECONDS KIND ...    "bare PERCENT of a core"
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/pack/base64.h"
#include "registry/etcd/wire.h"
#include "tests/bench/zookeeper_bare.h"

#include <curl/curl.h>
#include <libpq-fe.h>
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PERIOD_MS 10000
#define STEP_MS   100
#define LOOK_MS   1000

static mono_ms until;
static double began_cpu;
static mono_ms began;
static size_t received; /* so that nobody measures silence */

_Noreturn static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bench_beats_bare: %s: %s\n", what, why);
    exit(1);
}

/* --- what is measured ---------------------------------------------------- */

static double cpu_seconds(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Connected, and all that stood was read once. */
static void measure_from_now(int64_t seconds)
{
    began = clock_mono_ms();
    until = began + seconds * 1000;
    began_cpu = cpu_seconds();
    received = 0;
}

static void print_share(void)
{
    double seconds = (double)(clock_mono_ms() - began) / 1000;

    if (received == 0)
        die("measuring", "nothing was received");
    (void)printf("bare %.3f of a core, %.0f values/s\n",
                 (cpu_seconds() - began_cpu) / seconds * 100,
                 (double)received / seconds);
}

static void sleep_until(mono_ms at)
{
    mono_ms left = at - clock_mono_ms();
    struct timespec t = {.tv_sec = left / 1000,
                         .tv_nsec = left % 1000 * 1000000};

    if (left > 0)
        (void)nanosleep(&t, NULL);
}

/* --- ZooKeeper ----------------------------------------------------------- */

static void on_value(int rc, const char *value, int len,
                     const struct Stat *stat, const void *data)
{
    (void)value;
    (void)stat;
    (void)data;
    if (rc == ZOK && len > 0)
        (void)__atomic_fetch_add(&received, 1, __ATOMIC_RELAXED);
}

static void zookeeper(const char *hosts, const char *directory, int64_t seconds)
{
    struct String_vector names = {0};
    char path[512];
    zhandle_t *zh;
    size_t next = 0, n;

    zh = zookeeper_bare_open(hosts, NULL);
    if (zkmt.zoo_get_children(zh, directory, 0, &names) != ZOK ||
        names.count == 0)
        die(directory, "it cannot be listed, or nobody is there");
    n = (size_t)names.count;
    measure_from_now(seconds);
    for (mono_ms turn = began; turn < until; turn += STEP_MS) {
        for (size_t i = 0; i < n * STEP_MS / PERIOD_MS; i++, next++) {
            (void)snprintf(path, sizeof(path), "%s/%s", directory,
                           names.data[next % n]);
            if (zkmt.zoo_aget(zh, path, 0, on_value, NULL) != ZOK)
                die(path, "it cannot be asked for");
        }
        sleep_until(turn + STEP_MS);
    }
    print_share();
    zkmt.deallocate_String_vector(&names);
    (void)zkmt.zookeeper_close(zh);
}

/* --- etcd ---------------------------------------------------------------- */

static size_t on_piece(char *data, size_t size, size_t n, void *arg)
{
    (void)data;
    (void)arg;
    received += size * n / 512; /* a report is about so long as JSON */
    return size * n;
}

static int on_time(void *arg, curl_off_t a, curl_off_t b, curl_off_t c,
                   curl_off_t d)
{
    (void)arg;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return clock_mono_ms() >= until;
}

static void etcd(const char *url, const char *prefix, int64_t seconds)
{
    char *address = mem_printf("%s/v3/watch", url), *end = mem_strdup(prefix);
    size_t len = strlen(prefix);
    CURL *easy = curl_easy_init();
    struct buf body;
    CURLcode rc;

    buf_init(&body, 4096);
    buf_str(&body, "{\"create_request\":{\"key\":\"");
    base64_write(&body, prefix, len);
    buf_str(&body, "\",\"range_end\":\"");
    end[len - 1]++; /* what comes after all that begins so */
    base64_write(&body, end, len);
    buf_str(&body, "\"}}");
    (void)curl_easy_setopt(easy, CURLOPT_URL, address);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, buf_text(&body));
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_piece);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_time);
    measure_from_now(seconds);
    rc = curl_easy_perform(easy);
    if (rc != CURLE_ABORTED_BY_CALLBACK)
        die(address, curl_easy_strerror(rc));
    print_share();
    curl_easy_cleanup(easy);
    buf_close(&body);
    mem_free(end);
    mem_free(address);
}

/* --- SQL ----------------------------------------------------------------- */

#define EVENTS "SELECT max(id) FROM t_ds_jdbc_registry_data_change_event"
#define DATA                                                                   \
    "SELECT id, data_key, data_value, data_type, client_id"                    \
    " FROM t_ds_jdbc_registry_data"
#define CLIENTS                                                                \
    "SELECT id, last_heartbeat_time, connection_config"                        \
    " FROM t_ds_jdbc_registry_client_heartbeat"

static void mysql_look(MYSQL *my, const char *sql)
{
    MYSQL_RES *result;

    if (mysql_query(my, sql) != 0)
        die(sql, mysql_error(my));
    result = mysql_use_result(my);
    while (mysql_fetch_row(result) != NULL)
        received++;
    mysql_free_result(result);
}

static void mysql(char *const where[5], int64_t seconds)
{
    MYSQL *my = mysql_init(NULL);

    if (mysql_real_connect(my, where[0], where[2], where[3], where[4],
                           (unsigned)strtoul(where[1], NULL, 10), NULL,
                           0) == NULL)
        die(where[0], mysql_error(my));
    measure_from_now(seconds);
    for (mono_ms turn = began; turn < until; turn += LOOK_MS) {
        mysql_look(my, EVENTS);
        mysql_look(my, DATA);
        mysql_look(my, CLIENTS);
        sleep_until(turn + LOOK_MS);
    }
    print_share();
    mysql_close(my);
}

static void postgresql(char *const where[5], int64_t seconds)
{
    static const char *const names[] = {"host",     "port",   "user",
                                        "password", "dbname", NULL};
    const char *const values[] = {where[0], where[1], where[2],
                                  where[3], where[4], NULL};
    static const char *const looks[] = {EVENTS, DATA, CLIENTS};
    PGconn *pg = PQconnectdbParams(names, values, 0);

    if (PQstatus(pg) != CONNECTION_OK)
        die(where[0], PQerrorMessage(pg));
    measure_from_now(seconds);
    for (mono_ms turn = began; turn < until; turn += LOOK_MS) {
        for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
            PGresult *result = PQexec(pg, looks[i]);

            if (PQresultStatus(result) != PGRES_TUPLES_OK)
                die(looks[i], PQerrorMessage(pg));
            received += (size_t)PQntuples(result);
            PQclear(result);
        }
        sleep_until(turn + LOOK_MS);
    }
    print_share();
    PQfinish(pg);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 2 ? argv[2] : "";
    int64_t seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;

    if (seconds <= 0)
        die("usage", "SECONDS KIND ...");
    if (strcmp(kind, "zookeeper") == 0 && argc == 5)
        zookeeper(argv[3], argv[4], seconds);
    else if (strcmp(kind, "etcd") == 0 && argc == 5)
        etcd(argv[3], argv[4], seconds);
    else if (strcmp(kind, "mysql") == 0 && argc == 8)
        mysql(argv + 3, seconds);
    else if (strcmp(kind, "postgresql") == 0 && argc == 8)
        postgresql(argv + 3, seconds);
    else
        die(kind, "not so many words, or no such kind");
    return 0;
}
