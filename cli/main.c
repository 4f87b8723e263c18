/*
 * main.c - the subcommands, and `serve`: the one place that stands above all
 * folders and puts loop, registry, coordinator and HTTP together.
 *
 * Leaving goes the same way back: HTTP answers what is in flight, the
 * coordinator leaves the cluster, the registry's session is closed, the loop
 * ends. Each step starts when the one before says it is done, and a deadline
 * stands behind all of them: whatever the registry does, we are gone within
 * five seconds, and what is left behind expires by itself.
 * (Longer than 500 lines: each subcommand's words stand beside it.)
 */
#include "agent/agent.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cli/cli.h"
#include "cli/doctor/doctor.h"
#include "cli/registry_command.h"
#include "cli/replay/replay.h"
#include "cli/streams.h"
#include "cli/systemd.h"
#include "conf/conf.h"
#include "conf/reload.h"
#include "coordinator/coordinator.h"
#include "coordinator/facts/facts.h"
#include "coordinator/journal/journal.h"
#include "failover/engine/hook.h"
#include "http/http.h"
#include "registry/history.h"
#include "registry/state_file.h"

#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS          50
#define MAILBOX_MAX      65536
#define HTTP_STOP_MS     2500
#define OWN_FILES        64 /* the registry's, the hooks', libraries' */
#define LEAVE_AT_MOST_MS 4500
#define REMARKS_MAX      65536
#define LAST_WORDS_MS    200 /* for the log's last lines */
#define JOURNAL_STOP_MS  1000
#define FACTS_STOP_MS    1000
/* Signals so near are one: of a group, of `timeout`. */
#define ONE_REQUEST_MS 1000

enum { SIGNALS = 4 };
static const int signal_numbers[SIGNALS] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};

struct server {
    struct conf conf;
    struct loop *loop;
    struct registry *registry;
    struct state_file *state;
    struct coordinator *coordinator;
    struct journal *journal; /* NULL: none is kept */
    struct facts *facts;
    struct hooks *hooks;
    struct http_listener listener;
    struct http *http;
    struct loop_timer *tick, *sooner, *deadline;
    mono_ms sooner_at;
    uv_signal_t signals[SIGNALS];
    mono_ms leaving;     /* since when; 0: not */
    int64_t watchdog_ms; /* how often systemd wants to hear of us; 0: never */
    mono_ms watchdog_next;
};

/* --- leaving, step by step ----------------------------------------------- */

static void finish(struct server *s)
{
    assert(s->registry == NULL);
    assert(s->coordinator == NULL);
    loop_timer_stop(&s->deadline);
    for (int i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    loop_stop(s->loop);
}

static void on_state_closed(void *arg)
{
    log_info("-pelorus", LOG_I("pid", getpid()));
    finish(arg);
}

static void on_registry_closed(void *arg)
{
    struct server *s = arg;

    assert(s->coordinator == NULL);
    registry_state_file_close(&s->state, on_state_closed, s);
}

static void on_left(void *arg)
{
    struct server *s = arg;

    assert(s->leaving != 0);
    assert(s->coordinator != NULL);
    loop_timer_stop(&s->tick);
    loop_timer_stop(&s->sooner);
    registry_state_file_keep(s->state, registry_place(s->registry),
                             registry_unmarked(s->registry));
    journal_stop(&s->journal, JOURNAL_STOP_MS);
    coordinator_free(&s->coordinator);
    registry_close(&s->registry, on_registry_closed, s);
}

/* Only now: a hook ends before its lock is let go. */
static void on_hooks_ended(void *arg)
{
    struct server *s = arg;

    assert(s->leaving != 0);
    assert(s->coordinator != NULL);
    coordinator_leave(s->coordinator, on_left, s);
}

static void on_http_stopped(void *arg)
{
    struct server *s = arg;

    assert(s->leaving != 0);
    if (s->hooks != NULL)
        engine_hooks_end(s->hooks, on_hooks_ended, s);
    else
        on_hooks_ended(s);
}

static void on_too_late(void *arg)
{
    (void)arg;
    log_warn("-pelorus", LOG_I("pid", getpid()),
             LOG_S("reason", "the registry did not answer in time; our entries "
                             "expire by themselves"));
    log_flush(LAST_WORDS_MS);
    _exit(0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    mono_ms now;

    loop_enter(s->loop);
    now = loop_clock(s->loop)->mono;
    if (number == SIGHUP) {
        if (conf_reload_file(&s->conf) && s->leaving == 0)
            coordinator_reload(s->coordinator);
        if (s->journal != NULL)
            journal_reopen(s->journal);
        return;
    }
    if (s->leaving != 0 && now - s->leaving < ONE_REQUEST_MS)
        return;
    if (s->leaving != 0) {
        log_warn("-pelorus", LOG_S("reason", "a second signal"));
        log_flush(LAST_WORDS_MS);
        _exit(1);
    }
    s->leaving = now;
    log_info("=leaving", LOG_S("signal", sigabbrev_np(number)));
    systemd_notify("STOPPING=1");
    s->deadline = loop_timer(s->loop, LEAVE_AT_MOST_MS, 0, on_too_late, s);
    http_stop(s->http, HTTP_STOP_MS, on_http_stopped, s);
}

/* --- starting ------------------------------------------------------------ */

static void on_tick(void *arg)
{
    struct server *s = arg;

    assert(s->coordinator != NULL);
    assert(s->registry != NULL);
    coordinator_tick(s->coordinator);
    if (s->journal != NULL)
        journal_tick(s->journal);
    registry_state_file_keep(s->state, registry_place(s->registry),
                             registry_unmarked(s->registry));
    if (s->watchdog_ms > 0 && loop_clock(s->loop)->mono >= s->watchdog_next) {
        s->watchdog_next = loop_clock(s->loop)->mono + s->watchdog_ms;
        systemd_notify("WATCHDOG=1");
    }
}

static void on_sooner(void *arg)
{
    struct server *s = arg;

    assert(s->sooner != NULL);
    loop_timer_stop(&s->sooner);
    on_tick(s);
}

static void tick_soon(void *arg, int64_t ms)
{
    struct server *s = arg;
    mono_ms at = loop_clock(s->loop)->mono + ms;

    assert(ms >= 0);
    if (s->sooner != NULL && s->sooner_at <= at)
        return;
    loop_timer_stop(&s->sooner);
    s->sooner_at = at;
    s->sooner = loop_timer(s->loop, ms, 0, on_sooner, s);
}

/* As many files as we may open; and no more connections than that leaves, so
 * that they cannot take what the registry and the hooks need. */
static void fit_file_limit(struct conf_http *http)
{
    struct rlimit limit;
    uint32_t fit;

    assert(http->max_connections > 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= (rlim_t)http->max_connections + OWN_FILES)
        return;
    fit = limit.rlim_cur > 2 * OWN_FILES ? (uint32_t)limit.rlim_cur - OWN_FILES
                                         : OWN_FILES / 4;
    if (fit >= http->max_connections)
        return;
    log_warn("!http.max-connections", LOG_U("max", http->max_connections),
             LOG_U("used", fit), LOG_U("open_files", limit.rlim_cur),
             LOG_S("reason", "the system lets this process open too few files"),
             LOG_S("advice", "raise its limit (ulimit -Hn, LimitNOFILE=), or "
                             "lower http.max-connections"));
    http->max_connections = fit;
}

/* Under which name the other coordinators know us. */
static void self_address(const struct conf *conf, uint16_t port, char *out,
                         size_t n)
{
    char host[HOST_NAME_MAX + 1];
    bool any = strcmp(conf->listen_host, "0.0.0.0") == 0 ||
               strcmp(conf->listen_host, "::") == 0;
    bool v6 = strchr(conf->listen_host, ':') != NULL;

    assert(port != 0);
    assert(n > 0);
    if (conf->advertise != NULL) {
        snprintf(out, n, "%s", conf->advertise);
    } else if (any && gethostname(host, sizeof(host)) == 0) {
        host[sizeof(host) - 1] = '\0';
        snprintf(out, n, "%s:%u", host, port);
    } else {
        snprintf(out, n, v6 ? "[%s]:%u" : "%s:%u", conf->listen_host, port);
    }
}

static int start_journal(struct server *s, uint64_t seed, struct err *err)
{
    struct journal_config config = {
        .path = s->conf.journal,
        .size = s->conf.journal_size,
        .files = s->conf.journal_files,
        .seed = seed,
        .run = coordinator_instance(s->coordinator),
    };
    int rc;

    if (config.path == NULL)
        return 0;
    rc = journal_start(&s->journal, coordinator_balancer(s->coordinator),
                       &config, err);
    if (rc != 0)
        (void)err_wrap(err, "journal");
    else
        log_info("+journal", LOG_S("file", config.path));
    return rc;
}

static void nothing(void *arg)
{
    (void)arg;
}

static int start(struct server *s, struct err *err)
{
    struct engine_hooks hooks = {.run = engine_hooks_run,
                                 .until = engine_hooks_until,
                                 .stop = engine_hooks_stop};
    char self[NODE_ADDRESS_MAX + 1];
    struct registry_place remembered;
    struct coordinator_config coordinator = {
        .conf = &s->conf, .self = self, .soon = tick_soon, .soon_arg = s};
    struct http_config http = {.conf = &s->conf};
    int rc;

    assert(s->loop == NULL);
    assert(s->http == NULL);
    signal(SIGPIPE, SIG_IGN);
    mem_begin();
    rc = loop_new(&s->loop, MAILBOX_MAX, err);
    if (rc == 0 && s->conf.failover.hook != NULL) /* before any thread */
        rc = engine_hooks_new(&s->hooks, s->loop, s->conf.failover.hook, err);
    if (rc == 0)
        rc = http_listen(&s->conf, &s->listener, err);
    if (rc != 0)
        return rc;
    self_address(&s->conf, s->listener.port, self, sizeof(self));
    rc = registry_state_file_open(&s->state, s->loop, &s->conf, "coordinator",
                                  self, &remembered, err);
    if (rc != 0)
        return rc;
    rc = registry_open(&s->registry, s->loop, &s->conf.registry, err);
    if (rc != 0) {
        registry_state_file_close(&s->state, nothing, NULL);
        return rc;
    }
    registry_compare(s->registry, self, &remembered, true);
    if (registry_state_file_doubted(s->state)[0] != '\0')
        registry_report_contradiction(s->registry, NULL, "%s",
                                      registry_state_file_doubted(s->state));
    rand_secret(&coordinator.seed, sizeof(coordinator.seed));
    coordinator.clock = loop_clock(s->loop);
    coordinator.registry = s->registry;
    hooks.arg = s->hooks;
    if (s->hooks != NULL)
        coordinator.hooks = &hooks;
    s->coordinator = coordinator_new(&coordinator);
    http.loop = s->loop;
    http.coordinator = s->coordinator;
    http.listener = s->listener;
    rc = start_journal(s, coordinator.seed, err);
    if (rc != 0)
        return rc;
    http.journal = s->journal;
    s->facts = http.facts = facts_start(&s->conf.registry);
    return http_start(&s->http, &http, err);
}

static void listen_to_signals(struct server *s)
{
    assert(s->loop != NULL);
    assert(s->http != NULL);
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(loop_uv(s->loop), &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, signal_numbers[i]);
    }
}

static int cmd_serve(const char *file)
{
    struct server s;
    struct err err;

    memset(&s, 0, sizeof(s));
    signal(SIGHUP, SIG_IGN); /* until it can be obeyed */
    if (cli_registry_conf(&s.conf, file) != 0)
        return 1;
    log_configure(s.conf.log_level, s.conf.log_format);
    if (s.conf.log_file != NULL && log_to(s.conf.log_file, &err) != 0) {
        fprintf(stderr,
                "pelorus: log.file: %s; name a file that this user may write, "
                "in a directory that is there\n",
                err.msg);
        conf_close(&s.conf);
        return 1;
    }
    log_start();
    fit_file_limit(&s.conf.http);
    if (start(&s, &err) != 0) {
        log_error("!pelorus", LOG_S("reason", err.msg));
        journal_stop(&s.journal, JOURNAL_STOP_MS);
        log_stop(LAST_WORDS_MS);
        if (s.registry == NULL) /* else its threads use the loop */
            loop_free(&s.loop);
        if (facts_stop(&s.facts, FACTS_STOP_MS))
            conf_close(&s.conf);
        return 1;
    }
    assert(s.leaving == 0);
    listen_to_signals(&s);
    s.watchdog_ms = systemd_watchdog_ms() / 3;
    s.tick = loop_timer(s.loop, TICK_MS, TICK_MS, on_tick, &s);
    log_info("+pelorus", LOG_S("version", PELORUS_VERSION),
             LOG_S("listen", s.conf.listen_host),
             LOG_U("port", s.listener.port),
             LOG_S("registry", conf_registry_type_name(s.conf.registry.type)),
             LOG_I("pid", getpid()));
    systemd_notify("READY=1");
    loop_run(s.loop);
    assert(s.leaving != 0);
    assert(s.registry == NULL);
    http_free(&s.http);
    engine_hooks_free(&s.hooks);
    loop_free(&s.loop);
    if (facts_stop(&s.facts, FACTS_STOP_MS))
        conf_close(&s.conf);
    log_stop(LAST_WORDS_MS);
    return 0;
}

static int cmd_check_config(const char *file)
{
    struct buf remarks;
    struct conf conf;

    if (cli_registry_conf(&conf, file) != 0)
        return 1;
    buf_init(&remarks, REMARKS_MAX);
    conf_remarks(&conf, &remarks);
    http_listen_remarks(&conf, &remarks);
    fputs(buf_text(&remarks), stderr);
    buf_close(&remarks);
    conf_print(&conf, stdout);
    conf_close(&conf);
    return 0;
}

static int say_too_many(const char *command, const char *word,
                        const char *operands)
{
    fprintf(stderr,
            "pelorus: %s: `%s` is a word too many\n"
            "usage: pelorus %s%s\n",
            command, word, command, operands);
    return 2;
}

static int cmd_version(int argc, char **argv)
{
    bool help = argc == 2 &&
                (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

    assert(argc > 0);
    if (argc > 1 && !help)
        return say_too_many("version", argv[1], "");
    printf(help ? "usage: pelorus version\n" : "pelorus " PELORUS_VERSION "\n");
    return 0;
}

static int cmd_help(int argc, char **argv);

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    int (*with_file)(const char *file); /* its only option is a file; or NULL */
    const char *help;
    const char *more; /* if with_file */
} commands[] = {
    {"serve", NULL, cmd_serve, "a coordinator: registry, failover, REST API",
     "A coordinator, until SIGTERM. Without -c every key has its default.\n"
     "SIGHUP opens log.file and journal anew and reads FILE again.\n"
     "Exit codes: 0 it was told to end, 1 it could not start, 2 not "
     "understood.\n"},
    {"agent", agent_main, NULL, "register a node and report its load", ""},
    {"check-config", NULL, cmd_check_config,
     "read the configuration, say what is wrong",
     "Says all that is wrong with FILE, or prints every key with its value "
     "in\nforce, secrets as ***.\n"
     "Exit codes: 0 it is good, 1 it would not start, 2 not understood.\n"},
    {"registry", cli_registry_command, NULL,
     "init, backup, restore, accept-restore, vacuum: the registry itself", ""},
    {"doctor", cli_doctor, NULL, "is all well here, and what will hurt?", ""},
    {"replay", cli_replay, NULL, "decide again what a journal says was decided",
     ""},
    {"version", cmd_version, NULL, "which version this is", ""},
    {"help", cmd_help, NULL, "this", ""},
};

/* Of a command whose only option is a file. */
static int run_with_file(const struct command *command, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *file = NULL, *name = command->name;
    int option;

    assert(argc > 0);
    assert(command->with_file != NULL);
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (option == 'h') {
            printf("usage: pelorus %s [-c FILE]\n%s", name, command->more);
            return 0;
        }
        if (option != 'c') { /* getopt said what is wrong */
            fprintf(stderr,
                    "usage: pelorus %s [-c FILE] (what is to be set stands in "
                    "FILE)\n",
                    name);
            return 2;
        }
        if (file != NULL) {
            fprintf(stderr,
                    "pelorus: -c is given twice, %s and %s; one file holds "
                    "everything\n",
                    file, optarg);
            return 2;
        }
        file = optarg;
    }
    if (optind < argc) {
        fprintf(stderr,
                "pelorus: %s: not understood (a file is given with "
                "-c)\nusage: pelorus %s [-c FILE]\n",
                argv[optind], name);
        return 2;
    }
    return command->with_file(file);
}

static int run(int argc, char **argv);

static int cmd_help(int argc, char **argv)
{
    char *asked[] = {argc > 1 ? argv[1] : NULL, (char[]){"--help"}, NULL};

    assert(argc > 0);
    if (argc > 2)
        return say_too_many("help", argv[2], " [COMMAND]");
    if (argc == 2 && argv[1][0] != '-' && strcmp(argv[1], "help") != 0)
        return run(2, asked);
    printf("pelorus %s: who takes the work, and who takes it over.\n\n",
           PELORUS_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-13s %s\n", commands[i].name, commands[i].help);
    printf("\nthrough the API (--url or PELORUS_URL, --json for scripts):\n");
    cli_help();
    printf("\n`pelorus help COMMAND` tells its words. " CLI_EXIT_CODES);
    return 0;
}

/* What others call it. */
static bool is_begin(const char *name)
{
    static const char *const names[] = {"start", "run", "server", "daemon"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static int say_no_command(const char *name)
{
    if (name[0] == '-')
        fprintf(stderr,
                "pelorus: %s: the command comes first, and its options behind "
                "it; `pelorus help` lists them\n",
                name);
    else if (is_begin(name))
        fprintf(stderr,
                "pelorus: no subcommand %s; did you mean serve? (`pelorus "
                "help` lists them)\n",
                name);
    else if (name[0] != '\0')
        fprintf(stderr,
                "pelorus: no subcommand %s; `pelorus help` lists them\n", name);
    else
        fprintf(stderr, "pelorus: what is to be done? `pelorus help` lists "
                        "the commands\n");
    return 2;
}

/* argv[0] is the command. */
static int run(int argc, char **argv)
{
    const char *name = argv[0];

    assert(argc > 0);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run != NULL
                       ? commands[i].run(argc, argv)
                       : run_with_file(&commands[i], argc, argv);
    if (cli_knows(name))
        return cli_run(argc, argv);
    if (strcmp(name, "--version") == 0)
        return cmd_version(argc, argv);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return cmd_help(argc, argv);
    return say_no_command(name);
}

int main(int argc, char **argv)
{
    cli_streams_occupy();
    if (argc < 2)
        return say_no_command("");
    return cli_streams_finish(run(argc - 1, argv + 1));
}
