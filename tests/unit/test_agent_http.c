/*
 * test_agent_http.c - the agent through the API, in a process of its own,
 * against a server that the test plays itself, on a real socket: only so can
 * it fall silent in the middle of a lease, which is what matters here. One
 * thread: requests are answered while the test waits for something. Longer than
 * other files: all of it is one server and its tests.
 */
#include "agent/agent.h"

#include "base/clock.h"
#include "base/json/json.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000
#define TTL_MS      2000

#define ACCEPTED                                                               \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close"   \
    "\r\n\r\n{\"ttl\":\"2s\",\"state\":\"up\",\"work_index\":\"1-1\"}"
#define ACCEPTED_FOR_LONG                                                      \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close"   \
    "\r\n\r\n{\"ttl\":\"9s\",\"state\":\"up\",\"work_index\":\"1-1\"}"
#define WITH_INSTANCE                                                          \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close"   \
    "\r\n\r\n{\"ttl\":\"2s\",\"state\":\"up\",\"instance\":\"a-1.b\"}"
#define ID "0123456789abcdef0123456789abcdef"
#define AT(id, position)                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close"   \
    "\r\n\r\n{\"ttl\":\"2s\",\"place\":\"" id ":0:" position "\"}"
#define WENT_BACK                                                              \
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"                \
    "Content-Type: application/problem+json\r\n\r\n"                           \
    "{\"code\":\"registry_went_back\",\"title\":\"it went back\"}"
#define TAKEN                                                                  \
    "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\n"      \
    "Connection: close\r\n\r\n{\"code\":\"address_taken\",\"detail\":\"a "     \
    "later process is registered at this address\"}"
#define GONE "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
#define FENCED                                                                 \
    "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\n"      \
    "Connection: close\r\n\r\n{\"code\":\"fenced\",\"title\":\"fenced\"}"
#define WHO_ARE_YOU                                                            \
    "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n"  \
    "Connection: close\r\n\r\n{\"code\":\"unauthorized\",\"detail\":\"no "     \
    "token\"}"
#define TROUBLE "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n"

struct fixture {
    char dir[64], url[192];
    int listener, errors; /* errors: the agent's standard error */
    pid_t agent;
    const char *answer; /* to a PUT; NULL: be silent */
    unsigned puts, deletes;
    char path[256], body[2048];
    struct heartbeat hb;
    mono_ms last_put;
};

/* --- the server ---------------------------------------------------------- */

static void note(struct fixture *f, const char *request, const char *body)
{
    if (strncmp(request, "DELETE ", 7) == 0) {
        f->deletes++;
        return;
    }
    assert_int_equal(strncmp(request, "PUT ", 4), 0);
    snprintf(f->path, sizeof(f->path), "%.*s", (int)strcspn(request + 4, " "),
             request + 4);
    snprintf(f->body, sizeof(f->body), "%s", body);
    heartbeat_read(&f->hb, body, strlen(body));
    f->last_put = clock_mono_ms();
    f->puts++;
}

/* One request, whole; false: the other side gave up. */
static bool receive(int fd, char *text, size_t size, char **body)
{
    size_t len = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char *length, *end;
        ssize_t n;

        if (poll(&p, 1, 2000) != 1)
            return false;
        n = recv(fd, text + len, size - len - 1, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (end == NULL)
            continue;
        *body = end + 4;
        length = strcasestr(text, "\r\nContent-Length:");
        if (length == NULL || strlen(*body) >= strtoul(length + 17, NULL, 10))
            return true;
    }
}

/* Answer whoever comes within `ms`. */
static void serve(struct fixture *f, int ms)
{
    struct pollfd p = {.fd = f->listener, .events = POLLIN};
    char text[16384], *body;
    const char *answer;
    int fd;

    if (f->answer == NULL) {
        (void)poll(NULL, 0, ms);
        return;
    }
    if (poll(&p, 1, ms) != 1)
        return;
    fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (receive(fd, text, sizeof(text), &body)) {
        note(f, text, body);
        answer = text[0] == 'D' ? GONE : f->answer;
        (void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    close(fd);
}

/* --- help ---------------------------------------------------------------- */

static int set_up(void **state)
{
    static struct fixture f;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);

    memset(&f, 0, sizeof(f));
    snprintf(f.dir, sizeof(f.dir), "/tmp/pelorus-agent-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f.listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f.listener, 64), 0);
    assert_int_equal(getsockname(f.listener, (struct sockaddr *)&a, &len), 0);
    snprintf(f.url, sizeof(f.url), "http://127.0.0.1:%d/", ntohs(a.sin_port));
    f.answer = ACCEPTED;
    f.errors = -1;
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->agent > 0) {
        kill(f->agent, SIGKILL);
        waitpid(f->agent, NULL, 0);
    }
    close(f->listener);
    if (f->errors >= 0)
        close(f->errors);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    return system(command);
}

static void start_agent(struct fixture *f, const char *const *command)
{
    struct agent_options o = {
        .kind = NODE_WORKER,
        .address = "[::1]:7",
        .weight = 100,
        .url = f->url,
        .ttl_ms = TTL_MS,
        .command = (char *const *)(uintptr_t)command,
    };
    struct err err;

    fflush(NULL);
    f->agent = fork();
    if (f->agent != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(f->listener);
    log_configure(LOG_WARN, LOG_TEXT);
    err_clear(&err);
    if (agent_run(&o, &err) == 0)
        _exit(0);
    _exit(strstr(err.msg, "no token") != NULL ? 3 : 1);
}

static int await_exit(struct fixture *f, int64_t at_most_ms)
{
    mono_ms end = clock_mono_ms() + at_most_ms;
    int status = -1;

    while (waitpid(f->agent, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > end)
            fail_msg("the agent is still there");
        serve(f, 20);
    }
    f->agent = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void await_puts(struct fixture *f, unsigned n)
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;

    while (f->puts < n && clock_mono_ms() < end)
        serve(f, 20);
    assert_true(f->puts >= n);
}

static void await_another(struct fixture *f, const struct process *old)
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;

    while (!process_differs(&f->hb.process, old) && clock_mono_ms() < end)
        serve(f, 20);
    assert_true(f->hb.process.startup_time > old->startup_time);
}

static bool alive(pid_t pid)
{
    char path[64], text[256] = "";
    char *end;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return false;
    if (fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    fclose(file);
    end = strrchr(text, ')');
    return end != NULL && end[2] != 'Z' && end[2] != 'X';
}

static pid_t await_command(struct fixture *f, pid_t not )
{
    mono_ms end = clock_mono_ms() + PATIENCE_MS;
    char path[128];
    int pid = 0;

    snprintf(path, sizeof(path), "%s/pid", f->dir);
    while (clock_mono_ms() < end) {
        FILE *file = fopen(path, "r");
        int n = file != NULL ? fscanf(file, "%d\n", &pid) : 0;

        if (file != NULL)
            fclose(file);
        if (n == 1 && pid != not )
            return (pid_t)pid;
        serve(f, 20);
    }
    fail_msg("the command was not started");
    return 0;
}

static const char *script_of(const struct fixture *f, char *out, size_t size)
{
    assert_true(size >= 512);
    snprintf(out, size,
             "trap '' TERM; echo $$ >%s/tmp; mv %s/tmp %s/pid; "
             "while :; do sleep 0.1; done",
             f->dir, f->dir, f->dir);
    return out;
}

/* --- tests --------------------------------------------------------------- */

/* A ttl in which it renews three times: one in which this machine kept up. */
static void await_three_in_a_ttl(struct fixture *f)
{
    mono_ms took = 0;

    for (int tries = 0; tries < 8; tries++) {
        mono_ms began = clock_mono_ms();

        await_puts(f, f->puts + 3);
        took = clock_mono_ms() - began;
        if (took >= TTL_MS - 500 && took <= 2 * TTL_MS)
            return;
    }
    fail_msg("three renewals in %" PRId64 " ms", took);
}

static void a_node_renews_three_times_a_ttl_and_leaves(void **state)
{
    struct fixture *f = *state;

    start_agent(f, NULL);
    await_puts(f, 1);
    assert_string_equal(f->path, "/v1/nodes/worker/[::1]:7?ttl=2s");
    assert_int_equal(f->hb.n_problems, 0);
    assert_int_equal(f->hb.process.process_id, f->agent);
    await_three_in_a_ttl(f);
    kill(f->agent, SIGTERM);
    assert_int_equal(await_exit(f, 5000), 0);
    assert_int_equal(f->deletes, 1);
}

static void the_work_ends_before_a_lease_that_is_not_renewed(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    struct process old;
    mono_ms lease;
    pid_t command;

    start_agent(f, argv);
    command = await_command(f, 0);
    await_puts(f, 3);
    old = f->hb.process;
    lease = f->last_put; /* seen after it was sent: the true one is earlier */
    f->answer = NULL;
    while (alive(command) && clock_mono_ms() < lease + PATIENCE_MS)
        serve(f, 20);
    assert_in_range(clock_mono_ms() - lease, TTL_MS / 2, TTL_MS);
    f->answer = ACCEPTED;
    await_another(f, &old);
    assert_true(alive(await_command(f, command)));
}

static void trouble_that_passes_stops_nothing(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    struct process old;
    unsigned puts;
    pid_t command;

    f->answer = ACCEPTED_FOR_LONG; /* this machine may be slow, too */
    start_agent(f, argv);
    command = await_command(f, 0);
    old = f->hb.process;
    f->answer = TROUBLE;
    puts = f->puts;
    await_puts(f, puts + 2); /* tried again well before the lease ends */
    f->answer = ACCEPTED_FOR_LONG;
    await_puts(f, f->puts + 2);
    assert_true(process_same(&f->hb.process, &old));
    assert_true(alive(command));
}

static void a_fenced_process_stops_its_work_and_begins_anew(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    struct process old;
    unsigned puts;
    pid_t command;

    start_agent(f, argv);
    command = await_command(f, 0);
    old = f->hb.process;
    f->answer = FENCED;
    puts = f->puts;
    await_puts(f, puts + 1);
    f->answer = ACCEPTED;
    await_another(f, &old);
    assert_false(alive(command));
    assert_true(alive(await_command(f, command)));
}

static void the_instance_of_a_process_is_brought_along(void **state)
{
    struct fixture *f = *state;
    struct process old;

    f->answer = WITH_INSTANCE;
    start_agent(f, NULL);
    await_puts(f, 1);
    assert_null(strstr(f->path, "instance"));
    await_puts(f, 3);
    assert_non_null(strstr(f->path, "&instance=a-1.b"));
    old = f->hb.process;
    f->answer = FENCED;
    await_puts(f, f->puts + 1);
    f->answer = ACCEPTED;
    await_another(f, &old);
    assert_null(strstr(f->path, "instance")); /* it was not this one's */
}

/* Coming back as a later process would take it from him, and so on for ever. */
static void an_address_that_another_took_is_left_to_him(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    pid_t command;

    start_agent(f, argv);
    command = await_command(f, 0);
    f->answer = TAKEN;
    assert_int_equal(await_exit(f, PATIENCE_MS), 1);
    assert_false(alive(command));
}

/* Its own registration from before, perhaps, whose ttl is not over. */
static void a_taken_address_is_waited_for_at_the_start(void **state)
{
    struct fixture *f = *state;
    struct process old;

    f->answer = TAKEN;
    start_agent(f, NULL);
    await_puts(f, 2);
    old = f->hb.process;
    f->answer = ACCEPTED;
    await_puts(f, f->puts + 2);
    assert_true(process_same(&f->hb.process, &old));
}

static void a_refusal_at_the_start_is_said_and_ends_it(void **state)
{
    struct fixture *f = *state;

    f->answer = WHO_ARE_YOU;
    start_agent(f, NULL);
    assert_int_equal(await_exit(f, PATIENCE_MS), 3);
    assert_int_equal(f->deletes, 0);
}

static void a_silent_server_does_not_hold_the_agent(void **state)
{
    struct fixture *f = *state;

    start_agent(f, NULL);
    await_puts(f, 1);
    f->answer = NULL;
    while (clock_mono_ms() < f->last_put + TTL_MS / 2) /* a PUT hangs */
        serve(f, 20);
    kill(f->agent, SIGTERM);
    assert_int_equal(await_exit(f, 5000), 0);
}

/* One that is not there, one that never answers, and ours. */
static void the_next_coordinator_is_asked_within_the_lease(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    char own[64], script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t command;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(silent, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(silent, 64), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&a, &len), 0);
    snprintf(own, sizeof(own), "%.60s", f->url);
    snprintf(f->url, sizeof(f->url),
             "http://127.0.0.1:1, http://127.0.0.1:%d/,%s", ntohs(a.sin_port),
             own);
    f->answer = ACCEPTED_FOR_LONG;
    start_agent(f, argv);
    command = await_command(f, 0);
    await_puts(f, f->puts + 1); /* and stays with the one that answers */
    f->answer = TROUBLE; /* the others have their turn, then it again, ... */
    await_puts(f, f->puts + 1);
    f->answer = ACCEPTED_FOR_LONG; /* ... all within the lease */
    await_puts(f, f->puts + 1);
    assert_true(alive(command));
    close(silent);
    kill(f->agent, SIGTERM);
    assert_int_equal(await_exit(f, 5000), 0);
}

static void next_put_with(struct fixture *f, const char *answer,
                          const char *place)
{
    char member[128];

    f->answer = answer;
    await_puts(f, f->puts + 1); /* it heard of it then */
    await_puts(f, f->puts + 1);
    snprintf(member, sizeof(member), "\"place\":\"%s\"", place);
    assert_non_null(strstr(f->body, member));
}

static void how_far_the_registry_was_seen_is_brought_along(void **state)
{
    struct fixture *f = *state;

    f->answer = AT(ID, "7");
    start_agent(f, NULL);
    await_puts(f, 1);
    assert_null(strstr(f->body, "place"));
    next_put_with(f, AT(ID, "7"), ID ":0:7");
    next_put_with(f, AT(ID, "5"), ID ":0:7");
    next_put_with(f, AT("x", "9"), ID ":0:7");
    next_put_with(f, AT(ID, "12"), ID ":0:12");
    next_put_with(f, AT("fedcba9876543210fedcba9876543210", "3"),
                  "fedcba9876543210fedcba9876543210:0:3");
}

/* As a lost session, and for good until somebody gives a lease again. */
static void on_a_registry_that_went_back_the_work_ends_at_once(void **state)
{
    struct fixture *f = *state;
    char script[512];
    const char *argv[] = {"sh", "-c", script_of(f, script, sizeof(script)),
                          NULL};
    struct process old;
    pid_t command;
    mono_ms told;

    f->answer = ACCEPTED_FOR_LONG;
    start_agent(f, argv);
    command = await_command(f, 0);
    old = f->hb.process;
    f->answer = WENT_BACK;
    await_puts(f, f->puts + 1);
    told = clock_mono_ms();
    while (alive(command) && clock_mono_ms() < told + PATIENCE_MS)
        serve(f, 20);
    assert_in_range(clock_mono_ms() - told, 0, 3000); /* a lease is 9 s */
    await_puts(f, f->puts + 3);
    assert_false(alive(command));
    f->answer = ACCEPTED;
    await_another(f, &old);
    assert_true(alive(await_command(f, command)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_renews_three_times_a_ttl_and_leaves),
        TEST(the_work_ends_before_a_lease_that_is_not_renewed),
        TEST(trouble_that_passes_stops_nothing),
        TEST(a_fenced_process_stops_its_work_and_begins_anew),
        TEST(the_instance_of_a_process_is_brought_along),
        TEST(how_far_the_registry_was_seen_is_brought_along),
        TEST(on_a_registry_that_went_back_the_work_ends_at_once),
        TEST(an_address_that_another_took_is_left_to_him),
        TEST(a_taken_address_is_waited_for_at_the_start),
        TEST(a_refusal_at_the_start_is_said_and_ends_it),
        TEST(a_silent_server_does_not_hold_the_agent),
        TEST(the_next_coordinator_is_asked_within_the_lease),
    };

    unsetenv("PELORUS_TOKEN");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
