/*
 * store_cost.c - what a store has written and spent, see store.h: by its files
 * where they tell, by the server's word where files are made in advance.
 */
#include "tests/bench/store.h"

#include "base/buf.h"
#include "base/json/json.h"
#include "base/mem.h"
#include "registry/dbms/dbms_priv.h"

#include <curl/curl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLY_MAX ((size_t)1 << 20)
#define ADMIN     "pelorus" /* of PostgreSQL's test server */

static NORETURN void die(const char *what)
{
    (void)fprintf(stderr, "store_cost: %s\n", what);
    exit(1);
}

/* --- files --------------------------------------------------------------- */

/* Up to the last byte that is not 0: the rest was made in advance. */
static uint64_t used_bytes(const char *path)
{
    static unsigned char block[65536];
    FILE *f = fopen(path, "rb");
    uint64_t at = 0, used = 0;
    size_t n;

    if (f == NULL)
        return 0; /* rotated away meanwhile */
    while ((n = fread(block, 1, sizeof(block), f)) > 0) {
        for (size_t i = n; i > 0; i--) {
            if (block[i - 1] != 0) {
                used = at + i;
                break;
            }
        }
        at += n;
    }
    (void)fclose(f);
    return used;
}

/* Of all files in a directory whose names begin so. */
static uint64_t sum_files(const char *dir, const char *prefix)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    uint64_t sum = 0;

    if (d == NULL)
        die("its directory cannot be read");
    while ((e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
            char *path = mem_printf("%s/%s", dir, e->d_name);

            sum += used_bytes(path);
            mem_free(path);
        }
    }
    (void)closedir(d);
    return sum;
}

static uint64_t zookeeper_written(const struct store *s)
{
    char *dir = mem_printf("%s/data/version-2", s->data);
    uint64_t sum = sum_files(dir, "log.");

    mem_free(dir);
    return sum;
}

/* All that this program has written. */
static uint64_t own_written(void)
{
    FILE *f = fopen("/proc/self/io", "r");
    unsigned long long n = 0;
    char line[80];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "wchar: %llu", &n) == 1)
            break;
    if (f == NULL || fclose(f) != 0)
        die("/proc/self/io cannot be read");
    return n;
}

/* --- the servers' word --------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

static uint64_t etcd_written(const struct store *s)
{
    char *url = mem_printf("%s/v3/maintenance/status", s->url);
    const struct json *root = NULL;
    CURL *easy = curl_easy_init();
    const char *size;
    struct buf body;
    uint64_t n;

    buf_init(&body, REPLY_MAX);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "{}");
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    if (curl_easy_perform(easy) != CURLE_OK ||
        json_parse(buf_text(&body), body.len, &root, NULL) != 0)
        die("etcd does not tell its size");
    size = json_string(json_get(root, "dbSizeInUse"));
    if (size == NULL)
        die("etcd's status has no dbSizeInUse");
    n = strtoull(size, NULL, 10);
    json_free(root);
    curl_easy_cleanup(easy);
    buf_close(&body);
    mem_free(url);
    return n;
}

static void on_number(void *arg, const struct dbms_cell *cells, unsigned n)
{
    if (n == 1)
        *(uint64_t *)arg = dbms_u64(&cells[0]);
}

static uint64_t postgresql_written(const struct store *s)
{
    static const char sql[] =
        "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    struct dbms_target target = {0};
    struct dbms_link *link = NULL;
    struct err err = {0};
    uint64_t n = 0;

    if (dbms_target_parse(&target, s->url, &err) != 0)
        die(err.msg);
    target.url.user = mem_strdup(ADMIN);
    target.url.connect_ms = target.url.call_ms = target.idle_ms = 60000;
    if (target.driver->connect(&link, &target, &err) != DBMS_OK ||
        target.driver->run(link, sql, strlen(sql), on_number, &n, &err) !=
            DBMS_OK)
        die(err.msg);
    target.driver->close(&link);
    dbms_target_close(&target);
    return n;
}

uint64_t store_written(const struct store *s)
{
    switch (s->conf.type) {
    case CONF_SQLITE:
        return own_written();
    case CONF_ZOOKEEPER:
        return zookeeper_written(s);
    case CONF_ETCD:
        return etcd_written(s);
    default:
        return strcmp(s->kind, "mysql") == 0 ? sum_files(s->data, "binlog.0")
                                             : postgresql_written(s);
    }
}

/* --- processor time ------------------------------------------------------ */

/* Of one process, if it is of this group, which the server leads, or a child
 * of the server (PostgreSQL's lead groups of their own). */
static uint64_t ticks_of(const char *name, pid_t group)
{
    unsigned long user, kernel, ended_user, ended_kernel;
    char path[300], text[1024];
    const char *end = NULL;
    int parent, pgrp;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%.16s/stat", name);
    f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fgets(text, sizeof(text), f) != NULL)
        end = strrchr(text, ')');
    (void)fclose(f);
    /* pid (name) state ppid pgrp ... utime stime cutime cstime */
    if (end == NULL ||
        sscanf(end + 1,
               " %*c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu",
               &parent, &pgrp, &user, &kernel, &ended_user,
               &ended_kernel) != 6 ||
        (pgrp != (int)group && parent != (int)group))
        return 0;
    return user + kernel + ended_user + ended_kernel;
}

uint64_t store_cpu_us(const struct store *s)
{
    DIR *d = opendir("/proc");
    uint64_t ticks = 0;
    struct timespec own;
    struct dirent *e;

    if (d == NULL)
        die("/proc cannot be read");
    while (s->pid != 0 && (e = readdir(d)) != NULL)
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
            ticks += ticks_of(e->d_name, s->pid);
    (void)closedir(d);
    if (s->pid != 0)
        return ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    return (uint64_t)own.tv_sec * 1000000 + (uint64_t)own.tv_nsec / 1000;
}
