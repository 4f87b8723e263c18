/*
 * test_http_conns.c - how many connections one address may have, which of them
 * are shut down, and what a request's target may not be.
 */
#include "http/http_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT 3
#define ALL   100

static const struct sockaddr *from(const char *text)
{
    static struct sockaddr_storage storage;
    struct sockaddr_in *v4 = (void *)&storage;
    struct sockaddr_in6 *v6 = (void *)&storage;

    memset(&storage, 0, sizeof(storage));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
        storage.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
        storage.ss_family = AF_INET6;
    else
        fail();
    return (const struct sockaddr *)&storage;
}

/* Open as many as are let in, at most `n`, and say how many. */
static size_t open_some(struct http_conns *c, const char *address,
                        struct http_conn **out, size_t n)
{
    size_t i = 0;

    while (i < n && http_conns_admit(c, from(address)))
        out[i++] = http_conns_add(c, -1, from(address), 0);
    return i;
}

static void an_address_has_so_many_and_another_has_its_own(void **state)
{
    struct http_conns *c = http_conns_new(ALL, LIMIT);
    struct http_conn *a[10], *b[10];

    (void)state;
    assert_int_equal(open_some(c, "192.0.2.1", a, 10), LIMIT);
    assert_int_equal(open_some(c, "192.0.2.2", b, 10), LIMIT);
    http_conns_remove(c, a[0]);
    assert_int_equal(open_some(c, "192.0.2.1", a, 10), 1);
    http_conns_remove(c, a[0]);
    for (int i = 1; i < LIMIT; i++)
        http_conns_remove(c, a[i]);
    for (int i = 0; i < LIMIT; i++)
        http_conns_remove(c, b[i]);
    http_conns_free(&c);
    assert_null(c);
}

static void clients_of_this_host_are_not_counted(void **state)
{
    static const char *const here[] = {"127.0.0.1", "127.9.9.9", "::1",
                                       "::ffff:127.0.0.1"};
    struct http_conns *c = http_conns_new(ALL, LIMIT);
    struct http_conn *conns[10];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(here); i++) {
        assert_int_equal(open_some(c, here[i], conns, 10), 10);
        for (int k = 0; k < 10; k++)
            http_conns_remove(c, conns[k]);
    }
    http_conns_free(&c);
}

static void v6_counts_by_its_network_and_mapped_v4_as_v4(void **state)
{
    struct http_conns *c = http_conns_new(ALL, LIMIT);
    struct http_conn *a[LIMIT], *b[LIMIT], *none[1];

    (void)state;
    assert_int_equal(open_some(c, "2001:db8::1", a, LIMIT), LIMIT);
    assert_int_equal(open_some(c, "2001:db8::ffff:2", none, 1), 0);
    assert_true(http_conns_admit(c, from("2001:db8:0:1::1")));
    assert_int_equal(open_some(c, "192.0.2.1", b, LIMIT), LIMIT);
    assert_int_equal(open_some(c, "::ffff:192.0.2.1", none, 1), 0);
    for (int i = 0; i < LIMIT; i++) {
        http_conns_remove(c, a[i]);
        http_conns_remove(c, b[i]);
    }
    http_conns_free(&c);
}

static void all_taken_is_seen_until_one_is_free_again(void **state)
{
    struct http_conns *c = http_conns_new(LIMIT, LIMIT);
    struct http_conn *conns[LIMIT];
    mono_ms now = clock_mono_ms();

    (void)state;
    assert_int_equal(open_some(c, "127.0.0.1", conns, LIMIT - 1), LIMIT - 1);
    http_conns_reap(c, now);
    assert_false(http_conns_full(c));
    assert_int_equal(open_some(c, "127.0.0.1", conns + LIMIT - 1, 1), 1);
    assert_int_equal(http_conns_count(c), LIMIT);
    http_conns_reap(c, now + 1000);
    assert_true(http_conns_full(c));
    http_conns_remove(c, conns[0]);
    http_conns_reap(c, now + 2000);
    assert_false(http_conns_full(c));
    for (int i = 1; i < LIMIT; i++)
        http_conns_remove(c, conns[i]);
    http_conns_free(&c);
}

static bool is_shut(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void the_late_are_shut_and_those_that_wait_for_us_are_not(void **state)
{
    struct http_conns *c = http_conns_new(ALL, LIMIT);
    struct http_conn *late, *early, *waiting;
    mono_ms now = clock_mono_ms();
    int fd[3][2];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd[i]), 0);
    late = http_conns_add(c, fd[0][0], from("127.0.0.1"), 1000);
    early = http_conns_add(c, fd[1][0], from("127.0.0.1"), 60000);
    waiting = http_conns_add(c, fd[2][0], from("127.0.0.1"), 1000);
    (void)http_conn_deadline(waiting, HTTP_SENDS, now, 0);
    http_conns_reap(c, now + 500);
    assert_false(is_shut(fd[0][1]));
    http_conns_reap(c, now + 5000);
    http_conns_reap(c, now + 5000); /* once is enough */
    assert_true(is_shut(fd[0][1]));
    assert_false(is_shut(fd[1][1]));
    assert_false(is_shut(fd[2][1]));
    http_conns_remove(c, late);
    http_conns_remove(c, early);
    http_conns_remove(c, waiting);
    http_conns_free(&c);
    for (int i = 0; i < 3; i++) {
        close(fd[i][0]);
        close(fd[i][1]);
    }
}

static void a_target_is_short_and_without_a_nul(void **state)
{
    static char uri[HTTP_URI_MAX + 2];
    bool asks;

    (void)state;
    assert_int_equal(http_uri_fault("/v1/nodes?kind=a%20b", &asks),
                     PROBLEM_NONE);
    assert_true(asks);
    assert_int_equal(http_uri_fault("/v1/nodes%00", &asks), PROBLEM_BAD_URI);
    assert_false(asks);
    assert_int_equal(http_uri_fault("/v1/nodes%0", &asks), PROBLEM_NONE);
    assert_int_equal(http_uri_fault("/v1/nodes x", &asks), PROBLEM_BAD_URI);
    assert_int_equal(http_uri_fault("/v1/nodes\tx", &asks), PROBLEM_BAD_URI);
    memset(uri, 'a', HTTP_URI_MAX);
    assert_int_equal(http_uri_fault(uri, &asks), PROBLEM_NONE);
    uri[HTTP_URI_MAX] = 'a';
    assert_int_equal(http_uri_fault(uri, &asks), PROBLEM_URI_TOO_LONG);
}

static void routes_take_their_segments_apart(void **state)
{
    char param[HTTP_PARAMS_MAX][HTTP_PARAM_MAX + 1];
    char path[HTTP_PARAM_MAX + 64] = "/v1/work/";

    (void)state;
    assert_non_null(http_route_find("/v1/nodes/worker/h:1/cordon", param));
    assert_string_equal(param[0], "worker");
    assert_string_equal(param[1], "h:1");
    assert_string_equal(http_route_find("/v1/workers/best", param)->path,
                        "/v1/workers/best");
    assert_string_equal(http_route_find("/v1/nodes/", param)->path,
                        "/v1/nodes");
    assert_string_equal(http_route_find("/readyz/", param)->path, "/readyz");
    assert_string_equal(http_route_find("/v1/nodes/worker/h:1/", param)->path,
                        "/v1/nodes/{kind}/{address}");
    assert_null(http_route_find("/readyz//", param));
    assert_null(http_route_find("//", param));
    assert_null(http_route_find("/v1/nodes//h:1", param));
    assert_null(http_route_find("", param));
    memset(path + 9, 'x', HTTP_PARAM_MAX);
    assert_non_null(http_route_find(path, param));
    assert_int_equal(strlen(param[0]), HTTP_PARAM_MAX);
    path[9 + HTTP_PARAM_MAX] = 'x'; /* too long is not "no such path" */
    assert_non_null(http_route_find(path, param));
    assert_string_equal(param[0], "");
}

/* What a request's line is answered: a problem's status, or 0: by a handler. */
static unsigned asked(struct http_request *r, const char *method,
                      const char *target)
{
    buf_close(&r->out);
    memset(r, 0, sizeof(*r));
    buf_init(&r->out, HTTP_ANSWER_MAX);
    http_route(r, target, method);
    assert_true((r->action == NULL) == (r->status != 0));
    return r->status;
}

static void a_target_in_absolute_form_is_its_path(void **state)
{
    struct http_request r = {0};

    (void)state;
    buf_init(&r.out, HTTP_ANSWER_MAX);
    assert_int_equal(asked(&r, "GET", "http://h:7077/v1/work/a"), 0);
    assert_ptr_equal(r.action->on_loop, http_work_get);
    assert_string_equal(r.param[0], "a");
    assert_int_equal(asked(&r, "GET", "HTTPS://h/readyz"), 0);
    assert_ptr_equal(r.action->handler, http_readyz);
    assert_int_equal(asked(&r, "GET", "http://h"), 0);
    assert_ptr_equal(r.action->handler, http_root);
    assert_int_equal(asked(&r, "GET", "http:/readyz"), 400);
    assert_int_equal(asked(&r, "GET", "readyz"), 400);
    assert_int_equal(asked(&r, "CONNECT", "h:7077"), 400);
    buf_close(&r.out);
}

static void every_method_is_answered_in_one_place(void **state)
{
    struct http_request r = {0};
    const unsigned get = 1u << HTTP_GET, post = 1u << HTTP_POST;

    (void)state;
    buf_init(&r.out, HTTP_ANSWER_MAX);
    assert_int_equal(asked(&r, "OPTIONS", "/v1/work"), 0);
    assert_ptr_equal(r.action->handler, http_no_content);
    assert_int_equal(r.allow, get | post);
    assert_true(r.action->members != NULL && !r.bodiless);
    assert_int_equal(asked(&r, "OPTIONS", "/livez"), 0);
    assert_ptr_equal(r.action->handler, http_livez);
    assert_int_equal(r.allow, get);
    assert_int_equal(asked(&r, "OPTIONS", "*"), 0);
    assert_int_equal(r.allow, (1u << HTTP_METHODS) - 1);
    assert_int_equal(asked(&r, "OPTIONS", "/v1/none"), 404);
    assert_int_equal(asked(&r, "TRACE", "/v1/work"), 405);
    assert_true(!r.bodiless && r.allow == (get | post));
    assert_int_equal(asked(&r, "get", "/v1/work"), 405);
    assert_int_equal(asked(&r, "GET", "*"), 400);
    assert_int_equal(asked(&r, "HEAD", "/v1/fence/check"), 405);
    assert_true(r.bodiless && r.allow == post);
    assert_int_equal(asked(&r, "HEAD", "/v1/work"), 0);
    assert_true(r.bodiless && r.head);
    assert_int_equal(asked(&r, "PUT", "/v1/nodes/worker/h:1/cordon"), 0);
    assert_string_equal(r.action->query, "reason who");
    assert_null(r.action->members);
    buf_close(&r.out);
}

static int64_t answer_of(int fd, char *out, size_t size)
{
    ssize_t n = recv(fd, out, size - 1, MSG_DONTWAIT);

    out[n > 0 ? n : 0] = '\0';
    return n;
}

static void half_a_request_that_is_late_is_told_so(void **state)
{
    struct http_conns *c = http_conns_new(ALL, LIMIT);
    struct http_conn *conn[3];
    mono_ms now = clock_mono_ms();
    char text[1024];
    int fd[3][2];

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd[i]), 0);
        conn[i] = http_conns_add(c, fd[i][0], from("127.0.0.1"), 1000);
    }
    http_conn_begins(conn[0]);
    http_conn_begins(conn[1]);
    assert_true(http_conn_deadline(conn[1], HTTP_SENDS, clock_mono_ms(), 1000));
    http_conns_reap(c, now + 5000);
    assert_true(answer_of(fd[0][1], text, sizeof(text)) > 0);
    assert_memory_equal(text, "HTTP/1.1 408 ", 13);
    assert_non_null(strstr(text, "\"request_timeout\""));
    /* an answer under way, and one that is idle, are just closed */
    assert_int_equal(answer_of(fd[1][1], text, sizeof(text)), 0);
    assert_int_equal(answer_of(fd[2][1], text, sizeof(text)), 0);
    /* whoever would answer now finds out */
    assert_false(
        http_conn_deadline(conn[0], HTTP_SENDS, clock_mono_ms(), 1000));
    assert_false(
        http_conn_deadline(conn[0], HTTP_ANSWERED, clock_mono_ms(), 1000));
    for (int i = 0; i < 3; i++) {
        http_conns_remove(c, conn[i]);
        close(fd[i][0]);
        close(fd[i][1]);
    }
    http_conns_free(&c);
}

static void a_request_that_ends_an_idle_time_has_its_own(void **state)
{
    struct http_conns *c = http_conns_new(ALL, LIMIT);
    struct http_conn *conn[2];
    mono_ms now = clock_mono_ms();
    char text[1024];
    int fd[2][2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd[i]), 0);
        conn[i] = http_conns_add(c, fd[i][0], from("127.0.0.1"), 1000);
        assert_true(http_conn_deadline(conn[i], HTTP_ANSWERED, now, 1000));
    }
    http_conn_begins(conn[0]);
    http_conns_reap(c, now + 1000);
    assert_int_equal(answer_of(fd[0][1], text, sizeof(text)), -1);
    assert_int_equal(answer_of(fd[1][1], text, sizeof(text)), 0);
    http_conns_reap(c, now + 1999);
    assert_int_equal(answer_of(fd[0][1], text, sizeof(text)), -1);
    /* it goes on, and so does the next one */
    assert_true(http_conn_deadline(conn[0], HTTP_ANSWERED, now + 1999, 1000));
    http_conn_begins(conn[0]);
    http_conns_reap(c, now + 3000);
    assert_int_equal(answer_of(fd[0][1], text, sizeof(text)), -1);
    /* that does not */
    http_conns_reap(c, now + 4000);
    assert_true(answer_of(fd[0][1], text, sizeof(text)) > 0);
    assert_memory_equal(text, "HTTP/1.1 408 ", 13);
    for (int i = 0; i < 2; i++) {
        http_conns_remove(c, conn[i]);
        close(fd[i][0]);
        close(fd[i][1]);
    }
    http_conns_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_so_many_and_another_has_its_own),
        cmocka_unit_test(clients_of_this_host_are_not_counted),
        cmocka_unit_test(v6_counts_by_its_network_and_mapped_v4_as_v4),
        cmocka_unit_test(all_taken_is_seen_until_one_is_free_again),
        cmocka_unit_test(the_late_are_shut_and_those_that_wait_for_us_are_not),
        cmocka_unit_test(a_target_is_short_and_without_a_nul),
        cmocka_unit_test(routes_take_their_segments_apart),
        cmocka_unit_test(a_target_in_absolute_form_is_its_path),
        cmocka_unit_test(every_method_is_answered_in_one_place),
        cmocka_unit_test(half_a_request_that_is_late_is_told_so),
        cmocka_unit_test(a_request_that_ends_an_idle_time_has_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
